"""Tripwires during training: after each logged batch, signs of a failing run are reported, or end it."""

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from lead_kit.errors import InputError, lookup
from lead_kit.method import tripwires
from lead_kit.runs.files import shown
from lead_kit.runs.log_files import read_metrics
from lead_kit.train.validation import Validation

_ACTIONS = dict.fromkeys(("warn", "stop", "off"))


class TripwireCallback(TrainerCallback):
    """Looks at metrics.jsonl after each logged batch (lead_kit.method.tripwires).

    A tripwire is reported once: by a line and in run.json. With `stop` the first one also ends the training after a
    checkpoint; `raise_if_stopped` then raises. Rewards of weight 0 are only logged, so they trip nothing. Set `trainer`
    as for `validation`.
    """

    def __init__(self, action: str, validation: Validation):
        lookup(_ACTIONS, action, "tripwires")
        self.action, self.validation = action, validation
        self.trainer, self.reported, self.stopped_by = None, {}, ""

    def metrics(self) -> tuple[list[dict], list[dict]]:
        """The training and the validation rows so far, without the numbers of rewards of weight 0."""
        weights = dict(zip(self.trainer.grader.reward_table, self.trainer.reward_weights.tolist(), strict=True))
        file = self.trainer.run.path / "metrics.jsonl"
        lines = read_metrics(file) if file.is_file() else []  # a run that takes up another's checkpoint has none yet
        return tripwires.by_split(lines, weights)

    def on_train_begin(self, args, state, control, **kwargs):
        """Repeats in a resumed run what was reported before; with `stop` that ends it at once."""
        if self.action == "off" or not state.global_step:
            return
        newest = [""]
        if self.trainer.accelerator.is_main_process:
            for trip in tripwires.replay(*self.metrics(), self.samples):
                self.report(trip.step, trip.wire, trip.sentence)
                newest = [f"{trip.wire}: {trip.sentence}"]
        if self.action == "stop":
            self.stopped_by = broadcast_object_list(newest)[0]
            self.raise_if_stopped()

    @property
    def samples(self) -> int:
        return len(self.validation.records) * self.validation.samples

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.action == "off" or not logs or "loss" not in logs:
            return
        newest = [""]
        if self.trainer.accelerator.is_main_process:
            for wire, sentence in tripwires.tripped_by_newest(*self.metrics(), self.samples).items():
                if wire not in self.reported:
                    self.report(self.trainer.batches_done, wire, sentence)
                    newest = [f"{wire}: {sentence}"]
        if self.action == "stop":
            self.stopped_by = broadcast_object_list(newest)[0]  # every process must leave at the same step
            if self.stopped_by:
                control.should_save = control.should_training_stop = True

    def report(self, step: int, wire: str, sentence: str) -> None:
        self.reported[wire] = step
        self.trainer.run.record_tripwire(step, wire, sentence)

    def raise_if_stopped(self) -> None:
        """Raises InputError, with the way to go on, where a wire has ended the training."""
        if not self.stopped_by or self.trainer.state.global_step >= self.trainer.args.max_steps:
            return
        state, run = self.trainer.state, self.trainer.run
        checkpoint = shown(run.path / "checkpoints" / f"checkpoint-{state.global_step}")
        raise InputError(
            f"tripwire {self.stopped_by} (step {self.trainer.batches_done}); to go on from here: "
            f"-p run_name NEW -p tripwires warn -p resume_from {checkpoint}"
        )

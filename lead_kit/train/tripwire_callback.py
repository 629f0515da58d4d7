"""Tripwires during training: after each logged batch, signs of a failing run are told, or end it with a checkpoint."""

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

    A wire is told once: by a line and in run.json. With `stop` the first one also ends the training after a checkpoint;
    `require_whole` then raises. Rewards of weight 0 are only logged, so they trip nothing. Set `trainer` as for
    `validation`.
    """

    def __init__(self, action: str, validation: Validation):
        lookup(_ACTIONS, action, "tripwires")
        self.action, self.validation = action, validation
        self.trainer, self.told, self.stopped_by = None, {}, ""

    def rows(self) -> tuple[list[dict], list[dict]]:
        """The training and the validation rows so far, without the numbers of rewards that are not paid."""
        weights = dict(zip(self.trainer.grader.reward_table, self.trainer.reward_weights.tolist(), strict=True))
        file = self.trainer.run.path / "metrics.jsonl"
        lines = read_metrics(file) if file.is_file() else []  # a run that takes up another's checkpoint has none yet
        return tripwires.by_split(lines, weights)

    def on_train_begin(self, args, state, control, **kwargs):
        """Tells a resumed run what it was told before; with `stop` that ends it at once."""
        if self.action == "off" or not state.global_step:
            return
        found = [""]
        if self.trainer.accelerator.is_main_process:
            for trip in tripwires.replay(*self.rows(), self.samples):
                self.tell(trip.step, trip.wire, trip.sentence)
                found = [f"{trip.wire}: {trip.sentence}"]
        if self.action == "stop":
            self.stopped_by = broadcast_object_list(found)[0]
            self.require_whole()

    @property
    def samples(self) -> int:
        return len(self.validation.records) * self.validation.samples

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.action == "off" or not logs or "loss" not in logs:
            return
        found = [""]
        if self.trainer.accelerator.is_main_process:
            for wire, sentence in tripwires.tripped_by_newest(*self.rows(), self.samples).items():
                if wire not in self.told:
                    self.tell(self.trainer.batches_done, wire, sentence)
                    found = [f"{wire}: {sentence}"]
        if self.action == "stop":
            self.stopped_by = broadcast_object_list(found)[0]  # every process must leave at the same step
            if self.stopped_by:
                control.should_save = control.should_training_stop = True

    def tell(self, step: int, wire: str, sentence: str) -> None:
        self.told[wire] = step
        self.trainer.run.record_tripwire(step, wire, sentence)

    def require_whole(self) -> None:
        """Raises InputError, with the way to go on, where a wire has ended the training."""
        if not self.stopped_by or self.trainer.state.global_step >= self.trainer.args.max_steps:
            return
        state, run = self.trainer.state, self.trainer.run
        checkpoint = shown(run.path / "checkpoints" / f"checkpoint-{state.global_step}")
        raise InputError(
            f"tripwire {self.stopped_by} (step {self.trainer.batches_done}); to go on from here: "
            f"-p run_name NEW -p tripwires warn -p resume_from {checkpoint}"
        )

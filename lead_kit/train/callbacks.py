"""Callbacks of a training: an interruption that keeps a checkpoint, and tripwires that warn of a failing run.

After an interruption Run All continues from the checkpoint at the end of that rollout batch.
"""

import signal
import threading
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from lead_kit.errors import InputError, lookup
from lead_kit.method import tripwires
from lead_kit.runs import checkpoints, provenance
from lead_kit.runs.files import shown
from lead_kit.runs.log_files import read_metrics
from lead_kit.train.validation import Validation

_USED = "this trainer was already used; choose Run All to continue from the newest checkpoint"
_NOTED = "interrupting: this batch is finished first, so that the run can go on from here; interrupt again to stop now"


class _AlreadyTrained(Exception):
    """Raised once a checkpoint of the last step is loaded: the trainer would make another update."""


class _InterruptCallback(TrainerCallback):
    """Ends a training that was interrupted, after the last update of a rollout batch, with a checkpoint.

    Inside a batch a checkpoint could not be resumed exactly. `updates` optimiser updates make a batch. The last step
    has a checkpoint, too, so that an error behind the training does not cost it; Run.finish removes it.
    """

    def __init__(self, updates: int, keeps_last: bool):
        self.updates, self.keeps_last, self.asked, self.begun = updates, keeps_last, False, False

    def on_train_begin(self, args, state, control, **kwargs):
        if self.begun:
            raise InputError(_USED)
        self.begun = True
        if state.global_step >= state.max_steps:
            raise _AlreadyTrained

    def on_step_end(self, args, state, control, **kwargs):
        if self.keeps_last and state.global_step >= state.max_steps and args.save_strategy == "no":
            args.save_only_model = not provenance.sharded()  # nothing is trained from it
            control.should_save = True
        if self.asked and state.global_step % self.updates == 0 and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    @contextmanager
    def listening(self):
        """Takes interruptions in the place of Python, where this is the only process and its main thread."""
        if provenance.processes() > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        usual = signal.signal(signal.SIGINT, self.on_sigint)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)

    def on_sigint(self, number, frame) -> None:
        """The first interruption is noted, the second one raises KeyboardInterrupt at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(_NOTED, flush=True)


def train(trainer, run, checkpoint: Path | None, updates: int = 1) -> None:
    """Trains to the last step, from `checkpoint` if there is one. `updates` optimiser updates make a step of the run.

    What the run logged after `checkpoint` is deleted first. Raises InputError when the trainer has trained before or
    when there are too few problems for a batch, and Interrupted, with one sentence, when the user interrupts.
    """
    if any(isinstance(callback, _InterruptCallback) for callback in trainer.callback_handler.callbacks):
        raise InputError(_USED)
    stop = _InterruptCallback(updates, keeps_last=run.config.get("preflight") != "only")
    trainer.callback_handler.callbacks.insert(0, stop)  # before a validation of the start
    provenance.check_processes(trainer.accelerator)
    begin, last = checkpoints.updates_in(checkpoint) // updates, trainer.args.max_steps // updates
    run.truncate_metrics(begin)
    run.reached = (begin, last)
    result = None
    with stop.listening():
        try:
            result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except KeyboardInterrupt:
            stop.asked = True
        except _AlreadyTrained:
            print(f"the training is done: {shown(checkpoint)}", flush=True)
            return
    reached = min(trainer.state.global_step // updates, last - (result is None))
    run.reached = (reached, last)
    if reached == begin < last and not stop.asked:
        raise InputError(f"the training ended at step {reached} of {last}: its problems fill no batch")
    if reached < last and stop.asked:
        kept = checkpoints.updates_in(checkpoints.latest_checkpoint(run.path / "checkpoints")) // updates
        goes_on = "resumes" if kept == reached > 0 else f"resumes at {kept}" if kept else "begins anew"
        raise run.interruption(f"interrupted at {reached} of {last}; Run All {goes_on}") from None


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
        self.trainer, self.reported, self.stopped_by = None, set(), ""

    def metrics(self) -> tuple[list[dict], list[dict], int]:
        """The training and the validation rows so far, without the numbers of rewards of weight 0, and the number of
        graded answers of a validation."""
        weights = dict(zip(self.trainer.grader.reward_table, self.trainer.reward_weights.tolist(), strict=True))
        file = self.trainer.run.path / "metrics.jsonl"
        lines = read_metrics(file) if file.is_file() else []  # a run that takes up another's checkpoint has none yet
        return *tripwires.by_split(lines, weights), len(self.validation.records) * self.validation.samples

    def on_train_begin(self, args, state, control, **kwargs):
        """Repeats in a resumed run what was reported before; with `stop` that ends it at once."""
        if self.action != "off" and state.global_step:
            self.report(tripwires.replay)
            self.raise_if_stopped()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.action == "off" or not logs or "loss" not in logs:
            return
        self.report(tripwires.tripped_by_newest)
        if self.stopped_by:
            control.should_save = control.should_training_stop = True

    def report(self, find_trips) -> None:
        """Reports the trips that `find_trips` gives and that were not reported yet; `stop` keeps the newest."""
        newest = [""]
        trips = find_trips(*self.metrics()) if self.trainer.accelerator.is_main_process else []
        for trip in trips:
            if trip.wire not in self.reported:
                self.reported.add(trip.wire)
                self.trainer.run.record_tripwire(*trip)
                newest = [f"{trip.wire}: {trip.sentence}"]
        if self.action == "stop":
            self.stopped_by = broadcast_object_list(newest)[0]  # every process must leave at the same step

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

"""Interrupting a training: it stops at the end of its rollout batch, with a checkpoint from which Run All goes on."""

import signal
import threading
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerCallback

from lead_kit.errors import InputError
from lead_kit.runs import checkpoints, distributed

_USED = "this trainer was already used; choose Run All to continue from the newest checkpoint"
_NOTED = "interrupting: this batch is finished first, so that the run can go on from here; interrupt again to stop now"


class _InterruptCallback(TrainerCallback):
    """Ends a training that was interrupted, after the last update of a rollout batch, with a checkpoint.

    Inside a batch a checkpoint could not be resumed exactly. `updates` optimiser updates make a batch.
    """

    def __init__(self, updates: int):
        self.updates, self.asked, self.begun = updates, False, False

    def on_train_begin(self, args, state, control, **kwargs):
        if self.begun:
            raise InputError(_USED)
        self.begun = True

    def on_step_end(self, args, state, control, **kwargs):
        if self.asked and state.global_step % self.updates == 0 and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    @contextmanager
    def listening(self):
        """Takes interruptions in the place of Python, where this is the only process and its main thread."""
        if distributed.processes() > 1 or threading.current_thread() is not threading.main_thread():
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


def train(trainer, run, checkpoint: Path | None, updates: int = 1):
    """Trains to the last step and returns the trainer's result. `updates` optimiser updates make a step of the run.

    What the run logged after `checkpoint` is deleted first. Raises InputError when the trainer has trained before or
    when there are too few problems for a batch, and Interrupted, with one sentence, when the user interrupts.
    """
    if any(isinstance(callback, _InterruptCallback) for callback in trainer.callback_handler.callbacks):
        raise InputError(_USED)
    stop = _InterruptCallback(updates)
    trainer.callback_handler.callbacks.insert(0, stop)  # before a validation of the start
    distributed.check_processes(trainer.accelerator)
    begin, last = checkpoints.updates_in(checkpoint) // updates, trainer.args.max_steps // updates
    run.truncate_metrics(begin)
    run.reached = (begin, last)
    result = None
    with stop.listening():
        try:
            result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except KeyboardInterrupt:
            stop.asked = True
    reached = min(trainer.state.global_step // updates, last - (result is None))
    run.reached = (reached, last)
    if reached == begin < last and not stop.asked:
        raise InputError(f"the training ended at step {reached} of {last}: its problems fill no batch")
    if reached < last and stop.asked:
        raise run.interruption(_interruption_message(run.path / "checkpoints", reached, last, updates)) from None
    return result


def _interruption_message(folder: Path, reached: int, last: int, updates: int) -> str:
    """Where an interrupted training stands and how it goes on; `folder` is that of its checkpoints."""
    kept = checkpoints.updates_in(checkpoints.latest_checkpoint(folder)) // updates
    goes_on = "resumes" if kept == reached > 0 else f"resumes at {kept}" if kept else "begins anew"
    return f"interrupted at {reached} of {last}; Run All {goes_on}"

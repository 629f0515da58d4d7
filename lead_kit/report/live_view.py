"""A run while it goes on: its figure and some of its samples, in one place of the cell that is running.

A view is called with each progress of a run (`Run.add_view`). In a live notebook it draws anew at each validation, and
otherwise as often as a small share of the time allows; elsewhere it draws nothing.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from IPython.display import Image, display

from lead_kit.report import curves, evaluation_figures, training_figures
from lead_kit.report.rollouts import best_worst_random
from lead_kit.report.safe_display import Page
from lead_kit.runs import find, log_files
from lead_kit.runs.files import shown
from lead_kit.runs.progress import in_live_notebook
from lead_kit.safe_text import as_html

_SHARE = 0.05  # of the time, at most, that drawing takes between validations
_LEAST = 2.0  # seconds between two drawings
DOTS = 110  # of the image, an inch
_FAILURES = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError)


class View:
    """A place in a notebook that shows a run: `draw()` gives its figure or None, `below()` what stands below it.

    `take` gets the values of each progress.
    """

    def __init__(self, draw: Callable, below: Callable = lambda: None, take: Callable = lambda values: None):
        self.draw, self.below, self.take = draw, below, take
        self.handles, self.next, self.off = {}, 0.0, False

    def __call__(self, line: str, last: bool, values: dict) -> None:
        """Shows the line of progress, and the figure when it is time. A failure ends the view, not the run."""
        if self.off:
            return
        self.take(values)
        if not in_live_notebook():
            return
        try:
            self.put("line", Page(as_html(line), line))
            if last or "pass@1" in values or time.monotonic() >= self.next:
                self.redraw()
        except _FAILURES as error:
            self.off = True
            warnings.warn(f"the view is off from here on, the run goes on: {error}", stacklevel=2)

    def redraw(self) -> None:
        start = time.monotonic()
        figure = self.draw()
        if figure is not None:
            self.put("figure", Image(figure.png(dpi=DOTS)))
        page = self.below()
        if page is not None:
            self.put("below", page)
        now = time.monotonic()
        self.next = now + max(_LEAST, (now - start) / _SHARE)

    def put(self, place: str, what) -> None:
        """Displays something, or puts it in the place of what was displayed there before."""
        if place in self.handles:
            self.handles[place].update(what)
        else:
            self.handles[place] = display(what, display_id=True)


def view_training(run, baseline: list[str] = ()) -> View:
    """The view of a training run; `baseline` names runs, or their folders, whose curves are drawn beside it."""
    others = load_baseline(baseline)
    return View(lambda: run_figure(run.path, others), lambda: last_rollouts(run.path))


def load_baseline(baseline: list[str]) -> pd.DataFrame:
    """The frame of the runs that are drawn beside another. Raises InputError where one does not exist."""
    return curves.load_runs(find.named_runs(list(baseline)))


def run_figure(folder: Path, others: pd.DataFrame):
    """The figure of a training run, live or finished: of GRPO, else of the loss. None before its first numbers."""
    if not (folder / "metrics.jsonl").is_file():
        return None
    frame = curves.load_runs([folder])
    if "reward" in frame or "pass@1" in frame:
        return training_figures.progress(frame, shown(folder), others)
    return training_figures.loss_curve(frame) if len(curves.runs_that_logged(frame, "loss", "train")) else None


def last_rollouts(folder: Path) -> Page | None:
    """The best, the worst and a random rollout of the last logged batch; None where none is logged."""
    return best_worst_random(log_files.newest_rollouts(folder)) if log_files.has_rollouts(folder) else None


def view_accuracy() -> View:
    """The view of a run of 04_evaluate, from the values that `sampling.reporter` tells."""
    points = []

    def take(values: dict) -> None:
        if "accuracy" in values:
            mean, half = values["accuracy"], values["±"]
            bounds = {"mean": mean, "low": max(mean - half, 0), "high": min(mean + half, 1)}
            points.append({"arm": values["model"], "step": values["samples"], **bounds})

    return View(lambda: evaluation_figures.running_accuracy(pd.DataFrame(points)) if points else None, take=take)

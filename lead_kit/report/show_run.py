"""Looking at a run: `lead show RUN` and `show` from outside, and the live view in the cell that is running.

A view is called with each progress of a run (`Run.add_view`). In a live notebook it draws anew at each validation, and
otherwise as often as a small share of the time allows; elsewhere it draws nothing.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, display

from lead_kit.report import curves, training_figures
from lead_kit.report.read_rollouts import best_worst_random
from lead_kit.report.tables import Page
from lead_kit.runs import find, log_files, manifest
from lead_kit.runs.files import shown
from lead_kit.runs.progress import in_live_notebook
from lead_kit.safe_text import as_html, safe_line

_ROWS, _COLUMNS = 8, 60  # of a curve in a terminal, in letters
_SHARE = 0.05  # of the time, at most, that drawing takes between validations
_LEAST = 2.0  # seconds between two drawings
_DOTS = 110  # of the image, an inch
_FAILURES = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError)


def describe_run(folder: Path) -> list[str]:
    """What a run is doing or how it ended, and the newest line of its progress."""
    kept = manifest.read_manifest(folder, complete=True)
    last, state = kept["attempts"][-1], manifest.state(folder, kept)
    writer = f", {last.get('writer', '')}" if state == "running" else ""
    lines = [f"{shown(folder)} is {state}{writer} (attempt {len(kept['attempts'])})"]
    lines += [safe_line(last["reason"])] if last.get("reason") else []
    lines += [f"since {last.get('start', '?')}" + (f", until {last['end']}" if last.get("end") else "")]
    summary = kept.get("summary", {}).items()
    lines += [", ".join(f"{k} {f'{v:.3g}' if isinstance(v, float) else safe_line(v)}" for k, v in summary)]
    lines += [
        f"tripwire {safe_line(trip['wire'])}, step {trip['step']}: {safe_line(trip['sentence'])}"
        for trip in kept.get("tripwires", [])
    ]
    log = folder / "log.txt"
    logged = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    progress = [line for line in logged if line.startswith("step ")]
    return [line for line in [*lines, *map(safe_line, progress[-1:])] if line]


def _text_curve(frame: pd.DataFrame, split: str, metric: str) -> str:
    """A metric in the frame of a run as a curve in letters, from its greatest to its least value; empty without it."""
    rows = frame[frame["split"] == split].reindex(columns=["step", metric]).dropna()
    if rows.empty:
        return ""
    steps, values = rows.to_numpy(float).T
    low, high = values.min(), values.max()
    width = min(_COLUMNS, max(_COLUMNS // 2, len(steps)))
    across = np.rint((steps - steps[0]) / max(steps[-1] - steps[0], 1) * (width - 1)).astype(int)
    up = np.rint((values - low) / (high - low or 1) * (_ROWS - 1)).astype(int)
    grid = np.full((_ROWS, width), " ")
    grid[_ROWS - 1 - up, across] = "●"
    marks = [f"{high:.3g}", *[""] * (_ROWS - 2), f"{low:.3g}"]
    lines = [f"{mark:>8} │{''.join(row).rstrip()}" for mark, row in zip(marks, grid, strict=True)]
    foot = f"{'':8} └{'─' * width}\n{'':9}step {steps[0]:.0f} to {steps[-1]:.0f}, the last value {values[-1]:.3g}"
    return "\n".join([f"{split} {metric}", *lines, foot])


def show_command(run: str) -> None:
    """`lead show`: prints a run's state, its curves in letters and its last rollouts. Raises InputError without a run.

    The curves are those of validation Pass@1 and length, without them that of the loss.
    """
    folder = find.recorded_run(run)
    parts = ["\n".join(describe_run(folder))]
    if (folder / "metrics.jsonl").is_file():
        frame = curves.load_runs([folder])
        validated = [_text_curve(frame, "validation", metric) for metric in ("pass@1", "length")]
        parts += validated if any(validated) else [_text_curve(frame, "train", "loss")]
    page = last_rollouts(folder)
    print("\n\n".join(filter(None, [*parts, page.text if page else ""])))


def show(run: str) -> None:
    """The same in a notebook, the curves as a figure, with those of the run's baseline."""
    folder = find.recorded_run(run)
    print(*describe_run(folder), sep="\n")
    baseline = find.named_runs(manifest.read_manifest(folder)["parameters"].get("baseline", []))
    figure = _run_figure(folder, curves.load_runs(baseline))
    parts = Image(figure.png(dpi=_DOTS)) if figure else None, last_rollouts(folder)
    display(*(part for part in parts if part is not None))


def _run_figure(folder: Path, baseline: pd.DataFrame):
    """The figure of a training run, live or finished: of GRPO, else of the loss. None before its first numbers."""
    if not (folder / "metrics.jsonl").is_file():
        return None
    frame = curves.load_runs([folder])
    if "reward" in frame or "pass@1" in frame:
        return training_figures.progress(frame, shown(folder), baseline)
    if len(curves.runs_that_logged(frame, "loss", "train")):
        return training_figures.trend(frame, ["loss"], "train")
    return None


def last_rollouts(folder: Path) -> Page | None:
    """The best, the worst and a random rollout of the last logged batch; None where none is logged."""
    return best_worst_random(log_files.read_rollouts(folder, newest=True)) if log_files.has_rollouts(folder) else None


class View:
    """An output of a notebook that shows a run: `draw()` returns its figure or None, `below()` the page below it."""

    def __init__(self, draw: Callable, below: Callable = lambda: None):
        self.draw, self.below = draw, below
        self.shown, self.next, self.off = set(), 0.0, False

    def __call__(self, line: str, last: bool, values: dict) -> None:
        """Shows the line of progress, and the figure when it is time. A failure ends the view, not the run."""
        if self.off or not in_live_notebook():
            return
        try:
            self._put("line", Page(as_html(line), line))
            if last or "pass@1" in values or time.monotonic() >= self.next:
                self._redraw()
        except _FAILURES as error:
            self.off = True
            warnings.warn(f"the view is off from here on, the run goes on: {error}", stacklevel=2)

    def _redraw(self) -> None:
        start = time.monotonic()
        if (figure := self.draw()) is not None:
            self._put("figure", Image(figure.png(dpi=_DOTS)))
        if (page := self.below()) is not None:
            self._put("below", page)
        now = time.monotonic()
        self.next = now + max(_LEAST, (now - start) / _SHARE)

    def _put(self, name: str, content) -> None:
        """Displays something, replacing what was displayed under this name."""
        display(content, display_id=f"{name}-{id(self)}", update=name in self.shown)
        self.shown.add(name)


def view_training(run, baseline: list[str] = ()) -> View:
    """The view of a training run; `baseline` names runs, or their folders, whose curves are drawn with it.

    Raises InputError where one of them does not exist.
    """
    others = curves.load_runs(find.named_runs(baseline))
    return View(lambda: _run_figure(run.path, others), lambda: last_rollouts(run.path))

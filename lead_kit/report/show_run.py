"""A run from outside, live or finished: its state, its curve and its last rollouts. `lead show RUN` prints them."""

from pathlib import Path

import numpy as np
from IPython.display import Image, display

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.report import curves, live_view
from lead_kit.runs import lock
from lead_kit.runs.files import RUNS, resolve, shown
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import safe_line

_CURVES = (("pass@1", "validation"), ("length", "validation"))  # without them, the loss
ROWS, COLUMNS = 8, 60  # of a curve in a terminal, in letters
_TAIL = 20_000  # bytes of the log in which the newest line of progress is looked for


def run_folder(run: str | Path) -> Path:
    """The folder of a run, by its run_name or path. Raises InputError naming the nearest run."""
    for folder in (RUNS / run, resolve(run)):
        if (folder / "run.json").is_file():
            return folder.resolve()
    names = [
        path.parent.relative_to(RUNS).as_posix() for path in RUNS.rglob("run.json") if "attempts" not in path.parts
    ]
    raise InputError(f"no run {safe_line(run)!r}{nearest_or_all(str(run), sorted(names))}")


def describe_run(folder: Path) -> list[str]:
    """What a run is doing or how it ended, and the newest line of its progress."""
    manifest = read_manifest(folder, complete=True)
    last, state = manifest["attempts"][-1], manifest["status"]
    if state == "running" and not lock.has_writer(folder):
        state = "ended without being closed"
    elif state == "running":  # in the run's own kernel it is open until `lead run` closes it
        state = "has finished" if "finished" in last else f"is running, {last.get('writer', '')}"
    told = [f"{shown(folder)} {state if ' ' in state else f'is {state}'} (attempt {len(manifest['attempts'])})"]
    told += [safe_line(last["reason"])] if last.get("reason") else []
    told += [f"since {last.get('start', '?')}" + (f", until {last['end']}" if last.get("end") else "")]
    summary = {
        name: f"{v:.3g}" if isinstance(v, float) else safe_line(v) for name, v in manifest.get("summary", {}).items()
    }
    told += [", ".join(f"{name} {value}" for name, value in summary.items())] if summary else []
    told += [
        f"tripwire {safe_line(trip['wire'])}, step {trip['step']}: {safe_line(trip['sentence'])}"
        for trip in manifest.get("tripwires", [])
    ]
    return told + ([_newest_progress(folder)] if _newest_progress(folder) else [])


def _newest_progress(folder: Path) -> str:
    """The last `step …` line in the run's log; empty without one."""
    log = folder / "log.txt"
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return next((safe_line(text) for text in reversed(lines) if text.startswith("step ")), "")


def text_curve(steps, values, title: str) -> str:
    """A curve in letters: ROWS rows from the greatest to the least value, the steps from left to right."""
    steps, values = np.asarray(steps, float), np.asarray(values, float)
    low, high = values.min(), values.max()
    width = min(COLUMNS, max(COLUMNS // 2, len(steps)))
    across = np.rint((steps - steps[0]) / max(steps[-1] - steps[0], 1) * (width - 1)).astype(int)
    up = np.rint((values - low) / (high - low or 1) * (ROWS - 1)).astype(int)
    grid = [[" "] * width for _ in range(ROWS)]
    for column, row in zip(across, up, strict=True):
        grid[ROWS - 1 - row][column] = "●"
    marks = [f"{high:.3g}", *[""] * (ROWS - 2), f"{low:.3g}"]
    rows = [f"{mark:>8} │{''.join(row).rstrip()}" for mark, row in zip(marks, grid, strict=True)]
    foot = f"{'':8} └{'─' * width}\n{'':9}step {steps[0]:.0f} to {steps[-1]:.0f}, the last value {values[-1]:.3g}"
    return "\n".join([title, *rows, foot])


def _run_as_text(folder: Path) -> str:
    """All that is shown of a run, for a terminal."""
    parts = ["\n".join(describe_run(folder))]
    if (folder / "metrics.jsonl").is_file():
        frame = curves.load_runs([folder])
        drawn = [one for one in (_curve_in(frame, *which) for which in _CURVES) if one]
        parts += drawn or list(filter(None, [_curve_in(frame, "loss", "train")]))
    page = live_view.last_rollouts(folder)
    return "\n\n".join(parts + ([page.text] if page else []))


def _curve_in(frame, metric: str, split: str) -> str:
    """The text curve of a metric in the frame of a run; empty where it was not logged."""
    if metric not in frame:
        return ""
    rows = frame[(frame["split"] == split) & frame[metric].notna()]
    return text_curve(rows["step"], rows[metric], f"{split} {metric}") if len(rows) else ""


def show_command(run: str) -> None:
    """`lead show`: prints a run's state, curve and last rollouts. Raises InputError where there is no such run."""
    print(_run_as_text(run_folder(run)))


def show(run: str) -> None:
    """The same in a notebook, the curves as a figure, beside those of the run's baseline."""
    folder = run_folder(run)
    print(*describe_run(folder), sep="\n")
    figure = live_view.run_figure(
        folder, live_view.load_baseline(read_manifest(folder)["parameters"].get("baseline", []))
    )
    if figure is not None:
        display(Image(figure.png(dpi=live_view.DOTS)))
    page = live_view.last_rollouts(folder)
    if page is not None:
        display(page)

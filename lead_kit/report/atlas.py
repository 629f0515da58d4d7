"""An atlas: what each method changes against a reference, on one or more tasks, in one table and one figure."""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.evaluate import stats
from lead_kit.report import curves, tables
from lead_kit.report.planned import Plan
from lead_kit.report.style import PAGE, STYLE, figure_with_caption
from lead_kit.safe_text import safe_label

ACCURACY, LENGTH = "mean Pass@1 over the curve", "mean length"
METRICS = {  # what was logged, in which split, and whether the run's last value or the mean of its curve counts
    ACCURACY: ("pass@1", "validation", "curve_mean"),
    "final Pass@1": ("pass@1", "validation", "final"),
    LENGTH: ("length", "validation", "final"),
    "share truncated": ("truncated", "validation", "final"),
    "advantage mass outside mixed groups": ("advantage_share_flat_accuracy", "train", "curve_mean"),
    "seconds a batch": ("seconds", "train", "curve_mean"),
    "tokens of training": ("num_tokens", "train", "final"),
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # of tasks, with _MARKERS
_MARKERS = ("o", "s", "^", "D")


def run_values(runs: dict[str, list[str]]) -> tuple[pd.DataFrame, list[str]]:
    """task, metric, run, arm, unit, cluster (the seed), value: one row for each metric of each run of each task; and
    sentences on what is missing and on the steps at which the runs are compared, as one short run shortens all.

    Raises InputError for a task without runs.
    """
    parts, notes = [], []
    for task, chosen in runs.items():
        frame = curves.load_runs(chosen)
        if frame.empty:
            raise InputError(f"no run of task {task!r} in {', '.join(chosen) or 'an empty list'}")
        for name, (metric, split, column) in METRICS.items():
            if len(curves.runs_that_logged(frame, metric, split)):
                values = curves.logged_values(frame, metric, split)
                if name == ACCURACY:
                    sentences = [*curves.describe_gaps(values), curves.compared_steps(values)]
                    notes += [f"{task}: {sentence}" for sentence in sentences]
                rows = curves.by_run(values).rename(columns={"seed": "cluster", column: "value"})
                parts.append(rows.assign(task=task, metric=name, unit="seed"))
    columns = ["task", "metric", "run", "arm", "unit", "cluster", "value"]
    return pd.concat(parts, ignore_index=True)[columns], notes


def differences(values: pd.DataFrame, reference: str, plan: Plan | None = None, seed: int = 0) -> pd.DataFrame:
    """`tables.differences` of each task from the reference arm, with the columns task and arm.

    Verdicts are corrected within a task. Raises InputError for a task without the reference, or without pairs.
    """
    parts = []
    for task, of_task in values.groupby("task", sort=False):
        if reference not in set(of_task["arm"]):
            raise InputError(f"task {task!r} has no arm {reference!r}{nearest_or_all(reference, set(of_task['arm']))}")
        rows = tables.differences(of_task, seed, plan, reference)
        if rows.empty:
            raise InputError(f"task {task!r}: no arm shares enough seeds with {reference!r} to be compared")
        parts.append(rows.assign(task=task, arm=rows["difference"].str.removesuffix(f" − {reference}")))
    return pd.concat(parts, ignore_index=True)


def overview(frame: pd.DataFrame) -> pd.DataFrame:
    """`differences` as text: one row for each task and arm, a column for each metric, and with several seeds the
    probability that a seed of the arm has a higher Pass@1 over the curve than one of the reference.

    * marks a difference that is detected.
    """
    cells = []
    for row in frame.itertuples():
        digits = 0 if row.metric.startswith("tokens") else 1 if row.metric == LENGTH else 3
        cells.append(tables.format_interval(row, digits, sign=True) + " *" * (row.p_holm < 0.05))
    keys = ["task", "arm"]
    wide = frame.assign(cell=cells).pivot_table("cell", keys, "metric", aggfunc="first", sort=False)
    if "above" in frame:
        above = frame[frame["metric"] == ACCURACY].set_index(keys)["above"]
        wide["P(higher Pass@1)"] = above.map(lambda share: f"{share:.2f}")
    return wide.reset_index()


def rank_agreement(frame: pd.DataFrame, metric: str) -> float:
    """Spearman's ρ of the differences of one metric between the first two tasks, over the arms that both have."""
    wide = frame[frame["metric"] == metric].pivot(index="arm", columns="task", values="estimate").dropna()
    first, second = list(frame["task"].unique())[:2]
    return float(spearmanr(wide[first], wide[second]).statistic)


def smallest_detectable(frame: pd.DataFrame, metric: str) -> float:
    """The median, over arms, of the difference that one test of this many seeds detects with 80% power; nan for one."""
    rows = frame[frame["metric"] == metric]
    seeds = int(rows["clusters"].min())
    if seeds < 2:
        return float("nan")
    error = (rows["high"] - rows["low"]).median() / 2 / stats.critical(seeds)
    return stats.minimum_detectable_effect(error, seeds)


@rc_context(STYLE)
def dots(frame: pd.DataFrame, note: str = "") -> Figure:
    """A dot and an interval for each arm and task: differences in accuracy and in length, side by side."""
    tasks = list(frame["task"].unique())
    order = frame[(frame["metric"] == ACCURACY) & (frame["task"] == tasks[0])].sort_values("estimate")["arm"]
    caption = "Difference from the reference, 95% t-interval over seeds; filled: detected, by the plan."
    slots = max(len(tasks), 2)
    height = 0.6 + 0.08 * slots * len(order)
    figure, panels = figure_with_caption(f"{caption} {note}", 2, height, PAGE, across=True)
    metrics = ((ACCURACY, "Pass@1 over the curve"), (LENGTH, "mean length (tokens)"))
    for axes, (metric, label) in zip(panels, metrics, strict=True):
        for index, task in enumerate(tasks):
            rows = frame[(frame["metric"] == metric) & (frame["task"] == task)].set_index("arm").reindex(order)
            y = np.arange(len(order)) + 0.72 / slots * (index - (len(tasks) - 1) / 2)
            colour, detected = _COLOURS[index % 4], rows["p_holm"] < 0.05
            axes.hlines(y, rows["low"], rows["high"], color=colour, linewidth=0.9)
            for chosen, face in ((detected, colour), (~detected, "white")):
                axes.plot(
                    rows["estimate"].where(chosen), y, _MARKERS[index % 4], color=colour, markerfacecolor=face,
                    label=safe_label(task) if face == colour else None,
                )  # fmt: skip
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel=f"difference in {label}", ylim=(-0.7, len(order) - 0.3))
        axes.set_yticks(range(len(order)), [safe_label(arm) for arm in order])
    panels[1].tick_params(labelleft=False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(tasks))
    return figure

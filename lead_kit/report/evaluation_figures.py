"""The figures of samples, groups and problems, one function each: data in, Figure out.

Where a figure computes what it plots, a `..._points` function returns those numbers for the CSV beside the image.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lead_kit.report import curves, tables
from lead_kit.report.style import METHOD_COLOURS, STYLE, bar_kwargs, figure_with_caption, legend_above, method_styles
from lead_kit.report.training_figures import draw_curves
from lead_kit.safe_text import safe_label

_DIFFERENT = ("higher", "lower", "longer", "shorter")  # the first words of verdicts that are differences
# A part of a metric's name and its unit; the first match counts.
_UNITS = {"reward": "", "length": "tokens", "entropy": "nats per token"}
_UNITS |= dict.fromkeys(("Pass@", "Cons@", "truncated", "precision", "correct"), "share")
_MOST_UPRIGHT = 18  # more rollouts than this have their labels turned by 90 degrees
MOST_BINS, EQUAL_BINS = 24, 12  # one bin for each value of a scale with up to 24 values, else 12 equal bins


@rc_context(STYLE)
def budget_curve(curve: pd.DataFrame, note: str = "") -> Figure:
    """Accuracy when longer answers count as wrong. `curve` from `tables.budget_points`; `note` such as
    `tables.evaluation_setting`.
    """
    caption = (
        "Samples longer than the budget count as wrong (no resampling). The seeds of an arm are averaged problem by "
        f"problem first; band: 95% t-interval over problems, so it holds for these seeds. {note}"
    )
    figure, (axes,) = figure_with_caption(caption)
    draw_curves(axes, curve.rename(columns={"budget": "step", "estimate": "mean"}))
    axes.set(xlabel="budget (tokens)", ylabel="Pass@1 within the budget")
    legend_above(figure, axes)
    return figure


def _draw_bars(axes, heights: pd.DataFrame, low: pd.DataFrame | None = None, high: pd.DataFrame | None = None) -> None:
    """Bars of each row side by side, one for each column, × for no value; with whiskers from `low` to `high`."""
    count = heights.shape[1]
    for number, (name, look) in enumerate(method_styles(heights.columns).items()):
        x, height = np.arange(len(heights)) + (number - (count - 1) / 2) * 0.8 / count, heights[name]
        axes.bar(x, height, 0.76 / count, **bar_kwargs(look), label=safe_label(name))
        axes.plot(x[height.isna()], np.zeros(height.isna().sum()), "x", color=look.colour, clip_on=False)
        if low is not None:
            reach = [height - low[name], high[name] - height]
            axes.errorbar(x, height, reach, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    axes.grid(axis="x", visible=False)


@rc_context(STYLE)
def by_difficulty(bars: pd.DataFrame, note: str = "") -> Figure:
    """Pass@1 by difficulty as bars, arms side by side.

    `bars` is from `tables.difficulty_points`, `note` from `tables.evaluation_setting`.
    """
    levels = list(dict.fromkeys(bars["level"]))
    problems = bars.drop_duplicates("level").set_index("level")["clusters"]
    names = [f"{textwrap.fill(safe_label(level), 10)}\n({problems[level]})" for level in levels]
    letters = max(len(line) for name in names for line in name.splitlines())
    caption = "In brackets: number of problems. Whiskers: 95% interval over problems, an arm's seeds averaged first"
    note = f"×: not evaluated. {note}" if len(bars) < len(levels) * bars["arm"].nunique() else note
    few = bars["low"].isna().any()
    caption += f"; none where a level has fewer than {tables.FEWEST} problems. {note}" if few else f". {note}"
    figure, (axes,) = figure_with_caption(caption, width=0.5 + len(levels) * (0.1 + 0.06 * letters))
    wide = bars.pivot(index="level", columns="arm", values=["estimate", "low", "high"]).reindex(levels)
    _draw_bars(axes, *(wide[name][curves.arms_of(bars)] for name in ("estimate", "low", "high")))
    axes.set_xticks(range(len(levels)), names)
    axes.set(xlabel="difficulty level", ylabel="Pass@1")
    legend_above(figure, axes)
    return figure


def forest_points(differences: pd.DataFrame) -> pd.DataFrame:
    """The plotted points of `forest`: metric, difference, estimate, low, high, verdict, where there is an interval."""
    columns = ["metric", "difference", "estimate", "low", "high", "verdict"]
    return differences.reindex(columns=columns).dropna(subset=["low", "high"]).reset_index(drop=True)


@rc_context(STYLE)
def forest(differences: pd.DataFrame, note: str = "") -> Figure:
    """Paired differences with their intervals: one panel for each metric, one row for each difference.

    `differences` from `tables.differences`; `note` is added to the caption, such as `tables.correction`. Raises
    ValueError where no difference has an interval.
    """
    points = forest_points(differences)
    if points.empty:
        raise ValueError("no difference has an interval: there is nothing to draw")
    metrics, names = list(dict.fromkeys(points["metric"])), list(dict.fromkeys(points["difference"]))
    labels = [textwrap.fill(safe_label(name), 30) for name in names]
    row = 0.05 + 0.12 * max(label.count("\n") + 1 for label in labels)  # inches
    caption = (
        "Point: estimate of the paired difference; bar: its 95% t-interval, not corrected. "
        f"Filled: a difference after Holm's correction; hollow: no detectable difference. {note}"
    )
    figure, panels = figure_with_caption(caption, len(metrics), 1.0 + row * len(names), 2 + len(metrics), across=True)
    for axes, metric in zip(panels, metrics, strict=True):
        for detected, face in ((True, "black"), (False, "white")):
            chosen = (points["metric"] == metric) & (points["verdict"].str.startswith(_DIFFERENT) == detected)
            rows = points[chosen]
            reach = [rows["estimate"] - rows["low"], rows["high"] - rows["estimate"]]
            y = rows["difference"].map(names.index)
            axes.errorbar(rows["estimate"], y, xerr=reach, fmt="o", color="black", mfc=face, lw=0.8, capsize=1.5)
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        axes.set_title(textwrap.fill(safe_label(metric), 14), fontsize=7)
        unit = next((unit for part, unit in _UNITS.items() if part in metric), "")
        axes.set_xlabel(f"difference\n({unit})" if unit else "difference", fontsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(metrics) <= 2 else 2))
        axes.margins(x=0.08)
    panels[0].set_yticks(range(len(names)), labels)
    panels[0].set_ylim(len(names) - 0.5, -0.5)  # the first on top
    return figure


def _numbers_in(values) -> np.ndarray:
    """The values without None and NaN, rounded so that equal ones are equal."""
    return pd.Series(list(values), dtype=float).dropna().to_numpy().round(9)


def _bin_edges(values: np.ndarray) -> np.ndarray:
    """Edges of the bins, (bins + 1,): a bin for each value of a short scale (levels, eighths), else equal bins."""
    distinct = np.unique(values)
    gap = np.diff(distinct).min() if len(distinct) > 1 else 1.0
    bins = int(np.ceil(round(np.ptp(distinct) / gap, 6))) + 1
    if bins <= MOST_BINS:
        return distinct[0] + gap * (np.arange(bins + 1) - 0.5)
    return np.linspace(distinct[0], distinct[-1], EQUAL_BINS + 1)


def histogram_points(before, after) -> pd.DataFrame:
    """The plotted points of `histograms`: low and high of each bin, and its numbers of problems before and after.

    Raises ValueError where there is no number at all.
    """
    before, after = _numbers_in(before), _numbers_in(after)
    if not len(before) + len(after):
        raise ValueError("no problem has a number: there is nothing to count")
    edges = _bin_edges(np.concatenate([before, after]))
    count = {"before": np.histogram(before, edges)[0], "after": np.histogram(after, edges)[0]}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **count})


@rc_context(STYLE)
def histograms(before, after, xlabel: str) -> Figure:
    """Histograms of difficulty or pass rate before and after cleaning: two sequences with a value for each problem."""
    before, after = list(before), list(after)
    points = histogram_points(before, after)
    absent = [len(values) - len(_numbers_in(values)) for values in (before, after)]
    caption = "Problems before cleaning (wide bars) and after it (narrow bars), in the same bins."
    if any(absent):
        caption += f" Left out, as they have no value: {absent[0]} before, {absent[1]} after."
    figure, (axes,) = figure_with_caption(caption)
    middle, wide = (points["low"] + points["high"]) / 2, points["high"] - points["low"]
    axes.bar(middle, points["before"], 0.94 * wide, color="#C8C8C8", label=f"before ({points['before'].sum():,})")
    colour = METHOD_COLOURS["grpo"]
    axes.bar(middle, points["after"], 0.5 * wide, color=colour, label=f"after ({points['after'].sum():,})")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel=xlabel, ylabel="problems")
    axes.grid(axis="x", visible=False)
    legend_above(figure, axes)
    return figure


@rc_context(STYLE)
def group_advantages(group: pd.DataFrame, xlabel: str = "length (tokens)") -> Figure:
    """The advantages of one group's rollouts as bars, estimators (or graders) side by side.

    `group` has a row for each rollout: correct, length, and a column of advantages for each estimator. `xlabel` names
    the unit of the length.
    """
    estimators = [name for name in group if name not in ("correct", "length")]
    order = group.sort_values(["correct", "length"], ascending=[False, True])
    caption = "Rollouts of one group, right ones first, then by length. Below each bar: its length, right or wrong."
    figure, (axes,) = figure_with_caption(caption, width=0.36 * len(order))
    _draw_bars(axes, order[estimators])
    axes.axhline(0, color="black", linewidth=0.8)
    verdicts = ["right" if correct else "wrong" for correct in order["correct"]]
    crowded = len(order) > _MOST_UPRIGHT
    gap = " " if crowded else "\n"
    ticks = [f"{length:.0f}{gap}{verdict}" for length, verdict in zip(order["length"], verdicts, strict=True)]
    axes.set_xticks(range(len(order)), ticks, fontsize=7 if len(order) <= 6 else 6, rotation=90 if crowded else 0)
    axes.set(xlabel=xlabel, ylabel="advantage")
    legend_above(figure, axes)
    return figure

"""The figures of samples, groups and problems, one function each: data in, Figure out.

Where a figure computes what it plots, a `..._points` function returns those numbers for the CSV beside the image.
"""

import textwrap
from itertools import cycle
from numbers import Number

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lead_kit.report import curves, tables
from lead_kit.report.style import REWARD_LOOKS, STYLE, figure_with_caption, legend_above, method_styles
from lead_kit.report.training_figures import draw_curves
from lead_kit.safe_text import safe_label

_MOST_UPRIGHT = 18  # more rollouts than this have their labels turned by 90 degrees
DOSE_METRICS = {"final Pass@1": "final Pass@1", "mean length": "mean length\n(tokens)"}  # of the results table


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
        filled = {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0}
        axes.bar(x, height, 0.76 / count, **filled, label=safe_label(name))
        if height.isna().any():  # a line without points would still count as drawn, at the corner of the sheet
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


@rc_context(STYLE)
def dose_response(arms: pd.DataFrame, points: pd.DataFrame, swept: list[str], note: str = "") -> Figure:
    """Final Pass@1 and mean length over the values of `swept[0]`, with a line for each value of `swept[1]`.

    `arms` (as in the results table) and `points` (arm, seed and value of each metric) have a column for each parameter.
    The axis has numbers where all values are numbers, logarithmic where they span a factor of 30, else categories.
    """
    name, *others = swept
    values = list(dict.fromkeys(arms[name]))
    numeric = all(isinstance(value, Number) and not isinstance(value, bool) for value in values)

    def placed(frame):
        x = frame[name] if numeric else frame[name].map(values.index)
        line = frame[others[0]].map(lambda value: f"{others[0]} {value}") if others else ""
        return frame.assign(step=x, arm=line).sort_values("step")

    means, points = placed(arms.rename(columns={"estimate": "mean"})), placed(points)
    looks = dict(zip(dict.fromkeys(means["arm"]), cycle(REWARD_LOOKS), strict=False))
    meaning = (
        "Line: mean over seeds; small points: each seed; band: 95% t-interval over seeds (one seed: over problems)."
    )
    figure, panels = figure_with_caption(f"{meaning} {note}", len(DOSE_METRICS), 1.5)
    for axes, (metric, label) in zip(panels, DOSE_METRICS.items(), strict=True):
        draw_curves(axes, means[means["metric"] == metric], looks)
        for line, look in looks.items():
            seeds = points[(points["metric"] == metric) & (points["arm"] == line)]
            axes.plot(seeds["step"], seeds["value"], look.marker, color=look.colour, alpha=0.5, markersize=2)
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        if not numeric:
            axes.set_xticks(range(len(values)), [textwrap.fill(safe_label(value), 12) for value in values])
        elif min(values) > 0 and max(values) >= 30 * min(values):
            axes.set(xscale="log", xticks=values, xticklabels=[f"{value:g}" for value in values])
            axes.minorticks_off()
    panels[-1].set_xlabel(name)
    if others:
        legend_above(figure, panels[0])
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
    verdicts = np.where(order["correct"], "right", "wrong")
    crowded = len(order) > _MOST_UPRIGHT
    gap = " " if crowded else "\n"
    ticks = [f"{length:.0f}{gap}{verdict}" for length, verdict in zip(order["length"], verdicts, strict=True)]
    axes.set_xticks(range(len(order)), ticks, fontsize=7 if len(order) <= 6 else 6, rotation=90 if crowded else 0)
    axes.set(xlabel=xlabel, ylabel="advantage")
    legend_above(figure, axes)
    return figure

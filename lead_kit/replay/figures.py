"""The figure of a replay: the advantage mass outside mixed groups, over steps and by variant."""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lead_kit.report.style import PAGE, REWARD_LOOKS, STYLE, figure_with_caption, legend_above
from lead_kit.report.training_figures import ROLLOUT_STEP, draw_curves
from lead_kit.safe_text import safe_label

SHARE = "advantage_outside_mixed_groups"
_BARS = "#4477AA"


def short_names(names) -> dict[str, str]:
    """The last part of each run's name, or the whole name where two runs would share it."""
    last = {name: str(name).rpartition("/")[2] for name in dict.fromkeys(names)}
    return {name: part if list(last.values()).count(part) == 1 else name for name, part in last.items()}


@rc_context(STYLE)
def outside_mixed_groups(points: pd.DataFrame, note: str = "") -> Figure:
    """The advantage mass outside mixed groups: over steps as recorded, one line a run, and one bar for each variant.

    `points` is from `plotted_points`.
    """
    caption = (
        "Share of Σ|A| from groups whose answers are all right or all wrong. Over steps: the recorded rewards under "
        f"GRPO's z-score. Bars: all rollouts. Bands and whiskers: 95% intervals, groups as clusters. {note}"
    )
    points = points.reindex(columns=["run", "variant", "step", "value", "low", "high"])
    steps, bars = points.dropna(subset="step"), points[points["step"].isna()].iloc[::-1]
    panels, width = (2, PAGE) if len(steps) else (1, 4.6)
    height = max(2.2, 0.5 + 0.17 * len(bars))
    figure, stacked = figure_with_caption(caption, panels, height, width, across=True)
    if len(steps):
        looks = dict(zip(dict.fromkeys(steps["run"]), REWARD_LOOKS * 9, strict=False))
        draw_curves(stacked[0], steps.assign(arm=steps["run"], mean=steps["value"]), looks)
        stacked[0].set(xlabel=ROLLOUT_STEP, ylabel="advantage mass\noutside mixed groups", ylim=(0, 1))
        stacked[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        legend_above(figure, stacked[0])
    axes, names = stacked[-1], bars["variant"].map(safe_label)
    whiskers = np.abs(bars[["low", "high"]].to_numpy().T - bars["value"].to_numpy())
    axes.barh(names, bars["value"], color=_BARS, height=0.6)
    axes.errorbar(bars["value"], names, xerr=whiskers, fmt="none", color="black", linewidth=0.8, capsize=2)
    axes.set(xlabel="advantage mass outside mixed groups", xlim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def plotted_points(steps: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The plotted points of `outside_mixed_groups`: run, variant, step, value, low, high; a bar has no run and no step.

    `steps` is from `attribution.over_steps` (of one variant), `table` from `attribution.variant_table`.
    """
    steps = steps.assign(run=steps["run"].map(short_names(steps["run"])))
    bars = table.reindex(columns=["variant", SHARE, f"{SHARE}_low", f"{SHARE}_high"]).dropna(subset=SHARE)
    bars = bars.set_axis(["variant", "value", "low", "high"], axis=1)
    return pd.concat([part for part in (steps, bars) if len(part)] or [bars], ignore_index=True)

"""The figures of training, one function each: frame in, Figure out; a `..._points` function returns the plotted points.

`frame` is the tidy frame of `curves.load_runs`: run, arm, seed, step, split and the metrics by name.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lead_kit.report import curves
from lead_kit.report.style import (
    CAPTION_SIZE,
    HOLLOW,
    LABELS,
    LIMITS,
    PAGE,
    STYLE,
    Sheet,
    figure_with_caption,
    keep_in_range,
    legend_above,
    line_kwargs,
    method_styles,
)
from lead_kit.safe_text import safe_label

_SMALL = {  # the small panels of `progress`, from the training rows
    "reward": lambda rows: rows.get("reward"),
    "zero-advantage groups": lambda rows: rows.get("zero_advantage"),
    "entropy (nats)": lambda rows: rows.get("entropy"),
    "clipped tokens": lambda rows: rows["clip_low"] + rows["clip_high"] if "clip_low" in rows else None,
    "cut off": lambda rows: rows.get("truncated"),
}
_RHO_EDGES = np.linspace(0, 1 + 1e-9, 9)
ROLLOUT_STEP = "step (rollout batches)"


def _band_meaning(points: pd.DataFrame, fixed: str = "") -> str:
    """A sentence on the line and band of a mean curve; `fixed` says what all seeds share."""
    seeds = sorted(set(points["seeds"]))
    if seeds == [1]:
        return "One seed in each arm: no band."
    count = "–".join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))
    return f"Line: mean over {count} seeds; band: 95% t-interval over seeds{fixed}."


def draw_curves(axes, points: pd.DataFrame, looks: Mapping | None = None, thin: bool = False) -> None:
    """One line with its band for each arm. `points`: arm, step, mean, low, high.

    `looks`: that of each arm, where it is not the method's own; `thin`: hollow markers, for curves of other runs.
    """
    for arm, look in (looks or method_styles(curves.arms_of(points))).items():
        line = points[points["arm"] == arm]
        style = line_kwargs(look) | (HOLLOW if thin else {"markevery": max(1, len(line) // 12)})
        axes.plot(line["step"], line["mean"], **style, label=safe_label(arm), clip_on=False)
        axes.fill_between(line["step"], line["low"], line["high"], color=look.colour, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def trend_points(frame: pd.DataFrame, names: Sequence[str] = ("pass@1",), split: str = "validation") -> pd.DataFrame:
    """The plotted points of `trend`: arm, step, mean, low, high, seeds, metric. A band is cut to its metric's range."""
    parts = []
    for name in names:
        points = curves.mean_curve(curves.logged_values(frame, name, split))
        low, high = LIMITS.get(name, (-np.inf, np.inf))
        parts.append(points.assign(low=points["low"].clip(low, high), high=points["high"].clip(low, high), metric=name))
    return pd.concat(parts, ignore_index=True)


@rc_context(STYLE)
def trend(
    frame: pd.DataFrame,
    names: Sequence[str] = ("pass@1",),
    split: str = "validation",
    published: pd.DataFrame | None = None,
    note: str = "",
) -> Figure:
    """Metrics over rollout batches: a panel for each, one line for each arm, seeds as a band.

    `published` (arm, step, value) is drawn thin and hollow into the first panel. `note` is added to the caption.
    """
    points = trend_points(frame, names, split)
    meaning = _band_meaning(points, ", problems held fixed" if split == "validation" else "")
    extra = "" if published is None else "Thin, hollow: published curve (another model, other problems)."
    caption, height = " ".join(filter(None, [meaning, extra, note])), 1.4 if len(names) > 1 else 2.3
    figure, stacked = figure_with_caption(caption, len(names), height)
    letters = 16 if len(names) > 1 else 22  # of a line beside a panel
    for axes, name in zip(stacked, names, strict=True):
        draw_curves(axes, points[points["metric"] == name])
        keep_in_range(axes, name)
        axes.set_ylabel(textwrap.fill(LABELS.get(name, safe_label(name.removeprefix("reward_"))), letters))
    for arm, look in method_styles([] if published is None else dict.fromkeys(published["arm"])).items():
        line, style = published[published["arm"] == arm], line_kwargs(look) | HOLLOW
        stacked[0].plot(line["step"], line["value"], **style, label=safe_label(f"{arm} (published)"))
    stacked[-1].set_xlabel("step (batches)" if "loss" in names else ROLLOUT_STEP)
    legend_above(figure, stacked[0])
    return figure


def _step_edges(steps: np.ndarray) -> np.ndarray:
    """The borders between the columns of steps, half way between them: (steps,) → (steps + 1,)."""
    half = np.diff(steps) / 2 if len(steps) > 1 else np.array([0.5])
    return np.concatenate([[steps[0] - half[0]], steps[:-1] + half, [steps[-1] + half[-1]]])


@rc_context(STYLE)
def group_diagnostics(groups: pd.DataFrame, run: str) -> Figure:
    """One run's groups: share of zero-advantage groups, distribution of the share correct ρ, weight on advantages.

    `groups` is from `curves.group_statistics`; `run` names the run in the caption, as in "arm lead, runs/03_grpo".
    """
    caption = (
        f"Rollouts of {run}. "
        "Top: share of groups whose advantages are all 0. Middle: share of groups by ρ, the share of right answers. "
        "Bottom: Σ|advantage| of a group after weighting over before; line: median, band: 10th to 90th percentile."
    )
    figure, (top, middle, bottom) = figure_with_caption(caption, 3, 1.4)
    by_step = groups.groupby("step")
    steps = np.array(sorted(by_step.groups))
    dotted = {"color": "black", "marker": "o", "markevery": max(1, len(steps) // 12)}
    top.plot(steps, 1 - by_step["nonzero"].mean(), **dotted)
    top.set(ylabel="zero-advantage\ngroups", ylim=(-0.03, 1.03))
    histograms = [np.histogram(rho, _RHO_EDGES)[0] / len(rho) for _, rho in by_step["rho"]]
    edges = _step_edges(steps)
    shades = middle.pcolormesh(edges, _RHO_EDGES, np.transpose(histograms), cmap="Greys", vmin=0)
    middle.set(ylabel="ρ")
    middle.grid(visible=False)
    figure.colorbar(shades, ax=[top, middle, bottom], label="share of groups by ρ", aspect=50)
    weight = by_step["weight"].quantile([0.1, 0.5, 0.9]).unstack()
    bottom.plot(weight.index, weight[0.5], **dotted)
    bottom.fill_between(weight.index, weight[0.1], weight[0.9], color="black", alpha=0.15, linewidth=0)
    bottom.set(xlabel=ROLLOUT_STEP, ylabel="weight")
    for axes in (top, middle, bottom):
        axes.set_xlim(edges[0], edges[-1])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


@rc_context(STYLE)
def progress(frame: pd.DataFrame, run: str, baseline: pd.DataFrame) -> Figure:
    """One run while it goes on: Pass@1 and length in validation, below them small panels of its training batches.

    `run` is its name in `frame`; `baseline` has other runs, drawn thin, with a band where an arm has several seeds.
    """
    figure = Sheet(figsize=(PAGE, 3.5), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.05, 1, 0.95))  # the caption is below
    upper, lower = figure.add_gridspec(2, 1, height_ratios=(2, 1))
    large, small = upper.subgridspec(1, 2), lower.subgridspec(1, len(_SMALL))
    for column, metric in enumerate(("pass@1", "length")):
        axes = figure.add_subplot(large[column])
        others = curves.runs_that_logged(baseline, metric)
        if len(others):
            draw_curves(axes, trend_points(others, [metric]), thin=True)
        curve = frame[(frame["split"] == "validation") & (frame["run"] == run)].reindex(columns=["step", metric, "arm"])
        for arm, look in method_styles(dict.fromkeys(curve["arm"])).items():
            label = f"{safe_label(arm)}, this run"
            axes.plot(curve["step"], curve[metric], **line_kwargs(look), label=label, clip_on=False)
        axes.set(xlabel=ROLLOUT_STEP, ylabel=LABELS[metric])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        keep_in_range(axes, metric)
    if (shown := figure.axes[0].get_legend_handles_labels())[0]:
        figure.legend(*shown, loc="outside upper center", ncols=4)
    if len(baseline):
        meaning = (
            "Thin: the baseline, mean over its seeds; band: 95% t-interval over its seeds, where there are several."
        )
        figure.text(0.075, 0.01, meaning, fontsize=CAPTION_SIZE, va="bottom")
    train = frame[(frame["split"] == "train") & (frame["run"] == run)]
    for column, (name, values) in enumerate(_SMALL.items()):
        axes = figure.add_subplot(small[column])
        logged = values(train)
        if logged is not None:
            axes.plot(train["step"], logged, color="black", linewidth=1, clip_on=False)
            keep_in_range(axes, name)
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=6)
        axes.set_xlabel("step", fontsize=6, labelpad=1)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure

"""One function per figure: data frame in, Figure out. Only this module touches matplotlib.

A figure is as wide as a column (3.3 inches); its caption is drawn below it and says what a band is. A method has one
colour, marker and line style everywhere: Okabe and Ito's colours differ for colour-blind readers, markers and line
styles do in grey print.
"""

import textwrap
from io import BytesIO
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lead_kit.report import curves

WIDTH, HEIGHT = 3.3, 2.3  # inches: one column, without the caption
CAPTION_SIZE, CAPTION_LINE, CAPTION_LETTERS = 6.5, 0.115, 62  # points, inches a line, letters a line
STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "figure.dpi": 150,
    "pdf.fonttype": 42,  # letters stay letters in the PDF
}


class Sheet(Figure):
    """A figure that shows itself in a notebook without pyplot's global state, and is saved in the kit's style."""

    @rc_context(STYLE)
    def savefig(self, *arguments, **options):
        super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        image = BytesIO()
        self.savefig(image, format="png", bbox_inches="tight")
        return image.getvalue()


class Look(NamedTuple):
    """How a method looks in every figure."""

    colour: str
    line: str | tuple
    marker: str
    hatch: str


METHOD_LOOKS = {
    "sft": Look("#7F7F7F", (0, (4, 1, 1, 1)), "H", "\\\\////"),
    "grpo": Look("#0072B2", "-", "o", ""),
    "length": Look("#E69F00", "--", "s", "////"),
    "lead": Look("#009E73", "-.", "^", "...."),
    "length_reweighting": Look("#CC79A7", ":", "D", "xxxx"),
    "dr_grpo": Look("#56B4E9", (0, (5, 1)), "v", "----"),
    "dapo": Look("#D55E00", (0, (3, 1, 1, 1)), "P", "\\\\\\\\"),
    "rloo": Look("#000000", (0, (1, 1)), "X", "++++"),
    "lead_code": Look("#7A5195", (0, (5, 2, 1, 2)), "<", "oo"),
}
METHOD_COLOURS = {method: look.colour for method, look in METHOD_LOOKS.items()}
SPARE_LOOKS = [
    Look("#8C564B", "-", "h", "//"),
    Look("#A6761D", "--", "*", ".."),
    Look("#BCBD22", "-.", ">", "xx"),
    Look("#117733", ":", "d", "--"),
    Look("#882255", (0, (5, 1)), "p", "\\\\"),
    Look("#332288", (0, (1, 2)), "8", "++"),
]
HOLLOW = {"linewidth": 0.7, "markerfacecolor": "white", "markeredgewidth": 0.6, "markersize": 3}
ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}  # a legend where no bar can be
RHO_EDGES = np.linspace(0, 1 + 1e-9, 9)
LIMITS = dict.fromkeys(("pass@1", "truncated", "correct", "zero_variance"), (0, 1)) | {"length": (0, np.inf)}
LABELS = {
    "pass@1": "validation Pass@1",
    "length": "mean length (tokens)",
    "truncated": "share of answers cut at the limit",
    "correct": "share correct",
    "zero_variance": "share of groups without signal",
    "entropy": "entropy (nats per token)",
}


def looks(methods) -> dict[str, Look]:
    """The look of each method; unknown ones take the spare looks in order of their names."""
    others = sorted(set(methods) - set(METHOD_LOOKS))
    spare = {method: SPARE_LOOKS[place % len(SPARE_LOOKS)] for place, method in enumerate(others)}
    return {method: METHOD_LOOKS.get(method) or spare[method] for method in methods}


def drawn(look: Look) -> dict:
    """The look as arguments of `axes.plot`."""
    return {"color": look.colour, "linestyle": look.line, "marker": look.marker}


def barred(look: Look) -> dict:
    """The look as arguments of `axes.bar`."""
    return {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0}


def sheet(caption: str, panels: int = 1, height: float = HEIGHT) -> tuple[Figure, np.ndarray]:
    """A figure of `panels` axes below one another, with its caption, and the axes (panels,)."""
    lines = textwrap.wrap(caption, CAPTION_LETTERS)
    below = CAPTION_LINE * (len(lines) + 0.8)
    figure = Sheet(figsize=(WIDTH, height * panels + below), layout="constrained")
    share = below / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    figure.text(0.02, 0.01, "\n".join(lines), fontsize=CAPTION_SIZE, va="bottom", linespacing=1.25)
    return figure, figure.subplots(panels, 1, squeeze=False)[:, 0]


def band_meaning(points: pd.DataFrame) -> str:
    """What the band of a trend is."""
    seeds = sorted(set(points["seeds"]))
    if seeds == [1]:
        return "One seed in each arm: no band."
    count = "–".join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))
    return f"Line: mean over {count} seeds; band: 95% t-interval over seeds, problems held fixed."


def trend_points(frame: pd.DataFrame, y: str = "pass@1", split: str = "validation") -> pd.DataFrame:
    """The plotted points of `trend`: arm, step, mean, low, high, seeds. The band is cut to where values can lie."""
    points = curves.mean_curve(curves.points(frame, y, split))
    low, high = LIMITS.get(y, (-np.inf, np.inf))
    return points.assign(low=points["low"].clip(low, high), high=points["high"].clip(low, high))


@rc_context(STYLE)
def trend(
    frame: pd.DataFrame,
    y: str = "pass@1",
    split: str = "validation",
    published: pd.DataFrame | None = None,
    note: str = "",
) -> Figure:
    """A metric over rollout batches, one line for each arm, seeds as a band. `frame` from `curves.load_runs`.

    `published` (arm, step, value) is drawn thin and hollow. `note` is added to the caption.
    """
    points = trend_points(frame, y, split)
    extra = "" if published is None else "Thin, hollow: published curve (another model, other problems)."
    figure, (axes,) = sheet(" ".join(filter(None, [band_meaning(points), extra, note])))
    for arm, look in looks(curves.arms_of(points)).items():
        line = points[points["arm"] == arm]
        axes.plot(line["step"], line["mean"], **drawn(look), markevery=max(1, len(line) // 12), label=arm)
        axes.fill_between(line["step"], line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0)
    if published is not None:
        for arm, look in looks(dict.fromkeys(published["arm"])).items():
            line = published[published["arm"] == arm]
            axes.plot(line["step"], line["value"], **(drawn(look) | HOLLOW), label=f"{arm} (published)")
    axes.set(xlabel="step (rollout batches)", ylabel=LABELS.get(y, y))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(**({} if published is None else ABOVE | {"ncols": 2}))
    return figure


def response_length(frame: pd.DataFrame, note: str = "") -> Figure:
    """Mean tokens of a validation answer over training."""
    return trend(frame, y="length", note=note)


def component_names(train: pd.DataFrame) -> list[str]:
    """Rewards that were logged (columns `reward_NAME`)."""
    names = [name.removeprefix("reward_") for name in train if name.startswith("reward_") and train[name].notna().any()]
    return [name for name in names if name != "std" and not name.endswith(("_std", "_share"))]


@rc_context(STYLE)
def reward_components(frame: pd.DataFrame) -> Figure:
    """Mean of each logged reward over steps, one panel for each arm; the shade is one standard deviation of a batch."""
    train = frame[frame["split"] == "train"]
    names, arms = component_names(train), curves.arms_of(train)
    if not names:
        raise ValueError("these runs logged no reward components (columns reward_<name>)")
    caption = "Line: mean over seeds of each reward's mean in a batch; shade: ± one standard deviation inside a batch."
    figure, panels = sheet(caption, len(arms), 1.5)
    for axes, arm in zip(panels, arms, strict=True):
        by_step = train[train["arm"] == arm].groupby("step").mean(numeric_only=True)
        for name, look in zip(names, SPARE_LOOKS * 3, strict=False):  # a reward is no method: none of their colours
            mean, spread = by_step[f"reward_{name}"], by_step.get(f"reward_{name}_std", 0)
            axes.plot(by_step.index, mean, color=look.colour, linestyle=look.line, label=name)
            axes.fill_between(by_step.index, mean - spread, mean + spread, color=look.colour, alpha=0.12, linewidth=0)
        axes.set_ylabel("reward")
        axes.set_title(f"arm {arm}", loc="left")
    panels[-1].set_xlabel("step (rollout batches)")
    panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
    return figure


@rc_context(STYLE)
def group_diagnostics(groups: pd.DataFrame) -> Figure:
    """Groups without signal, the share correct ρ of groups, the weight on advantages. `groups` from `curves.groups`."""
    caption = (
        "Top: share of groups whose advantages are all 0. Middle: share of groups by ρ, the share of right answers. "
        "Bottom: Σ|advantage| of a group after weighting over before; line: median, band: 10th to 90th percentile."
    )
    figure, (top, middle, bottom) = sheet(caption, 3, 1.4)
    by_step = groups.groupby("step")
    steps = sorted(by_step.groups)
    top.plot(steps, 1 - by_step["signal"].mean(), color="black", marker="o")
    top.set(ylabel="without signal", ylim=(-0.03, 1.03))
    histograms = [np.histogram(rho, RHO_EDGES)[0] / len(rho) for _, rho in by_step["rho"]]
    shades = middle.pcolormesh(np.arange(len(steps) + 1), RHO_EDGES, np.transpose(histograms), cmap="Greys", vmin=0)
    every = max(1, len(steps) // 5)
    middle.set_xticks(np.arange(len(steps))[::every] + 0.5, steps[::every])
    middle.set(ylabel="ρ")
    middle.grid(visible=False)
    figure.colorbar(shades, ax=[top, middle, bottom], label="share of groups by ρ", aspect=50)
    weight = by_step["weight"].quantile([0.1, 0.5, 0.9]).unstack()
    bottom.plot(weight.index, weight[0.5], color="black", marker="o")
    bottom.fill_between(weight.index, weight[0.1], weight[0.9], color="black", alpha=0.15, linewidth=0)
    bottom.set(xlabel="step (rollout batches)", ylabel="weight")
    return figure


@rc_context(STYLE)
def budget_curve(curve: pd.DataFrame) -> Figure:
    """Accuracy when longer answers count as wrong. `curve` from `tables.budget_points`."""
    caption = (
        "Samples longer than the budget count as wrong; nothing is sampled anew. Band: 95% t-interval over problems."
    )
    figure, (axes,) = sheet(caption)
    for arm, look in looks(curves.arms_of(curve)).items():
        line = curve[curve["arm"] == arm]
        axes.plot(line["budget"], line["estimate"], **drawn(look), markevery=max(1, len(line) // 8), label=arm)
        axes.fill_between(line["budget"], line["low"], line["high"], color=look.colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="budget (tokens)", ylabel="Pass@1 within the budget")
    axes.legend()
    return figure


@rc_context(STYLE)
def by_difficulty(bars: pd.DataFrame, ylabel: str = "Pass@1") -> Figure:
    """Bars by difficulty, arms side by side. `bars` from `tables.difficulty_points`."""
    levels, arms = list(dict.fromkeys(bars["level"])), curves.arms_of(bars)
    problems = bars.drop_duplicates("level").set_index("level")["clusters"]
    figure, (axes,) = sheet("In brackets: number of problems. Whiskers: 95% interval over problems.")
    for place, (arm, look) in enumerate(looks(arms).items()):
        bar = bars[bars["arm"] == arm].set_index("level").reindex(levels)
        at = np.arange(len(levels)) + side_by_side(place, len(arms))
        axes.bar(at, bar["estimate"], 0.76 / len(arms), **barred(look), label=arm)
        reach = [bar["estimate"] - bar["low"], bar["high"] - bar["estimate"]]
        axes.errorbar(at, bar["estimate"], reach, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    axes.set_xticks(range(len(levels)), [f"{level}\n({problems[level]})" for level in levels])
    axes.set(xlabel="difficulty level", ylabel=ylabel)
    axes.grid(axis="x", visible=False)
    axes.legend(**ABOVE, ncols=4)
    return figure


def side_by_side(place: int, bars: int) -> float:
    """The offset of one bar among those that share a tick."""
    return (place - (bars - 1) / 2) * 0.8 / bars


@rc_context(STYLE)
def group_advantages(group: pd.DataFrame) -> Figure:
    """One group's rollouts as bars, under each estimator side by side.

    `group` has a row for each rollout: correct, length, and a column of advantages for each estimator.
    """
    estimators = [name for name in group if name not in ("correct", "length")]
    order = group.sort_values(["correct", "length"], ascending=[False, True])
    figure, (axes,) = sheet(
        "Rollouts of one group, right ones first, then by length. Below each bar: tokens, right or wrong."
    )
    for place, (name, look) in enumerate(looks(estimators).items()):
        at = np.arange(len(order)) + side_by_side(place, len(estimators))
        axes.bar(at, order[name], 0.76 / len(estimators), **barred(look), label=name)
    axes.axhline(0, color="black", linewidth=0.8)
    verdicts = ["right" if correct else "wrong" for correct in order["correct"]]
    ticks = [f"{length:.0f}\n{verdict}" for length, verdict in zip(order["length"], verdicts, strict=True)]
    axes.set_xticks(range(len(order)), ticks, fontsize=7 if len(order) <= 6 else 6)
    axes.set(xlabel="length (tokens)", ylabel="advantage")
    axes.grid(axis="x", visible=False)
    axes.legend(**ABOVE, ncols=3)
    return figure


@rc_context(STYLE)
def counts(table: pd.DataFrame, unit: str = "problems") -> Figure:
    """What is left after each step of a preparation, as bars from top to bottom. `table` has columns step and count."""
    names = [textwrap.fill(str(step), 26) for step in table["step"]]
    height = 0.5 + 0.13 * sum(name.count("\n") + 2 for name in names)
    figure, (axes,) = sheet(f"Number of {unit} left after each step.", 1, height)
    bars = axes.barh(range(len(table)), table["count"], color=METHOD_COLOURS["grpo"], height=0.7)
    axes.bar_label(bars, [f"{count:,}" for count in table["count"]], padding=2, fontsize=7)
    axes.set_yticks(range(len(table)), names)
    axes.set(xlabel=unit, xlim=(0, max(table["count"].max(), 1) * 1.2))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return figure

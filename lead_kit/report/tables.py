"""The results table of several arms, their paired differences, and tables as Markdown and on the screen.

Text on the screen may come from a model or a file and is escaped.

All tables come from one long frame: metric, arm, unit, cluster, value. The cluster is the seed where an arm has
several seeds, else the problem (`unit` says which). Every interval and every pairing is over clusters.
"""

from collections.abc import Callable
from itertools import combinations
from numbers import Number
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.evaluate import metrics, stats
from lead_kit.evaluate.graded_samples import Suite
from lead_kit.report import curves, planned
from lead_kit.report.planned import Plan
from lead_kit.safe_text import as_markdown, safe_line

_CONS = "Cons@{n}"
FEWEST = 5  # problems of a level from which it has an interval
_LENGTH, _TRUNCATED, _PRECISION = "mean length", "share truncated", "precision"
_COLUMNS = ["metric", "arm", "unit", "cluster", "value"]
_WORDS = {_LENGTH: ("longer", "shorter")}  # other metrics are higher or lower
_FAMILIES = (planned.PRIMARY, planned.SECONDARY, planned.UNPLANNED, planned.EXPLORATORY)  # in the order of a table
_FEW_SEEDS = (
    "IQM: mean of the middle half of the seeds. P(later > earlier): share of the pairs of seeds in which the later arm "
    "is above. Their brackets: 95% stratified bootstrap over seeds (Agarwal et al. 2021)."
)


class _Report(NamedTuple):
    """The tables of one evaluation: as text, and as numbers."""

    text: str  # Markdown
    meaning: str  # the caption: what the brackets are, and which comparisons were planned
    arms: pd.DataFrame
    differences: pd.DataFrame


def cluster_values(
    runs: pd.DataFrame, suites: dict[tuple[str, int], Suite], metric: str = "pass@1", split: str = "validation"
) -> tuple[pd.DataFrame, list[str]]:
    """The long frame of the results table, and sentences on what is missing in it.

    Final and mean values of the curve come from the training runs. Cons@k, length and truncation come from the samples
    of 04_evaluate; without samples, length and truncation come from the last validation.
    """
    rows, notes = [], []
    if len(runs):
        values = curves.logged_values(runs, metric, split)
        notes += [*curves.describe_gaps(values), curves.compared_steps(values)]
        name = metric.replace("pass@", "Pass@")
        rows += _of_curves(values, {f"final {name}": "final", f"mean {name} over the curve": "curve_mean"})
    if suites:
        rows += _of_suites(suites, {_CONS: "cons@n", _LENGTH: "length", _TRUNCATED: "truncated"})
    elif len(runs):
        for name, logged in ((_LENGTH, "length"), (_TRUNCATED, "truncated")):
            if len(curves.runs_that_logged(runs, logged, split)):
                rows += _of_curves(curves.logged_values(runs, logged, split), {name: "final"})
        notes.append(
            "No samples of 04_evaluate: there is no Cons@k, and length and truncation are the last validation's."
        )
    return pd.DataFrame(rows, columns=_COLUMNS), notes


def _of_curves(values, wanted):
    runs = curves.by_run(values).to_dict("records")
    return [(name, run["arm"], "seed", run["seed"], run[column]) for name, column in wanted.items() for run in runs]


def _of_suites(suites: dict[tuple[str, int], Suite], wanted: dict[str, str]) -> list[tuple]:
    """Rows of the long frame from samples of equal shape; `wanted` maps printed names to metrics. Unknown lengths give
    no row."""
    unit = "seed" if len(suites) > len({arm for arm, _ in suites}) else "problem"
    n, rows = next(iter(suites.values())).samples.correct.shape[1], []
    for name, metric in wanted.items():
        for (arm, seed), suite in suites.items():
            ratio = metrics.measure(suite.samples, metric)
            if not ratio.denominator.sum():
                continue  # the precision of no answers is undefined
            values = stats.linearised(*ratio)
            clusters = [(seed, values.mean())] if unit == "seed" else zip(suite.ids, values, strict=True)
            rows += [(name.format(n=n), arm, unit, at, value) for at, value in clusters if np.isfinite(value)]
    return rows


def report(values: pd.DataFrame, notes: list[str], seed: int, plan: Plan | None = None, reference: str = "") -> _Report:
    """The tables of arms and of their paired differences, with a caption, from the long frame; `reference` as in
    `differences`."""
    plan = plan or Plan()
    if values.empty:
        return _Report("Nothing to tabulate: no training run with a validation, no samples.\n", "", values, values)
    arms, pairs = _arm_table(values), differences(values, seed, plan, reference)
    printed = [printed_arms(arms)]
    if "iqm" in arms:
        printed.append(printed_arms(_with_estimate(arms[arms["iqm"].notna()], "iqm"), "arm, IQM"))
        notes = [_FEW_SEEDS, *notes]
    if len(pairs):
        printed.append(printed_differences(pairs))
    meaning = f"{_caption(values)} {planned.correction(pairs, plan)}".strip()
    return _Report("\n".join([*map(markdown, printed), meaning, *notes]) + "\n", meaning, arms, pairs)


def evaluation(suites: dict[tuple[str, int], Suite], seed: int = 0) -> _Report:
    """The report on one evaluation: its models and their paired differences."""
    wanted = {"Pass@1": "pass@1", _CONS: "cons@n", "Pass@{n}": "pass@n", _PRECISION: "precision"}
    wanted |= {_LENGTH: "length", _TRUNCATED: "truncated"}
    if all(suite.samples.correct.shape[1] == 1 for suite in suites.values()):
        wanted = {name: metric for name, metric in wanted.items() if "{n}" not in name}  # these would repeat Pass@1
    return report(pd.DataFrame(_of_suites(suites, wanted), columns=_COLUMNS), [], seed)


def _interval_of(cell: pd.DataFrame) -> stats.Interval:
    """The interval of one arm and metric; a share stays within 0 and 1."""
    values, name = cell["value"].to_numpy(), cell["metric"].iloc[0]
    share = name in (_TRUNCATED, _PRECISION) or "Pass@" in name or "Cons@" in name
    if share and cell["unit"].iloc[0] == "problem":
        return stats.share_interval(values)
    interval = stats.t_interval(values)
    return interval._replace(low=np.clip(interval.low, 0, 1), high=np.clip(interval.high, 0, 1)) if share else interval


def _arm_table(values: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm and metric: arm, metric, estimate, low, high, clusters, and over seeds the interquartile
    mean with its bootstrap interval: iqm, iqm_low, iqm_high."""
    rows = []
    for metric in dict.fromkeys(values["metric"]):
        for arm in curves.arms_of(values):
            cell = values[(values["arm"] == arm) & (values["metric"] == metric)]
            if len(cell):
                rows.append({"arm": arm, "metric": metric, **_interval_of(cell)._asdict()})
                if cell["unit"].iloc[0] == "seed" and len(cell) > 1:
                    rows[-1] |= _of_seeds("iqm", stats.interquartile_mean, cell["value"])
    return pd.DataFrame(rows)


def _of_seeds(name: str, statistic: Callable, *arms: pd.Series) -> dict[str, float]:
    """A statistic of the seeds of these arms and the bounds of its bootstrap."""
    interval = stats.stratified_bootstrap(statistic, *(arm.to_numpy() for arm in arms), seed=0)
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def differences(values: pd.DataFrame, seed: int, plan: Plan | None = None, reference: str = "") -> pd.DataFrame:
    """Every later arm minus every earlier one, or every other one minus `reference`, paired by cluster: one row each,
    with its interval and verdict.

    `p_holm` is the t-test's p after Holm's correction in its `family`, and the verdict follows it; exploratory rows
    have neither. `above` is P(later > earlier) over seeds, `sensitivity` what would change the verdict. A pair uses the
    clusters that both arms have. An arm of one seed (the common start) is not paired where others have several.
    """
    rows = []
    for metric in dict.fromkeys(values["metric"]):
        cells = values[values["metric"] == metric]
        table, unit = cells.pivot(index="cluster", columns="arm", values="value"), cells["unit"].iloc[0]
        arms = [arm for arm in curves.arms_of(values) if arm in table]
        against = [(reference, arm) for arm in arms if arm != reference and reference in arms]
        for earlier, later in against if reference else combinations(arms, 2):
            both = table[[later, earlier]].dropna()
            if both.empty or (len(both) == 1 and len(table) > 1):
                continue
            pair = stats.paired_difference(both[later], both[earlier], seed=seed)
            rows.append({"metric": metric, "difference": f"{later} − {earlier}", "unit": unit, **pair._asdict()})
            if unit == "seed" and len(both) > 1:
                rows[-1] |= _of_seeds("above", stats.probability_of_improvement, both[later], both[earlier])
                p_values = stats.leave_one_out_p((both[later] - both[earlier]).to_numpy().round(12))
                rows[-1] |= {f"p without {at}": p for at, p in zip(both.index, p_values, strict=True)}
    frame = pd.DataFrame(rows)
    if not len(frame):
        return frame
    frame["family"] = planned.families(frame["metric"] + ": " + frame["difference"], plan or Plan())
    frame["p_holm"] = planned.corrected(frame["p_t"], frame)
    deciding = planned.seeds_that_decide(frame)
    frame["sensitivity"] = [_sensitivity(*row) for row in zip(frame.itertuples(), deciding, strict=True)]
    return frame.assign(verdict=[_verdict(row) for row in frame.itertuples()])


def _sensitivity(row, deciding: list[str]) -> str:
    """What would change the verdict on a row of `differences`: a seed left out, or the size of the difference."""
    if row.family == planned.EXPLORATORY or row.unit != "seed" or row.clusters < 3:
        return ""
    detected = row.p_holm < 1 - stats.CONFIDENCE
    if deciding:
        return f"{'not ' * detected}detected without seed {' or '.join(deciding)}"
    if detected:
        return "detected without any one seed"
    error = (row.high - row.low) / 2 / stats.critical(row.clusters)
    least = stats.minimum_detectable_effect(error, row.clusters)
    return f"{row.clusters} seeds detect {format_number(least, _digits(row.metric))} with 80% power"


def _verdict(row) -> str:
    """The words for one row of `differences`."""
    if row.family == planned.EXPLORATORY:
        return planned.EXPLORATORY
    words = _WORDS.get(row.metric, ("higher", "lower"))
    verdict = stats.verdict(row, *words, p=row.p_holm)
    one_seed = verdict in words and row.unit == "problem"  # other seeds could give other models
    return f"{verdict}, for these runs" if one_seed else verdict


def evaluation_setting(suites: dict[tuple[str, int], Suite], temperature: str = "") -> str:
    """A sentence for a caption: how many problems, samples and seeds, and the temperature where it is known."""
    seeds = {len(of_arm) for of_arm in _by_arm(suites).values()}
    problems, samples = next(iter(suites.values())).samples.correct.shape
    count = "–".join(map(str, dict.fromkeys([min(seeds), max(seeds)])))
    sample, seed = "sample" if samples == 1 else "samples", "seed" if seeds == {1} else "seeds"
    known = f", temperature {temperature}" if temperature else ""
    return f"{problems} problems, {samples} {sample} of each, {count} {seed} an arm{known}."


def budget_points(suites: dict[tuple[str, int], Suite]) -> pd.DataFrame:
    """The budget curve: arm, budget, estimate, low, high. Clusters are problems; the seeds of an arm are averaged."""
    longest = max(suite.samples.length.max() for suite in suites.values())
    budgets = np.unique(np.linspace(0, longest, 40).round())
    rows = []
    for arm, of_arm in _by_arm(suites).items():
        curve = [metrics.budget_curve(suite.samples.correct, suite.samples.length, budgets) for suite in of_arm]
        interval = stats.t_interval(np.mean(curve, axis=0).T)
        bounds = {"low": interval.low.clip(0), "high": interval.high.clip(max=1)}
        rows.append(pd.DataFrame({"arm": arm, "budget": budgets, "estimate": interval.estimate, **bounds}))
    return pd.concat(rows, ignore_index=True)


def difficulty_points(suites: dict[tuple[str, int], Suite], edges: list[float]) -> pd.DataFrame:
    """Pass@1 by difficulty: arm, level, estimate, low, high, clusters (problems). Seeds of an arm are averaged.

    A level with fewer than FEWEST problems has no interval.
    """
    rows = []
    for arm, of_arm in _by_arm(suites).items():
        values = np.mean([metrics.measure(suite.samples, "pass@1").numerator for suite in of_arm], axis=0)
        for level, mask in metrics.levels_in_bins(of_arm[0].levels, edges).items():
            interval = stats.share_interval(values[mask])
            few = {"low": np.nan, "high": np.nan} if mask.sum() < FEWEST else {}
            rows.append({"arm": arm, "level": level} | interval._asdict() | few)
    return pd.DataFrame(rows)


def _by_arm(suites):
    by_arm = {arm: [suite for (name, _), suite in suites.items() if name == arm] for arm, _ in suites}
    for arm, of_arm in by_arm.items():
        if any(suite.ids != of_arm[0].ids for suite in of_arm):
            raise ValueError(f"the seeds of arm {arm!r} were evaluated on different problems")
    return by_arm


def format_number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def format_p(value: float) -> str:
    """A p-value; very small ones are printed as <0.001."""
    return "<0.001" if value < 0.001 else format_number(value)


def format_interval(row, digits: int, sign: bool = False) -> str:
    """`estimate [low, high]`; `estimate [–]` where one cluster gives no interval."""
    estimate = format_number(row.estimate, digits, sign)
    if np.isnan(row.low):
        return f"{estimate} [–]"
    return f"{estimate} [{format_number(row.low, digits, sign)}, {format_number(row.high, digits, sign)}]"


def _estimates(table, sign=False):
    """The estimates with their intervals."""
    return [format_interval(row, _digits(row.metric), sign) for row in table.itertuples()]


def _digits(metric: str) -> int:
    """The decimals of a metric: one for lengths, three for shares."""
    return 1 if metric == _LENGTH else 3


def _with_estimate(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with another column and its bounds as the estimate."""
    return table.assign(estimate=table[name], low=table[f"{name}_low"], high=table[f"{name}_high"])


def printed_arms(table: pd.DataFrame, arm: str = "arm") -> pd.DataFrame:
    """`arm_table` as text: one row for each arm, whose column is called `arm`, one column for each metric."""
    wide = table.assign(text=_estimates(table)).pivot(index="arm", columns="metric", values="text").fillna("–")
    return wide.loc[curves.arms_of(table), list(dict.fromkeys(table["metric"]))].reset_index(names=arm)


def printed_differences(table: pd.DataFrame) -> pd.DataFrame:
    """`differences` as text, planned ones first; an exploratory one has no p."""
    table = table.sort_values("family", key=lambda names: names.map(_FAMILIES.index), kind="stable")
    judged = table["family"] != planned.EXPLORATORY
    few = {}
    if "above" in table:
        above = _with_estimate(table, "above").itertuples()
        few["P(later > earlier)"] = [format_interval(row, 2) for row in above]
        few["what would change the verdict"] = table["sensitivity"]
    return pd.DataFrame(
        {
            "family": table["family"],
            "metric": table["metric"],
            "difference": table["difference"],
            "estimate [95%]": _estimates(table, sign=True),
            "p (t)": table["p_t"].where(judged).map(format_p),
            "p (Holm)": table["p_holm"].map(format_p),
            "pairs": table["clusters"].astype(str),
            "verdict": table["verdict"],
        }
        | few
    )


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table whose columns also line up in a terminal; no text of a cell acts as Markdown."""
    cells = [[as_markdown(cell).replace("|", "\\|") for cell in row] for row in [frame.columns, *frame.to_numpy()]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])]) + "\n"


def _caption(values: pd.DataFrame) -> str:
    """A sentence on what the brackets in the tables of these values mean."""
    meaning = {
        "seed": "over seeds, the problems held fixed; differences are paired by seed",
        "problem": "over problems, of one seed each; differences are paired by problem",
    }
    units = list(dict.fromkeys(values["unit"]))
    which = [f"{', '.join(dict.fromkeys(values[values['unit'] == unit]['metric']))}: {meaning[unit]}" for unit in units]
    return f"Brackets: 95% t-interval{' ' + meaning[units[0]] if len(units) == 1 else '. ' + '. '.join(which)}."


_DISPLAY = ("display.html.use_mathjax", False, "display.max_colwidth", None, "display.max_columns", None)
_DISPLAY += ("display.width", 160, "display.max_rows", 200)  # letters of a line in a terminal, rows of a table


class Page(NamedTuple):
    """HTML for a notebook and plain text for a terminal; the caller must escape the text."""

    html: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def table(frame: pd.DataFrame | pd.Series) -> Page:
    """The frame (or series, as one column) to look at, with every text as `safe_line` shows it.

    Numbers that are not integers have three decimals, or one digit and a power of ten where all three would be 0.
    """

    def safe(value):
        if isinstance(value, float | np.floating):
            return "–" if pd.isna(value) else f"{value:.{'0e' if 0 < abs(value) < 5e-4 else '3f'}}"
        return value if value is None or isinstance(value, Number | np.bool_) else safe_line(value)

    frame = frame.to_frame() if isinstance(frame, pd.Series) else frame
    shown = frame.map(safe).rename(index=safe, columns=safe).rename_axis(index=safe, columns=safe)
    with pd.option_context(*_DISPLAY):
        return Page(shown._repr_html_(), repr(shown))

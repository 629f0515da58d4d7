"""The results table of several arms, their paired differences, and tables as Markdown and LaTeX.

Between the numbers and the tables stands one long frame: metric, arm, cluster, value. The cluster is the seed where an
arm has several, else the problem; every interval and every pairing is over clusters, and the caption says which.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.errors import InputError
from lead_kit.evaluate import metrics, stats
from lead_kit.evaluate.results import Suite
from lead_kit.report import curves

CONS = "Cons@{n}"
LENGTH, TRUNCATED, PRECISION = "mean length", "share truncated", "precision"
COLUMNS = ["metric", "arm", "unit", "cluster", "value"]
WORDS = {LENGTH: ("longer", "shorter")}  # for the rest a difference is higher or lower


class Report(NamedTuple):
    """The tables of one evaluation: as text, and as numbers."""

    text: str  # Markdown
    latex: str
    arms: pd.DataFrame
    differences: pd.DataFrame


def cluster_values(
    runs: pd.DataFrame, suites: dict[tuple[str, int], Suite], metric: str = "pass@1", split: str = "validation"
) -> tuple[pd.DataFrame, list[str]]:
    """The long frame of the demo's table (metric, arm, unit, cluster, value), and in sentences what is missing in it.

    The curve's last value and mean come from the metric rows of training; Cons@k, length and truncation from the
    samples of 04_evaluate or, without any, length and truncation from the last validation.
    """
    rows, notes = [], []
    if len(runs):
        values = curves.points(runs, metric, split)
        notes += [*curves.gaps(values), curves.compared(values)]
        name = metric.replace("pass@", "Pass@")
        rows += _of_curves(values, {f"final {name}": "final", f"mean {name} over the curve": "curve_mean"})
    if suites:
        rows += of_suites(suites, {CONS: "cons@n", LENGTH: "length", TRUNCATED: "truncated"})
    elif len(runs):
        for name, logged in ((LENGTH, "length"), (TRUNCATED, "truncated")):
            if len(curves.having(runs, logged, split)):
                rows += _of_curves(curves.points(runs, logged, split), {name: "final"})
        notes.append("Without samples of 04_evaluate there is no Cons@k; length and truncation: the last validation.")
    return pd.DataFrame(rows, columns=COLUMNS), notes


def _of_curves(values, wanted):
    by_run = curves.by_run(values)
    return [
        (name, run["arm"], "seed", run["seed"], run[of]) for name, of in wanted.items() for _, run in by_run.iterrows()
    ]


def of_suites(suites: dict[tuple[str, int], Suite], wanted: dict[str, str]) -> list[tuple]:
    """Rows of the long frame from samples; `wanted` gives each printed name its metric. Unknown lengths give no row."""
    samples = {suite.samples.correct.shape[1] for suite in suites.values()}
    if len(samples) > 1:
        raise InputError(f"the arms have different numbers of samples per problem: {sorted(samples)}")
    unit = "seed" if len(suites) > len({arm for arm, _ in suites}) else "problem"
    n, rows = samples.pop(), []
    for name, metric in wanted.items():
        for (arm, seed), suite in suites.items():
            ratio = metrics.measure(suite.samples, metric)
            if not ratio.denominator.sum():
                continue  # a precision without a single answer is no number
            values = stats.linearised(*ratio)
            clusters = [(seed, values.mean())] if unit == "seed" else zip(suite.ids, values, strict=True)
            rows += [(name.format(n=n), arm, unit, at, value) for at, value in clusters if np.isfinite(value)]
    return rows


def report(values: pd.DataFrame, notes: list[str], seed: int, primary: str = "") -> Report:
    """The table of arms, their paired differences and what the brackets mean, from the long frame.

    `primary` is the planned comparison, as in `differences`.
    """
    if values.empty:
        return Report("Nothing to tabulate: no training run with a validation, no samples.\n", "", values, values)
    arms, pairs = arm_table(values), differences(values, seed, primary)
    meaning = f"{caption(values)} {correction(pairs, primary)}".strip()
    shown = [markdown(printed_arms(arms))]
    if len(pairs):
        shown.append(markdown(printed_differences(pairs)))
    text = "\n".join([*shown, meaning, *notes]) + "\n"
    tex = latex(printed_arms(arms), meaning) + (latex(printed_differences(pairs), meaning) if len(pairs) else "")
    return Report(text, tex, arms, pairs)


def evaluation(suites: dict[tuple[str, int], Suite], seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Of one evaluation: the table of its models, their paired differences, and what they rest on in sentences."""
    wanted = {"Pass@1": "pass@1", CONS: "cons@n", "Pass@{n}": "pass@n", PRECISION: "precision"}
    wanted |= {LENGTH: "length", TRUNCATED: "truncated"}
    if all(suite.samples.correct.shape[1] == 1 for suite in suites.values()):
        wanted = {name: metric for name, metric in wanted.items() if "{n}" not in name}  # they are Pass@1
    values = pd.DataFrame(of_suites(suites, wanted), columns=COLUMNS)
    pairs = differences(values, seed)
    return arm_table(values), pairs, [caption(values), correction(pairs)]


def interval_of(cell: pd.DataFrame) -> stats.Interval:
    """The interval of one arm and metric; a share stays within 0 and 1."""
    values = cell["value"].to_numpy()
    name = cell["metric"].iloc[0]
    if not (name in (TRUNCATED, PRECISION) or "Pass@" in name or "Cons@" in name):
        return stats.t_interval(values)
    if cell["unit"].iloc[0] == "problem":
        return stats.share_interval(values)
    interval = stats.t_interval(values)
    return interval._replace(low=np.clip(interval.low, 0, 1), high=np.clip(interval.high, 0, 1))


def arm_table(values: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm and metric: arm, metric, estimate, low, high, clusters."""
    rows = []
    for metric in dict.fromkeys(values["metric"]):
        for arm in curves.arms_of(values):
            cell = values[(values["arm"] == arm) & (values["metric"] == metric)]
            if len(cell):
                rows.append({"arm": arm, "metric": metric, **interval_of(cell)._asdict()})
    return pd.DataFrame(rows)


def differences(values: pd.DataFrame, seed: int, primary: str = "") -> pd.DataFrame:
    """Every later arm minus every earlier one, paired by cluster: one row each, with its interval and verdict.

    `p_holm` is the t-test's p after Holm's correction over all rows; the verdict follows it. `primary` names the one
    planned comparison as "METRIC: LATER − EARLIER"; it stands outside the correction. Clusters that one arm lacks are
    left out of its pairs. An arm of one seed (the start of all others) is not paired where other arms have several.
    """
    rows, found = [], []
    for metric in dict.fromkeys(values["metric"]):
        table = values[values["metric"] == metric].pivot(index="cluster", columns="arm", values="value")
        arms = [arm for arm in curves.arms_of(values) if arm in table]
        for earlier, later in combinations(arms, 2):
            both = table[[later, earlier]].dropna()
            if both.empty or (len(both) == 1 and len(table) > 1):
                continue
            found.append(stats.paired_difference(both[later], both[earlier], seed=seed))
            rows.append({"metric": metric, "difference": f"{later} − {earlier}", **found[-1]._asdict()})
    frame = pd.DataFrame(rows)
    if not len(frame):
        return frame
    planned = frame["metric"] + ": " + frame["difference"] == primary
    frame["p_holm"] = frame["p_t"].where(planned)
    corrected = frame["p_t"].notna() & ~planned
    frame.loc[corrected, "p_holm"] = stats.holm(frame.loc[corrected, "p_t"])
    units = dict(zip(values["metric"], values["unit"], strict=True))
    verdicts = []
    for row, difference in zip(frame.itertuples(), found, strict=True):
        words = WORDS.get(row.metric, ("higher", "lower"))
        told = stats.verdict(difference, *words, p=row.p_holm)
        one_seed = told in words and units[row.metric] == "problem"  # nothing is known of another seed's model
        verdicts.append(f"{told}, for these runs" if one_seed else told)
    return frame.assign(verdict=verdicts)


def budget_points(suites: dict[tuple[str, int], Suite], points: int = 40) -> pd.DataFrame:
    """The budget curve: arm, budget, estimate, low, high. Problems are clusters; the seeds of an arm are averaged."""
    longest = max(suite.samples.length.max() for suite in suites.values())
    budgets = np.unique(np.linspace(0, longest, points).round())
    rows = []
    for arm, of_arm in _by_arm(suites).items():
        curve = [metrics.budget_curve(suite.samples.correct, suite.samples.length, budgets) for suite in of_arm]
        interval = stats.t_interval(np.mean(curve, axis=0).T)
        bounds = {"low": interval.low.clip(0), "high": interval.high.clip(max=1)}
        rows.append(pd.DataFrame({"arm": arm, "budget": budgets, "estimate": interval.estimate, **bounds}))
    return pd.concat(rows, ignore_index=True)


def difficulty_points(suites: dict[tuple[str, int], Suite], edges: list[float], metric: str = "pass@1") -> pd.DataFrame:
    """A metric by difficulty: arm, level, estimate, low, high, clusters (problems). Seeds of an arm are averaged."""
    rows = []
    for arm, of_arm in _by_arm(suites).items():
        values = np.mean([metrics.measure(suite.samples, metric).numerator for suite in of_arm], axis=0)
        for level, mask in metrics.levels_in_bins(of_arm[0].levels, edges).items():
            rows.append({"arm": arm, "level": level, **stats.share_interval(values[mask])._asdict()})
    return pd.DataFrame(rows)


def _by_arm(suites):
    found = {arm: [suite for (name, _), suite in suites.items() if name == arm] for arm, _ in suites}
    for arm, of_arm in found.items():
        if any(suite.ids != of_arm[0].ids for suite in of_arm):
            raise ValueError(f"the seeds of arm {arm!r} were evaluated on different problems")
    return found


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None or np.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def probability(value: float) -> str:
    """A p-value; one that rounds to nothing is said to be below .001."""
    return "<0.001" if value < 0.001 else number(value)


def with_interval(row, digits: int, sign: bool = False) -> str:
    """`estimate [low, high]`, or the estimate alone where one cluster gives no interval."""
    estimate = number(row.estimate, digits, sign)
    if np.isnan(row.low):
        return f"{estimate} [–]"
    return f"{estimate} [{number(row.low, digits, sign)}, {number(row.high, digits, sign)}]"


def digits_of(metric: str) -> int:
    """Tokens with one decimal, shares with three."""
    return 1 if metric == LENGTH else 3


def printed_arms(table: pd.DataFrame) -> pd.DataFrame:
    """`arm_table` as text: one row for each arm, one column for each metric."""
    cells = table.assign(text=[with_interval(row, digits_of(row.metric)) for row in table.itertuples()])
    wide = cells.pivot(index="arm", columns="metric", values="text").fillna("–")
    return wide.loc[curves.arms_of(table), list(dict.fromkeys(table["metric"]))].reset_index()


def printed_differences(table: pd.DataFrame) -> pd.DataFrame:
    """`differences` as text."""
    return pd.DataFrame(
        {
            "metric": table["metric"],
            "difference": table["difference"],
            "estimate [95%]": [with_interval(row, digits_of(row.metric), sign=True) for row in table.itertuples()],
            "p (t)": table["p_t"].map(probability),
            "p (Holm)": table["p_holm"].map(probability),
            "pairs": table["clusters"].astype(str),
            "verdict": table["verdict"],
        }
    )


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a Markdown table whose columns line up in a terminal too."""
    cells = [[str(name) for name in frame.columns], *frame.astype(str).to_numpy().tolist()]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]) + "\n"


LATEX = {"\\": r"\textbackslash{}", "−": "$-$", "–": "--", "^": r"\^{}", "~": r"\~{}"} | {
    sign: "\\" + sign for sign in "&%$#_{}"
}


def latex(frame: pd.DataFrame, caption: str) -> str:
    """A frame of texts as a LaTeX table (needs booktabs); every special sign is escaped."""

    def row(cells):
        return " & ".join("".join(LATEX.get(sign, sign) for sign in str(cell)) for cell in cells) + r" \\"

    body = "\n".join(row(cells) for cells in frame.to_numpy())
    text = "".join(LATEX.get(sign, sign) for sign in caption)
    head = f"\\begin{{table}}\n\\caption{{{text}}}\n\\begin{{tabular}}{{{'l' * frame.shape[1]}}}\n\\toprule\n"
    return f"{head}{row(frame.columns)}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"


def correction(pairs: pd.DataFrame, primary: str = "") -> str:
    """How the verdicts of `differences` were reached, in sentences; empty without a comparison."""
    if not len(pairs):
        return ""
    if primary in set(pairs["metric"] + ": " + pairs["difference"]):
        return (
            f"Planned primary comparison: {primary}; its p is not corrected. Verdicts on the other {len(pairs) - 1} "
            "comparisons follow p after Holm's correction."
        )
    missing = f"The planned primary comparison ({primary}) is not among these runs. " if primary else ""
    return f"{missing}Verdicts follow p after Holm's correction over all {len(pairs)} comparisons."


def caption(values: pd.DataFrame) -> str:
    """What the brackets mean in the tables of these values."""
    meaning = {
        "seed": "over seeds, the problems held fixed; differences are paired by seed",
        "problem": "over problems, of one seed each; differences are paired by problem",
    }
    units = list(dict.fromkeys(values["unit"]))
    which = [f"{', '.join(dict.fromkeys(values[values['unit'] == unit]['metric']))}: {meaning[unit]}" for unit in units]
    return f"Brackets: 95% t-interval{' ' + meaning[units[0]] if len(units) == 1 else '. ' + '. '.join(which)}."

"""The numbers of README.md and of the pages of results, recomputed from figures/points/ by the kit's own functions.

A number of a result stands in front of a tag, a comment that a browser does not show: `.034 [.022, .047]<!--figure1
faster-->`. claims.yaml says what each tag means, which numbers are no results, and which points are not committed.
`python -m tests.claims` prints every line that the data change, and `--write` writes the numbers into the text.
"""

import difflib
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from lead_kit.evaluate import graded_samples, stats
from lead_kit.evaluate.stats import Interval
from lead_kit.replay.logged_batches import SPLIT
from lead_kit.report import atlas, curves, planned, tables, training_figures
from tests import claims_replay

ROOT = Path(__file__).resolve().parents[1]
POINTS = ROOT / "figures" / "points"
PAGES = ("README.md", "docs/results.md", "docs/atlas.md")
LISTED = yaml.safe_load((ROOT / "tests" / "claims.yaml").read_text(encoding="utf-8"))
NUMBER = r"[+−]?(?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)%?"
_VALUE = rf"(?:{NUMBER}\s+)?\[{NUMBER},\s+{NUMBER}\]|{NUMBER}"
_TAG = re.compile(rf"(?P<text>{_VALUE})<!--(?P<source>[\w.-]+) (?P<name>[^<>]+)-->")
_TABLE = re.compile(r"(<!--table (?P<source>[\w.-]+)-->\n).*?(<!--end-->)", re.DOTALL)


class Points(NamedTuple):
    """The points of one recipe with its table: what a formula of claims.yaml reads."""

    values: pd.DataFrame  # the long frame of `tables.cluster_values`
    report: tables._Report
    problems: pd.DataFrame  # validations: run, arm, seed, step, id, pass@1, length, truncated, samples
    batches: pd.DataFrame  # of the logged rollouts, as the tidy frame
    words: pd.DataFrame  # run, arm, seed, word, before, after


def load(folder: Path) -> Points:
    """The committed points of one recipe."""
    runs = curves.load_runs([str(folder / "validation.parquet")])
    suites = {}
    if (path := folder / "evaluation.parquet").is_file():
        suites = graded_samples.suites(graded_samples.require_rectangular(graded_samples.load_samples([path]))[0])
    values, notes = tables.cluster_values(runs, suites)
    plan = planned.Plan(**json.loads((folder / "planned.json").read_text(encoding="utf-8")))
    extra = [pd.read_csv(path) if (path := folder / name).is_file() else None for name in ("batches.csv", "words.csv")]
    problems = pd.read_parquet(folder / "validation.parquet")
    return Points(values, tables.report(values, notes, 0, plan), problems, *extra)


class AtlasPoints(NamedTuple):
    """The points of the atlas with its tables."""

    report: tables._Report  # its differences have the column task


def load_atlas(folder: Path) -> AtlasPoints:
    """The committed points of the atlas: one table for each task."""
    values = pd.read_csv(folder / "values.csv")
    plan = planned.Plan(**json.loads((folder / "planned.json").read_text(encoding="utf-8")))
    frame = atlas.differences(values, "grpo", plan)
    rows = atlas.overview(frame)
    parts = [
        f"{task}:\n\n{tables.markdown(part.drop(columns='task'))}" for task, part in rows.groupby("task", sort=False)
    ]
    return AtlasPoints(tables._Report("\n".join(parts), "", values, frame))


def _of_atlas(points: AtlasPoints, formula: str) -> Interval:
    """The value of a formula of the atlas.

    "TASK: METRIC: ARM" is a difference from the reference, and "shorter: …" the same with the other sign. "detected:
    TASK: METRIC" counts arms, "power: TASK: METRIC" is the smallest difference that is detected, and "agreement:
    METRIC" compares the ranks of the tasks.
    """
    head, _, rest = formula.partition(": ")
    frame = points.report.differences
    if head == "agreement":
        return _number(atlas.rank_agreement(frame, rest))
    if head == "shorter":
        value = _of_atlas(points, rest)
        return Interval(-value.estimate, -value.high, -value.low, 0)
    task, _, metric = (rest if head in ("detected", "power") else formula).partition(": ")
    rows = frame[frame["task"] == task]
    if head == "detected":
        return _number((rows[rows["metric"] == metric]["p_holm"] < 0.05).sum())
    if head == "power":
        return _number(atlas.smallest_detectable(rows, metric))
    metric, _, arm = metric.partition(": ")
    return _interval(rows[(rows["metric"] == metric) & (rows["arm"] == arm)].iloc[0])


def _row(points: Points, formula: str) -> pd.Series:
    """The row of the table of arms ("METRIC: ARM") or of differences ("METRIC: LATER − EARLIER")."""
    metric, _, name = formula.partition(": ")
    table, column = (points.report.differences, "difference") if " − " in name else (points.report.arms, "arm")
    rows = table[(table["metric"] == metric) & (table[column] == name)]
    if len(rows) != 1:
        raise KeyError(f"no {formula!r} in the tables")
    return rows.iloc[0]


def _interval(row: pd.Series, name: str = "estimate", low: str = "low", high: str = "high") -> Interval:
    return Interval(row[name], row[low], row[high], 0)


def _p(points: Points, formula: str) -> Interval:
    return _number(_row(points, formula)["p_t"])


def _corrected_p(points: Points, formula: str) -> Interval:
    return _number(_row(points, formula)["p_holm"])


def _number(value: float) -> Interval:
    """A number without an interval."""
    return Interval(float(value), np.nan, np.nan, 0)


def _minus(points: Points, formula: str) -> Interval:
    value = measure(points, formula)
    return Interval(-value.estimate, -value.high, -value.low, 0)


def _of_seeds(points: Points, formula: str) -> pd.Series:
    metric, _, arm = formula.partition(": ")
    rows = points.values[(points.values["metric"] == metric) & (points.values["arm"] == arm)]
    return rows["value"]


def _batch(points: Points, formula: str, step: Callable) -> Interval:
    name, _, arm = formula.partition(": ")
    trend = training_figures.trend_points(points.batches, [name], SPLIT)
    row = trend[(trend["arm"] == arm) & (trend["step"] == step(trend["step"]))].iloc[0]
    return _interval(row, "mean")


def _five_batches(points: Points, formula: str, last: bool) -> Interval:
    """The mean of the first or the last five logged batches."""
    name, _, arm = formula.partition(": ")
    trend = training_figures.trend_points(points.batches, [name], SPLIT)
    rows = trend[trend["arm"] == arm].sort_values("step")["mean"]
    return _number((rows.tail(5) if last else rows.head(5)).mean())


def _lowest_of_arms(points: Points, name: str) -> Interval:
    return min(_five_batches(points, f"{name}: {arm}", True) for arm in curves.arms_of(points.batches))


def _word(points: Points, formula: str, column: str) -> Interval:
    """How often the words, "A, B", occur a completion: `before`, `after`, or the `rise` between them."""
    words, _, arm = formula.partition(": ")
    rows = points.words[points.words["arm"] == arm]
    counted = rows[rows["word"].isin(words.split(", "))].groupby("seed")[["before", "after"]].sum()
    rates = counted.reindex(rows["seed"].unique(), fill_value=0.0)
    return stats.t_interval((rates["after"] - rates["before"] if column == "rise" else rates[column]).to_numpy(float))


def _at_step(points: Points, metric: str, arm: str, step: Callable) -> np.ndarray:
    """(seeds, problems) of a validation."""
    rows = points.problems[(points.problems["arm"] == arm) & (points.problems["step"] == step(points.problems["step"]))]
    return rows.pivot(index="seed", columns="id", values=metric).to_numpy(float)


def _over_problems(differences: np.ndarray) -> Interval:
    """The mean of (seeds, problems) with its bootstrap interval: over problems, with several seeds over both."""
    if len(differences) > 1:
        return stats.two_level_bootstrap(differences, seed=0)
    found = stats.paired_difference(differences[0], np.zeros(differences.shape[1]), seed=0)
    return Interval(found.estimate, found.bootstrap_low, found.bootstrap_high, found.clusters)


def _change(points: Points, formula: str) -> Interval:
    metric, _, arm = formula.partition(": ")
    return _over_problems(_at_step(points, metric, arm, max) - _at_step(points, metric, arm, min))


def _end(points: Points, formula: str) -> Interval:
    metric, _, arms = formula.partition(": ")
    sides = [_at_step(points, metric, arm, max) for arm in arms.split(" − ")]
    return _over_problems(sides[0] - sides[1] if len(sides) == 2 else sides[0])


FORMULAS = {
    "minus": _minus,
    "p of": _p,
    "corrected p of": _corrected_p,
    "P(later > earlier) of": lambda points, of: _interval(_row(points, of), "above", "above_low", "above_high"),
    "IQM of": lambda points, of: _interval(_row(points, of), "iqm", "iqm_low", "iqm_high"),
    "lowest seed of": lambda points, of: _number(_of_seeds(points, of).min()),
    "highest seed of": lambda points, of: _number(_of_seeds(points, of).max()),
    "comparisons": lambda points, of: _number((points.report.differences["family"] == of).sum()),
    "first batch": lambda points, of: _batch(points, of, min),
    "last batch": lambda points, of: _batch(points, of, max),
    "first five batches": lambda points, of: _five_batches(points, of, False),
    "last five batches": lambda points, of: _five_batches(points, of, True),
    "before": lambda points, of: _word(points, of, "before"),
    "after": lambda points, of: _word(points, of, "after"),
    "rise": lambda points, of: _word(points, of, "rise"),
    "lowest of the last five batches": _lowest_of_arms,
    "start": lambda points, of: _number(_at_step(points, *of.split(": "), min).mean()),
    "change": _change,
    "end": _end,
    "problems": lambda points, of: _number(points.problems["id"].nunique()),
}


def measure(points: Points, formula: str) -> Interval:
    """The value of a formula: "METRIC: ARM", "METRIC: LATER − EARLIER", or one of FORMULAS before ": "."""
    head, _, rest = formula.partition(": ")
    return FORMULAS[head](points, rest) if head in FORMULAS else _interval(_row(points, formula))


def of_points(folder: Path) -> functools.partial:
    """The function from a formula to its value in the points of one recipe."""
    if (folder / "values.csv").is_file():
        return functools.partial(_of_atlas, load_atlas(folder))
    return functools.partial(measure, load(folder))


@functools.cache
def sources(folder: Path = POINTS) -> Mapping[str, Callable[[str], Interval] | str]:
    """Of each source of numbers, the function from a formula to its value, or why the numbers cannot be recomputed."""
    known: dict[str, Callable | str] = {}
    for name in LISTED["numbers"]:
        if (folder / name).is_dir():
            known[name] = of_points(folder / name)
    data = Path(os.environ.get("LEAD_DATA", ROOT.parent / "shared" / "data"))
    for name, function in claims_replay.SOURCES.items():
        absent = f"needs the shared data set: {data} does not exist (set LEAD_DATA)"
        known[name] = functools.partial(function, data) if data.is_dir() else absent
    return known


def _as_written(value: float, old: str) -> str:
    """A number in the manner of the old one: its decimals, its sign, a zero in front or none, percent, thousands."""
    digits, percent = old.lstrip("+−").rstrip("%"), old.endswith("%")
    decimals = len(digits.partition(".")[2])
    size = f"{abs(100 * value if percent else value):,.{decimals}f}"
    size = size.removeprefix("0") if digits.startswith(".") and size.startswith("0.") else size
    negative = value < 0 and float(size.replace(",", "") or 0) != 0
    return ("−" if negative else "+" if old.startswith("+") else "") + size + "%" * percent


def _rewritten(match: re.Match, known: Mapping) -> str:
    source, name = match["source"], match["name"]
    formula = LISTED["numbers"].get(source, {}).get(name)
    if formula is None:
        raise KeyError(f"claims.yaml has no number {name!r} of {source}")
    if isinstance(known[source], str):
        return match[0]
    value, numbers = known[source](formula), re.findall(NUMBER, match["text"])
    new = {1: [value.estimate], 2: [value.low, value.high], 3: list(value[:3])}[len(numbers)]
    if not np.isfinite(new).all():
        raise ValueError(f"{source}, {name}: {formula} has no interval")
    parts = iter(_as_written(number, old) for number, old in zip(new, numbers, strict=True))
    return re.sub(NUMBER, lambda _: next(parts), match["text"]) + f"<!--{source} {name}-->"


def rewrite(text: str, known: Mapping) -> str:
    """The text with every tagged number and every table written from the data, where the data are there."""

    def table(match: re.Match) -> str:
        chosen = known[match["source"]]
        return match[0] if isinstance(chosen, str) else f"{match[1]}\n{chosen.args[0].report.text}\n{match[3]}"

    return _TABLE.sub(table, _TAG.sub(lambda match: _rewritten(match, known), text))


def _shown(text: str) -> str:
    """The words of a page as a browser shows them, without tables from the data, tagged numbers, code and links."""
    text = re.sub(r"^```.*?^```", "", _TABLE.sub("", text), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+", " ", _TAG.sub(" ", text))
    return " ".join(text.split())


def unlisted(text: str, page: str) -> list[str]:
    """The numbers of a page that have no tag and are not in claims.yaml, each with the words around it."""
    text = _shown(text)
    for words in LISTED["not_recomputed"].get(page, []) + LISTED["not_recomputed"]["everywhere"]:
        text = text.replace(words, "")
    numbers = re.finditer(rf"(?<![\w@−.-]){NUMBER}", text)
    return [text[max(0, number.start() - 40) : number.end() + 30] for number in numbers]


def stale(pages: Mapping[str, str]) -> list[str]:
    """What claims.yaml lists and no page has: words of a page, and tags."""
    listed = {page: words for page, words in LISTED["not_recomputed"].items() if page != "everywhere"}
    absent = [text for page, words in listed.items() for text in words if text not in _shown(pages[page])]
    tags = {match.group("source", "name") for text in pages.values() for match in _TAG.finditer(text)}
    named = [(source, name) for source, names in LISTED["numbers"].items() for name in names]
    return absent + [" ".join(tag) for tag in named if tag not in tags]


def main(write: bool) -> int:
    """Prints what the data change and what is not listed; with `write` the text is changed. 1 where text is left."""
    known, wrong = sources(), 0
    for page in PAGES:
        old = (ROOT / page).read_text(encoding="utf-8")
        new = rewrite(old, known)
        if write and new != old:
            (ROOT / page).write_text(new, encoding="utf-8")
        print(
            *difflib.unified_diff(
                old.splitlines(), new.splitlines(), page, f"{page}, from the points", n=0, lineterm=""
            ),
            sep="\n",
        )
        loose = unlisted(new, page)
        print(*(f"{page}: neither a tag nor in claims.yaml: … {words} …" for words in loose), sep="\n")
        wrong += (new != old and not write) + bool(loose)
    for name, reason in known.items():
        if isinstance(reason, str):
            print(f"{name}: not recomputed, {reason}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))

"""Published numbers beside ours, and what the published ones can show by themselves.

Where only a mean is known, its uncertainty needs an assumption, and each function that makes one says which: a verdict
has variance V = mean · (1−mean), the share `between` of it lies between problems, and the problem accuracies of two
systems on the same problems have the given `correlation`.
"""

from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.stats import t as student

from lead_kit.data import sets
from lead_kit.errors import InputError, nearest
from lead_kit.evaluate import metrics, stats
from lead_kit.evaluate.results import Suite
from lead_kit.runs.manifest import read_record

SETTINGS = ["n", "temperature", "top_p", "min_p", "max_tokens", "problems"]
AGREES, DIFFERS, TOO_SMALL = "agrees", "differs", "cannot be told apart at this size"
RESOLVABLE, NOT_RESOLVABLE, NEEDS_MORE = "resolvable", "not resolvable", "needs the per-problem results"
NO_SPREAD = ("length", "correct", "answered", "precision_per_problem")  # of these a mean says nothing about its error


@cache
def _all() -> dict:
    return yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))


def _named(kind: str, name: str) -> dict:
    known = _all()[kind]
    if name not in known:
        raise InputError(f"no published {kind[:-1]} {name!r}; there are {', '.join(known)}{nearest(name, known)}")
    return known[name]


def curve(name: str) -> pd.DataFrame:
    """A published training curve: arm, step, value. Raises InputError naming those there are."""
    points = _named("curves", name)["points"]
    return pd.DataFrame([(arm, *point) for arm in points for point in points[arm]], columns=["arm", "step", "value"])


def published(table: str) -> pd.DataFrame:
    """A published table, one row a number: table, benchmark, system, metric, value, its settings, source.

    Raises InputError naming the tables there are.
    """
    found = _named("tables", table)
    wide = pd.DataFrame(found["rows"], columns=found["columns"])
    for name in SETTINGS:
        if name not in wide:
            wide[name] = found["settings"][name]
    kept = [name for name in ("standard_error",) if name in wide]
    keys = ["benchmark", "system", *SETTINGS, *kept]
    return wide.melt(keys, var_name="metric").assign(table=table, source=found["source"])


def settings_of(samples: list[Path]) -> dict:
    """Sampling settings of an evaluation by 04_evaluate, from the run.json beside its samples; {} without."""
    for path in samples:
        record = read_record(path if path.is_dir() else path.parent) or {}
        given = record.get("parameters", {})
        source = sets.SETS.get(given.get("benchmark"))
        if source and source.asked:
            overrides = {name: given[name] for name in sets.Settings._fields if name in given}
            return sets.settings(given["benchmark"], **overrides)._asdict()
    return {}


def compare(
    suites: dict[tuple[str, int], Suite],
    table: str,
    *,
    benchmark: str,
    settings: dict,
    margin: float,
    between: float,
    correlation: float,
) -> pd.DataFrame:
    """Ours minus each published number on this benchmark: difference, interval, verdict, settings that differ.

    `agrees`: the interval is within ± margin (of length: ± margin of the published value). `differs`: it leaves out 0.
    The published system is taken to have our spread over problems and `correlation` with ours; 0 where the numbers of
    problems differ. Raises InputError where the table has no such benchmark.
    """
    theirs = published(table)
    theirs = theirs[theirs["benchmark"] == benchmark]
    if theirs.empty:
        there = list(dict.fromkeys(published(table)["benchmark"]))
        hint = nearest(benchmark, there)
        raise InputError(f"table {table!r} has no benchmark {benchmark!r}{hint}; it has {', '.join(there)}")
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in suites):
        ours = [suite.samples for (name, _), suite in suites.items() if name == arm]
        for row in theirs.to_dict("records"):
            values, samples = _our_values(ours, row["metric"])
            if values is None:
                continue
            same = len(values) == row["problems"]
            error = _error(ours, values, row, samples, between, correlation if same else 0.0)
            given = settings | {"n": ours[0].correct.shape[1], "problems": len(values)}
            rows.append(
                {"arm": arm, **_verdict(values, error, row, margin), "settings that differ": differing(given, row)}
            )
    return pd.DataFrame(rows)


def _our_values(ours, metric):
    """Per-problem values of the published metric, seeds averaged, and samples behind each; or None."""
    n = ours[0].correct.shape[1]
    if metric.startswith("cons@"):
        metric = "cons@n" if int(metric.removeprefix("cons@")) == n else None
    if metric not in ("pass@1", "cons@n", "length"):
        return None, 0
    return np.mean([metrics.measure(one, metric).numerator for one in ours], axis=0), n * len(ours)


def _error(ours, values, row, samples, between, correlation):
    """s.e. of the difference: between problems what the correlation leaves, and the sampling noise of both sides."""
    problems = len(values)
    if row["metric"] == "pass@1" and ours[0].correct.shape[1] > 1 and row["n"]:
        spread, within = stats.variance_parts(np.concatenate([one.correct for one in ours], axis=1))
        noise = within / samples + within / row["n"]
        return np.sqrt((2 * spread * (1 - correlation) + noise) / problems)
    if row["metric"] == "length":
        return np.sqrt(2 * values.var(ddof=1) * (1 - correlation) / problems)
    return stats.difference_error((values.mean() + row["value"]) / 2, problems, 1, between, correlation)


def _verdict(values, error, row, margin):
    difference = values.mean() - row["value"]
    half = student.ppf((1 + stats.CONFIDENCE) / 2, len(values) - 1) * error
    width = margin * (row["value"] if row["metric"] == "length" else 1)
    inside = abs(difference) + half <= width
    verdict = AGREES if inside else DIFFERS if abs(difference) > half else TOO_SMALL
    named = {"published": row["system"], "metric": row["metric"], "ours": values.mean(), "theirs": row["value"]}
    return named | {"difference": difference, "low": difference - half, "high": difference + half, "verdict": verdict}


def differing(ours: dict, row: dict) -> str:
    """Settings that differ or that one side does not state, such as `temperature: 1 here, 0.6 there`."""
    told = []
    for name in SETTINGS:
        here, there = (side.get(name) for side in (ours, row))
        here, there = (None if value is None or pd.isna(value) else value for value in (here, there))
        if here is None or there is None or not np.isclose(float(here), float(there)):
            told.append(f"{name}: {_told(here)} here, {_told(there)} there")
    return "; ".join(told)


def _told(value):
    return "not stated" if value is None else f"{value:g}"


def resolvable(table: str, *, between: float, correlation: float, confidence: float = stats.CONFIDENCE) -> pd.DataFrame:
    """Which differences inside a published table its own suite can show, for every pair of systems and each benchmark.

    `least`: the smallest difference that could be significant in the most favourable case: nothing but sampling noise
    (pass@1 of n > 1 samples, under `between`), or every discordant problem on one side (one verdict a problem: sign
    test). `assumed`: under `between` and `correlation`. `most`: unrelated systems, all variance between problems.
    No noise of training is in any of them. What lies between least and most needs the per-problem results.
    """
    rows = []
    numbers = published(table)
    numbers = numbers[~numbers["metric"].isin(NO_SPREAD) & numbers["problems"].notna()]
    for (benchmark, metric), group in numbers.groupby(["benchmark", "metric"], sort=False):
        for a, b in combinations(group.to_dict("records"), 2):
            first, second = sorted((a, b), key=lambda row: -row["value"])
            least, assumed, most = smallest_differences(first, second, between, correlation, confidence)
            row = {"benchmark": benchmark, "metric": metric, "a": first["system"], "b": second["system"]}
            row |= {"difference": first["value"] - second["value"], "least": least, "assumed": assumed, "most": most}
            rows.append(row | {"verdict": _claim(row["difference"], least, most)})
    return pd.DataFrame(rows)


def _claim(difference, least, most):
    return RESOLVABLE if difference > most else NOT_RESOLVABLE if difference < least else NEEDS_MORE


def smallest_differences(
    a: dict, b: dict, between: float, correlation: float, confidence: float
) -> tuple[float, float, float]:
    """The smallest significant difference of two published means: in the best case, as assumed, in the worst case."""
    problems, mean = int(a["problems"]), (a["value"] + b["value"]) / 2
    averaged = a["metric"] == "pass@1" and a["n"] > 1
    samples = int(a["n"]) if averaged else 1
    bound = student.ppf((1 + confidence) / 2, problems - 1)
    discordant = int(np.ceil(np.log2(2 / (1 - confidence))))  # least m with 2 · ½^m ≤ 1 − confidence
    best = bound * stats.difference_error(mean, problems, samples, between, 1.0) if averaged else discordant / problems
    assumed = bound * stats.difference_error(mean, problems, samples, between, correlation)
    return best, assumed, bound * stats.difference_error(mean, problems, samples, 1.0, 0.0)

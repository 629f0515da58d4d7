"""Published numbers compared with ours.

Where only a mean is known, its uncertainty is assumed as in `stats.difference_error`: a verdict has variance
V = mean · (1−mean), the share `between` of it lies between problems, and the problem accuracies of two systems on the
same problems have the given `correlation`.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lead_kit.data import named_sets
from lead_kit.errors import InputError, nearest
from lead_kit.evaluate import metrics, stats
from lead_kit.evaluate.graded_samples import Suite
from lead_kit.runs.manifest import read_manifest

_SETTINGS = ["n", "temperature", "top_p", "min_p", "max_tokens", "problems"]
AGREES, DIFFERS, TOO_SMALL = "agrees", "differs", "cannot be told apart at this size"


@cache
def _named(kind: str, name: str) -> dict:
    known = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))[kind]
    if name not in known:
        raise InputError(f"no published {kind[:-1]} {name!r}; there are {', '.join(known)}{nearest(name, known)}")
    return known[name]


def published_curve(name: str) -> pd.DataFrame:
    """A published training curve: arm, step, value. Raises InputError naming the known curves."""
    points = _named("curves", name)["points"]
    return pd.DataFrame([(arm, *point) for arm in points for point in points[arm]], columns=["arm", "step", "value"])


def published_table(table: str) -> pd.DataFrame:
    """A published table, one row a number: table, benchmark, system, metric, value, its settings, source.

    Raises InputError naming the known tables.
    """
    entry = _named("tables", table)
    wide = pd.DataFrame(entry["rows"], columns=entry["columns"])
    wide = wide.assign(**{name: entry["settings"][name] for name in _SETTINGS if name not in wide})
    keys = [name for name in ("benchmark", "system", *_SETTINGS, "standard_error") if name in wide]
    return wide.melt(keys, var_name="metric").assign(table=table, source=entry["source"])


def settings_of(samples: list[Path]) -> dict:
    """Sampling settings of an evaluation by 04_evaluate, from the run.json beside its samples; {} without one."""
    for path in samples:
        parameters = (read_manifest(path if path.is_dir() else path.parent) or {}).get("parameters", {})
        source = named_sets.SETS.get(parameters.get("benchmark"))
        if source and source.asked:
            overrides = {name: parameters[name] for name in named_sets.BenchmarkSettings._fields if name in parameters}
            return named_sets.benchmark_settings(parameters["benchmark"], **overrides)._asdict()
    return {}


def compare_with_published(
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

    `agrees`: the interval is within ± margin (for lengths, ± margin times the published value). `differs`: it excludes
    0. `not computed`: the source does not state n or problems. The published system is assumed to have our spread over
    problems, and `correlation` with ours (0 where the numbers of problems differ). Raises InputError where the table
    has no such benchmark.
    """
    theirs = published_table(table)
    known = list(dict.fromkeys(theirs["benchmark"]))
    if benchmark not in known:
        hint = nearest(benchmark, known)
        raise InputError(f"table {table!r} has no benchmark {benchmark!r}{hint}; it has {', '.join(known)}")
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in suites):
        ours = [suite.samples for (name, _), suite in suites.items() if name == arm]
        n = ours[0].correct.shape[1]
        for row in theirs[theirs["benchmark"] == benchmark].to_dict("records"):
            metric = "cons@n" if row["metric"] == f"cons@{n}" else row["metric"]
            if metric not in ("pass@1", "cons@n", "length"):  # ours cannot be compared in others
                continue
            values = np.mean([metrics.measure(one, metric).numerator for one in ours], axis=0)  # of each problem
            same = len(values) == row["problems"]
            error = _error(ours, values, row, between, correlation if same else 0.0)
            used = settings | {"n": n, "problems": len(values)}
            verdict = _verdict(values, error, row, margin)
            rows.append({"arm": arm, **verdict, "settings that differ": _differing_settings(used, row)})
    return pd.DataFrame(rows)


def _error(ours, values, row, between, correlation):
    """s.e. of the difference: the part between problems that the correlation leaves, and both sides' sampling noise."""
    problems = len(values)
    if _not_stated(row):
        return np.nan
    if row["metric"] == "pass@1" and ours[0].correct.shape[1] > 1:
        correct = np.concatenate([one.correct for one in ours], axis=1)
        spread, within = stats.variance_parts(correct)
        noise = within / correct.shape[1] + within / row["n"]
        return np.sqrt((2 * spread * (1 - correlation) + noise) / problems)
    if row["metric"] == "length":
        return np.sqrt(2 * values.var(ddof=1) * (1 - correlation) / problems)
    return stats.difference_error((values.mean() + row["value"]) / 2, problems, 1, between, correlation)


def _verdict(values, error, row, margin):
    difference = values.mean() - row["value"]
    half = stats.critical(len(values)) * error
    width = margin * (row["value"] if row["metric"] == "length" else 1)
    inside = abs(difference) + half <= width
    verdict = _not_stated(row) or (AGREES if inside else DIFFERS if abs(difference) > half else TOO_SMALL)
    named = {"published": row["system"], "metric": row["metric"], "ours": values.mean(), "theirs": row["value"]}
    return named | {"difference": difference, "low": difference - half, "high": difference + half, "verdict": verdict}


def _not_stated(row: dict) -> str:
    """The verdict on a published number whose error cannot be computed, such as `not computed: n not stated`; or ""."""
    missing = [name for name in ("n", "problems") if pd.isna(row[name])]
    return f"not computed: {' and '.join(missing)} not stated" if missing else ""


def _differing_settings(ours: dict, row: dict) -> str:
    """Settings that differ or that one side does not state, such as `temperature: 1 here, 0.6 there`."""
    texts = []
    for name in _SETTINGS:
        here, there = (float("nan") if side.get(name) is None else float(side[name]) for side in (ours, row))
        if not np.isclose(here, there):  # also where one is nan
            here, there = ("not stated" if np.isnan(value) else f"{value:g}" for value in (here, there))
            texts.append(f"{name}: {here} here, {there} there")
    return "; ".join(texts)

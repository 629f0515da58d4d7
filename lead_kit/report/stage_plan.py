"""`lead plan-stage`: the problems of the next stage by pass rate, and the expected number of selection errors.

The pass rate p of a problem solved in `hits` of `n` independent samples has the posterior Beta(a + hits, b + n − hits)
under the prior Beta(a, b), which is fitted to all problems. Rollouts of a training run are samples of several policies;
their p is then the mean over that stretch of training.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import beta, betabinom

from lead_kit.data import load
from lead_kit.errors import InputError, lookup, nearest, nearest_or_all, shorten
from lead_kit.evaluate.graded_samples import read_samples
from lead_kit.runs.files import atomic, resolve, shown

_MOST_SAMPLES = 256  # the largest number of samples that is tried as the denominator of a column of rates
_TOLERANCE = 1e-3  # of a rate times n from a whole number: rates are often written with a few digits
KEPT, NEVER, EASY = "kept", "never solved", "solved too often"
_BOUNDS = (0.05, 50.0)  # of a and b: beyond, a prior of few problems would be certain of what it has not seen


class Rule(NamedTuple):
    """Keeps low < pass rate ≤ high."""

    low: float
    high: float
    source: str


RULES = {
    "grpo_lead": Rule(0.0, 0.75, "GRPO-LEAD (2504.09696), stage 2: 0 < p ≤ .75"),
    "retire_solved": Rule(-1.0, np.nextafter(0.9, 0), "ScaleRL (2510.13786): problems with p ≥ .9 are retired"),
}


def hits_of_samples(source: Path, model: str = "") -> pd.DataFrame:
    """One row a problem (id, hits, n) of a run's rollouts, an evaluation, or a file of samples.

    `model` chooses one arm, or model, of an evaluation of several. Raises InputError where there are no samples, a
    column is missing, or several models are mixed.
    """
    source = Path(source)
    logged = sorted((source / "rollouts").glob("*.parquet")) or sorted(source.glob("samples.jsonl"))
    files = logged if source.is_dir() else [source]
    if not files:
        raise InputError(f"{shown(source)} has no rollouts and no samples.jsonl: expected a 03_grpo or 04_evaluate run")
    frames = [read_samples(file, ("id", "correct")) for file in files]
    frame = pd.concat(frames, ignore_index=True)
    for label in ("arm", "model"):
        names = sorted(map(str, frame[label].dropna().unique())) if label in frame else []
        if model in names:
            frame = frame[frame[label].astype(str) == model]
        elif len(names) > 1 and model:
            raise InputError(f"{shown(source)} has no model {model!r}{nearest_or_all(model, names)}")
        elif len(names) > 1:
            raise InputError(f"{shown(source)} holds several models: choose one, as in {source.name}@{names[0]}")
    return frame.groupby("id")["correct"].agg(hits="sum", n="size").reset_index()


def hits_of_column(records: list[dict], column: str, samples: int = 0) -> pd.DataFrame:
    """The same from a column with the share of right samples; `samples` stand behind each share.

    With 0 it is the smallest number of which every share is a whole multiple. Raises InputError for a column that is
    not there, a share outside 0…1, or shares that are no multiples of 1/samples.
    """
    shares_by_id = [(str(record["id"]), record[column]) for record in records if record.get(column) is not None]
    if not shares_by_id:
        names = sorted(set().union(*records)) if records else []
        raise InputError(f"pass_rates is {column!r}: neither a run with rollouts nor a column{nearest(column, names)}")
    for number, value in shares_by_id:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{column} of problem {number} is {shorten(repr(value))}, expected a share from 0 to 1")
    shares = np.array([share for _, share in shares_by_id], float)
    n = samples or _smallest_denominator(shares)
    errors = np.abs(shares * n - np.round(shares * n))
    if not n or errors.max() > _TOLERANCE * n:
        raise InputError(
            f"{column} holds {shares[errors.argmax()]:g}, which is no multiple of 1/{n or _MOST_SAMPLES}: give the "
            "number of samples behind each share (pass_rate_samples, --samples)"
        )
    hits = np.round(shares * n).astype(int)
    return pd.DataFrame({"id": [problem for problem, _ in shares_by_id], "hits": hits, "n": n})


def _smallest_denominator(shares: np.ndarray) -> int:
    """The smallest n ≤ MOST_SAMPLES with every share a multiple of 1/n; 0 when there is none."""
    distinct = np.unique(shares)
    counts = range(1, _MOST_SAMPLES + 1)
    return next((n for n in counts if np.abs(distinct * n - np.round(distinct * n)).max() <= 1e-6 * n), 0)


def pass_rates(counts: pd.DataFrame) -> dict[str, float]:
    """The pass rate of each problem by id."""
    return dict(zip(counts["id"], counts["hits"] / counts["n"], strict=True))


def _fitted_prior(hits, n) -> tuple[float, float]:
    """a and b of the Beta prior under which these hits are most likely (beta-binomial, empirical Bayes), in BOUNDS.

    Where no problem has 0 hits the set was selected that way, and the likelihood is that of hits ≥ 1.
    """
    (seen, drawn), times = np.unique(np.stack([hits, n]), axis=1, return_counts=True)

    def surprise(logs):
        a, b = np.exp(logs)
        likelihood = betabinom.logpmf(seen, drawn, a, b)
        if seen.min() > 0:
            likelihood = likelihood - np.log1p(-betabinom.pmf(0, drawn, a, b))
        return -(times * likelihood).sum()

    fit = minimize(surprise, [0.0, 0.0], method="L-BFGS-B", bounds=[tuple(np.log(_BOUNDS))] * 2)
    return tuple(np.exp(fit.x).tolist())


def plan_table(counts: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """The counts with rate, part and sure for each problem.

    `part`: kept, never solved (at or below the rule's low end) or solved too often. `sure`: the probability that the
    true pass rate lies on the side of the rule's high end on which the measured one lies.

    Raises InputError where there is no problem.
    """
    if counts.empty:
        raise InputError("none of these problems has a pass rate: are their ids those of the run or column?")
    hits, n = counts["hits"].to_numpy(), counts["n"].to_numpy()
    a, b = _fitted_prior(hits, n)
    rate, below = hits / n, beta.cdf(min(rule.high, 1.0), a + hits, b + n - hits)
    part = np.select([rate > rule.high, rate <= rule.low], [EASY, NEVER], KEPT)
    return counts.assign(rate=rate, part=part, sure=np.where(part == EASY, 1 - below, below))


def describe_plan(planned: pd.DataFrame, rule: Rule, added: int = 0) -> list[str]:
    """What the rule keeps, and the expected number of selection errors."""
    parts = planned["part"].value_counts()
    kept, sizes = parts.get(KEPT, 0), sorted(set(planned["n"]))
    samples = " to ".join(map(str, dict.fromkeys([sizes[0], sizes[-1]])))
    others = "".join(f", {parts[name]} were {name}" for name in (NEVER, EASY) if name in parts)
    lines = [f"{rule.source}. {len(planned)} problems, {samples} samples each: {kept} are kept{others}."]
    for name, what in ((KEPT, "are truly above"), (EASY, "are truly at or below")):
        rows = planned[planned["part"] == name]
        if len(rows):
            wrong = (1 - rows["sure"]).sum()
            share = f"{wrong:.0f} ({wrong / len(rows):.0%})"
            lines.append(f"Of the {len(rows)} {name}, {share} {what} {rule.high:.3g}, by expectation.")
    if added:
        lines.append(f"With the added set the stage has {kept + added} problems.")
    return lines if kept else [*lines, "Nothing is kept: there is no stage to plan."]


def plan_command(source: str, column: str, samples: int, rule: str, add: str, out: str | None) -> None:
    """Prints the plan of a stage and, with `out`, writes its table to a folder.

    `source` is a run or a file of samples (`SOURCE@MODEL` takes one model), or with `column` a file of problems.
    """
    chosen_rule, (name, _, model) = lookup(RULES, rule, "--rule"), source.partition("@")
    if samples < 0 or samples and not column:
        raise InputError(f"--samples {samples}: expected 1 or more, with --column")
    if column:
        counts = hits_of_column(load.load_problems(source, need_gold=False), column, samples)
    elif resolve(name).exists():
        counts = hits_of_samples(resolve(name), model)
    else:
        raise InputError(f"{name} does not exist: expected a run folder or a file of samples")
    planned = plan_table(counts, chosen_rule)
    print(*describe_plan(planned, chosen_rule, len(load.load_problems(add)) if add else 0), sep="\n")
    if out:
        path = Path(out).expanduser().absolute() / "problems.csv"
        with atomic(path) as part:
            planned.to_csv(part, index=False)
        print(f"written: {shown(path)}")

"""Which problems the next stage trains on, and how sure that choice is: the pass rate as a Beta variable.

A problem that was solved in `hits` of `n` independent samples has a pass rate p with posterior Beta(a + hits,
b + n − hits) under the prior Beta(a, b). `hits` and `n` are (problems,). Rollouts of a training run are samples of
several policies; their p is then the mean over that stretch of training.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats
from scipy.special import betaln

from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.evaluate.sample_arrays import read_samples
from lead_kit.evaluate.stats import CONFIDENCE
from lead_kit.runs.files import shown

_MOST_SAMPLES = 256  # the largest number of samples that is tried as the denominator of a column of rates
_TOLERANCE = 1e-3  # of a rate times n from a whole number: rates are often written with a few digits
BOUNDS = (0.05, 50.0)  # of a and b: beyond, a prior of few problems would be certain of what it has not seen


class Prior(NamedTuple):
    """The distribution Beta(a, b) of the pass rates before any sample."""

    a: float
    b: float


_JEFFREYS = Prior(0.5, 0.5)  # of the interval of one problem; close to its nominal coverage (Brown, Cai, DasGupta 2001)


class Rule(NamedTuple):
    """Keeps low < pass rate ≤ high."""

    low: float
    high: float
    source: str


RULES = {
    "grpo_lead": Rule(0.0, 0.75, "GRPO-LEAD (2504.09696), stage 2: 0 < p ≤ .75"),
    "retire_solved": Rule(-1.0, np.nextafter(0.9, 0), "ScaleRL (2510.13786): problems with p ≥ .9 are retired"),
}


def passes_rule(rate, rule: Rule) -> np.ndarray:
    """Whether each pass rate passes the rule."""
    rate = np.asarray(rate, float)
    return (rule.low < rate) & (rate <= rule.high)


def beta_interval(hits, n, prior: Prior = _JEFFREYS) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed 95% interval of each pass rate; at 0 and n hits it reaches to 0 and 1."""
    hits, n = np.asarray(hits), np.asarray(n)
    low, high = (stats.beta.ppf(q, prior.a + hits, prior.b + n - hits) for q in _tail_probabilities())
    return np.where(hits == 0, 0.0, low), np.where(hits == n, 1.0, high)


def _tail_probabilities() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def fitted_prior(hits, n) -> Prior:
    """The Beta prior under which these hits are most likely (beta-binomial, empirical Bayes), a and b in BOUNDS.

    Where no problem has 0 hits the set was chosen so, and the likelihood is that of hits ≥ 1.
    """
    hits, n = np.asarray(hits), np.asarray(n)
    pairs, times = np.unique(np.stack([hits, n]), axis=1, return_counts=True)
    seen, of = pairs

    def surprise(logs):
        a, b = np.exp(logs)
        likelihood = stats.betabinom.logpmf(seen, of, a, b)
        if seen.min() > 0:
            likelihood = likelihood - np.log1p(-stats.betabinom.pmf(0, of, a, b))
        return -(times * likelihood).sum()

    found = optimize.minimize(surprise, [0.0, 0.0], method="L-BFGS-B", bounds=[tuple(np.log(BOUNDS))] * 2)
    return Prior(*np.exp(found.x).tolist())


def probability_within(hits, n, prior: Prior, rule: Rule) -> np.ndarray:
    """The posterior probability of low < p ≤ high for each problem."""
    posterior = prior.a + np.asarray(hits), prior.b + np.asarray(n) - np.asarray(hits)
    return stats.beta.cdf(min(rule.high, 1.0), *posterior) - stats.beta.cdf(max(rule.low, 0.0), *posterior)


def probability_same_decision(hits, n, prior: Prior, rule: Rule) -> np.ndarray:
    """The probability that n new samples of each problem would have it kept (beta-binomial prediction)."""
    hits, n = np.broadcast_arrays(np.asarray(hits), np.asarray(n))
    answers = {}
    for one, of in set(zip(hits.tolist(), n.tolist(), strict=True)):
        counts = np.arange(of + 1)
        chance = stats.betabinom.pmf(counts, of, prior.a + one, prior.b + of - one)
        answers[one, of] = float(chance[passes_rule(counts / of, rule)].sum())
    return np.array([answers[pair] for pair in zip(hits.tolist(), n.tolist(), strict=True)])


def share_all_right_or_all_wrong(hits, n, prior: Prior, group_size: int) -> np.ndarray:
    """E[p^G + (1−p)^G] of each problem: the chance that a group of G has only right or only wrong answers.

    With the posterior Beta(α, β): B(α+G, β)/B(α, β) + B(α, β+G)/B(α, β).
    """
    alpha, beta = prior.a + np.asarray(hits), prior.b + np.asarray(n) - np.asarray(hits)
    none = betaln(alpha, beta)
    return np.exp(betaln(alpha + group_size, beta) - none) + np.exp(betaln(alpha, beta + group_size) - none)


def hits_of_samples(source: Path, model: str = "") -> pd.DataFrame:
    """One row a problem (id, hits, n, and tokens, the mean length) of a run's rollouts, an evaluation, or a file.

    `model` chooses one arm, or model, of an evaluation of several. Raises InputError where there are no samples, a
    column is missing, or several models are mixed.
    """
    source = Path(source)
    files = sorted((source / "rollouts").glob("*.parquet")) or [f for f in [source / "samples.jsonl"] if f.is_file()]
    if source.is_dir() and not files:
        raise InputError(f"{shown(source)} has no rollouts and no samples.jsonl: expected a 03_grpo or 04_evaluate run")
    frames = [read_samples(file, ("id", "correct")) for file in (files if source.is_dir() else [source])]
    frame = pd.concat(frames, ignore_index=True)
    for label in ("arm", "model"):
        names = sorted(map(str, frame[label].dropna().unique())) if label in frame else []
        if model in names:
            frame = frame[frame[label].astype(str) == model]
        elif len(names) > 1 and model:
            raise InputError(f"{shown(source)} has no model {model!r}{nearest_or_all(model, names)}")
        elif len(names) > 1:
            raise InputError(f"{shown(source)} holds several models: choose one, as in {source.name}@{names[0]}")
    frame = frame if "length" in frame else frame.assign(length=np.nan)
    counts = frame.groupby("id").agg(hits=("correct", "sum"), n=("correct", "size"), tokens=("length", "mean"))
    return counts.reset_index()


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
    errors = np.abs(shares * n - np.round(shares * n)) if n else np.ones(1)
    if errors.max() > _TOLERANCE * max(n, 1):
        worst = shares[errors.argmax()] if n else shares[0]
        raise InputError(
            f"{column} holds {worst:g}, which is no multiple of 1/{n or _MOST_SAMPLES}: give the number of samples "
            "behind each share (pass_rate_samples, --samples)"
        )
    hits = np.round(shares * n).astype(int)
    return pd.DataFrame({"id": [problem for problem, _ in shares_by_id], "hits": hits, "n": n, "tokens": np.nan})


def _smallest_denominator(shares: np.ndarray) -> int:
    """The smallest n ≤ MOST_SAMPLES with every share a multiple of 1/n; 0 when there is none."""
    distinct = np.unique(shares)
    for n in range(1, _MOST_SAMPLES + 1):
        if np.abs(distinct * n - np.round(distinct * n)).max() <= 1e-6 * n:
            return n
    return 0


def pass_rates(counts: pd.DataFrame) -> dict[str, float]:
    """The pass rate of each problem by id."""
    return dict(zip(counts["id"], counts["hits"] / counts["n"], strict=True))

"""Which problems the next stage trains on, and how sure that choice is: the pass rate as a Beta variable.

A problem that was solved in `hits` of `n` independent samples has a pass rate p with posterior Beta(a + hits,
b + n − hits) under the prior Beta(a, b). `hits` and `n` are (problems,). Rollouts of a training run are samples of
several policies; their p is then the mean over that stretch of training.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.special import betaln

from lead_kit.evaluate.stats import CONFIDENCE

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

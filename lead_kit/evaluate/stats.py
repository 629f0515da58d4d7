"""Uncertainty: intervals over problems or seeds as clusters, paired tests, Holm's correction, power.

Samples of one problem are not independent, so the unit is the cluster: `values` is (..., clusters), one number per
problem or per seed; leading dimensions are separate suites computed at once. Everything random takes a seed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95  # of every interval in the kit; the figures' captions say so
_POWER = 0.8  # of the smallest detectable effect
RESAMPLES = 2000  # the Monte Carlo error of a bound is then about 2% of the interval's width
NO_DIFFERENCE = "no detectable difference"


class Interval(NamedTuple):
    """An estimate and its bounds, which are nan for one cluster: it has no spread."""

    estimate: float
    low: float
    high: float
    clusters: int


class _Difference(NamedTuple):
    """A − B on the same clusters: t-interval and its p, cluster-bootstrap interval."""

    estimate: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    p_t: float
    clusters: int


def critical(clusters: int) -> float:
    """Student's t at the bound of a two-sided interval over so many clusters."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1))


def t_interval(values) -> Interval:
    """Mean of cluster values ± t · standard error; of a ratio, take its `linearised` values.

    The s.e. is sd/√Q: the spread between Q problems, sampling noise included. (..., clusters) → fields of shape (...).

    >>> t_interval([0.0, 1.0, 1.0, 0.0]).estimate.item()
    0.5
    """
    values = np.asarray(values, float)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"an interval needs values (..., clusters): their shape is {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("an interval needs a number for every cluster: there are nan or infinite values")
    clusters, estimate = values.shape[-1], values.mean(axis=-1)
    if clusters == 1:
        return Interval(estimate, np.nan * estimate, np.nan * estimate, clusters)
    half = critical(clusters) * values.std(axis=-1, ddof=1) / np.sqrt(clusters)
    return Interval(estimate, estimate - half, estimate + half, clusters)


def share_interval(values) -> Interval:
    """t-interval of a share (problems,), cut to [0, 1]; the exact binomial one where all are 0 or all are 1."""
    values = np.asarray(values, float)
    interval = t_interval(values)
    if np.ptp(values) == 0 and values[0] in (0, 1):
        exact = stats.binomtest(int(values.sum()), len(values)).proportion_ci(CONFIDENCE)
        return interval._replace(low=exact.low, high=exact.high)
    return interval._replace(low=max(interval.low, 0.0), high=min(interval.high, 1.0))


def cluster_bootstrap(values, *, seed: int) -> Interval:
    """Percentile bootstrap over clusters of the mean of (..., clusters) values.

    Its level is raised so that it covers as often as it says with few clusters (Hesterberg 2015, §5.3.3): resampling Q
    clusters understates the spread by √((Q−1)/Q), and its percentiles correspond to z in place of t.
    """
    interval = t_interval(values)
    clusters = interval.clusters
    if clusters == 1:
        return interval
    weights = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES).T
    tail = stats.norm.sf(np.sqrt(clusters / (clusters - 1)) * critical(clusters))
    low, high = np.quantile(np.asarray(values, float) @ weights / clusters, [tail, 1 - tail], axis=-1)
    return interval._replace(low=low, high=high)


def two_level_interval(values) -> Interval:
    """Mean of (seeds, problems), two or more of each, for new seeds and new problems alike.

    Seeds and problems are crossed: Var = V_seeds/S + V_problems/Q − V_rest/(S·Q), with the variances of the row means,
    of the column means and of the residual; degrees of freedom after Satterthwaite. The residual is in both of the
    first two terms, hence the minus.
    """
    values = np.asarray(values, float)
    seeds, problems = values.shape
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - rows[:, None] - columns + mean
    freedom = np.array([seeds - 1, problems - 1, (seeds - 1) * (problems - 1)])
    parts = np.array([rows.var(ddof=1) / seeds, columns.var(ddof=1) / problems, -(rest**2).sum() / freedom[2]])
    parts[2] /= seeds * problems
    variance = max(parts.sum(), parts[:2].max())  # by chance the sum can fall below one of its parts
    effective = variance**2 / max((parts**2 / freedom).sum(), np.finfo(float).tiny)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, max(effective, 1)) * np.sqrt(variance)
    return Interval(mean, mean - half, mean + half, min(seeds, problems))


def two_level_bootstrap(values, *, seed: int) -> Interval:
    """As `two_level_interval`, by resampling seeds and problems together (Owen 2007); conservative."""
    values = np.asarray(values, float)
    random = np.random.default_rng(seed)
    seeds, problems = values.shape
    by_seed = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    by_problem = random.multinomial(problems, np.full(problems, 1 / problems), RESAMPLES) / problems
    means = np.einsum("bs,sq,bq->b", by_seed, values, by_problem, optimize=True)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(values.mean(), low, high, min(seeds, problems))


def interquartile_mean(scores):
    """The mean of the middle half of (..., runs) scores (Agarwal et al. 2021, §4.3).

    >>> float(interquartile_mean([0.0, 1.0, 2.0, 9.0]))
    1.5
    """
    scores = np.sort(np.asarray(scores, float))
    cut = scores.shape[-1] // 4
    return scores[..., cut : scores.shape[-1] - cut].mean(axis=-1)


def probability_of_improvement(x, y):
    """P(X > Y) of (..., runs) scores: the share of pairs of runs in which x is above y, a tie counting half
    (Agarwal et al. 2021, §4.3).

    >>> float(probability_of_improvement([1.0, 2.0], [0.0, 1.0]))
    0.875
    """
    x, y = np.asarray(x, float)[..., :, None], np.asarray(y, float)[..., None, :]
    return ((x > y) + (x == y) / 2).mean(axis=(-2, -1))


def stratified_bootstrap(statistic: Callable, *scores, seed: int) -> Interval:
    """`statistic` of sets of (runs,) scores, and its percentile interval (Agarwal et al. 2021, §4.1, for one task).

    The runs of each set are drawn again, independently of the other sets.
    """
    random = np.random.default_rng(seed)
    drawn = [np.asarray(runs, float)[random.integers(len(runs), size=(RESAMPLES, len(runs)))] for runs in scores]
    low, high = np.quantile(statistic(*drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(statistic(*scores)), float(low), float(high), len(scores[0]))


def _t_test_p(differences) -> float:
    """Two-sided p of the paired t-test, consistent with `t_interval`; 1 where all differences are 0, nan for one."""
    differences = np.asarray(differences, float)
    if len(differences) > 1 and np.ptp(differences) == 0:
        return float(differences[0] == 0)
    return float(stats.ttest_1samp(differences, 0).pvalue) if len(differences) > 1 else float("nan")


def leave_one_out_p(differences) -> np.ndarray:
    """p of the paired t-test without each cluster in turn, (clusters,)."""
    return np.array([_t_test_p(np.delete(differences, left_out)) for left_out in range(len(differences))])


def paired_difference(a, b, *, seed: int) -> _Difference:
    """A − B over the same clusters, (clusters,) each: problems for two models, seeds for two training arms.

    The difference of two ratios is that of their `linearised` values.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a paired difference needs the same clusters on both sides: shapes {a.shape} and {b.shape}")
    parts = np.round(a - b, 12)  # sums of the same numbers in another order are equal
    interval, resampled = t_interval(parts), cluster_bootstrap(parts, seed=seed)
    return _Difference(*map(float, [*interval[:3], *resampled[1:3], _t_test_p(parts)]), len(parts))


def linearised(numerator, denominator):
    """(..., clusters) values with mean Σ numerator / Σ denominator and, to first order, the spread of that ratio."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    if (denominator == 1).all():
        return numerator
    total = denominator.sum(axis=-1, keepdims=True)
    if not total.all():
        raise ValueError("a ratio needs a denominator that is not 0")
    ratio = numerator.sum(axis=-1, keepdims=True) / total
    return ratio + (numerator - ratio * denominator) / denominator.mean(axis=-1, keepdims=True)


def holm(p_values) -> np.ndarray:
    """Holm's step-down adjusted p-values (1979), in the given order: they control the family-wise error rate.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted[np.argsort(order)]


def variance_parts(correct) -> tuple[float, float]:
    """(between, within): variance of the problems' true accuracies, and of one sample of a problem.

    `correct` is (problems, samples), two samples or more. Unbiased: between = var(p̂_q) − within/n, not below 0.
    """
    correct = np.asarray(correct, float)
    if correct.shape[1] < 2:
        raise ValueError("one sample per problem does not separate sampling noise from differences between problems")
    within = float(correct.var(axis=1, ddof=1).mean())
    return max(0.0, float(correct.mean(axis=1).var(ddof=1)) - within / correct.shape[1]), within


def difference_error(mean: float, problems: int, samples: int, between: float, correlation: float) -> float:
    """s.e. of the difference of two systems of accuracy near `mean` on the same problems, from aggregates alone.

    One verdict has variance V = mean · (1−mean). `between` is the share of V that lies between problems (0: all are
    equally hard; 1: each is always or never solved). `correlation` is that of the two systems' problem accuracies (0:
    as on two sets of problems; 1: only sampling noise is left).
    s.e.² = 2 [between · V · (1−correlation) + (1−between) · V / samples] / problems.
    """
    variance = mean * (1 - mean)
    spread = between * variance * (1 - correlation) + (1 - between) * variance / samples
    return float(np.sqrt(2 * spread / problems))


def minimum_detectable_effect(standard_error: float, clusters: int) -> float:
    """The smallest true difference that a two-sided t-test at 5% detects with 80% power."""
    if clusters < 2:
        raise ValueError(f"a difference needs at least two clusters: {clusters}")
    return float((critical(clusters) + stats.t.ppf(_POWER, clusters - 1)) * standard_error)


def detectable_effect(problems: int, samples: int, *, mean: float, between: float, correlation: float) -> float:
    """The smallest true difference that a suite detects with 80% power; assumptions as in `difference_error`.

    >>> round(detectable_effect(30, 16, mean=0.5, between=0.5, correlation=0.5), 2)
    0.2
    """
    return minimum_detectable_effect(difference_error(mean, problems, samples, between, correlation), problems)


def verdict(difference: _Difference, more: str = "higher", less: str = "lower", p: float | None = None) -> str:
    """The words for a difference, from its interval or, among several comparisons, from its corrected p-value.

    >>> verdict(paired_difference([1, 1, 0, 1], [0, 1, 0, 0], seed=0))
    'no detectable difference'
    """
    if np.isnan(difference.low):
        return "one pair only: no interval"
    detected = (difference.low > 0 or difference.high < 0) if p is None else p < 1 - CONFIDENCE
    if not detected:
        return NO_DIFFERENCE
    return more if difference.estimate > 0 else less

"""How sure a number is: intervals with problems or seeds as clusters, paired tests, Holm, what a suite can show.

Samples of one problem are not independent, so the unit is the cluster: `values` is (..., clusters), one number per
problem or per seed; leading dimensions are separate suites done at once. Everything random takes a seed.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95  # of every interval in the kit; the figures' captions say so
RESAMPLES = 2000  # the Monte Carlo error of a bound is then about 2% of the interval's width
NO_DIFFERENCE = "no detectable difference"


class Interval(NamedTuple):
    """An estimate between two bounds; nan bounds: one cluster has no spread to judge by."""

    estimate: float
    low: float
    high: float
    clusters: int


class Difference(NamedTuple):
    """A − B on the same clusters: t-interval and its p, cluster-bootstrap interval, sign-flip permutation p."""

    estimate: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    p_t: float
    p: float
    clusters: int

    @property
    def detectable(self) -> bool:
        """Does the t-interval leave 0 out? False where there is no interval."""
        return bool(self.low > 0 or self.high < 0)


def _columns(numerator, denominator) -> tuple[np.ndarray, np.ndarray]:
    numerator = np.asarray(numerator, float)
    denominator = np.ones_like(numerator) if denominator is None else np.asarray(denominator, float)
    if numerator.ndim == 0 or numerator.shape[-1] == 0 or numerator.shape != denominator.shape:
        raise ValueError(
            f"an interval needs values (..., clusters) of one shape: {numerator.shape}, {denominator.shape}"
        )
    if not np.isfinite(numerator).all():
        raise ValueError("an interval needs a number for every cluster: there are nan or infinite values")
    return numerator, denominator


def critical(clusters: int, confidence: float = CONFIDENCE) -> float:
    """Student's t at the bound of a two-sided interval over so many clusters."""
    return float(stats.t.ppf((1 + confidence) / 2, clusters - 1))


def t_interval(values, denominator=None, *, confidence: float = CONFIDENCE) -> Interval:
    """Mean of cluster values, or Σ values / Σ denominator, ± t · standard error.

    The s.e. of a mean is sd/√Q: the variance between problems, sampling noise included, over Q problems. That of a
    ratio is its linearisation: the sd of values − ratio · denominator. (..., clusters) → fields of shape (...).
    """
    numerator, denominator = _columns(values, denominator)
    clusters = numerator.shape[-1]
    total = denominator.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = numerator.sum(axis=-1) / total
        if clusters == 1:
            return Interval(estimate, np.nan * estimate, np.nan * estimate, clusters)
        residual = numerator - estimate[..., None] * denominator
        standard_error = residual.std(axis=-1, ddof=1) * np.sqrt(clusters) / total
    half = critical(clusters, confidence) * standard_error
    return Interval(estimate, estimate - half, estimate + half, clusters)


def share_interval(values, *, confidence: float = CONFIDENCE) -> Interval:
    """t-interval of a share, cut to [0, 1]; where every problem has 0, or every one 1, the exact binomial bound.

    Without that bound "0 of 30" would get an interval without width, as if 0 were certain. values (problems,).
    """
    values = np.asarray(values, float)
    interval = t_interval(values, confidence=confidence)
    if np.ptp(values) == 0 and values[0] in (0, 1):
        exact = stats.binomtest(int(values.sum()), len(values)).proportion_ci(confidence)
        return interval._replace(low=exact.low, high=exact.high)
    return interval._replace(low=max(interval.low, 0.0), high=min(interval.high, 1.0))


def _expanded(confidence: float, clusters: int) -> float:
    """The level at which a percentile bootstrap of few clusters covers as often as it says (Hesterberg 2015, §5.3.3).

    Resampling Q clusters understates the spread by √((Q−1)/Q) and ignores that it was estimated (z in place of t).
    """
    z = np.sqrt(clusters / (clusters - 1)) * critical(clusters, confidence)
    return float(2 * stats.norm.cdf(z) - 1)


def cluster_bootstrap(
    values, denominator=None, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Interval:
    """Percentile bootstrap over clusters, expanded for their number, of a mean or of Σ values / Σ denominator."""
    numerator, denominator = _columns(values, denominator)
    clusters = numerator.shape[-1]
    estimate = t_interval(numerator, denominator).estimate
    if clusters == 1:
        return Interval(estimate, np.nan * estimate, np.nan * estimate, clusters)
    found = stats.bootstrap(
        (numerator, denominator),
        lambda top, bottom, axis: top.sum(axis=axis) / bottom.sum(axis=axis),
        paired=True,
        vectorized=True,
        axis=-1,
        method="percentile",
        n_resamples=resamples,
        batch=max(1, 10**6 // numerator.size),  # holds the memory of a batch near 16 MB
        confidence_level=_expanded(confidence, clusters),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(estimate, found.low, found.high, clusters)


def two_level_interval(values, *, confidence: float = CONFIDENCE) -> Interval:
    """Mean of (seeds, problems) for new seeds and new problems alike.

    Seeds and problems are crossed: Var = V_seeds/S + V_problems/Q − V_rest/(S·Q), with the variances of the row means,
    the column means and what neither explains; degrees of freedom after Satterthwaite. The rest is in both of the
    first two terms, hence the minus. One seed: only problems are clusters.
    """
    values = np.asarray(values, float)
    seeds, problems = values.shape
    if seeds == 1:
        return t_interval(values[0], confidence=confidence)
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - rows[:, None] - columns + mean
    freedom = np.array([seeds - 1, problems - 1, (seeds - 1) * (problems - 1)])
    parts = np.array([rows.var(ddof=1) / seeds, columns.var(ddof=1) / problems, -(rest**2).sum() / freedom[2]])
    parts[2] /= seeds * problems
    variance = max(parts.sum(), parts[:2].max())  # the subtraction must not win by chance
    effective = variance**2 / max((parts**2 / freedom).sum(), np.finfo(float).tiny)
    half = stats.t.ppf((1 + confidence) / 2, max(effective, 1)) * np.sqrt(variance)
    return Interval(mean, mean - half, mean + half, min(seeds, problems))


def two_level_bootstrap(values, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> Interval:
    """As `two_level_interval` by resampling seeds and problems together (Owen 2007): errs on the wide side."""
    values = np.asarray(values, float)
    random = np.random.default_rng(seed)
    seeds, problems = values.shape
    by_seed = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    by_problem = random.multinomial(problems, np.full(problems, 1 / problems), resamples) / problems
    drawn = np.einsum("bs,sq,bq->b", by_seed, values, by_problem, optimize=True)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(values.mean(), low, high, min(seeds, problems))


def sign_flip_p(differences, *, seed: int, resamples: int = RESAMPLES):
    """Two-sided permutation p of "mean 0": the sign of each cluster's difference is flipped; exact where flips are few.

    With five clusters the smallest p there is is 2/32: no result can then be significant at .05 by this test alone.
    Shares of few samples tie often, and ties count against the difference: the false-alarm rate then lies below alpha.
    """
    differences, _ = _columns(differences, None)
    if differences.shape[-1] == 1:
        return np.ones(differences.shape[:-1])[()]
    return stats.permutation_test(
        (differences,),
        lambda drawn, axis: drawn.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, 10**6 // differences.size),
        rng=np.random.default_rng(seed),
    ).pvalue


def t_test_p(differences) -> float:
    """Two-sided p of the paired t-test, in step with `t_interval`; 1 where all differences are 0, nan for one."""
    differences = np.asarray(differences, float)
    if len(differences) > 1 and np.ptp(differences) == 0:
        return float(differences[0] == 0)
    return float(stats.ttest_1samp(differences, 0).pvalue) if len(differences) > 1 else float("nan")


def paired_difference(
    a, b, denominators=None, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Difference:
    """A − B over the same clusters, (clusters,) each: problems for two models, seeds for two training arms.

    With `denominators` = (of a, of b) it is the difference of two ratios, and each cluster counts by its linearised
    part in that difference.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a paired difference needs the same clusters on both sides: shapes {a.shape} and {b.shape}")
    parts = a - b if denominators is None else linearised(a, denominators[0]) - linearised(b, denominators[1])
    parts = np.round(parts, 12)  # equal numbers that were summed in another order do not differ
    interval = t_interval(parts, confidence=confidence)
    resampled = cluster_bootstrap(parts, seed=seed, resamples=resamples, confidence=confidence)
    p = sign_flip_p(parts, seed=seed, resamples=resamples)
    return Difference(*map(float, [*interval[:3], *resampled[1:3], t_test_p(parts), p]), len(parts))


def linearised(numerator, denominator):
    """(clusters,) values whose mean is Σ numerator / Σ denominator, and whose spread is the ratio's, to first order."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    if (denominator == 1).all():
        return numerator
    if not denominator.sum():
        raise ValueError("a ratio without a denominator has no difference: one side has nothing to divide by")
    ratio = numerator.sum() / denominator.sum()
    return ratio + (numerator - ratio * denominator) / denominator.mean()


def holm(p_values) -> np.ndarray:
    """Holm's step-down adjusted p-values (1979), in the given order: several comparisons, one false-alarm rate."""
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

    One verdict has variance V = mean · (1−mean). `between` is the share of it that lies between problems (0: all are
    equally hard; 1: each is always or never solved). `correlation` is that of the two systems' problem accuracies (0:
    as on two sets of problems; 1: only sampling noise is left).
    s.e.² = 2 [between · V · (1−correlation) + (1−between) · V / samples] / problems.
    """
    variance = mean * (1 - mean)
    spread = between * variance * (1 - correlation) + (1 - between) * variance / samples
    return float(np.sqrt(2 * spread / problems))


def minimum_detectable_effect(
    standard_error: float, clusters: int, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest true difference that a two-sided t-test at `alpha` finds with probability `power`."""
    if clusters < 2:
        raise ValueError(f"a difference needs at least two clusters: {clusters}")
    return float((stats.t.ppf(1 - alpha / 2, clusters - 1) + stats.t.ppf(power, clusters - 1)) * standard_error)


def detectable_effect(problems: int, samples: int, *, mean: float, between: float, correlation: float) -> float:
    """What a suite can show before money is spent on it: the smallest true difference that it finds with power .8.

    The assumptions are those of `difference_error`.
    """
    return minimum_detectable_effect(difference_error(mean, problems, samples, between, correlation), problems)


def verdict(difference: Difference, more: str = "higher", less: str = "lower", p: float | None = None) -> str:
    """The words for a difference, from its interval or, among several comparisons, from its corrected p-value."""
    if np.isnan(difference.low):
        return "one pair only: no interval"
    if not (difference.detectable if p is None else p < 1 - CONFIDENCE):
        return NO_DIFFERENCE
    return more if difference.estimate > 0 else less

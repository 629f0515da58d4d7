"""Metrics of a set of samples: pass@k, Cons@n, lengths, precision, the budget curve. Pure: arrays in, numbers out.

Arrays are (problems, samples); `correct` holds 0 or 1. A metric gives one value per problem, (problems,). The suite's
value is their mean, and `stats` computes its interval with problems as clusters. A metric pooled over problems
(precision, tokens per correct answer) is a ratio of two such columns; the suite's value is the ratio of their sums.
"""

import re
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.stats import hypergeom

NO_VOTE = -1  # the cluster of a sample that did not answer


class SampleArrays(NamedTuple):
    """One suite: every field is (problems, samples)."""

    correct: np.ndarray  # 1 where the verifier accepts
    answered: np.ndarray  # 1 where the sample ended and holds an answer
    truncated: np.ndarray  # 1 where it was cut at the token limit
    length: np.ndarray  # tokens generated
    cluster: np.ndarray  # equivalent answers of a problem have equal numbers; NO_VOTE: no answer


class _Ratio(NamedTuple):
    """Σ numerator / Σ denominator over problems; both are (problems,)."""

    numerator: np.ndarray
    denominator: np.ndarray

    @property
    def value(self) -> float:
        """The suite's value; nan where the denominator is 0."""
        total = float(np.sum(self.denominator))
        return float(np.sum(self.numerator)) / total if total else float("nan")


def _correct_counts(correct, k: int = 1) -> tuple[np.ndarray, int]:
    """Correct samples c of each problem (problems,) and samples n. Raises ValueError for values beside 0/1 or k > n."""
    correct = np.asarray(correct)
    if correct.ndim != 2 or 0 in correct.shape:
        raise ValueError(f"correct must be (problems, samples) and not empty: its shape is {correct.shape}")
    if not np.isin(correct, (0, 1)).all():
        raise ValueError(f"correct must hold 0 or 1: found {correct[~np.isin(correct, (0, 1))][0]}")
    if not 1 <= k <= correct.shape[1]:
        raise ValueError(f"k must lie between 1 and the number of samples: k is {k}, there are {correct.shape[1]}")
    return correct.sum(axis=1).astype(int), correct.shape[1]


def _at_least(correct, k: int, wanted: int) -> np.ndarray:
    """P[Hypergeom(n, c, k) ≥ wanted]: of k samples drawn without replacement, `wanted` or more are correct."""
    c, n = _correct_counts(correct, k)
    by_count = hypergeom.sf(wanted - 1, n, np.arange(n + 1), k)  # computed once for each possible c
    return by_count[c]


def avg_at_n(correct) -> np.ndarray:
    """avg@n = c/n, the "Pass@1" of the four systems' tables.

    >>> avg_at_n([[1, 0, 0, 1], [0, 0, 0, 0]]).tolist()
    [0.5, 0.0]
    """
    c, n = _correct_counts(correct)
    return c / n


def pass_at_k(correct, k: int) -> np.ndarray:
    """Unbiased pass@k = 1 − C(n−c, k)/C(n, k) (Codex, arXiv 2107.03374, eq. 1).

    >>> pass_at_k([[1, 0, 0, 1], [0, 0, 0, 0]], 2).round(3).tolist()
    [0.833, 0.0]
    """
    return _at_least(correct, k, 1)


def pass_hat_k(correct, k: int) -> np.ndarray:
    """pass^k = C(c, k)/C(n, k): all k are correct (τ-bench, arXiv 2406.12045).

    >>> pass_hat_k([[1, 0, 0, 1], [1, 1, 1, 1]], 2).round(3).tolist()
    [0.167, 1.0]
    """
    return _at_least(correct, k, k)


def g_pass_at_k(correct, k: int, tau: float) -> np.ndarray:
    """G-Pass@k_τ = P[Hypergeom(n, c, k) ≥ ⌈τk⌉] (arXiv 2412.13147); τ = 0 is taken as one correct sample."""
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is a share between 0 and 1: {tau}")
    return _at_least(correct, k, max(1, int(np.ceil(round(tau * k, 9)))))  # round: 0.28 · 25 is 7.000000000000001


def mg_pass_at_k(correct, k: int) -> np.ndarray:
    """mG-Pass@k = (2/k) Σ_{i=⌈k/2⌉+1..k} P[Hypergeom(n, c, k) ≥ i] (arXiv 2412.13147); at k = 1 the sum is empty: 0."""
    first = -(-k // 2) + 1
    return 2 / k * sum((_at_least(correct, k, i) for i in range(first, k + 1)), np.zeros(len(np.asarray(correct))))


def cons_at_n(correct, cluster) -> np.ndarray:
    """Cons@n: is the majority answer of all samples correct? Ties: the expectation over a random choice.

    `cluster` numbers the answers by equivalence. Unanswered samples (NO_VOTE) do not vote; a problem without any answer
    counts as wrong. Tied answers have equally many votes: the expectation is the mean of `correct` over their samples.

    >>> cons_at_n([[1, 1, 0]], [[4, 4, 7]]).tolist()
    [1.0]
    """
    correct, cluster = np.asarray(correct, float), np.asarray(cluster)
    if cluster.shape != correct.shape:
        raise ValueError(f"cluster and correct must have one shape: {cluster.shape} and {correct.shape}")
    _correct_counts(correct)
    voted, numbers = cluster != NO_VOTE, cluster - cluster.min()
    index = numbers + (numbers.max() + 1) * np.arange(len(numbers))[:, None]  # of a problem's class among all classes
    votes = np.bincount(index.ravel())[index] * voted
    leading = voted & (votes == votes.max(axis=1, keepdims=True))
    return (correct * leading).sum(axis=1) / np.maximum(leading.sum(axis=1), 1)


def cons_at_k(correct, cluster, k: int, draws: int = 200, seed: int = 0) -> np.ndarray:
    """Cons@k: the mean of Cons over all subsets of k samples, or over `draws` random ones if there are more."""
    correct, cluster = np.asarray(correct), np.asarray(cluster)
    n, random = _correct_counts(correct, k)[1], np.random.default_rng(seed)
    all_fit = comb(n, k) <= draws
    subsets = combinations(range(n), k) if all_fit else (random.permutation(n)[:k] for _ in range(draws))
    return np.mean([cons_at_n(correct[:, [*subset]], cluster[:, [*subset]]) for subset in subsets], axis=0)


def cluster_answers(answers, correct) -> np.ndarray:
    """Number the answers of each problem by equivalence: (problems, samples) of str or None → the same shape of int.

    Correct answers all equal the gold and are class 0. Wrong answers are compared with each other by
    `lead_kit.verify.cluster`. None or "" is no answer: NO_VOTE.

    >>> cluster_answers([["2", "3", None]], [[1, 0, 0]]).tolist()
    [[0, 1, -1]]
    """
    from lead_kit.verify import cluster  # imported late: its workers load sympy, which nothing else here needs

    numbers = np.full(np.shape(answers), NO_VOTE)
    for row, (texts, right) in enumerate(zip(answers, np.asarray(correct, bool), strict=True)):
        wrong = list(dict.fromkeys(answer for answer, hit in zip(texts, right, strict=True) if answer and not hit))
        classes = cluster(wrong) if len(wrong) > 1 else [0] * len(wrong)
        number_of = {answer: number + 1 for answer, number in zip(wrong, classes, strict=True)}
        for column, (answer, hit) in enumerate(zip(texts, right, strict=True)):
            if answer:
                numbers[row, column] = 0 if hit else number_of[answer]
    return numbers


def precision(correct, answered) -> _Ratio:
    """Correct / answered, pooled over problems (answered: ended, with a readable answer).

    >>> precision([[1, 0, 0]], [[1, 1, 0]]).value
    0.5
    """
    answered = np.asarray(answered, float)
    return _Ratio((np.asarray(correct) * answered).sum(axis=1), answered.sum(axis=1))


def _precision_per_problem(correct, answered) -> np.ndarray:
    """Correct / answered of each problem, 0 where no sample answered.

    GRPO-LEAD's Table 4 must be of this kind: pooled, its first row would be 18.8/20.3 = .926, but it prints .708.
    """
    pooled = precision(correct, answered)
    return pooled.numerator / np.maximum(pooled.denominator, 1)


def mean_length_correct(length, correct) -> _Ratio:
    """Mean tokens over correct samples, pooled over problems."""
    correct = np.asarray(correct, float)
    return _Ratio((np.asarray(length) * correct).sum(axis=1), correct.sum(axis=1))


def tokens_per_correct(length, correct) -> _Ratio:
    """All tokens spent / correct answers obtained."""
    return _Ratio(np.asarray(length, float).sum(axis=1), np.asarray(correct, float).sum(axis=1))


def budget_curve(correct, length, budgets) -> np.ndarray:
    """avg@n when samples longer than b tokens count as wrong, (problems, budgets) (GRPO-LEAD v2, Figure 3).

    >>> budget_curve([[1, 1]], [[10, 30]], [20, 40]).tolist()
    [[0.5, 1.0]]
    """
    within = np.asarray(length)[:, :, None] <= np.asarray(budgets)
    return (np.asarray(correct)[:, :, None] * within).mean(axis=1)


def levels_in_bins(level, edges) -> dict[str, np.ndarray]:
    """Label → mask (problems,): bins (edge, next edge], or without edges each distinct level; and missing levels."""
    level = np.array([np.nan if value is None else value for value in level], dtype=float)
    if len(edges):
        pairs = list(zip(edges[:-1], edges[1:], strict=True))
        bins = {f"({low:g}, {high:g}]": (level > low) & (level <= high) for low, high in pairs}
        bins["outside the bins"] = ~np.isnan(level) & ~np.any(list(bins.values()), axis=0)
    else:
        bins = {f"{value:g}": level == value for value in np.unique(level[~np.isnan(level)])}
    bins["no level"] = np.isnan(level)
    return {label: mask for label, mask in bins.items() if mask.any()}


_FIXED = {
    "precision": lambda s: precision(s.correct, s.answered),
    "precision_per_problem": lambda s: _precision_per_problem(s.correct, s.answered),
    "answered": lambda s: s.answered.mean(axis=1),
    "truncated": lambda s: s.truncated.mean(axis=1),
    "length": lambda s: s.length.mean(axis=1),
    "length_correct": lambda s: mean_length_correct(s.length, s.correct),
    "tokens_per_correct": lambda s: tokens_per_correct(s.length, s.correct),
}
_WITH_K = {
    "pass": lambda s, k: pass_at_k(s.correct, k),
    "pass^": lambda s, k: pass_hat_k(s.correct, k),
    "cons": lambda s, k: cons_at_k(s.correct, s.cluster, k),
    "mg-pass": lambda s, k: mg_pass_at_k(s.correct, k),
    "g-pass": lambda s, k, tau: g_pass_at_k(s.correct, k, tau),
}
_KNOWN = "pass@k, pass^k, cons@k, g-pass@k_tau, mg-pass@k (k a number or n), avg@n, " + ", ".join(_FIXED)


def measure(samples: SampleArrays, name: str) -> _Ratio:
    """A metric by its name, such as "pass@1", "cons@n", "g-pass@16_0.5". Raises ValueError listing the known ones."""
    if name in _FIXED:
        values = _FIXED[name](samples)
        return values if isinstance(values, _Ratio) else _Ratio(values, np.ones(len(values)))
    match = re.fullmatch(r"(pass\^|avg@|(?:m?g-)?pass@|cons@)(\d+|n)(?:_([\d.]+))?", name)
    if match is None or (match[3] is not None) != (match[1] == "g-pass@"):
        raise ValueError(f"no metric is called {name!r}; there are {_KNOWN}")
    kind, n = match[1].removesuffix("@"), np.asarray(samples.correct).shape[1]
    k = n if match[2] == "n" else int(match[2])
    if kind == "avg":
        if k != n:
            raise ValueError(f"{name} needs exactly {k} samples of each problem: there are {n}")
        values = avg_at_n(samples.correct)
    else:
        values = _WITH_K[kind](samples, k, *([float(match[3])] if match[3] else []))
    return _Ratio(values, np.ones(len(values)))

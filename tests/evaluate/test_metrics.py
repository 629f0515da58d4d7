"""Worked examples and properties of metrics.py."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytest import approx

from lead_kit.evaluate import metrics
from lead_kit.evaluate.metrics import NO_VOTE, SampleArrays, measure


def row(correct: int, samples: int):
    """One problem with `correct` right samples of `samples`."""
    return np.array([[1] * correct + [0] * (samples - correct)])


def suite(correct, cluster=None, length=None, answered=None):
    correct = np.asarray(correct)
    ones = np.ones_like(correct)
    return SampleArrays(
        correct,
        ones if answered is None else np.asarray(answered),
        0 * ones,
        ones if length is None else np.asarray(length),
        1 - correct if cluster is None else np.asarray(cluster),
    )


few = settings(max_examples=25)
verdicts = arrays(int, st.tuples(st.integers(1, 6), st.integers(1, 12)), elements=st.integers(0, 1))


def test_one_hit_in_four_is_certain_to_be_among_all_four():
    # drawing with replacement, as verl's best@k does, would say 1 - (3/4)^4 = .684
    assert metrics.pass_at_k(row(1, 4), 4) == approx([1.0])


def test_pass_at_k_is_one_minus_the_chance_of_only_misses():
    # 2 hits in 5, k = 3: 1 - C(3,3)/C(5,3) = 1 - 1/10
    assert metrics.pass_at_k(row(2, 5), 3) == approx([0.9])


def test_pass_hat_k_is_the_chance_that_all_are_hits():
    assert metrics.pass_hat_k(row(3, 5), 2) == approx([3 / 10])  # C(3,2)/C(5,2)


def test_g_pass_counts_the_subsets_with_enough_hits():
    # 3 of 6, k = 4, tau = .5: at least 2 hits = 1 - [C(3,0)C(3,4) + C(3,1)C(3,3)]/C(6,4) = 1 - 3/15
    assert metrics.g_pass_at_k(row(3, 6), 4, 0.5) == approx([0.8])


def test_the_threshold_of_g_pass_is_not_moved_by_rounding_error():
    # .28 * 25 is 7.000000000000001 in floating point; seven hits must do
    assert metrics.g_pass_at_k(row(7, 25), 25, 0.28) == approx([1.0])


def test_mg_pass_averages_the_upper_half_of_the_thresholds():
    # 3 of 4, k = 4: exactly 3 hits are drawn; i = 3 holds, i = 4 does not: 2/4 * (1 + 0)
    assert metrics.mg_pass_at_k(row(3, 4), 4) == approx([0.5])


def test_pass_at_k_stays_exact_with_many_samples():
    expected = 1 - comb(1024 - 3, 512) / comb(1024, 512)
    assert metrics.pass_at_k(row(3, 1024), 512)[0] == approx(expected, rel=1e-9)


def test_a_tie_is_worth_its_expected_value():
    # A A B B C: A and B lead with two votes each, A is right: 1/2
    assert metrics.cons_at_n([[1, 1, 0, 0, 0]], [[0, 0, 1, 1, 2]]) == approx([0.5])


def test_an_unanswered_sample_does_not_vote():
    # one right answer against three that never ended: the only vote wins
    assert metrics.cons_at_n([[1, 0, 0, 0]], [[0, NO_VOTE, NO_VOTE, NO_VOTE]]) == approx([1.0])


def test_a_problem_that_nobody_answered_is_wrong():
    assert metrics.cons_at_n([[0, 0]], [[NO_VOTE, NO_VOTE]]) == approx([0.0])


def test_wrong_answers_are_clustered_by_equivalence():
    answers = [["2", "2.0", None, "3", "2"], ["", "5", "5.00", "6", None]]
    correct = [[0, 0, 0, 1, 0], [0, 1, 1, 0, 0]]
    numbers = metrics.cluster_answers(answers, correct)
    assert numbers.tolist() == [[1, 1, NO_VOTE, 0, 1], [NO_VOTE, 0, 0, 1, NO_VOTE]]


def test_precision_pools_and_the_per_problem_mean_does_not():
    correct, answered = [[1, 1, 1, 1], [0, 0, 0, 0]], [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert metrics.precision(correct, answered).value == approx(4 / 5)
    assert metrics._precision_per_problem(correct, answered).mean() == approx((1 + 0) / 2)


def test_lengths_over_all_and_over_correct_and_tokens_per_correct():
    correct, length = [[1, 0], [1, 1]], [[10, 90], [20, 30]]
    assert measure(suite(correct, length=length), "length").value == approx((50 + 25) / 2)
    assert metrics.mean_length_correct(length, correct).value == approx((10 + 20 + 30) / 3)
    assert metrics.tokens_per_correct(length, correct).value == approx(150 / 3)


def test_no_correct_answer_has_no_length():
    assert np.isnan(metrics.mean_length_correct([[5, 5]], [[0, 0]]).value)


def test_longer_than_the_budget_counts_as_wrong():
    curve = metrics.budget_curve([[1, 1, 0]], [[10, 20, 5]], [5, 10, 20])
    assert curve.tolist() == [approx([0, 1 / 3, 2 / 3])]


def test_bins_hold_their_upper_edge_and_name_what_has_no_level():
    bins = metrics.levels_in_bins([1, 5, 6, 15, None, 99], [0, 5, 10, 15])
    assert {label: mask.nonzero()[0].tolist() for label, mask in bins.items()} == {
        "(0, 5]": [0, 1],
        "(5, 10]": [2],
        "(10, 15]": [3],
        "outside the bins": [5],
        "no level": [4],
    }


def test_without_edges_each_level_is_a_bin():
    assert list(metrics.levels_in_bins([3, 1, 3], [])) == ["1", "3"]


@few
@given(arrays(int, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.integers(0, 1)), st.data())
def test_metrics_of_k_samples_equal_the_count_over_all_subsets(correct, data):
    n = correct.shape[1]
    k = data.draw(st.integers(1, n))
    hits = np.array([correct[:, list(subset)].sum(axis=1) for subset in combinations(range(n), k)])
    assert metrics.pass_at_k(correct, k) == approx((hits > 0).mean(axis=0))
    assert metrics.pass_hat_k(correct, k) == approx((hits == k).mean(axis=0))
    assert metrics.g_pass_at_k(correct, k, 0.5) == approx((2 * hits >= k).mean(axis=0))
    assert metrics.avg_at_n(correct) == approx(correct.mean(axis=1))


@few
@given(verdicts, st.integers(0, 10**6))
def test_votes_are_those_that_a_comparison_of_each_pair_counts(correct, seed):
    cluster = np.where(correct == 1, 0, np.random.default_rng(seed).integers(-1, 4, correct.shape))
    cluster[(cluster == 0) & (correct == 0)] = NO_VOTE
    for right, classes, found in zip(correct, cluster, metrics.cons_at_n(correct, cluster), strict=True):
        votes = [sum(one == other for other in classes) if one != NO_VOTE else 0 for one in classes]
        leading = [hit for hit, vote in zip(right, votes, strict=True) if vote == max(votes) > 0]
        assert found == sum(leading) / max(len(leading), 1)


@few
@given(verdicts, st.integers(0, 10**6))
def test_the_budget_curve_ends_at_pass_at_1_and_never_falls(correct, seed):
    length = np.random.default_rng(seed).integers(1, 50, correct.shape)
    curve = metrics.budget_curve(correct, length, [0, 10, 30, 50])
    assert (np.diff(curve, axis=1) >= 0).all()
    assert (curve[:, 0] == 0).all() and curve[:, -1] == approx(metrics.avg_at_n(correct))


def test_metrics_are_found_by_their_printed_names():
    samples = suite([[1, 1, 0, 0], [0, 0, 0, 0]])
    assert measure(samples, "pass@1").value == approx(0.25)
    assert measure(samples, "avg@n").value == measure(samples, "avg@4").value == approx(0.25)
    assert measure(samples, "pass@2").value == approx((1 - 1 / 6) / 2)  # 1 - C(2,2)/C(4,2)
    assert measure(samples, "pass^2").value == approx((1 / 6) / 2)
    assert measure(samples, "cons@n").value == approx(0.25)  # two against two: 1/2, and 0
    assert measure(samples, "g-pass@4_0.5").value == approx(0.5)
    assert measure(samples, "mg-pass@4").value == approx(0.0)
    assert measure(samples, "truncated").value == 0


def test_cons_at_k_averages_over_all_subsets_when_they_are_few():
    # k = 1 of A A A B: 3/4. k = 3: AAA and three times AAB, all right
    samples = suite([[1, 1, 1, 0]])
    assert measure(samples, "cons@1").value == approx(0.75)
    assert measure(samples, "cons@3").value == approx(1.0)


def test_cons_at_k_of_many_samples_is_seeded():
    correct = np.random.default_rng(0).integers(0, 2, (3, 40))
    once, again = (metrics.cons_at_k(correct, 1 - correct, 7, draws=50, seed=4) for _ in range(2))
    assert once.tolist() == again.tolist()


@pytest.mark.parametrize("name", ["pass@", "pass@1_0.5", "g-pass@4", "best@4", "pass@0", "pass@9", "avg@3"])
def test_a_metric_that_does_not_exist_is_refused_by_name(name):
    with pytest.raises(ValueError):
        measure(suite([[1, 0]]), name)


def test_arrays_that_are_not_verdicts_are_refused():
    with pytest.raises(ValueError, match="found 2"):
        metrics.avg_at_n([[0, 2]])
    with pytest.raises(ValueError, match="shape"):
        metrics.avg_at_n([1, 0])

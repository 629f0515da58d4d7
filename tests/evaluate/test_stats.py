"""Worked examples of stats.py, and what its intervals and tests do on simulated suites."""

import numpy as np
import pytest
from pytest import approx
from scipy.stats import nct
from scipy.stats import t as student

from lead_kit.evaluate import stats

SUITES = 2000


def draw_suites(problems: int, samples: int, seed: int) -> tuple[np.ndarray, float]:
    """Share correct of each problem (suites, problems) when accuracies pile up near 0 and 1, and the true mean."""
    random = np.random.default_rng(seed)
    accuracy = random.beta(0.6, 0.5, (SUITES, problems))
    return random.binomial(samples, accuracy) / samples, 0.6 / 1.1


def coverage(interval, truth: float) -> float:
    return float(((interval.low <= truth) & (truth <= interval.high)).mean())


def test_the_interval_of_three_problems_by_hand():
    # mean 1/3, sd .5774, s.e. .3333, t(2) = 4.3027
    interval = stats.t_interval([0, 0, 1])
    assert interval.estimate == approx(1 / 3)
    assert interval.high - interval.estimate == approx(4.3027 / 3, abs=1e-4)


def test_a_ratio_of_equal_denominators_is_a_mean():
    values = np.array([1.0, 3.0, 8.0])
    assert stats.t_interval(stats.linearised(2 * values, [2, 2, 2]))[:3] == approx(stats.t_interval(values)[:3])


def test_one_cluster_has_no_interval():
    assert stats.t_interval([0.4]).estimate == approx(0.4)
    assert np.isnan(stats.t_interval([0.4]).low) and np.isnan(stats.cluster_bootstrap([0.4], seed=0).high)


def test_none_of_thirty_is_not_certainly_zero():
    interval = stats.share_interval(np.zeros(30))
    assert interval.low == 0 and interval.high == approx(1 - 0.025 ** (1 / 30))


def test_a_share_stays_between_0_and_1():
    interval = stats.share_interval([1, 1, 1, 0.9])
    assert interval.high == 1


def test_a_value_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="every cluster"):
        stats.t_interval([0.1, np.nan])


def test_the_bootstrap_is_seeded_and_near_the_t_interval():
    values = np.random.default_rng(1).random(50)
    once, again = (stats.cluster_bootstrap(values, seed=3) for _ in range(2))
    assert once == again
    assert once[:3] == approx(stats.t_interval(values)[:3], abs=0.01)


def test_equal_systems_have_no_detectable_difference():
    difference = stats.paired_difference([0.2, 0.9, 1.0], [0.2, 0.9, 1.0], seed=0)
    assert (difference.estimate, difference.low, difference.high, difference.p_t) == (0, 0, 0, 1)
    assert stats.verdict(difference) == stats.NO_DIFFERENCE


def test_numbers_summed_in_another_order_do_not_differ():
    difference = stats.paired_difference([0.1 + 0.2 + 0.3] * 3, [0.3 + 0.2 + 0.1] * 3, seed=0)
    assert stats.verdict(difference) == stats.NO_DIFFERENCE


def test_pairing_finds_what_the_spread_of_problems_hides():
    random = np.random.default_rng(0)
    hard = random.beta(0.6, 0.5, 30)
    a, b = (hard * 0.9 + 0.1), hard * 0.9
    assert stats.verdict(stats.paired_difference(a, b, seed=0)) == "higher"
    assert stats.t_interval(a).low < stats.t_interval(b).high


def test_a_difference_of_ratios_counts_each_problem_once():
    # tokens per correct answer: (30 + 10)/(3 + 1) = 10 against (30 + 30)/(3 + 1) = 15
    ours, theirs = stats.linearised([30, 10], [3, 1]), stats.linearised([30, 30], [3, 1])
    assert stats.paired_difference(ours, theirs, seed=0).estimate == approx(-5)


def test_different_numbers_of_clusters_are_refused():
    with pytest.raises(ValueError, match="same clusters"):
        stats.paired_difference([1, 2], [1, 2, 3], seed=0)


def test_one_pair_gets_no_verdict():
    assert stats.verdict(stats.paired_difference([0.5], [0.4], seed=0)) == "one pair only: no interval"


def test_the_interquartile_mean_by_hand():
    # eight scores: two are cut at each end, (2 + 3 + 4 + 5)/4 is left; of five one at each end, (1 + 2 + 6)/3
    assert stats.interquartile_mean([8.0, 1.0, 7.0, 2.0, 5.0, 3.0, 4.0, 0.0]) == approx(3.5)
    assert stats.interquartile_mean([6.0, 0.0, 1.0, 2.0, 90.0]) == approx(3)


def test_the_probability_of_improvement_by_hand():
    # of the pairs (1, 0), (1, 2), (3, 0), (3, 2) three are above; (5, 5) ties, (5, 6) is below
    assert stats.probability_of_improvement([1.0, 3.0], [0.0, 2.0]) == 3 / 4
    assert stats.probability_of_improvement([5.0], [5.0, 6.0]) == 1 / 4


def test_the_stratified_bootstrap_by_hand():
    # of the runs 0 and 1 a draw has mean 0, .5 or 1, in 1, 2 and 1 of 4 cases: the bounds are 0 and 1
    assert stats.stratified_bootstrap(lambda s: np.mean(s, axis=-1), [0.0, 1.0], seed=0)[:3] == (0.5, 0, 1)
    # all runs of x are above all of y, so no draw says anything else
    apart = stats.stratified_bootstrap(stats.probability_of_improvement, [2.0, 3.0], [0.0, 1.0], seed=0)
    assert apart == (1, 1, 1, 2)


def test_without_a_cluster_its_test_is_that_of_the_others():
    p = stats.leave_one_out_p([1.0, 2.0, 3.0, 40.0])
    assert p[3] == approx(stats.paired_difference([1.0, 2.0, 3.0], [0.0] * 3, seed=0).p_t) and p[3] < p[0]
    assert np.isnan(stats.leave_one_out_p([1.0, 2.0])).all()


def test_holm_by_hand():
    # sorted .01 .03 .04: 3 * .01, max(.03, 2 * .03), max(.06, .04)
    assert stats.holm([0.04, 0.01, 0.03]).tolist() == approx([0.06, 0.03, 0.06])
    assert stats.holm([0.6, 0.9]).tolist() == [1, 1]


def test_the_verdict_of_a_suite_splits_into_problems_and_sampling():
    # half the problems always right, half never: all of the variance lies between problems
    between, within = stats.variance_parts([[1, 1], [0, 0]] * 50)
    assert within == 0 and between == approx(0.25, rel=0.02)
    assert stats.variance_parts([[1, 0]] * 50) == (0, 0.5)


def test_the_error_of_a_difference_from_aggregates_by_hand():
    # V = .25, all of it between problems, uncorrelated: sqrt(2 * .25 / 30)
    assert stats.difference_error(0.5, 30, 32, between=1, correlation=0) == approx(np.sqrt(0.5 / 30))
    # a fifth of it sampling noise, and nothing else left: sqrt(2 * .05 / 32 / 30)
    assert stats.difference_error(0.5, 30, 32, between=0.8, correlation=1) == approx(np.sqrt(0.1 / 960))


def test_thirty_problems_need_a_larger_effect_than_five_hundred():
    few, many = (stats.detectable_effect(q, 32, mean=0.65, between=0.7, correlation=0.9) for q in (30, 500))
    # s.e. sqrt(2 (.7 * .2275 * .1 + .3 * .2275 / 32) / 30) = .0345; (t(.975) + t(.8)) = 2.045 + .854
    assert few == approx(0.1001, abs=1e-3) and few > 4 * many


def test_seeds_that_disagree_widen_the_interval():
    base = np.random.default_rng(0).random(40)
    calm = base + np.zeros((4, 1))
    shifted = base + np.array([[-0.2], [-0.1], [0.1], [0.2]])
    assert stats.two_level_interval(shifted).high > stats.two_level_interval(calm).high
    assert stats.two_level_bootstrap(shifted, seed=0).high > stats.two_level_bootstrap(calm, seed=0).high


@pytest.mark.slow
@pytest.mark.parametrize("problems, samples", [(30, 32), (30, 1), (100, 8)])
def test_an_interval_covers_the_truth_as_often_as_it_says(problems, samples):
    values, truth = draw_suites(problems, samples, seed=problems + samples)
    assert 0.93 <= coverage(stats.t_interval(values), truth) <= 0.97
    assert 0.93 <= coverage(stats.cluster_bootstrap(values, seed=1), truth) <= 0.97


@pytest.mark.slow
def test_a_ratio_is_covered_too():
    # tokens per correct answer of 60 problems: harder problems take more tokens
    random = np.random.default_rng(7)
    accuracy = random.beta(0.6, 0.5, (SUITES, 60))
    correct = random.binomial(16, accuracy)
    tokens = 16 * (200 - 100 * accuracy) + random.normal(0, 50, accuracy.shape)
    truth = 16 * (200 - 100 * 0.6 / 1.1) / (16 * 0.6 / 1.1)
    assert 0.93 <= coverage(stats.t_interval(stats.linearised(tokens, correct)), truth) <= 0.97
    assert 0.93 <= coverage(stats.cluster_bootstrap(stats.linearised(tokens, correct), seed=1), truth) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds, problems, seed_sd, problem_sd", [(5, 60, 0.1, 0.3), (3, 252, 0.02, 0.3), (5, 60, 0.02, 0.3)]
)
def test_two_levels_cover_the_truth_of_new_seeds_and_new_problems(seeds, problems, seed_sd, problem_sd):
    random = np.random.default_rng(seeds + problems)
    inside = 0
    for _ in range(SUITES):
        spread = seed_sd * random.normal(size=(seeds, 1)) + problem_sd * random.normal(size=(1, problems))
        interval = stats.two_level_interval(spread + 0.3 * random.normal(size=(seeds, problems)))
        inside += interval.low <= 0 <= interval.high
    assert 0.93 <= inside / SUITES <= 0.97


@pytest.mark.slow
def test_the_minimum_detectable_effect_is_found_four_times_in_five():
    error, clusters = 0.02, 30
    effect = stats.minimum_detectable_effect(error, clusters)
    power = nct.sf(student.ppf(0.975, clusters - 1), clusters - 1, effect / error)
    assert power == approx(0.8, abs=0.01)
    draws = np.random.default_rng(0).normal(effect, error * np.sqrt(clusters), (SUITES, clusters))
    assert (stats.t_interval(draws).low > 0).mean() == approx(0.8, abs=0.03)

"""The Beta variable behind a pass rate, by hand and by simulation."""

import numpy as np
import pytest

from lead_kit.evaluate import stage

RULE = stage.RULES["grpo_lead"]


def test_the_rule_of_grpo_lead_leaves_out_never_and_too_often():
    assert stage.passes_rule([0, 1 / 16, 0.75, 13 / 16, 1], RULE).tolist() == [False, True, True, False, False]
    assert stage.passes_rule([0, 0.89, 0.9, 1], stage.RULES["retire_solved"]).tolist() == [True, True, False, False]


def test_the_interval_reaches_to_the_ends_and_narrows_with_samples():
    low, high = stage.beta_interval([0, 8, 16, 80], [16, 16, 16, 160])
    assert (low[0], high[2]) == (0, 1) and high[0] == pytest.approx(0.1432, abs=1e-4)  # Beta(.5, 16.5) at .975
    assert low[1] + high[1] == pytest.approx(1)
    assert high[3] - low[3] < (high[1] - low[1]) / 2.5


def test_expected_groups_without_signal_by_hand():
    # posterior Beta(1, 1): E[p²] + E[(1−p)²] = 1/3 + 1/3;   Beta(2, 1): E[p²] = 1/2, E[(1−p)²] = 1/6
    flat = stage.Prior(1, 1)
    assert stage.share_all_right_or_all_wrong([0, 1], [0, 1], flat, 2) == pytest.approx([2 / 3, 2 / 3])
    assert stage.share_all_right_or_all_wrong([5000], [10000], flat, 4) == pytest.approx(
        [2 / 16], rel=1e-3
    )  # p = ½: 2 · ½⁴


def test_kept_again_is_the_beta_binomial_chance():
    # of two samples, one hit is kept: posterior Beta(3, 1), P(1 of 2) = 2 B(4, 2)/B(3, 1) = 2 · (1/20) · 3
    assert stage.probability_same_decision([2], [2], stage.Prior(1, 1), RULE)[0] == pytest.approx(0.3)
    assert stage.probability_same_decision([1], [1], stage.Prior(1, 1), RULE)[0] == 0  # one sample: 0 or 1, never kept


@pytest.mark.parametrize("never_seen", [False, True])
def test_the_prior_is_found_again_and_the_noise_foretold(never_seen):
    random = np.random.default_rng(0)
    p = random.beta(0.8, 0.5, 20000)
    hits = random.binomial(16, p)
    if never_seen:  # a set from which what was never solved has been removed
        p, hits = p[hits > 0], hits[hits > 0]
    n = np.full(len(hits), 16)
    prior = stage.fitted_prior(hits, n)
    assert prior == pytest.approx((0.8, 0.5), rel=0.08)
    keep = stage.passes_rule(hits / 16, RULE)
    wrong = 1 - stage.probability_within(hits, n, prior, RULE)
    assert wrong[keep].mean() == pytest.approx((p[keep] > 0.75).mean(), abs=0.01)
    again = stage.passes_rule(random.binomial(16, p) / 16, RULE)
    assert stage.probability_same_decision(hits, n, prior, RULE)[keep].mean() == pytest.approx(
        again[keep].mean(), abs=0.01
    )


def test_one_problem_has_a_prior_within_bounds():
    prior = stage.fitted_prior([4], [4])
    assert all(stage.BOUNDS[0] <= value <= stage.BOUNDS[1] for value in prior)

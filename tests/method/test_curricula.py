"""The weights that curricula give to problems, by worked examples."""

import pytest
import torch

from lead_kit.errors import InputError
from lead_kit.method.curricula import History, levels, near_half, retire
from lead_kit.train.draw_problems import weighted_order

NAN = torch.nan


def history(shares, level=None, batch=None):
    """Groups of eight rollouts, one of each problem that has a share."""
    share = torch.tensor(shares)
    seen = ~share.isnan()
    batch = torch.where(seen, 0, -1) if batch is None else torch.tensor(batch)
    level = torch.full_like(share, NAN) if level is None else torch.tensor(level)
    return History(8.0 * seen, (8 * share).nan_to_num(), share, batch, level)


def test_a_problem_whose_newest_group_was_all_right_is_retired():
    assert retire(history([NAN, 1.0, 0.875, 0.0])).tolist() == [1, 0, 1, 1]


def test_learnability_prefers_pass_rates_near_a_half_and_what_was_not_tried():
    weights = near_half(history([NAN, 0.5, 1.0, 0.0]))
    assert weights.tolist() == pytest.approx([0.25, 0.25, 0.09, 0.09])


def test_a_level_opens_when_the_one_below_is_mastered():
    gate, level = 0.7, [1.0, 1.0, 2.0, 2.0, 3.0]
    assert levels(history([NAN] * 5, level), level_gate=gate).tolist() == [1, 1, 0, 0, 0]
    # every problem of a small level counts before its gate opens
    assert levels(history([1.0, NAN, NAN, NAN, NAN], level), level_gate=gate).tolist() == [1, 1, 0, 0, 0]
    assert levels(history([0.9, 0.5, NAN, NAN, NAN], level), level_gate=gate).tolist() == [1, 1, 1, 1, 0]
    assert levels(history([0.9, 0.4, 1.0, 1.0, NAN], level), level_gate=gate).tolist() == [1, 1, 0, 0, 0]
    assert levels(history([0.9, 0.5, 0.7, 0.7, NAN], level), level_gate=gate).tolist() == [1, 1, 1, 1, 1]


def test_a_gate_looks_at_the_newest_groups_of_a_large_level():
    shares, batches = [0.0] * 10 + [1.0] * 32 + [NAN], [*range(42), -1]
    level = [1.0] * 42 + [2.0]
    assert levels(history(shares, level, batches), level_gate=1.0)[-1] == 1
    batches = [*reversed(range(42)), -1]  # now the ten wrong groups are the newest
    assert levels(history(shares, level, batches), level_gate=1.0)[-1] == 0


def test_levels_that_the_data_lack_are_refused():
    with pytest.raises(InputError, match="needs the level of every training problem"):
        levels(history([NAN, NAN], [1.0, NAN]), level_gate=0.7)


def test_an_order_draws_by_weight_and_takes_what_has_none_last():
    orders = [weighted_order([1.0, 3.0, 0.0, 0.0], str(seed)) for seed in range(4000)]
    assert all(set(order[:2]) == {0, 1} for order in orders)
    assert sum(order[0] == 1 for order in orders) / 4000 == pytest.approx(0.75, abs=0.03)
    assert sum(order[2] == 2 for order in orders) / 4000 == pytest.approx(0.5, abs=0.03)
    assert weighted_order([1.0] * 9, "a") == weighted_order([1.0] * 9, "a") != weighted_order([1.0] * 9, "b")

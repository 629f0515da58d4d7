"""Advantages by hand: each group is small enough to check with a pencil."""

from math import e, exp, sqrt

import pytest
import torch
from pytest import approx
from torch import ones, tensor

from lead_kit.advantages import (
    Group,
    difficulty_weight,
    dr_grpo,
    grpo,
    lead,
    length_reward,
)

CURVE = dict(weight_low=0.4, weight_high=1.5, weight_midpoint=0.75, weight_steepness=10.0)
STD = dict(std_ddof=1, std_epsilon=1e-6)
LEAD = dict(length_alpha=0.05, wrong_reward=-1.0, **CURVE, **STD)


def group(correct, length=None, reward=None, **more):
    """One batch from nested lists; the reward is the correctness unless given."""
    correct = tensor(correct)
    length = torch.full_like(correct, 100.0) if length is None else tensor(length)
    return Group(correct, length, correct if reward is None else tensor(reward), **more)


def test_grpo_divides_by_the_spread_of_the_group():
    # mean 1/4, deviations 3/4 and -1/4; sum of squares 12/16; ddof 1: sqrt(1/4) = 1/2
    advantage = grpo(group([[1.0, 0.0, 0.0, 0.0]]), std_ddof=1, std_epsilon=0.0)
    assert advantage[0].tolist() == approx([1.5, -0.5, -0.5, -0.5])


def test_the_population_spread_is_smaller_so_its_advantages_are_larger():
    advantage = grpo(group([[1.0, 0.0, 0.0, 0.0]]), std_ddof=0, std_epsilon=0.0)  # sqrt(3/16)
    assert advantage[0].tolist() == approx([sqrt(3), -1 / sqrt(3), -1 / sqrt(3), -1 / sqrt(3)])


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 1e-4])
def test_equal_rewards_give_exactly_zero_whatever_epsilon_is(epsilon):
    assert not grpo(group([[0.0] * 7], reward=[[0.1] * 7]), std_ddof=1, std_epsilon=epsilon).any()


def test_dr_grpo_only_subtracts_the_mean():
    assert dr_grpo(group([[1.0, 0.0, 0.0, 0.0]]))[0].tolist() == [0.75, -0.25, -0.25, -0.25]


def test_the_shortest_correct_answer_earns_most():
    reward = length_reward(ones(1, 3), tensor([[10.0, 20.0, 30.0]]), length_alpha=0.1, wrong_reward=-1.0)
    assert reward[0].tolist() == approx([e**0.1, 1, e**-0.1])  # z = -1, 0, 1


def test_only_correct_answers_set_the_length_scale():
    reward = length_reward(
        tensor([[1.0, 0.0, 1.0, 1.0]]), tensor([[10.0, 9000.0, 20.0, 30.0]]), length_alpha=0.1, wrong_reward=-1.0
    )
    assert reward[0].tolist() == approx([e**0.1, -1, 1, e**-0.1])


def test_a_lone_correct_answer_earns_one():
    reward = length_reward(tensor([[1.0, 0.0]]), tensor([[7.0, 900.0]]), length_alpha=0.05, wrong_reward=0.0)
    assert reward.tolist() == [[1.0, 0.0]]


def test_the_geometric_mean_of_correct_rewards_is_one():
    reward = length_reward(ones(1, 6), torch.rand(1, 6) * 1000, length_alpha=0.05, wrong_reward=-1.0)
    assert reward.log().mean().item() == approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "hits, weight, mirrored",
    [
        (0, 1.499, 0.483),
        (1, 1.498, 0.645),
        (2, 1.493, 0.950),
        (3, 1.475, 1.255),
        (4, 1.417, 1.417),
        (5, 1.255, 1.475),
        (6, 0.950, 1.493),
        (7, 0.645, 1.498),
        (8, 0.483, 1.499),
    ],
)
def test_the_weight_of_a_group_of_eight(hits, weight, mirrored):
    rho = tensor(hits / 8)
    assert difficulty_weight(rho, **CURVE).item() == approx(weight, abs=5e-4)
    assert difficulty_weight(1 - rho, **CURVE).item() == approx(mirrored, abs=5e-4)


def test_lead_by_hand():
    # Two of four right, lengths 10 and 20: z = -1/sqrt 2, +1/sqrt 2.
    a, b = exp(0.05 / sqrt(2)), exp(-0.05 / sqrt(2))
    rewards = [a, b, -1.0, -1.0]
    mean = sum(rewards) / 4
    spread = sqrt(sum((r - mean) ** 2 for r in rewards) / 3)
    weight = 0.4 + 1.1 / (1 + exp(10 * (0.5 - 0.75)))  # rho = 1 - rho = 1/2
    by_hand = [(r - mean) / spread * weight for r in rewards]
    advantage = lead(group([[1.0, 1.0, 0.0, 0.0]], [[10.0, 20.0, 5.0, 99.0]]), **LEAD)
    assert advantage[0].tolist() == approx(by_hand, abs=1e-5)


def test_lead_with_everything_off_is_grpo():
    batch = group([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]], [[3.0, 9.0, 4.0, 8.0], [5.0, 5.0, 2.0, 1.0]])
    off = LEAD | dict(length_alpha=0.0, wrong_reward=0.0, weight_low=1.0, weight_high=1.0)
    assert torch.equal(lead(batch, **off), grpo(batch, **STD))


def test_another_chosen_reward_still_counts_under_lead():
    plain = lead(group([[1.0, 1.0]]), **LEAD)
    with_format = lead(group([[1.0, 1.0]], reward=[[1.5, 1.0]]), **LEAD)
    assert not plain.any() and with_format[0, 0] > 0 > with_format[0, 1]

"""Advantages by hand: each group is small enough to check with a pencil."""

from math import e, exp, sqrt

import pytest
import torch
from pytest import approx
from torch import ones, tensor

from lead_kit.errors import InputError
from lead_kit.method.advantages import (
    BASELINES,
    GROUP_FILTERS,
    SHAPES,
    WEIGHTS,
    Group,
    alp,
    difficulty_weight,
    dr_grpo,
    every_group,
    finished_rollouts,
    gdpo,
    gfpo,
    gfpo_efficiency,
    grpo,
    grpo_verl,
    kimi_length,
    lead_code,
    lead_code_keep,
    length_reward,
    length_z,
    lite_ppo,
    majority,
    maxrl,
    mixed_groups,
    opo,
    otb,
    pass_at_k,
    reinforce_pp,
    reinforce_pp_baseline,
    remax,
    rloo,
    rollouts_kept,
    varied_groups,
    whitened,
)
from lead_kit.method.estimators import ESTIMATORS, bind_estimator, require_correct

CURVE = dict(weight_low=0.4, weight_high=1.5, weight_midpoint=0.75, weight_steepness=10.0)
STD = dict(std_ddof=1, std_epsilon=1e-6)
CODE_REWARD = dict(
    length_alpha=0.05, length_floor=4000.0, wrong_reward=-1.0, truncated_reward=0.0, repetitive_reward=-2.0
)
CODE = dict(**CODE_REWARD, **CURVE, **STD)
LEAD = dict(length_alpha=0.05, wrong_reward=-1.0, **CURVE, **STD)


def estimator(name, **knobs):
    """The named estimator with its arguments bound, as a notebook binds it."""
    return bind_estimator({"estimator": name, **knobs})


def group(correct, length=None, reward=None, **more):
    """One batch from nested lists; the reward is the correctness unless given."""
    correct = tensor(correct)
    length = torch.full_like(correct, 100.0) if length is None else tensor(length)
    return Group(correct, length, correct if reward is None else tensor(reward), **more)


def test_grpo_divides_by_the_spread_of_the_group():
    # mean 1/4, deviations 3/4 and -1/4; sum of squares 12/16; ddof 1: sqrt(1/4) = 1/2
    advantage = grpo(group([[1.0, 0.0, 0.0, 0.0]]), **(STD | dict(std_epsilon=0.0)))
    assert advantage[0].tolist() == approx([1.5, -0.5, -0.5, -0.5])


def test_the_population_spread_is_smaller_so_its_advantages_are_larger():
    advantage = grpo(group([[1.0, 0.0, 0.0, 0.0]]), **(STD | dict(std_ddof=0, std_epsilon=0.0)))  # sqrt(3/16)
    assert advantage[0].tolist() == approx([sqrt(3), -1 / sqrt(3), -1 / sqrt(3), -1 / sqrt(3)])


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 1e-4])
def test_equal_rewards_give_exactly_zero_whatever_epsilon_is(epsilon):
    assert not grpo(group([[0.0] * 7], reward=[[0.1] * 7]), **(STD | dict(std_epsilon=epsilon))).any()


def test_a_group_of_one_has_no_advantage_unless_it_keeps_its_reward():
    assert grpo(group([[1.0]]), **STD).item() == 0
    assert grpo_verl(group([[1.0]]), **STD).item() == 1
    assert estimator("lead_code", **CODE)(code_group([[1.0, 0.0]], [[9.0, 9.0]]))[0, 0] > 0


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
    advantage = estimator("lead", **LEAD)(group([[1.0, 1.0, 0.0, 0.0]], [[10.0, 20.0, 5.0, 99.0]]))
    assert advantage[0].tolist() == approx(by_hand, abs=1e-5)


def test_lead_with_everything_off_is_grpo():
    batch = group([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]], [[3.0, 9.0, 4.0, 8.0], [5.0, 5.0, 2.0, 1.0]])
    off = LEAD | dict(length_alpha=0.0, wrong_reward=0.0, weight_low=1.0, weight_high=1.0)
    assert torch.equal(estimator("lead", **off)(batch), grpo(batch, **STD))


def test_another_chosen_reward_still_counts_under_lead():
    plain = estimator("lead", **LEAD)(group([[1.0, 1.0]]))
    with_format = estimator("lead", **LEAD)(group([[1.0, 1.0]], reward=[[1.5, 1.0]]))
    assert not plain.any() and with_format[0, 0] > 0 > with_format[0, 1]


def code_group(correct, length, truncated=None, repetitive=None):
    """A batch as `lead_code` reads it; whole and without repetition unless said."""
    right = tensor(correct)
    return group(
        correct,
        length,
        truncated=torch.zeros_like(right) if truncated is None else tensor(truncated),
        repetitive=torch.zeros_like(right) if repetitive is None else tensor(repetitive),
    )


def test_rloo_leaves_each_rollout_out_of_its_own_baseline():
    # 1 - mean(0,0,2) = 1/3; 0 - mean(1,0,2) = -1; the same; 2 - mean(1,0,0) = 5/3
    assert rloo(group([[0.0] * 4], reward=[[1.0, 0.0, 0.0, 2.0]]))[0].tolist() == approx([1 / 3, -1, -1, 5 / 3])


def test_rloo_refuses_a_group_of_one():
    with pytest.raises(ValueError, match="group_size is 1"):
        rloo(group([[1.0]]))


def test_lite_ppo_shares_one_spread_among_all_groups():
    # rewards 1 0 | 1 1: mean 3/4, squares 1/16·3 + 9/16 = 12/16, ddof 1: sqrt(1/4) = 1/2
    advantage = lite_ppo(group([[1.0, 0.0], [1.0, 1.0]]), std_ddof=1, std_epsilon=0.0)
    assert advantage.tolist() == [[1.0, -1.0], [0.0, 0.0]]


def test_maxrl_divides_by_the_mean_so_hard_prompts_weigh_more():
    advantage = maxrl(group([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0] * 4]))
    assert advantage[0].tolist() == [3, -1, -1, -1]
    assert advantage[1].tolist() == approx([1 / 3, 1 / 3, 1 / 3, -1])
    assert not advantage[2].any()


def test_maxrl_refuses_negative_rewards():
    with pytest.raises(ValueError, match="got -1"):
        maxrl(group([[1.0, 0.0]], reward=[[1.0, -1.0]]))


def test_opo_weighs_the_baseline_by_length():
    # (30·1 + 10·0)/40 = 3/4
    assert opo(group([[1.0, 0.0]], [[30.0, 10.0]]))[0].tolist() == [0.25, -0.75]


def test_gdpo_keeps_apart_what_a_summed_reward_confuses():
    # Rewards (1,0), (0,1), (0,0): in the sum the first two are equal; with weights 2 and 1 they are not.
    components = tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    batch = group([[1.0, 0.0, 0.0]], components=components, weights=tensor([2.0, 1.0]))
    # z of one hit in three, ddof 1: 2/√3, -1/√3, -1/√3. Sums: (4-1)/√3, (-2+2)/√3, (-2-1)/√3 = √3, 0, -√3; spread √3
    assert gdpo(batch, std_ddof=1, std_epsilon=0.0)[0].tolist() == approx([1, 0, -1], abs=1e-6)


def test_remax_subtracts_the_reward_of_the_prompt_s_own_greedy_completion():
    batch = group([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]], greedy=tensor([[1.0], [0.25]]))
    assert remax(batch).tolist() == [[0, -1, 0], [0.75, -0.25, -0.25]]


def test_the_optimal_token_baseline_weighs_rewards_by_the_energy_so_far():
    # energies .5 .5 .5 and 1.5 .5: sums so far .5 1 1.5 and 1.5 2. Rewards 1 and 0: b = .5/2, 1/3, 1.5/1.5
    energy = tensor([[[0.5, 0.5, 0.5], [1.5, 0.5, 9.0]]])
    mask = tensor([[[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]])
    batch = group([[1.0, 0.0]], energy=energy, mask=mask)
    assert otb(batch).flatten().tolist() == approx([3 / 4, 2 / 3, 0, -1 / 4, -1 / 3, 0], abs=1e-6)
    alone = Group(*(field[:, :1] for field in batch[:3]), energy=energy[:, :1], mask=mask[:, :1])
    assert otb(alone).tolist() == [[[1.0, 1.0, 1.0]]]  # as in verl


def test_the_difficulty_weight_multiplies_each_token_of_a_rollout():
    tokens = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))
    batch = group([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], energy=tokens, mask=ones(3, 2, 4))
    for name in ("difficulty", "difficulty_code"):
        weigh = estimator("otb", group_weight=name, **CURVE).weight
        expected = torch.stack([weigh(one, batch) for one in otb(batch).unbind(-1)], -1)
        assert torch.equal(weigh(otb(batch), batch), expected)


def test_gdpo_names_the_field_it_misses():
    with pytest.raises(ValueError, match="Group.components"):
        gdpo(group([[1.0]]), **STD)


def test_a_token_s_advantage_holds_all_kl_to_come():
    # z = ±1/√2; KL of 1 per token, coefficient .1: costs to come .3 .2 .1; the second rollout has two tokens and no KL
    mask = tensor([[[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]])
    kl = tensor([[[1.0, 1.0, 1.0], [0.0, 0.0, 9.0]]])
    advantage = whitened(group([[1.0, 0.0]], kl=kl, mask=mask), kl_reward_coef=0.1, std_ddof=1, std_epsilon=0.0)
    z = 1 / sqrt(2)
    raw = [z - 0.3, z - 0.2, z - 0.1, -z, -z]
    mean = sum(raw) / 5
    spread = sqrt(sum((a - mean) ** 2 for a in raw) / 5)
    assert advantage.flatten().tolist() == approx([*((a - mean) / spread for a in raw), 0.0], abs=1e-6)


def test_lead_has_advantages_in_all_right_groups_and_none_in_all_wrong_ones():
    knobs = dict(length_alpha=0.05, wrong_reward=-1.0, weight_low=0.4, weight_high=1.5)
    lead = estimator("lead", **knobs, weight_midpoint=0.75, weight_steepness=10.0, **STD)
    right, wrong = lead(group([[1.0] * 2, [0.0] * 2], [[10.0, 30.0], [10.0, 30.0]])).tolist()
    assert wrong == [0, 0]
    # z-scores of two are ±1/√2; w(1) = .4834 for the shorter answer, w(0) = 1.4994 for the longer one
    assert right == approx([0.4834 / sqrt(2), -1.4994 / sqrt(2)], rel=1e-3)


def test_kimi_pays_short_answers_and_never_long_wrong_ones():
    reward = kimi_length(tensor([[1.0, 1.0, 0.0, 0.0]]), tensor([[10.0, 30.0, 10.0, 30.0]]))
    assert reward[0].tolist() == [0.5, -0.5, 0.0, -0.5]
    assert not kimi_length(ones(1, 3), ones(1, 3)).any()


def test_grpo_kimi_without_weight_is_grpo():
    batch = group([[1.0, 0.0, 1.0]], [[3.0, 2.0, 9.0]])
    assert torch.equal(estimator("grpo_kimi", kimi_weight=0.0, **STD)(batch), grpo(batch, **STD))
    advantage = estimator("grpo_kimi", kimi_weight=1.0, **STD)(batch)[0]
    assert advantage[0] > advantage[2]


def test_alp_makes_tokens_of_solved_problems_dearer():
    batch = group([[1.0, 1.0, 1.0, 0.0], [0.0] * 4], [[100.0, 200.0, 100.0, 100.0]] * 2)
    # .001 a token: 3/4 of it where three of four are right, 1/4 (one of G) where none is
    assert alp(batch, alp_price=0.001)[0].tolist() == approx([0.925, 0.85, 0.925, -0.075])
    assert alp(batch, alp_price=0.001)[1].tolist() == approx([-0.025, -0.05, -0.025, -0.025])


def test_the_majority_of_a_group_is_right_whatever_its_gold_is():
    # two votes each for classes 0 and 2: the first to appear counts; no answer at all is no class
    batch = group([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5], answer=tensor([[1, 0, 2, 0, 2], [-1, -1, -1, 3, -1]]))
    assert majority(batch).tolist() == [[0.0, 1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0]]
    assert not majority(batch._replace(answer=-ones(2, 5))).any()
    with pytest.raises(ValueError, match="needs Group.answer"):
        majority(group([[1.0, 0.0]]))


def test_gfpo_compares_the_shortest_among_each_other_alone():
    batch = group([[1.0, 0.0, 1.0, 0.0]], [[30.0, 10.0, 20.0, 40.0]])
    # kept: 0 and 1, whose deviations are ±1/2 and their spread 1/√2; the long right and the long wrong get nothing
    assert gfpo(batch, gfpo_keep=2, std_ddof=1, std_epsilon=0.0)[0].tolist() == approx(
        [0.0, -1 / sqrt(2), 1 / sqrt(2), 0.0]
    )
    assert torch.allclose(gfpo(batch, gfpo_keep=4, **STD), grpo(batch, **STD))


def test_gfpo_by_efficiency_keeps_the_largest_reward_a_token_and_of_equal_ones_the_first():
    batch = group([[1.0, 0.0, 1.0, 0.0]], [[30.0, 10.0, 20.0, 40.0]])
    advantage = gfpo_efficiency(batch, gfpo_keep=3, std_ddof=0, std_epsilon=0.0)[0]  # 1/20, 1/30, then the first 0
    assert advantage.tolist() == approx([1 / sqrt(2), -sqrt(2), 1 / sqrt(2), 0.0])


def test_pass_at_k_rewards_a_group_and_not_each_of_its_answers():
    # G 4, two wrong, k 2: R = 1 - C(2,2)/C(4,2) = 5/6, σ = √5/6; a wrong answer's groups: 1 - C(1,1)/C(3,1) = 2/3
    advantage = pass_at_k(group([[1.0, 1.0, 0.0, 0.0]]), pass_k=2)[0]
    assert advantage.tolist() == approx([1 / sqrt(5), 1 / sqrt(5), -1 / sqrt(5), -1 / sqrt(5)])
    # with fewer than k wrong answers every draw of k has a right one, so nothing is left to learn
    assert not pass_at_k(group([[1.0, 1.0, 1.0, 0.0], [0.0] * 4]), pass_k=2).any()


def test_pass_at_1_is_grpo_with_the_population_spread():
    batch = group([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
    assert torch.allclose(pass_at_k(batch, pass_k=1), grpo(batch, std_ddof=0, std_epsilon=0.0))


def test_reinforce_pp_counts_a_rollout_once_a_token():
    # 3 tokens of 1 and 1 of 0: mean 3/4, variance (3/16 + 9/16)/3 = 1/4, so (1 - 3/4)/(1/2) and (0 - 3/4)/(1/2)
    batch = group([[1.0, 0.0]], [[3.0, 1.0]])
    assert reinforce_pp(batch)[0].tolist() == approx([0.5, -1.5], rel=1e-6)
    assert not reinforce_pp(group([[1.0, 1.0], [1.0, 1.0]])).any()


def test_reinforce_pp_baseline_subtracts_the_groups_mean_first():
    batch = group([[1.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])  # ½, −½, 0, 0: variance (1/4 + 1/4)/3
    assert reinforce_pp_baseline(batch).flatten().tolist() == approx([sqrt(1.5), -sqrt(1.5), 0, 0], rel=1e-6)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda batch: gfpo(batch, gfpo_keep=5, **STD), "gfpo_keep is 5, expected 2 to group_size, which is 4"),
        (lambda batch: pass_at_k(batch, pass_k=0), "pass_k is 0, expected 1 to group_size, which is 4"),
        (lambda batch: pass_at_k(batch._replace(reward=batch.reward * 2), pass_k=1), "takes rewards of 0 and 1 alone"),
    ],
)
def test_an_argument_that_a_group_cannot_have_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(group([[1.0, 0.0, 1.0, 0.0]]))


def test_in_the_released_code_truncation_is_better_than_a_wrong_answer():
    batch = code_group(
        [[1.0, 0.0, 1.0, 0.0]], [[9.0] * 4], truncated=[[0.0, 0.0, 1.0, 1.0]], repetitive=[[1.0, 0.0, 0.0, 1.0]]
    )
    # right, though repetitive: 1; wrong: -1; truncated though right: 0; truncated and repetitive: -2
    assert lead_code(batch, **CODE_REWARD)[0].tolist() == [1.0, -1.0, 0.0, -2.0]


def test_in_the_released_code_length_counts_only_above_the_floor_of_the_three_shortest():
    # three shortest, right or wrong: (3000 + 4000 + 5000)/3 = 4000, not above; with 3003 it is
    short = code_group([[1.0, 1.0, 0.0, 1.0]], [[5000.0, 4000.0, 3000.0, 9000.0]])
    long = code_group([[1.0, 1.0, 0.0, 1.0]], [[5000.0, 4000.0, 3003.0, 9000.0]])
    assert lead_code(short, **CODE_REWARD)[0].tolist() == [1.0, 1.0, -1.0, 1.0]
    # correct lengths 5, 4, 9 thousand: mean 6, spread √((1+4+9)/2) = √7
    expected = [exp(0.05 / sqrt(7)), exp(0.1 / sqrt(7)), -1, exp(-0.15 / sqrt(7))]
    assert lead_code(long, **CODE_REWARD)[0].tolist() == approx(expected)


def test_the_floor_of_a_group_of_two_is_the_mean_of_both():
    # the released code counts the missing third length as infinite, so that there even these short ones are rewarded
    short, long = code_group([[1.0, 1.0]], [[3000.0, 5000.0]]), code_group([[1.0, 1.0]], [[3002.0, 5000.0]])
    assert lead_code(short, **CODE_REWARD)[0].tolist() == [1.0, 1.0]
    first, second = lead_code(long, **CODE_REWARD)[0].tolist()  # z = -1/√2, 1/√2
    assert (first, second) == approx((exp(0.05 / sqrt(2)), exp(-0.05 / sqrt(2))))


def test_kimi_compares_lengths_inside_a_group_only():
    # over the whole batch the second group would earn from 1/6 down; its own shortest earns 1/2
    reward = kimi_length(ones(2, 2), tensor([[10.0, 20.0], [30.0, 40.0]]))
    assert reward.tolist() == [[0.5, -0.5], [0.5, -0.5]]


def test_the_released_code_drops_hopeless_groups_and_those_that_all_earn_one():
    batch = code_group(
        [[0.0] * 3, [1.0] * 3, [1.0] * 3, [1.0, 0.0, 0.0], [0.0] * 3],
        [[9.0] * 3, [9.0, 8.0, 7.0], [5000.0, 6000.0, 7000.0], [9.0] * 3, [9.0] * 3],
        truncated=[[0.0] * 3, [0.0] * 3, [0.0] * 3, [0.0] * 3, [1.0, 0.0, 0.0]],
    )
    # nothing right | all exactly 1 | all right, length rewards differ | mixed | 0 and -1: varied, yet nothing above 0
    shaped, _, advantage = estimator("lead_code", **CODE).steps(batch)
    kept = lead_code_keep(shaped)
    assert kept.tolist() == [False, False, True, True, False]
    assert advantage.any(1).tolist() == kept.tolist()


def test_group_filters():
    batch = group([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], reward=[[1.0, 1.2], [1.0, 0.0], [0.0, 0.0]])
    assert every_group(batch).tolist() == [True, True, True]
    assert mixed_groups(batch).tolist() == [False, True, False]
    assert varied_groups(batch).tolist() == [True, True, False]
    cut = finished_rollouts(batch._replace(truncated=tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])))
    assert cut.tolist() == [[True, False], [True, True], [False, False]]
    assert rollouts_kept(cut, 2) is cut
    assert rollouts_kept(mixed_groups(batch), 2).tolist() == [[False, False], [True, True], [False, False]]


def test_a_group_filter_sees_the_reward_that_the_estimator_sees():
    all_right = group([[1.0, 1.0]], [[10.0, 30.0]])
    assert varied_groups(all_right).tolist() == [False]  # as scored, all the same
    assert varied_groups(estimator("lead", **LEAD).steps(all_right)[0]).tolist() == [True]  # a length signal is left


@pytest.mark.parametrize("table", [BASELINES, GROUP_FILTERS])
def test_names_in_the_tables_are_the_functions_names(table):
    for name, function in table.items():
        assert function.__name__ == name


def test_every_named_estimator_is_made_of_entries_of_the_three_tables():
    for parts in ESTIMATORS.values():
        assert parts.shape in SHAPES and parts.baseline in BASELINES and parts.weight in WEIGHTS and parts.source


def test_the_step_before_the_weight_is_the_z_score_of_the_shaped_reward():
    batch = group([[1.0, 1.0, 0.0, 0.0]], [[10.0, 20.0, 5.0, 99.0]])
    shaped, before, after = estimator("lead", **LEAD).steps(batch)
    assert shaped.reward[0, 2:].tolist() == [-1.0, -1.0] and batch.reward[0, 2:].tolist() == [0.0, 0.0]
    assert before.sum().item() == approx(0, abs=1e-6)
    assert torch.allclose(before * difficulty_weight(tensor(0.5), **CURVE), after)


def test_a_weight_under_another_name_is_logged_beside_its_before():
    def halved(advantage, group):
        return advantage / 2

    batch = group([[1.0, 0.0, 0.0, 0.0]])
    chosen = bind_estimator({"estimator": "grpo", "group_weight": "halved", **STD}, {"halved": halved})
    _, before, after = chosen.steps(batch)
    assert torch.equal(before, grpo(batch, **STD)) and torch.equal(after, before / 2)


def test_leads_reward_under_rloo_is_a_setting():
    batch = group([[1.0, 1.0, 0.0]], [[10.0, 30.0, 5.0]])
    mixed = estimator("lead", group_baseline="rloo", group_weight="none", length_alpha=0.1, wrong_reward=0.0)(batch)
    # z = -1/√2 and 1/√2
    a, b = exp(0.1 / sqrt(2)), exp(-0.1 / sqrt(2))
    assert mixed[0].tolist() == approx([a - b / 2, b - a / 2, -(a + b) / 2])


def test_an_own_function_is_an_estimator_and_takes_literal_arguments():
    def centred(group, *, scale: float):
        return (group.reward - 0.5) * scale

    chosen = bind_estimator({"estimator": "mine.py:centred(scale=4)"}, {"mine.py:centred": centred})
    assert chosen(group([[1.0, 0.0]]))[0].tolist() == [2.0, -2.0]
    assert "centred(scale=4.0)" in repr(chosen)


@pytest.mark.parametrize(
    "config, sentence",
    [
        ({"estimator": "grop"}, "estimator is 'grop'.*did you mean 'grpo'"),
        ({"estimator": "grpo", "group_shape": "laed", **STD}, "group_shape is 'laed'.*did you mean 'lead'"),
        ({"estimator": "lead", **STD}, "lead needs 'length_alpha'"),
        ({"estimator": "gdpo", "group_shape": "kimi", **STD}, "group_shape is 'kimi', but gdpo scores each reward"),
        ({"estimator": "grpo_kimi", "group_baseline": "remax", "kimi_weight": 1.0}, "greedy completion"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_sentence(config, sentence):
    with pytest.raises(InputError, match=sentence):
        bind_estimator(config)


def test_a_shape_that_replaces_correct_needs_it_with_weight_one():
    require_correct(estimator("lead", **LEAD), {"correct": 1.0, "format": 0.5})
    require_correct(estimator("grpo", **STD), {"format": 1.0})
    with pytest.raises(InputError, match="'lead' replaces the reward 'correct', which must have weight 1"):
        require_correct(estimator("lead", **LEAD), {"correct": 0.5})


def test_z_of_the_lengths_looks_at_correct_answers_alone():
    # lengths 10 and 30 of the right ones: mean 20, spread 10√2
    assert length_z(tensor([[1.0, 1.0, 0.0]]), tensor([[10.0, 30.0, 999.0]]))[0].tolist() == approx(
        [-1 / sqrt(2), 1 / sqrt(2), 0.0]
    )

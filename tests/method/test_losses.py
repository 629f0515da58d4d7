"""Token losses and their averages by hand."""

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx
from torch import ones, tensor, zeros

from tests.references import losses
from tests.references.losses import AGGREGATIONS

RATIO = tensor([[0.5, 0.9, 1.0, 1.25, 2.0]])
UP, DOWN = ones(1, 1), -ones(1, 1)


def test_the_clip_stops_what_has_gone_far_enough_in_the_advantage_s_direction():
    assert losses.clipped(RATIO, UP, 0.2, 0.2)[0].tolist() == approx([-0.5, -0.9, -1, -1.2, -1.2])
    assert losses.clipped(RATIO, DOWN, 0.2, 0.2)[0].tolist() == approx([0.8, 0.9, 1, 1.25, 2])


def test_clip_higher_leaves_more_room_upwards_only():
    assert losses.clipped(RATIO, UP, 0.2, 0.28)[0].tolist() == approx([-0.5, -0.9, -1, -1.25, -1.28])
    assert torch.equal(losses.clipped(RATIO, DOWN, 0.2, 0.28), losses.clipped(RATIO, DOWN, 0.2, 0.2))


def test_dual_clip_and_delta_bound_only_the_loss_of_a_negative_advantage():
    ratio = tensor([[5.0]])
    assert losses.dual_clipped(ratio, DOWN, 0.2, 0.2, 3.0).item() == 3
    assert losses.two_sided(ratio, DOWN, 0.2, 0.2, 4.0).item() == 4
    for bounded in (losses.dual_clipped(ratio, UP, 0.2, 0.2, 3.0), losses.two_sided(ratio, UP, 0.2, 0.2, 4.0)):
        assert bounded.item() == approx(-1.2)


def test_reinforce_has_the_gradient_of_the_clipped_loss_on_policy():
    logp = tensor([[-0.5, -2.0, -1.0]], requires_grad=True)
    advantage = tensor([[1.0, -2.0, 0.5]])
    ratio = (logp - logp.detach()).exp()
    (by_ratio,) = torch.autograd.grad(losses.clipped(ratio, advantage, 0.2, 0.2).sum(), logp)
    (by_logp,) = torch.autograd.grad(losses.reinforce(logp, advantage).sum(), logp)
    assert torch.equal(by_ratio, by_logp)


def test_both_estimates_of_kl_are_unbiased_and_k3_is_never_negative():
    policy, reference = tensor([0.5, 0.3, 0.2]), tensor([0.2, 0.3, 0.5])
    exact = (policy * (policy / reference).log()).sum().item()
    k1, k3 = losses.k1(policy.log(), reference.log()), losses.k3(policy.log(), reference.log())
    assert (policy * k1).sum().item() == approx(exact) and (policy * k3).sum().item() == approx(exact)
    assert k1.min() < 0 <= k3.min()


def test_the_sequence_ratio_is_the_geometric_mean_of_the_token_ratios():
    ratio = losses.sequence_ratio(tensor([[log(2.0), log(8.0), 99.0]]), tensor([[1.0, 1.0, 0.0]]))
    assert ratio.shape == (1, 1) and ratio.item() == approx(4)


def test_gspo_per_token_has_the_gradient_of_gspo():
    logp = tensor([[-0.5, -2.0, -1.0]], requires_grad=True)
    old, mask = tensor([[-0.4, -2.1, -1.1]]), ones(1, 3)
    whole = losses.sequence_ratio(logp - old, mask).sum()
    per_token = losses.sequence_ratio_per_token(logp, logp - old, mask)
    assert per_token.tolist()[0] == approx([whole.item()] * 3)
    (one,) = torch.autograd.grad(whole, logp)
    (other,) = torch.autograd.grad(losses.row_mean(per_token, mask).sum(), logp)
    assert torch.allclose(one, other)


def test_gmpo_clips_each_token_before_the_mean():
    log_ratio = tensor([[1.0, 0.0]])
    mask = ones(1, 2)
    assert losses.gmpo(log_ratio, UP, mask, 0.4, 0.4).item() == approx(-exp(0.2))  # mean of .4 and 0
    assert losses.gmpo(log_ratio, DOWN, mask, 0.4, 0.4).item() == approx(exp(0.5))  # pessimistic: 1 stays 1


def test_cispo_keeps_the_gradient_of_a_clipped_token():
    logp = tensor([[-1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.cispo(logp, tensor([[9.0]]), UP, 5.0).sum(), logp)
    assert gradient.item() == -5
    (gradient,) = torch.autograd.grad(losses.cispo_two_sided(logp, tensor([[9.0]]), UP, 0.2, 0.28).sum(), logp)
    assert gradient.item() == approx(-1.28)


@pytest.mark.parametrize("advantage", [UP, DOWN])
def test_sapo_has_the_gradient_of_reinforce_on_policy(advantage):
    # d/dw σ(τ(w − 1)) 4/τ at w = 1 is σ'(0) · 4 = 1
    ratio = ones(1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(losses.sapo(ratio, advantage, 1.0, 1.05).sum(), ratio)
    assert gradient.item() == approx(-advantage.item())


# Three tokens of loss 1, one of loss 5.
LOSS, MASK = tensor([[1.0, 1.0, 1.0], [5.0, 77.0, 77.0]]), tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def test_the_five_averages_of_one_batch():
    assert losses.seq_mean_token_mean(LOSS, MASK) == 3  # (1 + 5)/2
    assert losses.token_mean_local(LOSS, MASK) == 2  # 8/4
    assert losses.token_mean_global(LOSS, MASK, tokens=4) == 2
    assert losses.token_sum_const(LOSS, MASK, sequences=2, max_tokens=8) == 0.5  # 8/16
    assert losses.prompt_mean(LOSS, MASK, group_size=2) == 2  # one prompt of four tokens
    assert losses.prompt_mean(LOSS, MASK, group_size=1) == 3  # two prompts


def test_a_sequence_without_tokens_adds_nothing():
    nothing = zeros(2, 3)
    assert losses.seq_mean_token_mean(LOSS, nothing) == losses.token_mean_local(LOSS, nothing) == 0
    assert losses.prompt_mean(LOSS, nothing, group_size=1) == 0


LENGTHS = st.lists(st.integers(1, 9), min_size=4, max_size=4)


def batch(lengths, seed):
    """Four sequences of the given lengths with random losses."""
    mask = (torch.arange(9) < tensor(lengths)[:, None]).float()
    return torch.rand(4, 9, generator=torch.Generator().manual_seed(seed)), mask


def over_splits(average, loss, mask, sizes, summed):
    """The step's loss when the batch is split into micro-batches of these sizes."""
    parts = [average(a, b) for a, b in zip(loss.split(sizes), mask.split(sizes), strict=True)]
    return sum(parts) if summed else sum(parts) / len(parts)


@given(LENGTHS, st.integers(0, 99))
def test_the_global_token_mean_and_the_constant_do_not_depend_on_micro_batches(lengths, seed):
    loss, mask = batch(lengths, seed)

    def global_mean(a, b):
        return losses.token_mean_global(a, b, tokens=mask.sum())

    def constant(a, b):
        return losses.token_sum_const(a, b, sequences=4, max_tokens=9)

    for average in (global_mean, constant):
        whole = average(loss, mask)
        for sizes in ([4], [2, 2], [1, 3], [1, 1, 2], [1, 1, 1, 1]):
            assert over_splits(average, loss, mask, sizes, summed=True).item() == approx(whole.item(), rel=1e-5)


@given(LENGTHS, st.integers(0, 99))
def test_the_mean_of_sequence_means_needs_micro_batches_of_equal_size(lengths, seed):
    loss, mask = batch(lengths, seed)
    whole = losses.seq_mean_token_mean(loss, mask)
    for sizes in ([2, 2], [1, 1, 1, 1]):
        split = over_splits(losses.seq_mean_token_mean, loss, mask, sizes, summed=False)
        assert split.item() == approx(whole.item(), rel=1e-5)
    by_prompt = over_splits(lambda a, b: losses.prompt_mean(a, b, group_size=2), loss, mask, [2, 2], summed=False)
    assert by_prompt.item() == approx(losses.prompt_mean(loss, mask, group_size=2).item(), rel=1e-5)


def test_the_local_token_mean_changes_with_the_split():
    # whole: 8/4 = 2; split: (1 + 5)/2 = 3
    assert over_splits(losses.token_mean_local, LOSS, MASK, [1, 1], summed=False) == 3


def test_verl_weighs_a_micro_batch_by_its_rows_and_counts_dropped_rows():
    loss, mask = torch.cat([LOSS, LOSS[:1]]), torch.cat([MASK, MASK[:1]])

    def by_rows(rows):
        return over_splits(lambda a, b: losses.token_mean_by_rows(a, b, rows=rows), loss, mask, [2, 1], summed=True)

    # means of the micro-batches: 2 and 1; by rows (2·2 + 1·1)/3, with three dropped rows half of it, equally 3/2
    assert by_rows(3).item() == approx(5 / 3)
    assert by_rows(6).item() == approx(5 / 6)
    assert over_splits(losses.token_mean_local, loss, mask, [2, 1], summed=False) == 1.5


def test_names_in_the_table_are_the_functions_names():
    assert all(function.__name__ == name for name, function in AGGREGATIONS.items())

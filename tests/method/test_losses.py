"""Token losses and their averages by hand."""

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx
from torch import ones, tensor, zeros

from lead_kit.method.losses import LOSSES, Tokens, clip_cov, dppo_kl, dppo_tv, gmpo, kl_cov
from lead_kit.parameters import bind
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


def as_tokens(logp, old, advantage, mask=None):
    """Tokens of one row or more in double precision; without a mask all count."""
    logp, old, advantage = (tensor(values, dtype=torch.float64) for values in (logp, old, advantage))
    logp = logp.requires_grad_()
    return Tokens(logp, old, advantage, ones(logp.shape) if mask is None else tensor(mask, dtype=torch.float64))


def gradient_by_logp(loss, tokens):
    (gradient,) = torch.autograd.grad((loss * tokens.mask).sum(), tokens.logp)
    return gradient


def test_gmpo_clips_each_token_before_the_mean():
    up = as_tokens([[0.0, -1.0]], [[-1.0, -1.0]], [[1.0, 1.0]])  # log w is 1 and 0
    down = up._replace(advantage=-up.advantage)
    assert gmpo(up, clip_low=0.4, clip_high=0.4)[0].tolist() == approx([-exp(0.2)] * 2)  # mean of .4 and 0
    assert gmpo(down, clip_low=0.4, clip_high=0.4)[0].tolist() == approx([exp(0.5)] * 2)  # the maximum: 1 stays 1
    assert gradient_by_logp(gmpo(up, clip_low=0.4, clip_high=0.4), up)[0].tolist() == approx([0, -exp(0.2)])


# four tokens of equal ratio 1; A − mean A is ±1, log π − mean is −1, 1, 3, −3
COVARYING = as_tokens([[-5.0, -3.0], [-1.0, -7.0]], [[-5.0, -3.0], [-1.0, -7.0]], [[2.0, 2.0], [0.0, 0.0]])


def test_kl_cov_penalises_the_tokens_of_largest_covariance():
    # covariances −1, 1, −3, 3: the last token is the largest
    tokens = COVARYING._replace(old_logp=COVARYING.old_logp - log(2.0))
    loss = kl_cov(tokens, cov_share=0.25, kl_cov_coef=0.5)
    assert loss.flatten().tolist() == approx([-4, -4, 0, 0.5 * log(2)])
    assert kl_cov(tokens, cov_share=0.5, kl_cov_coef=0.5).flatten().tolist() == approx(
        [-4, -4 + 0.5 * log(2), 0, 0.5 * log(2)]
    )
    assert gradient_by_logp(loss, tokens).flatten().tolist() == approx([-4, -4, 0, 0.5])


def test_clip_cov_leaves_out_tokens_inside_the_bounds_that_the_clip_leaves():
    options = dict(clip_low=0.2, clip_high=0.2, cov_share=1.0)
    assert clip_cov(COVARYING, **options, cov_bounds=[0.5, 2.0]).flatten().tolist() == [-2, 0, 0, 0]
    assert clip_cov(COVARYING, **options, cov_bounds=[4.0, 9.0]).flatten().tolist() == [-2, -2, 0, 0]
    far = COVARYING._replace(old_logp=COVARYING.old_logp - 1)  # clipped where A > 0, so nothing is left out
    assert clip_cov(far, **options, cov_bounds=[0.5, 2.0]).flatten().tolist() == approx([-2.4, -2.4, 0, 0])


def test_clip_cov_draws_its_share_and_no_token_off_the_mask():
    torch.manual_seed(0)
    advantage = torch.randn(20, 50, dtype=torch.float64)
    mask = torch.rand(20, 50) < 0.7
    tokens = Tokens(torch.randn(20, 50, dtype=torch.float64), torch.zeros(20, 50), advantage, mask.double())
    tokens = tokens._replace(old_logp=tokens.logp)  # on policy: the loss is −A
    loss = clip_cov(tokens, clip_low=0.2, clip_high=0.2, cov_share=0.1, cov_bounds=[-99.0, 99.0])
    left_out = (loss == 0) & (advantage != 0)
    assert left_out.sum() == int(0.1 * mask.sum()) and not (left_out & ~mask).any()


@pytest.mark.parametrize("name", ["clip_cov", "kl_cov"])
def test_tokens_off_the_mask_have_no_part_in_a_covariance(name):
    options = dict(cov_share=0.5) | (
        dict(kl_cov_coef=1.0) if name == "kl_cov" else dict(clip_low=0.2, clip_high=0.2, cov_bounds=[0.5, 99.0])
    )
    wide = [torch.cat([values, torch.full((2, 3), 9.0)], 1) for values in COVARYING[:3]]
    padded = Tokens(*wide, torch.cat([COVARYING.mask, zeros(2, 3)], 1))
    torch.manual_seed(1)
    narrow = LOSSES[name](COVARYING, **options)
    torch.manual_seed(1)
    assert LOSSES[name](padded, **options)[:, :2].count_nonzero() == narrow.count_nonzero()


def test_dppo_stops_tokens_by_their_change_of_probability():
    # from .5 to .7 and to .3: a change of .2, ratios of 1.4 and .6
    tokens = as_tokens([[log(0.7), log(0.3)]], [[log(0.5)] * 2], [[1.0, 1.0]])
    inside, outside = dict(clip_low=0.25, clip_high=0.25), dict(clip_low=0.15, clip_high=0.15)
    assert gradient_by_logp(dppo_tv(tokens, **inside), tokens)[0].tolist() == approx([-1.4, -0.6])
    assert gradient_by_logp(dppo_tv(tokens, **outside), tokens)[0].tolist() == approx([0, -0.6])
    down = tokens._replace(advantage=-tokens.advantage)
    assert gradient_by_logp(dppo_tv(down, **outside), down)[0].tolist() == approx([1.4, 0])
    # a rare token may become twenty times as likely, which a clip of the ratio would stop
    rare = as_tokens([[log(0.02)]], [[log(0.0005)]], [[1.0]])
    assert gradient_by_logp(dppo_tv(rare, **outside), rare).item() == -20  # and not 40


def test_dppo_kl_stops_where_the_divergence_of_the_token_against_all_others_is_too_large():
    tokens = as_tokens([[log(0.7), log(0.3)]], [[log(0.5)] * 2], [[1.0, 1.0]])
    divergence = 0.5 * log(0.5 / 0.7) + 0.5 * log(0.5 / 0.3)  # .087, for both tokens
    wide, narrow = (dict(clip_low=bound, clip_high=bound) for bound in (divergence + 1e-6, divergence - 1e-6))
    assert gradient_by_logp(dppo_kl(tokens, **wide), tokens)[0].tolist() == approx([-1.4, -0.6])
    assert gradient_by_logp(dppo_kl(tokens, **narrow), tokens)[0].tolist() == approx([0, -0.6])
    down = tokens._replace(advantage=-tokens.advantage)
    assert gradient_by_logp(dppo_kl(down, **narrow), down)[0].tolist() == approx([1.4, 0])


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_gradient_of_reinforce_on_policy(name):
    known = dict(clip_low=0.2, clip_high=0.2, cov_share=0.1, cov_bounds=[90.0, 99.0], kl_cov_coef=1.0)
    loss = bind(LOSSES[name], known)
    tokens = as_tokens([[-1.0, -2.0, -0.5]], [[-1.0, -2.0, -0.5]], [[0.5, 0.5, 0.5]], [[1, 1, 0]])
    assert gradient_by_logp(loss(tokens), tokens)[0].tolist() == approx([-0.5, -0.5, 0])


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

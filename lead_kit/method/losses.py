"""Losses of the papers that TRL lacks; TRL averages them over tokens and rows as it does its own.

A loss takes Tokens and returns the loss of each token, (rows, tokens), or of each row, (rows, 1), to be minimised. The
trainer takes its gradient by log π, so a function of yours may be any differentiable formula. Formulas use methods of
tensors alone, as in advantages.py. Covariances are those of the tokens of one forward, so of a pack.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_RATIO = 20.0  # DPPO §5.4 and verl: the ratio itself is truncated here
_SMALL = 1e-8  # verl, added to both probabilities under the logarithm


class Tokens(NamedTuple):
    """The generated tokens of a forward, all (rows, tokens)."""

    logp: Tensor  # log π_θ; it has a gradient
    old_logp: Tensor  # log π_old, without a gradient
    advantage: Tensor
    mask: Tensor  # 1 on generated tokens

    @property
    def log_ratio(self) -> Tensor:
        return self.logp - self.old_logp


def gmpo(tokens: Tokens, *, clip_low: float, clip_high: float) -> Tensor:
    """GMPO (2507.20673): −A exp(mean_t log w), where A > 0 with min(log w, clip), else with max(log w, clip).

    The clip bounds log w to [−clip_low, clip_high]; the paper takes 0.4. The mean is over the row's tokens, and the
    loss over rows, as in TRL's grpo.
    """
    clipped = tokens.log_ratio.clamp(-clip_low, clip_high)
    cautious = tokens.log_ratio.minimum(clipped).where(tokens.advantage > 0, tokens.log_ratio.maximum(clipped))
    mean = (cautious * tokens.mask).sum(1, keepdim=True) / tokens.mask.sum(1, keepdim=True).clamp(min=1)
    return -tokens.advantage * mean.exp()


def _covariance(tokens: Tokens) -> Tensor:
    """(A − mean A)(log π − mean log π) of each token, means over all tokens; −∞ off the mask (2505.22617)."""
    count = tokens.mask.sum().clamp(min=1)
    advantage, logp = tokens.advantage, tokens.logp.detach()
    centred = [values - (values * tokens.mask).sum() / count for values in (advantage, logp)]
    return (centred[0] * centred[1]).masked_fill(tokens.mask == 0, -inf)


def _first(values: Tensor, share: float, mask: Tensor) -> Tensor:
    """Whether a token is among the `share` of all tokens, at least one, with the largest values above −∞."""
    count = min(max(int(share * mask.sum()), 1), values.numel())
    best = values.flatten().topk(count).indices
    return values.new_zeros(values.numel()).scatter(0, best, 1.0).view_as(values).bool() & (values > -inf)


def clip_cov(tokens: Tokens, *, clip_low: float, clip_high: float, cov_share: float, cov_bounds: list[float]) -> Tensor:
    """Clip-Cov (2505.22617, §4.2): the clipped loss without a random `cov_share` of the tokens.

    They are drawn among those that the clip leaves and whose covariance is inside `cov_bounds`.
    """
    ratio = tokens.log_ratio.exp()
    plain, clipped = -tokens.advantage * ratio, -tokens.advantage * ratio.clamp(1 - clip_low, 1 + clip_high)
    covariance = _covariance(tokens)
    eligible = (covariance > cov_bounds[0]) & (covariance < cov_bounds[1]) & (clipped <= plain)
    order = covariance.new_empty(covariance.shape).uniform_().masked_fill(~eligible, -inf)
    return plain.maximum(clipped).masked_fill(_first(order, cov_share, tokens.mask), 0.0)


def kl_cov(tokens: Tokens, *, cov_share: float, kl_cov_coef: float) -> Tensor:
    """KL-Cov (2505.22617, §4.2): −w A, plus kl_cov_coef |log w| for tokens of large covariance.

    These are the `cov_share` of the tokens with the largest. Nothing is clipped.
    """
    penalised = _first(_covariance(tokens), cov_share, tokens.mask)
    return -tokens.advantage * tokens.log_ratio.exp() + kl_cov_coef * tokens.log_ratio.abs() * penalised


def _reinforce_inside(tokens: Tokens, inside: Tensor) -> Tensor:
    """−min(w, 20) A log π, the ratio without a gradient, where `inside`; 0 elsewhere."""
    ratio = tokens.log_ratio.detach().exp().clamp(max=_LARGEST_RATIO)
    return -ratio * tokens.advantage * tokens.logp * inside


def dppo_tv(tokens: Tokens, *, clip_low: float, clip_high: float) -> Tensor:
    """DPPO (2602.04879), binary total variation: a token stops once π has moved far in A's direction.

    Where A > 0 it stops at π − π_old > clip_high, elsewhere at π_old − π > clip_low; verl's example takes 0.15.
    """
    change = tokens.logp.detach().exp() - tokens.old_logp.exp()
    return _reinforce_inside(tokens, (change <= clip_high).where(tokens.advantage > 0, change >= -clip_low))


def dppo_kl(tokens: Tokens, *, clip_low: float, clip_high: float) -> Tensor:
    """DPPO (2602.04879), binary KL divergence: as dppo_tv, by the divergence of the token against all others.

    A token stops where it exceeds the bound and π has moved in A's direction; verl's example takes 0.05.
    """
    new, old = tokens.logp.detach().exp(), tokens.old_logp.exp()
    others = (1 - old) * ((1 - old + _SMALL) / (1 - new + _SMALL)).log()
    divergence = others - old * tokens.log_ratio.detach()
    up, down = (divergence <= clip_high) | (new <= old), (divergence <= clip_low) | (new >= old)
    return _reinforce_inside(tokens, up.where(tokens.advantage > 0, down))


# TRL's losses by the names of `loss_type`
TRL_LOSSES = {name: name for name in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo")}
# ScaleRL's mean inside each prompt: a factor on the advantages turns Dr. GRPO's constant divisor into it.
TRL_LOSSES["prompt_mean"] = "dr_grpo"
LOSSES = {"gmpo": gmpo, "clip_cov": clip_cov, "kl_cov": kl_cov, "dppo_tv": dppo_tv, "dppo_kl": dppo_kl}
OF_TOKENS = ("dppo_tv", "dppo_kl")  # a token's loss depends on no other token
_AVERAGES = {"gmpo": "grpo"}  # TRL's loss that averages as the paper does; for the others, and yours, dapo


def trl_loss(loss_type: str) -> str:
    """TRL's name for a loss of TRL_LOSSES; for one of LOSSES or of yours, that of the loss with the same average."""
    return TRL_LOSSES.get(loss_type) or _AVERAGES.get(loss_type, "dapo")

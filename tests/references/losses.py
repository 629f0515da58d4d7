"""The loss of a token, and the named ways to average it. TRL's own are used in training where it has them.

Every tensor is (sequences, tokens) unless marked; `ratio` is w = π_θ/π_old, `advantage` is (sequences, 1) or
(sequences, tokens), `mask` is 1 on generated tokens. Losses are minimised.
"""

import torch
from torch import Tensor


def clipped(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """PPO's surrogate as in GRPO and, with clip_high > clip_low, DAPO: −min(w A, clip(w, 1 − ε_low, 1 + ε_high) A)."""
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def dual_clipped(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float, dual_clip: float) -> Tensor:
    """Dual clip (1912.09729): where A < 0 the loss is at most c |A|."""
    loss = clipped(ratio, advantage, clip_low, clip_high)
    return torch.where(advantage < 0, torch.min(loss, dual_clip * advantage.abs()), loss)


def two_sided(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float, delta: float) -> Tensor:
    """INTELLECT-2 (2505.07291): w := min(w, δ) before the minimum, so A < 0 is bounded too; δ > 1 + ε."""
    return clipped(ratio.clamp(max=delta), advantage, clip_low, clip_high)


def reinforce(logp: Tensor, advantage: Tensor) -> Tensor:
    """REINFORCE: −A log π_θ. Its gradient is that of `clipped` while w = 1, so with one update per batch."""
    return -advantage * logp


def k1(logp: Tensor, reference: Tensor) -> Tensor:
    """KL estimate log π_θ − log π_ref: unbiased, of either sign (Schulman, 2020)."""
    return logp - reference


def k3(logp: Tensor, reference: Tensor) -> Tensor:
    """KL estimate e^d − d − 1 with d = log π_ref − log π_θ: unbiased, never negative (Schulman, 2020)."""
    difference = reference - logp
    return difference.exp() - difference - 1


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(sequences, 1): the mean over the generated tokens; 0 in a sequence without any."""
    return (values * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def sequence_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """GSPO (2507.18071, eq. 7), (sequences, 1): s = exp(mean_t log w)."""
    return row_mean(log_ratio, mask).exp()


def sequence_ratio_per_token(logp: Tensor, log_ratio: Tensor, mask: Tensor) -> Tensor:
    """GSPO-token (2507.18071, eq. 14): s_t = sg[s] · π_θ/sg[π_θ], the value of s, the gradient of the token."""
    return sequence_ratio(log_ratio, mask).detach() * (logp - logp.detach()).exp()


def cispo(logp: Tensor, ratio: Tensor, advantage: Tensor, ratio_max: float) -> Tensor:
    """CISPO in the one-sided form of ScaleRL (2510.13786): −sg(min(w, ε_max)) A log π_θ; ε_max bounds w itself."""
    return -ratio.clamp(max=ratio_max).detach() * advantage * logp


def cispo_two_sided(logp: Tensor, ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """CISPO (2506.13585) as verl has it: −sg(clip(w, 1 − ε_low, 1 + ε_high)) A log π_θ."""
    return -ratio.clamp(1 - clip_low, 1 + clip_high).detach() * advantage * logp


def sapo(ratio: Tensor, advantage: Tensor, positive: float, negative: float) -> Tensor:
    """SAPO (2511.20347): −A σ(τ(w − 1)) · 4/τ, τ by the sign of A; a soft gate instead of a clip."""
    temperature = torch.where(advantage > 0, positive, negative)
    return -torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantage


def seq_mean_token_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """GRPO (2402.03300), TRL `grpo`, verl `seq-mean-token-mean`: mean over sequences of their mean over tokens."""
    return row_mean(loss, mask).mean()


def token_mean_local(loss: Tensor, mask: Tensor) -> Tensor:
    """TRL `bnpo`, RLite: the mean over the tokens of this micro-batch; micro-batches are then averaged."""
    return (loss * mask).sum() / mask.sum().clamp(min=1)


def token_mean_by_rows(loss: Tensor, mask: Tensor, *, rows: int) -> Tensor:
    """GRPO-LEAD's verl: the mean over the tokens of this micro-batch times its share of the `rows` of the mini-batch,
    dropped ones included; micro-batches are summed."""
    return token_mean_local(loss, mask) * len(loss) / rows


def token_mean_global(loss: Tensor, mask: Tensor, *, tokens: Tensor | float) -> Tensor:
    """DAPO (2503.14476), TRL `dapo`: divided by the tokens of the whole step; micro-batches are summed."""
    return (loss * mask).sum() / tokens


def token_sum_const(loss: Tensor, mask: Tensor, *, sequences: int, max_tokens: int) -> Tensor:
    """Dr. GRPO (2503.20783), TRL `dr_grpo`: Σ loss / (sequences of the step · max_tokens); micro-batches are summed."""
    return (loss * mask).sum() / (sequences * max_tokens)


def prompt_mean(loss: Tensor, mask: Tensor, *, group_size: int) -> Tensor:
    """ScaleRL (2510.13786): token mean inside a prompt's group (consecutive rows), then the mean over prompts."""
    by_prompt = (loss * mask).view(-1, group_size * loss.shape[1]).sum(1)
    return (by_prompt / mask.reshape(len(by_prompt), -1).sum(1).clamp(min=1)).mean()


AGGREGATIONS = {
    "seq_mean_token_mean": seq_mean_token_mean,
    "token_mean_local": token_mean_local,
    "token_mean_by_rows": token_mean_by_rows,
    "token_mean_global": token_mean_global,
    "token_sum_const": token_sum_const,
    "prompt_mean": prompt_mean,
}

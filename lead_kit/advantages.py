"""Everything that looks at a group of rollouts: tensors in, tensors out.

Every tensor is (prompts, group) unless marked; an estimator takes the gathered batch (all ranks, whole groups) and
returns one advantage a rollout, or (prompts, group, tokens) where it says so. Its keyword-only arguments are notebook
parameters of the same name. ESTIMATORS at the foot is the list to choose from.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LENGTH_EPSILON = 1e-6  # GRPO-LEAD, released code: beside the spread of lengths
WHITEN_FLOOR = 1e-8  # cs2916 hw1 (an OpenRLHF fork), released code: least variance when whitening a batch
SHORTEST = 3  # GRPO-LEAD, released code: the mean of so many shortest responses decides whether length counts


class Group(NamedTuple):
    """Rollouts of one batch, grouped by prompt."""

    correct: Tensor  # 1 where the verifier accepts
    length: Tensor  # tokens generated
    reward: Tensor  # weighted sum of the chosen rewards
    finished: Tensor | None = None  # 1 where the model ended by itself (lead_code: the thinking was closed)
    repetitive: Tensor | None = None  # 1 where the completion repeats itself in a chain
    components: Tensor | None = None  # (prompts, group, k): each chosen reward alone
    weights: Tensor | None = None  # (k,): their weights
    kl: Tensor | None = None  # (prompts, group, tokens): log π_θ − log π_ref
    mask: Tensor | None = None  # (prompts, group, tokens): 1 on generated tokens


def z_score(values: Tensor, ddof: int, epsilon: float) -> Tensor:
    """(x − mean)/(std + ε) over the group; exactly 0 where all are equal, so also in a group of one."""
    centred = values - values.mean(1, keepdim=True)
    spread = (centred.square().sum(1, keepdim=True) / max(values.shape[1] - ddof, 1)).sqrt()
    equal = values.amax(1, keepdim=True) == values.amin(1, keepdim=True)
    # Rounding can leave a centred value of 1e-8 in an all-equal group, which a small ε would blow up.
    return torch.where(equal, 0.0, centred / torch.where(equal, 1.0, spread + epsilon))


def grpo(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """GRPO (DeepSeekMath, 2402.03300, §4.1.2): A = (r − mean r)/(std r + ε) inside the group."""
    return z_score(group.reward, std_ddof, std_epsilon)


def dr_grpo(group: Group) -> Tensor:
    """Dr. GRPO (2503.20783, §3.2): A = r − mean r, no division by the spread."""
    return group.reward - group.reward.mean(1, keepdim=True)


def length_reward(correct: Tensor, length: Tensor, *, length_alpha: float, wrong_reward: float) -> Tensor:
    """GRPO-LEAD §2.1–2.2: exp(−α z) where correct, z the length's z-score among the group's correct; else a constant.

    ddof 1 and ε 1e-6 as in the released code. A lone correct answer has no spread: z = 0, reward 1.
    """
    count = correct.sum(1, keepdim=True)
    mean = (length * correct).sum(1, keepdim=True) / count.clamp(min=1)
    centred = (length - mean) * correct
    spread = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return torch.where(correct > 0, torch.exp(-length_alpha * centred / (spread + LENGTH_EPSILON)), wrong_reward)


def difficulty_weight(
    rho: Tensor, weight_low: float, weight_high: float, weight_midpoint: float, weight_steepness: float
) -> Tensor:
    """GRPO-LEAD §2.3: w(ρ) = A + (B − A)/(1 + exp(k(ρ − ρ0))), a falling logistic in the share ρ of correct answers."""
    return weight_low + (weight_high - weight_low) / (1 + torch.exp(weight_steepness * (rho - weight_midpoint)))


def reweight(advantage: Tensor, correct: Tensor, *curve: float) -> Tensor:
    """GRPO-LEAD §2.3: A·w(ρ) where A > 0, else A·w(1 − ρ). `curve` is difficulty_weight's. The sum is no longer 0."""
    rho = correct.mean(1, keepdim=True)
    return advantage * torch.where(advantage > 0, difficulty_weight(rho, *curve), difficulty_weight(1 - rho, *curve))


def lead(
    group: Group,
    *,
    length_alpha: float,
    wrong_reward: float,
    weight_low: float,
    weight_high: float,
    weight_midpoint: float,
    weight_steepness: float,
    std_ddof: int,
    std_epsilon: float,
) -> Tensor:
    """GRPO-LEAD (2504.09696, §2.1–2.3): length reward, penalty for wrong answers, z-score, difficulty weight.

    The length reward takes the place of `correct` (weight 1) in the summed reward, so other chosen rewards still count.
    L off: length_alpha 0. E off: wrong_reward 0. AD off: weight_low = weight_high = 1.
    """
    accuracy = length_reward(group.correct, group.length, length_alpha=length_alpha, wrong_reward=wrong_reward)
    advantage = z_score(group.reward - group.correct + accuracy, std_ddof, std_epsilon)
    return reweight(advantage, group.correct, weight_low, weight_high, weight_midpoint, weight_steepness)


def before_weighting(estimate: Callable[[Group], Tensor], group: Group) -> Tensor:
    """The advantage as it was before the difficulty weight: the same bound estimator with a weight of 1 everywhere.

    An estimator without such a weight is returned as it is: before equals after.
    """
    if "weight_low" not in estimate.keywords:
        return estimate(group)
    return estimate.function(group, **{**estimate.keywords, "weight_low": 1.0, "weight_high": 1.0})


ESTIMATORS = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "lead": lead,
}

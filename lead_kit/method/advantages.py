"""Everything that looks at a group of rollouts: tensors in, tensors out.

Every tensor is (prompts, group) unless marked; an estimator takes the gathered batch (all ranks, whole groups) and
returns one advantage a rollout, or (prompts, group, tokens) where it says so. Its keyword-only arguments are notebook
parameters of the same name. ESTIMATORS at the foot is the list to choose from.
"""

from functools import partial
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


def batch_std(values: Tensor, ddof: int) -> Tensor:
    """A scalar: the standard deviation over all prompts and rollouts of the batch."""
    return ((values - values.mean()).square().sum() / max(values.numel() - ddof, 1)).sqrt()


def needed(group: Group, *fields: str) -> list[Tensor]:
    """Optional fields that an estimator cannot do without. Raises ValueError naming the first that is missing."""
    for field in fields:
        if getattr(group, field) is None:
            raise ValueError(f"this estimator needs Group.{field}, which was not given")
    return [getattr(group, field) for field in fields]


def grpo(group: Group, *, std_ddof: int, std_epsilon: float, lone_keeps_reward: bool) -> Tensor:
    """GRPO (DeepSeekMath, 2402.03300, §4.1.2): A = (r − mean r)/(std r + ε) inside the group.

    A group of one has A = 0 (TRL, RLite), or A = r where lone_keeps_reward (the verl fork of GRPO-LEAD).
    """
    if lone_keeps_reward and group.reward.shape[1] == 1:
        return group.reward
    return z_score(group.reward, std_ddof, std_epsilon)


def dr_grpo(group: Group) -> Tensor:
    """Dr. GRPO (2503.20783, §3.2): A = r − mean r, no division by the spread."""
    return group.reward - group.reward.mean(1, keepdim=True)


def rloo(group: Group) -> Tensor:
    """RLOO (2402.14740): A_i = r_i − mean of the others' r. Raises ValueError in a group of one."""
    size = group.reward.shape[1]
    if size < 2:
        raise ValueError(
            "rloo compares a rollout with the others of its prompt: group_size 1 found, expected 2 or more"
        )
    return (group.reward - group.reward.mean(1, keepdim=True)) * size / (size - 1)


def lite_ppo(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """LitePPO (2508.08221): mean per group, spread of the rewards over the whole batch."""
    centred = group.reward - group.reward.mean(1, keepdim=True)
    return centred / (batch_std(group.reward, std_ddof) + std_epsilon)


def maxrl(group: Group) -> Tensor:
    """MaxRL (2602.02710): A = (r − mean r)/mean r; 0 where nothing was rewarded. Raises ValueError for a reward < 0."""
    if (group.reward < 0).any():
        least = group.reward.min().item()
        raise ValueError(f"maxrl divides by the mean reward, so no reward may be negative: {least:g} found")
    mean = group.reward.mean(1, keepdim=True)
    return torch.where(mean > 0, (group.reward - mean) / torch.where(mean > 0, mean, 1.0), 0.0)


def opo(group: Group) -> Tensor:
    """OPO (2505.23585): A = r − b, with b = Σ|o| r / Σ|o|, the baseline of least variance by length."""
    baseline = (group.length * group.reward).sum(1, keepdim=True) / group.length.sum(1, keepdim=True).clamp(min=1)
    return group.reward - baseline


def gdpo(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """GDPO (2601.05242): z-score each reward inside the group, sum with weights, then whiten over the batch."""
    (components,) = needed(group, "components")
    weights = torch.ones(components.shape[-1], device=components.device) if group.weights is None else group.weights
    total = (z_score(components, std_ddof, std_epsilon) * weights).sum(-1)
    return (total - total.mean()) / (batch_std(total, std_ddof) + std_epsilon)


def whitened(group: Group, *, kl_reward_coef: float, std_ddof: int, std_epsilon: float) -> Tensor:
    """cs2916 hw1's baseline, released code: (prompts, group, tokens), whitened over all generated tokens.

    The group z-score is paid on the last token and −coef·k1 on every token; the advantage of a token is the sum of what
    is still to come (γ = 1), so it holds all future KL. Then (A − mean)/√max(var, 1e-8) over the batch, ddof 0.
    """
    kl, mask = needed(group, "kl", "mask")
    cost = kl_reward_coef * kl * mask
    to_come = cost.flip(-1).cumsum(-1).flip(-1)
    advantage = (z_score(group.reward, std_ddof, std_epsilon).unsqueeze(-1) - to_come) * mask
    tokens = mask.sum().clamp(min=1)
    centred = (advantage - advantage.sum() / tokens) * mask
    return centred * (centred.square().sum() / tokens).clamp(min=WHITEN_FLOOR).rsqrt()


def kimi_length(correct: Tensor, length: Tensor) -> Tensor:
    """Kimi k1.5 (2501.12599, §2.3.3): λ = ½ − (|o| − min)/(max − min); λ where correct, min(0, λ) where wrong.

    0 in a group whose lengths are all equal.
    """
    shortest, longest = length.amin(1, keepdim=True), length.amax(1, keepdim=True)
    bonus = 0.5 - (length - shortest) / (longest - shortest).clamp(min=1)
    return torch.where(longest == shortest, 0.0, torch.where(correct > 0, bonus, bonus.clamp(max=0)))


def grpo_kimi(group: Group, *, kimi_weight: float, std_ddof: int, std_epsilon: float) -> Tensor:
    """GRPO on r + kimi_weight · kimi_length: the length reward of Kimi k1.5, which sees the whole group."""
    reward = group.reward + kimi_weight * kimi_length(group.correct, group.length)
    return z_score(reward, std_ddof, std_epsilon)


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


lead_paper = lead


def lead_code_reward(
    group: Group,
    *,
    length_alpha: float,
    length_floor: float,
    wrong_reward: float,
    unfinished_reward: float,
    repetitive_reward: float,
) -> Tensor:
    """GRPO-LEAD, released code (main_ppo.py, ray_trainer.py): the reward of the training batch, in its order.

    Right 1, wrong −1; unfinished 0 whatever it says; −2 if it repeats itself as well. Then, only where the mean of the
    three shortest responses (right or wrong) exceeds length_floor tokens, the length reward on those with r > 0.
    """
    finished, repetitive = needed(group, "finished", "repetitive")
    accuracy = torch.where(group.correct > 0, 1.0, wrong_reward)
    unfinished = torch.where(repetitive > 0, repetitive_reward, unfinished_reward)
    accuracy = torch.where(finished > 0, accuracy, unfinished)
    by_length = length_reward((accuracy > 0).float(), group.length, length_alpha=length_alpha, wrong_reward=0.0)
    shortest = group.length.sort(1).values[:, :SHORTEST].mean(1, keepdim=True)
    accuracy = torch.where((accuracy > 0) & (shortest > length_floor), by_length, accuracy)
    return group.reward - group.correct + accuracy


def lead_code_keep(
    group: Group,
    *,
    length_alpha: float,
    length_floor: float,
    wrong_reward: float,
    unfinished_reward: float,
    repetitive_reward: float,
) -> Tensor:
    """GRPO-LEAD, released code: (prompts,) False where a group is dropped. The knobs are those of lead_code_reward.

    Dropped: all rewards ≤ 0, or all exactly 1. An all-correct group whose length rewards differ is kept.
    """
    reward = lead_code_reward(
        group,
        length_alpha=length_alpha,
        length_floor=length_floor,
        wrong_reward=wrong_reward,
        unfinished_reward=unfinished_reward,
        repetitive_reward=repetitive_reward,
    )
    return ~((reward <= 0).all(1) | (reward == 1).all(1))


def lead_code(
    group: Group,
    *,
    length_alpha: float,
    length_floor: float,
    wrong_reward: float,
    unfinished_reward: float,
    repetitive_reward: float,
    weight_low: float,
    weight_high: float,
    weight_midpoint: float,
    weight_steepness: float,
    std_ddof: int,
    std_epsilon: float,
) -> Tensor:
    """GRPO-LEAD as released (main_ppo.py, ray_trainer.py, core_algos.py): differs from `lead` in the reward and drops.

    Order: lead_code_reward; z-score on full groups (a group of one keeps A = r); difficulty weight with ρ the share of
    r > 0; then dropped groups get A = 0. lead_code_keep says which, for a trainer that removes them from the batch.
    """
    knobs = dict(
        length_alpha=length_alpha,
        length_floor=length_floor,
        wrong_reward=wrong_reward,
        unfinished_reward=unfinished_reward,
        repetitive_reward=repetitive_reward,
    )
    reward = lead_code_reward(group, **knobs)
    advantage = reward if reward.shape[1] == 1 else z_score(reward, std_ddof, std_epsilon)
    curve = (weight_low, weight_high, weight_midpoint, weight_steepness)
    advantage = reweight(advantage, (reward > 0).to(reward.dtype), *curve)
    return advantage * lead_code_keep(group, **knobs).unsqueeze(1)


def before_weighting(estimate: partial, group: Group) -> Tensor:
    """The advantage as it was before the difficulty weight: the same bound estimator with a weight of 1 everywhere.

    Before equals after for an estimator without such a weight. `estimate` is what params.bind returns, or any partial.
    """
    if "weight_low" not in estimate.keywords:
        return estimate(group)
    return estimate(group, weight_low=1.0, weight_high=1.0)


ESTIMATORS = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "lite_ppo": lite_ppo,
    "maxrl": maxrl,
    "opo": opo,
    "gdpo": gdpo,
    "whitened": whitened,
    "grpo_kimi": grpo_kimi,
    "lead": lead,
    "lead_paper": lead_paper,
    "lead_code": lead_code,
}

"""An advantage is three choices: a shape of the reward inside the group, a baseline, a weight.

Every tensor is (prompts, group) unless marked. Groups are complete: the trainer gathers the batch of all processes
first. A shape takes a Group and returns its reward. A baseline takes the shaped Group and returns one advantage a
rollout, or (prompts, group, tokens) where it says so. A weight takes that advantage and the shaped Group. Keyword-only
arguments are notebook parameters of the same name. estimators.py combines SHAPES, BASELINES and WEIGHTS as papers do.
Formulas use methods of tensors alone: `lead list` reads them without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

_LENGTH_EPSILON = 1e-6  # GRPO-LEAD, released code: added to the spread of lengths
_WHITEN_FLOOR = 1e-8  # cs2916 hw1 (an OpenRLHF fork): minimum variance when whitening a batch; verl adds it
_ENERGY_EPSILON = 1e-8  # verl: added to the energy that the optimal token baseline divides by
_SHORTEST = 3  # GRPO-LEAD, released code: responses whose mean length decides whether the length reward applies


class Group(NamedTuple):
    """Rollouts of one batch, grouped by prompt."""

    correct: Tensor  # 1 where the verifier accepts
    length: Tensor  # tokens generated
    reward: Tensor  # weighted sum of the chosen rewards
    truncated: Tensor | None = None  # 1 where the completion was cut off (lead_code: </think> is missing)
    repetitive: Tensor | None = None  # 1 where the completion repeats an n-gram in a chain
    components: Tensor | None = None  # (prompts, group, k): each chosen reward alone
    weights: Tensor | None = None  # (k,): their weights
    kl: Tensor | None = None  # (prompts, group, tokens): log π_θ − log π_ref
    mask: Tensor | None = None  # (prompts, group, tokens): 1 on generated tokens
    greedy: Tensor | None = None  # (prompts, 1): the reward of the prompt's greedy completion
    energy: Tensor | None = None  # (prompts, group, tokens): 1 − 2π + Σπ², |∇ log π|² with respect to the logits
    answer: Tensor | None = None  # number of the class of equal answers in the group, by first appearance; −1 for none


def require_fields(group: Group, *fields: str) -> list[Tensor]:
    """The values of optional fields. Raises ValueError naming the first that is missing."""
    for field in fields:
        if getattr(group, field) is None:
            raise ValueError(f"this estimator needs Group.{field}, which was not given")
    return [getattr(group, field) for field in fields]


# -- shapes: a Group in, its reward out --------------------------------------------------------------------------------


def no_shape(group: Group) -> Tensor:
    """The weighted sum of the chosen rewards, unchanged."""
    return group.reward


def length_z(correct: Tensor, length: Tensor) -> Tensor:
    """GRPO-LEAD §2.1: z = (|o| − μ)/σ over the group's correct answers, ddof 1; 0 for wrong ones and a lone one."""
    count = correct.sum(1, keepdim=True)
    mean = (length * correct).sum(1, keepdim=True) / count.clamp(min=1)
    centred = (length - mean) * correct
    spread = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (spread + _LENGTH_EPSILON)


def length_reward(correct: Tensor, length: Tensor, length_alpha: float, wrong_reward: float) -> Tensor:
    """GRPO-LEAD §2.1–2.2: exp(−α z) where correct, else wrong_reward.

    >>> length_reward(torch.ones(1, 3), torch.tensor([[10.0, 20.0, 30.0]]), length_alpha=0.1, wrong_reward=-1.0)
    tensor([[1.1052, 1.0000, 0.9048]])
    """
    return (-length_alpha * length_z(correct, length)).exp().where(correct > 0, wrong_reward)


def lead(group: Group, *, length_alpha: float, wrong_reward: float) -> Tensor:
    """GRPO-LEAD (2504.09696, §2.1–2.2): the length reward replaces `correct`; other chosen rewards still count.

    length_alpha 0 disables the length reward (L), wrong_reward 0 the explicit penalty (E).
    """
    return group.reward - group.correct + length_reward(group.correct, group.length, length_alpha, wrong_reward)


def lead_code(
    group: Group,
    *,
    length_alpha: float,
    length_floor: float,
    wrong_reward: float,
    truncated_reward: float,
    repetitive_reward: float,
) -> Tensor:
    """GRPO-LEAD, released code (main_ppo.py, ray_trainer.py): the reward of the training batch, in the code's order.

    Correct 1, wrong −1; truncated 0 in both cases, −2 if also repetitive. Then responses with r > 0 get the length
    reward in groups whose three shortest responses (correct or wrong) have a mean length above length_floor tokens.
    """
    truncated, repetitive = require_fields(group, "truncated", "repetitive")
    accuracy = (group.correct > 0).float().where(group.correct > 0, wrong_reward)
    accuracy = accuracy.masked_fill(truncated > 0, truncated_reward)
    accuracy = accuracy.masked_fill((truncated > 0) & (repetitive > 0), repetitive_reward)
    by_length = length_reward((accuracy > 0).float(), group.length, length_alpha, 0.0)
    shortest = group.length.sort(1).values[:, :_SHORTEST].mean(1, keepdim=True)
    accuracy = by_length.where((accuracy > 0) & (shortest > length_floor), accuracy)
    return group.reward - group.correct + accuracy


def kimi_length(correct: Tensor, length: Tensor) -> Tensor:
    """Kimi k1.5 (2501.12599, §2.3.3): λ = ½ − (|o| − min)/(max − min); λ where correct, min(0, λ) where wrong.

    0 in a group whose lengths are all equal.

    >>> kimi_length(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[10.0, 20.0, 30.0]]))
    tensor([[ 0.5000,  0.0000, -0.5000]])
    """
    shortest, longest = length.amin(1, keepdim=True), length.amax(1, keepdim=True)
    bonus = 0.5 - (length - shortest) / (longest - shortest).clamp(min=1)
    return bonus.where(correct > 0, bonus.clamp(max=0)).masked_fill(longest == shortest, 0.0)


def kimi(group: Group, *, kimi_weight: float) -> Tensor:
    """Kimi k1.5 (2501.12599, §2.3.3): r + kimi_weight · kimi_length."""
    return group.reward + kimi_weight * kimi_length(group.correct, group.length)


def majority(group: Group) -> Tensor:
    """TTRL (2504.16084), a control without gold answers: 1 for the group's most frequent answer takes the place of
    `correct`; of several, for the one that appeared first. 0 where no rollout has an answer.
    """
    (answer,) = require_fields(group, "answer")
    answered = answer >= 0
    votes = ((answer[:, :, None] == answer[:, None, :]).sum(-1)) * answered
    elected = answer.gather(1, votes.argmax(1, keepdim=True))
    return group.reward - group.correct + ((answer == elected) & answered).to(group.reward.dtype)


def alp(group: Group, *, alp_price: float) -> Tensor:
    """ALP (2506.05256): r − alp_price · max(p, 1/G) · |o|, p the group's share of correct answers.

    alp_price is the paper's β/N, the price of one token of a problem that every rollout solves.

    >>> alp(Group(*torch.tensor([[[1.0, 0.0]], [[10.0, 20.0]], [[1.0, 0.0]]])), alp_price=0.01)
    tensor([[ 0.9500, -0.1000]])
    """
    solved = group.correct.mean(1, keepdim=True).clamp(min=1 / group.correct.shape[1])
    return group.reward - alp_price * solved * group.length


# -- baselines: the shaped Group in, advantages out --------------------------------------------------------------------


def _z_score(values: Tensor, ddof: int, epsilon: float) -> Tensor:
    """(x − mean)/(std + ε) over the group; exactly 0 where all are equal, so also in a group of one."""
    centred = values - values.mean(1, keepdim=True)
    spread = (centred.square().sum(1, keepdim=True) / max(values.shape[1] - ddof, 1)).sqrt()
    equal = values.amax(1, keepdim=True) == values.amin(1, keepdim=True)
    # In an all-equal group rounding can leave a centred value of 1e-8, which a small ε would amplify.
    return (centred / (spread + epsilon).masked_fill(equal, 1.0)).masked_fill(equal, 0.0)


def _batch_std(values: Tensor, ddof: int) -> Tensor:
    """A scalar: the standard deviation over all prompts and rollouts of the batch."""
    return ((values - values.mean()).square().sum() / max(values.numel() - ddof, 1)).sqrt()


def grpo(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """GRPO (DeepSeekMath, 2402.03300, §4.1.2): A = (r − mean r)/(std r + ε) inside the group; 0 in a group of one.

    >>> grpo(Group(*torch.tensor([[[1.0, 0.0]]] * 3)), std_ddof=0, std_epsilon=0.0)
    tensor([[ 1., -1.]])
    """
    return _z_score(group.reward, std_ddof, std_epsilon)


def grpo_verl(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """GRPO as the verl fork of GRPO-LEAD has it (core_algos.py): as `grpo`, but a group of one keeps A = r."""
    return group.reward if group.reward.shape[1] == 1 else _z_score(group.reward, std_ddof, std_epsilon)


def dr_grpo(group: Group) -> Tensor:
    """Dr. GRPO (2503.20783, §3.2): A = r − mean r, no division by the spread.

    >>> dr_grpo(Group(*torch.tensor([[[1.0, 0.0]]] * 3)))
    tensor([[ 0.5000, -0.5000]])
    """
    return group.reward - group.reward.mean(1, keepdim=True)


def rloo(group: Group) -> Tensor:
    """RLOO (2402.14740): A_i = r_i − mean of the others' r. Raises ValueError for a group of one.

    >>> rloo(Group(*torch.tensor([[[1.0, 0.0, 0.5]]] * 3)))
    tensor([[ 0.7500, -0.7500,  0.0000]])
    """
    size = group.reward.shape[1]
    if size < 2:
        raise ValueError("rloo compares a rollout with the others of its prompt: group_size is 1, expected 2 or more")
    return (group.reward - group.reward.mean(1, keepdim=True)) * size / (size - 1)


def lite_ppo(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """LitePPO (2508.08221): mean over the group, standard deviation over the whole batch."""
    return dr_grpo(group) / (_batch_std(group.reward, std_ddof) + std_epsilon)


def maxrl(group: Group) -> Tensor:
    """MaxRL (2602.02710): A = (r − mean r)/mean r; 0 where all rewards are 0. Raises ValueError for a reward < 0."""
    if (group.reward < 0).any():
        least = group.reward.min().item()
        raise ValueError(f"maxrl divides by the mean reward, so no reward may be negative: got {least:g}")
    mean = group.reward.mean(1, keepdim=True)
    return ((group.reward - mean) / mean.masked_fill(mean == 0, 1.0)).masked_fill(mean == 0, 0.0)


def opo(group: Group) -> Tensor:
    """OPO (2505.23585): A = r − b, with b = Σ|o| r / Σ|o|, the minimum-variance baseline weighted by length.

    >>> opo(Group(correct=torch.ones(1, 2), length=torch.tensor([[1.0, 3.0]]), reward=torch.tensor([[1.0, 0.0]])))
    tensor([[ 0.7500, -0.2500]])
    """
    baseline = (group.length * group.reward).sum(1, keepdim=True) / group.length.sum(1, keepdim=True).clamp(min=1)
    return group.reward - baseline


def remax(group: Group) -> Tensor:
    """ReMax (2310.10505): A_i = r_i − r of the prompt's greedy completion, which costs one more rollout a prompt.

    >>> remax(Group(*torch.tensor([[[1.0, 0.0]]] * 3), greedy=torch.ones(1, 1)))
    tensor([[ 0., -1.]])
    """
    (greedy,) = require_fields(group, "greedy")
    return group.reward - greedy


def gdpo(group: Group, *, std_ddof: int, std_epsilon: float) -> Tensor:
    """GDPO (2601.05242): z-score each reward inside the group, sum with weights, then whiten over the batch."""
    (components,) = require_fields(group, "components")
    weights = components.new_ones(components.shape[-1]) if group.weights is None else group.weights
    total = (_z_score(components, std_ddof, std_epsilon) * weights).sum(-1)
    return (total - total.mean()) / (_batch_std(total, std_ddof) + std_epsilon)


def _among_best(group: Group, rank: Tensor, keep: int, ddof: int, epsilon: float) -> Tensor:
    """z-scores among the `keep` rollouts of lowest rank, of equal ones the first; 0 for the others."""
    if not 2 <= keep <= group.reward.shape[1]:
        raise ValueError(f"gfpo_keep is {keep}, expected 2 to group_size, which is {group.reward.shape[1]}")
    best = rank.sort(dim=1, stable=True).indices[:, :keep]
    return group.reward.new_zeros(group.reward.shape).scatter(
        1, best, _z_score(group.reward.gather(1, best), ddof, epsilon)
    )


def gfpo(group: Group, *, gfpo_keep: int, std_ddof: int, std_epsilon: float) -> Tensor:
    """GFPO (2508.09726, §3): A = m (r − mean)/(std + ε) over the gfpo_keep shortest rollouts; m = 0 for the others.

    The others stay in the divisor of the loss, as in the paper.

    >>> gfpo(Group(*torch.tensor([[[1.0, 0.0, 1.0]], [[3.0, 5.0, 9.0]], [[1.0, 0.0, 1.0]]])), gfpo_keep=2, std_ddof=0,
    ...      std_epsilon=0.0)
    tensor([[ 1., -1.,  0.]])
    """
    return _among_best(group, group.length, gfpo_keep, std_ddof, std_epsilon)


def gfpo_efficiency(group: Group, *, gfpo_keep: int, std_ddof: int, std_epsilon: float) -> Tensor:
    """GFPO (2508.09726, §3) by token efficiency: the gfpo_keep rollouts with the largest r/|o| are kept."""
    return _among_best(group, -group.reward / group.length.clamp(min=1), gfpo_keep, std_ddof, std_epsilon)


def pass_at_k(group: Group, *, pass_k: int) -> Tensor:
    """Pass@k training (2508.10751, analytical): with n wrong of G, R = 1 − C(n, k)/C(G, k) and σ = √(R(1 − R)).

    A = (1 − R)/σ where right, (1 − R − C(n − 1, k − 1)/C(G − 1, k − 1))/σ where wrong; 0 where σ is 0. Raises
    ValueError for a reward that is neither 0 nor 1, or a pass_k that is not 1 to G.

    >>> pass_at_k(Group(*torch.tensor([[[1.0, 0.0, 0.0, 0.0]]] * 3)), pass_k=2)
    tensor([[ 1.0000, -0.3333, -0.3333, -0.3333]])
    """
    size, wrong = group.reward.shape[1], group.reward == 0
    if not 1 <= pass_k <= size:
        raise ValueError(f"pass_k is {pass_k}, expected 1 to group_size, which is {size}")
    if not (wrong | (group.reward == 1)).all():
        raise ValueError("pass_at_k takes rewards of 0 and 1 alone: set rewards to one that gives no other number")
    count = wrong.sum(1, keepdim=True).to(group.reward.dtype)
    others_fail = count.new_ones(count.shape)  # C(n − 1, k − 1)/C(G − 1, k − 1)
    for drawn in range(1, pass_k):
        others_fail = others_fail * (count - drawn).clamp(min=0) / (size - drawn)
    all_fail = others_fail * count / size  # C(n, k)/C(G, k)
    spread = (all_fail * (1 - all_fail)).sqrt()
    advantage = (all_fail - others_fail).where(wrong, all_fail)
    return (advantage / spread.masked_fill(spread == 0, 1.0)).masked_fill(spread == 0, 0.0)


def _whiten_by_token(values: Tensor, length: Tensor) -> Tensor:
    """(x − mean)/√(var + 1e-8), where each rollout counts once a token and var divides by tokens − 1 (as in verl)."""
    tokens = length.sum()
    centred = values - (values * length).sum() / tokens.clamp(min=1)
    spread = ((centred.square() * length).sum() / (tokens - 1).clamp(min=1) + _WHITEN_FLOOR).sqrt()
    return (centred / spread).masked_fill(values.max() == values.min(), 0.0)


def reinforce_pp(group: Group) -> Tensor:
    """REINFORCE++ (2501.03262), as in verl with γ = 1: the rewards, whitened over all tokens of the batch."""
    return _whiten_by_token(group.reward, group.length)


def reinforce_pp_baseline(group: Group) -> Tensor:
    """REINFORCE++-baseline (2501.03262), as in verl: r − mean of the group, whitened over all tokens of the batch."""
    return _whiten_by_token(dr_grpo(group), group.length)


def whitened(group: Group, *, kl_reward_coef: float, std_ddof: int, std_epsilon: float) -> Tensor:
    """cs2916 hw1's baseline, released code: (prompts, group, tokens), whitened over all generated tokens.

    The last token's reward is the group z-score, and every token costs coef·k1. A token's advantage is its return
    (γ = 1), which holds all future KL. Then (A − mean)/√max(var, 1e-8) over the batch, ddof 0.
    """
    kl, mask = require_fields(group, "kl", "mask")
    cost = kl_reward_coef * kl * mask
    future_cost = cost.flip(-1).cumsum(-1).flip(-1)
    advantage = (_z_score(group.reward, std_ddof, std_epsilon).unsqueeze(-1) - future_cost) * mask
    tokens = mask.sum().clamp(min=1)
    centred = (advantage - advantage.sum() / tokens) * mask
    return centred * (centred.square().sum() / tokens).clamp(min=_WHITEN_FLOOR).rsqrt()


def otb(group: Group) -> Tensor:
    """Optimal token baseline (2602.07078): (prompts, group, tokens), A_t = r − Σ r W_t/(Σ W_t + 1e-8) over the group.

    W_t sums the energy of a rollout up to token t and is 0 after its end, so A is 0 where one rollout alone goes on.
    As in verl with its defaults, where a group of one keeps A = r. The energies cost one more forward.

    >>> otb(Group(*torch.tensor([[[1.0, 0.0]]] * 3), energy=torch.tensor([[[1.0], [3.0]]]), mask=torch.ones(1, 2, 1)))
    tensor([[[ 0.7500],
             [-0.2500]]])
    """
    energy, mask = require_fields(group, "energy", "mask")
    reward = group.reward.unsqueeze(-1)
    if reward.shape[1] == 1:
        return reward * mask
    path = (energy * mask).cumsum(-1) * mask
    baseline = (reward * path).sum(1, keepdim=True) / (path.sum(1, keepdim=True) + _ENERGY_EPSILON)
    return (reward - baseline) * mask


# -- weights: an advantage and the shaped Group in, the weighted advantage out -----------------------------------------


def unweighted(advantage: Tensor, group: Group) -> Tensor:
    """The advantage, unchanged."""
    return advantage


def difficulty_weight(
    rho: Tensor, weight_low: float, weight_high: float, weight_midpoint: float, weight_steepness: float
) -> Tensor:
    """GRPO-LEAD §2.3: w(ρ) = A + (B − A)/(1 + exp(k(ρ − ρ0))), a falling logistic in the share ρ of correct answers.

    >>> difficulty_weight(torch.tensor([0.0, 0.75, 1.0]), 0.4, 1.5, 0.75, 10.0)
    tensor([1.4994, 0.9500, 0.4834])
    """
    return weight_low + (weight_high - weight_low) / (1 + (weight_steepness * (rho - weight_midpoint)).exp())


def _reweight(advantage: Tensor, correct: Tensor, *curve: float) -> Tensor:
    """A·w(ρ) where A > 0, else A·w(1 − ρ), ρ the mean of `correct`. A group's sum is then not 0. `curve`: of w."""
    rho = correct.mean(1).view(-1, *[1] * (advantage.dim() - 1))
    return advantage * difficulty_weight(rho, *curve).where(advantage > 0, difficulty_weight(1 - rho, *curve))


def difficulty(
    advantage: Tensor,
    group: Group,
    *,
    weight_low: float,
    weight_high: float,
    weight_midpoint: float,
    weight_steepness: float,
) -> Tensor:
    """GRPO-LEAD (2504.09696, §2.3): A·w(ρ) where A > 0, else A·w(1 − ρ). Without AD: weight_low = weight_high = 1."""
    return _reweight(advantage, group.correct, weight_low, weight_high, weight_midpoint, weight_steepness)


def lead_code_keep(group: Group) -> Tensor:
    """GRPO-LEAD, released code: drops a shaped group whose rewards are all ≤ 0 or all exactly 1.

    (prompts,), False where dropped. An all-correct group whose length rewards differ is kept.
    """
    return ~((group.reward <= 0).all(1) | (group.reward == 1).all(1))


def difficulty_code(
    advantage: Tensor,
    group: Group,
    *,
    weight_low: float,
    weight_high: float,
    weight_midpoint: float,
    weight_steepness: float,
) -> Tensor:
    """GRPO-LEAD, released code (ray_trainer.py): ρ is the share of r > 0, and a dropped group gets A = 0."""
    rewarded = (group.reward > 0).to(group.reward.dtype)
    advantage = _reweight(advantage, rewarded, weight_low, weight_high, weight_midpoint, weight_steepness)
    return advantage * lead_code_keep(group).view(-1, *[1] * (advantage.dim() - 1))


SHAPES = {"none": no_shape, "lead": lead, "lead_code": lead_code, "kimi": kimi, "alp": alp, "majority": majority}
BASELINES = {
    "grpo": grpo, "grpo_verl": grpo_verl, "dr_grpo": dr_grpo, "rloo": rloo, "lite_ppo": lite_ppo, "maxrl": maxrl,
    "opo": opo, "remax": remax, "gdpo": gdpo, "gfpo": gfpo, "gfpo_efficiency": gfpo_efficiency, "pass_at_k": pass_at_k,
    "reinforce_pp": reinforce_pp, "reinforce_pp_baseline": reinforce_pp_baseline, "whitened": whitened,
    "otb": otb,
}  # fmt: skip
WEIGHTS = {"none": unweighted, "difficulty": difficulty, "difficulty_code": difficulty_code}

# shapes that replace the reward `correct`, which must then have weight 1
REPLACE_CORRECT = ("lead", "lead_code", "majority")
VOTING = ("majority",)  # shapes that compare the answers of a group with each other
GREEDY = ("remax",)  # baselines that need Group.greedy
ENERGY = ("otb",)  # baselines that need Group.energy
UNSHAPED = {  # baselines that take no shape, and why
    "gdpo": "scores each reward alone",
    "remax": "subtracts the reward of a greedy completion, which is in no group",
}
# baselines that look at the whole batch, beyond the group
BATCH_WIDE = ("lite_ppo", "gdpo", "reinforce_pp", "reinforce_pp_baseline", "whitened")


def every_group(group: Group) -> Tensor:
    """All groups stay; those without variance have an advantage of 0."""
    return group.reward.new_ones(group.reward.shape[0]).bool()


def mixed_groups(group: Group) -> Tensor:
    """DAPO (2503.14476, eq. 11): 0 < number of correct answers < G.

    >>> mixed_groups(Group(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.ones(2, 2), torch.ones(2, 2)))
    tensor([ True, False])
    """
    hits = group.correct.sum(1)
    return (hits > 0) & (hits < group.correct.shape[1])


def varied_groups(group: Group) -> Tensor:
    """Skywork-OR1 (2505.22312), ScaleRL (2510.13786): drop groups whose rewards are all equal."""
    return group.reward.amax(1) > group.reward.amin(1)


def finished_rollouts(group: Group) -> Tensor:
    """DAPO's overlong filtering (2503.14476, §3.4): (prompts, group), False for truncated rollouts.

    Their advantage still counts in the group's mean; they have no part in the loss.
    """
    (truncated,) = require_fields(group, "truncated")
    return truncated == 0


_FILTERS = (every_group, mixed_groups, varied_groups, finished_rollouts, lead_code_keep)
GROUP_FILTERS = {rule.__name__: rule for rule in _FILTERS}


def rollouts_kept(kept: Tensor, group_size: int) -> Tensor:
    """(prompts, group): what a group filter keeps, which says so for groups, (prompts,), or for rollouts."""
    return kept if kept.dim() == 2 else kept[:, None].expand(-1, group_size)

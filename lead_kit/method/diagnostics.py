"""Statistics of one gathered batch of rollouts, for metrics.jsonl."""

from torch import Tensor

from lead_kit.method.advantages import Group


def _ratio_of_sums(of: Tensor, among: Tensor) -> float:
    """Σ of / Σ among; 0 where Σ among is 0."""
    total = among.sum().item()
    return of.sum().item() / total if total else 0.0


def diagnose(group: Group, advantage: Tensor, kept: Tensor, reward_names: list[str]) -> dict[str, float]:
    """Means over the batch; `group` has its shaped reward, `advantage` and `kept` are (prompts, group)."""
    right = group.correct > 0
    flat_reward = group.reward.amax(1) == group.reward.amin(1)
    flat_accuracy = (group.correct.amax(1) == group.correct.amin(1))[:, None]
    size = advantage.abs()
    numbers = {
        "reward": group.reward.mean().item(),
        "reward_std": group.reward.std(correction=0).item(),
        "correct": group.correct.mean().item(),
        "length": group.length.mean().item(),
        "length_correct": _ratio_of_sums(group.length * group.correct, group.correct),
        "truncated": group.truncated.mean().item(),
        "repetitive": group.repetitive.mean().item(),
        "zero_variance": flat_reward.float().mean().item(),
        "zero_advantage": (size.amax(1) == 0).float().mean().item(),
        "kept": kept.float().mean().item(),
        # Inside a group, plain GRPO's advantages sum to zero; GRPO-LEAD's weighted ones do not.
        "advantage_sum": advantage.sum(1).mean().item(),
        # The part of all advantage in groups with only correct or only wrong answers: it cannot reward accuracy.
        "advantage_share_flat_accuracy": _ratio_of_sums(size * flat_accuracy, size),
        "wrong_favoured": _ratio_of_sums((~right & (advantage > 0)).float(), (~right).float()),
        "right_disfavoured": _ratio_of_sums((right & (advantage < 0)).float(), right.float()),
    }
    for name, values in zip(reward_names, group.components.unbind(-1), strict=True):
        numbers[f"reward_{name}"] = values.mean().item()
        numbers[f"reward_{name}_std"] = values.std(correction=0).item()
        numbers |= {f"reward_{name}_min": values.min().item(), f"reward_{name}_max": values.max().item()}
    variances = (group.components * group.weights).var(dim=(0, 1), correction=0)
    return numbers | variance_shares(dict(zip(reward_names, variances.tolist(), strict=True)))


def variance_shares(variances: dict[str, float]) -> dict[str, float]:
    """Each weighted reward's share of the sum of their variances, as `reward_NAME_share`; nothing for one reward.

    >>> variance_shares({"correct": 3.0, "format": 1.0})
    {'reward_correct_share': 0.75, 'reward_format_share': 0.25}
    """
    total = sum(variances.values())
    if len(variances) < 2 or not total:
        return {}
    return {f"reward_{name}_share": part / total for name, part in variances.items()}

"""Which groups stay in a batch: (prompts,) booleans from a shaped Group. GROUP_FILTERS at the foot lists them.

A rule sees the shaped reward, like the estimator. GRPO-LEAD drops the other groups and trains on a smaller batch; DAPO
generates until the batch is full again.
"""

import torch
from torch import Tensor

from lead_kit.method.advantages import Group, lead_code_keep


def every_group(group: Group) -> Tensor:
    """All groups stay; those without variance have an advantage of 0."""
    return torch.ones(group.reward.shape[0], dtype=torch.bool, device=group.reward.device)


def mixed_groups(group: Group) -> Tensor:
    """DAPO (2503.14476, eq. 11): 0 < number of correct answers < G."""
    hits = group.correct.sum(1)
    return (hits > 0) & (hits < group.correct.shape[1])


def varied_groups(group: Group) -> Tensor:
    """Skywork-OR1 (2505.22312), ScaleRL (2510.13786): drop groups whose rewards are all equal."""
    return group.reward.amax(1) > group.reward.amin(1)


GROUP_FILTERS = {
    "every_group": every_group,
    "mixed_groups": mixed_groups,
    "varied_groups": varied_groups,
    "lead_code_keep": lead_code_keep,
}

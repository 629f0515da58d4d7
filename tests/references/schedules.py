"""The learning rate as a share of its peak: optimiser step in (from 0), factor out, as torch's LambdaLR takes it.

Keyword-only arguments are notebook parameters of the same name; total_updates is the number of optimiser steps.
"""

from math import cos, pi


def constant(step: int) -> float:
    """The peak throughout (GRPO-LEAD, RLite)."""
    return 1.0


def warmup(step: int, *, warmup_steps: int) -> float:
    """s/W below W, then the peak."""
    return step / warmup_steps if step < warmup_steps else 1.0


def cosine_floor(step: int, *, warmup_steps: int, total_updates: int, lr_floor: float) -> float:
    """s/W below W, then f + (1 − f) ½ (1 + cos π (s − W)/(T − W)); f = .1 in cs2916 hw1, .8 in its improved version.

    Stays at the floor after T, where the formula alone would rise again.
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_updates - warmup_steps))
    return lr_floor + (1 - lr_floor) * 0.5 * (1 + cos(pi * progress))


SCHEDULES = {
    "constant": constant,
    "warmup": warmup,
    "cosine_floor": cosine_floor,
}

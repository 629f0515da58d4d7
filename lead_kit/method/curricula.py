"""Curricula: how likely each training problem is to be drawn, from what the run has seen of it so far.

Formulas use methods of tensors alone, as in advantages.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lead_kit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_NEWEST = 32  # groups of a level that its gate looks at


class History(NamedTuple):
    """What a run has seen of its training problems, one value a problem, all (problems,)."""

    samples: Tensor  # rollouts
    right: Tensor  # right ones among them
    share: Tensor  # share of right rollouts in the newest group; NaN without one
    batch: Tensor  # rollout batch of the newest group; -1 without one
    level: Tensor  # difficulty, as in the data; NaN without one


def no_curriculum(history: History) -> Tensor:
    """Shuffled passes over the training set, in which each problem comes once."""
    return history.share.new_ones(history.share.shape)


def retire(history: History) -> Tensor:
    """Problems whose newest group was all right are not drawn again while others are left."""
    return (history.share != 1).to(history.share.dtype)


def near_half(history: History) -> Tensor:
    """LILO (2502.12272), learnability p(1 − p); here p = (right + 1) / (samples + 2), a half where nothing was tried.

    >>> near_half(History(*torch.tensor([[0.0, 8.0, 8.0], [0.0, 4.0, 8.0]]), *torch.zeros(3, 3)))
    tensor([0.2500, 0.2500, 0.0900])
    """
    rate = (history.right + 1) / (history.samples + 2)
    return rate * (1 - rate)


def levels(history: History, *, level_gate: float) -> Tensor:
    """Pools by difficulty: the lowest level is drawn from the start, and the next when the one before is mastered.

    A level is mastered when the share of right rollouts in its 32 newest groups, or in one of each problem where it has
    fewer, is at least `level_gate`. Raises InputError for a problem without a level.
    """
    if history.level.isnan().any():
        raise InputError("curriculum 'levels' needs the level of every training problem, and one has none")
    drawn = history.share.new_zeros(history.share.shape)
    for level in history.level.unique():
        pool = history.level == level
        drawn[pool] = 1
        seen = pool & (history.batch >= 0)
        newest = history.share[seen][history.batch[seen].argsort(descending=True, stable=True)][:_NEWEST]
        if len(newest) < min(_NEWEST, int(pool.sum())) or newest.mean() < level_gate:
            break
    return drawn


CURRICULA = {"none": no_curriculum, "retire": retire, "near_half": near_half, "levels": levels}

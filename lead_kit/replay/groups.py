"""Recorded rollouts as groups: arrays of row numbers, one block for each size of group, and the table of groups.

RecordedGroup and RecordedRollout are the kit's Group and Rollout. An estimator, a reward, or a function that these call
raises MissingField when it reads an attribute that the record lacks.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lead_kit.method.advantages import Group
from lead_kit.method.rewards import Rollout, repeats_in_chain

THIRDS = ("early", "middle", "late")


class MissingField(LookupError):
    """A function has read a field that the record lacks."""

    def __init__(self, field: str):
        super().__init__(f"the record has no {field}")
        self.field = field


class _Recorded:
    """The part that both types share; placed before a named tuple whose missing fields are None."""

    def __getattribute__(self, name: str):
        value = super().__getattribute__(name)
        if value is None and name in type(self)._fields:
            raise MissingField(name)
        return value


class RecordedGroup(_Recorded, Group):
    """A Group of recorded rollouts, (groups, size)."""


class RecordedRollout(_Recorded, Rollout):
    """One recorded completion."""


class NoColumns(dict):
    """The problem's row of a recorded rollout: a record keeps none of its columns."""

    def __missing__(self, column: str):
        raise MissingField(column)

    def get(self, column: str, default=None):
        raise MissingField(column)


class Block(NamedTuple):
    """Groups of one size."""

    rows: np.ndarray  # (groups, size): positions in the record
    batch: np.ndarray  # (groups,): number of the batch, one step of one run


class Rollouts(NamedTuple):
    """A record as arrays, one value a rollout; what it lacks is not there."""

    frame: pd.DataFrame
    fields: dict[str, np.ndarray]  # of correct, length, truncated, reward
    parts: dict[str, np.ndarray]  # rewards by name, unweighted
    weights: dict[str, float]  # as recorded
    blocks: list[Block]
    groups: pd.DataFrame  # a row a group, in the order of the blocks: run, step, third, kind, size

    @property
    def in_groups(self) -> np.ndarray:
        """(rollouts,): whether a rollout is in one of the groups."""
        return np.isin(np.arange(len(self.frame)), np.concatenate([block.rows.ravel() for block in self.blocks]))

    def in_block(self, values: np.ndarray, block: Block) -> torch.Tensor:
        """(groups, size) of values that are (rollouts,)."""
        return torch.from_numpy(np.ascontiguousarray(values[block.rows], dtype=float))

    def repetitive(self) -> np.ndarray:
        """1 for a completion that repeats an n-gram in a chain; computed once."""
        if "repetitive" not in self.fields:
            self.fields["repetitive"] = self.frame["completion"].map(repeats_in_chain).to_numpy(float)
        return self.fields["repetitive"]

    def group_sums(self, values: np.ndarray) -> np.ndarray:
        """(groups,): the sum of a value inside each group."""
        return np.concatenate([values[block.rows].sum(1) for block in self.blocks])


def thirds(frame: pd.DataFrame) -> np.ndarray:
    """0, 1 or 2 for each rollout: the third of its run's recorded steps that it lies in; -1 where no step is known."""
    if "step" not in frame or frame["step"].isna().any():
        return np.full(len(frame), -1)
    rank = frame.groupby("run")["step"].rank("dense").to_numpy() - 1
    count = frame.groupby("run")["step"].transform("nunique").to_numpy()
    return np.where(count < 3, np.where(count == 2, rank * 2, -1), rank * 3 // count).astype(int)


def into_groups(frame: pd.DataFrame, fields: dict, parts: dict, weights: dict) -> Rollouts:
    """The groups of two or more rollouts that all have a reward and, where it is known at all, a known accuracy."""
    if "group" not in frame:
        return Rollouts(frame, fields, parts, weights, [], _group_table(frame, fields, []))
    codes, size = frame["group"].to_numpy(), np.bincount(frame["group"])
    lacking = np.zeros(len(size), bool)
    for values in (fields.get("reward"), fields.get("correct")):
        if values is not None and not np.isnan(values).all():
            lacking |= np.bincount(codes, np.isnan(values)) > 0
    keys = [name for name in ("run", "step") if name in frame]
    batch = frame.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    order, blocks = np.argsort(codes, kind="stable"), []
    for group_size in np.unique(size[(size > 1) & ~lacking]):
        chosen = (size == group_size) & ~lacking
        rows = order[chosen[codes[order]]].reshape(-1, group_size)
        blocks.append(Block(rows, batch[rows[:, 0]]))
    return Rollouts(frame, fields, parts, weights, blocks, _group_table(frame, fields, blocks))


def _group_table(frame: pd.DataFrame, fields: dict, blocks: list[Block]) -> pd.DataFrame:
    """A row a group: run, step, third (-1: unknown), size, kind (0: mixed, 1: all right, 2: all wrong, -1: unknown)."""
    if not blocks:
        return pd.DataFrame(columns=["run", "third", "size", "kind"])
    first = np.concatenate([block.rows[:, 0] for block in blocks])
    table = frame.iloc[first][[name for name in ("run", "step") if name in frame]].reset_index(drop=True)
    table["third"] = thirds(frame)[first]
    table["size"] = np.concatenate([[b.rows.shape[1]] * len(b.rows) for b in blocks])
    correct = fields.get("correct", np.full(len(frame), np.nan))
    rho = np.concatenate([correct[block.rows].mean(1) for block in blocks])
    table["kind"] = np.select([np.isnan(rho), rho == 1, rho == 0], [-1, 1, 2], 0)
    return table


def group_of(data: Rollouts, block: Block, reward: np.ndarray, parts: dict, weights: dict) -> RecordedGroup:
    """A block as the estimators take it; reading a field that some rollout of a group lacks raises MissingField.

    `parts`: each reward alone, (rollouts,), by name; one that is called "reward" is a total that cannot be split.
    """
    names = ("correct", "length", "truncated", "repetitive")
    complete = [name for name in names if name in data.fields and not np.isnan(data.fields[name][data.in_groups]).any()]
    fields = dict.fromkeys(names) | {name: data.in_block(data.fields[name], block) for name in complete}
    if parts and "reward" not in parts:
        fields["components"] = torch.stack([data.in_block(values, block) for values in parts.values()], -1)
        fields["weights"] = torch.tensor([weights[name] for name in parts], dtype=torch.float64)
    return RecordedGroup(reward=data.in_block(reward, block), **fields)

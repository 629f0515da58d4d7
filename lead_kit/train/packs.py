"""Ragged rows end to end: which rows share a pack, and where every token goes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class Pack(NamedTuple):
    """Rows end to end, as one forward takes them."""

    input_ids: Tensor  # (1, tokens)
    position_ids: Tensor  # (1, tokens), from 0 at each sequence
    ends: Tensor  # (sequences + 1,) int32: where sequences begin and end, from 0
    longest: int
    row: Tensor  # (targets,): where the scored tokens belong in the padded layout
    column: Tensor
    before: Tensor  # (targets,): the place in input_ids that predicts each of them
    target: Tensor  # (targets,): token ids


def pack_rows(lengths: list[int], token_budget: int, at_least: int = 1) -> list[list[int]]:
    """Every row once: greedy in order, a pack closes when the next row would overflow it (RLite's rule).

    A row longer than the budget has a pack of its own. Where shards need the same number of forwards on every process,
    packs are halved until there are `at_least` so many, never filled up with repeated rows. Raises ValueError for a
    budget below 1.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget counts tokens: {token_budget} found, expected 1 or more")
    packs: list[list[int]] = []
    filled = 0
    for row, length in enumerate(lengths):
        if not packs or filled + length > token_budget:
            packs.append([])
            filled = 0
        packs[-1].append(row)
        filled += length
    while len(packs) < min(at_least, len(lengths)):
        widest = max(range(len(packs)), key=lambda i: len(packs[i]))
        half = len(packs[widest]) // 2
        packs[widest : widest + 1] = [packs[widest][:half], packs[widest][half:]]
    return packs


def flatten(rows: list[int], input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> Pack:
    """The attended tokens of `rows` end to end; scored are those in the last logits_to_keep columns."""
    place = torch.tensor(rows, device=input_ids.device)
    kept = attention_mask[place].bool()
    row, column = kept.nonzero(as_tuple=True)  # row by row, so sequences stay whole
    lengths = kept.sum(1)
    ends = pad(lengths.cumsum(0), (1, 0))
    position = torch.arange(len(row), device=row.device) - ends[row]
    ids = input_ids[place][kept]
    # The first token of a sequence has nothing before it; only a row without a prompt would have it scored.
    (scored,) = ((column >= input_ids.shape[1] - logits_to_keep) & (position > 0)).nonzero(as_tuple=True)
    offset = input_ids.shape[1] - logits_to_keep
    return Pack(
        input_ids=ids[None],
        position_ids=position[None],
        ends=ends.int(),
        longest=int(lengths.max()),
        row=place[row[scored]],
        column=column[scored] - offset,
        before=scored - 1,
        target=ids[scored],
    )

"""A forward of rollouts without padding: several rows stand end to end in one, position ids restart at each.

Shapes as in TRL: input_ids and attention_mask (rows, width), prompts padded left, completions right; the last
logits_to_keep columns are the completion. With attention_mask None, transformers 5 reads the restarts and keeps the
sequences apart: a variable-length kernel with flash attention, a block mask with flex attention, a dense block-diagonal
mask (tokens², so choose token_budget with care) with sdpa.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
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


def score(model: nn.Module, pack: Pack, temperature: float, entropy: bool, fused: bool) -> tuple[Tensor, Tensor | None]:
    """(targets,) log-probabilities, and entropies if asked for, of the pack's scored tokens."""
    inputs = dict(
        input_ids=pack.input_ids,
        position_ids=pack.position_ids,
        attention_mask=None,
        cu_seq_lens_q=pack.ends,
        cu_seq_lens_k=pack.ends,
        max_length_q=pack.longest,
        max_length_k=pack.longest,
        use_cache=False,
    )
    if fused:
        labels = torch.full_like(pack.input_ids, -100)
        labels[0, pack.before] = pack.target
        output = model(**inputs, shift_labels=labels, fused_lm_head=True)
        return output.log_probs[0, pack.before], output.entropy[0, pack.before] if entropy else None
    logits = model(**inputs, logits_to_keep=pack.before).logits[0].float() / temperature
    every = logits.log_softmax(-1)
    chosen = every.gather(1, pack.target[:, None]).squeeze(1)
    return chosen, -(every.exp() * every).sum(-1) if entropy else None


def most_packs(packs: int, device: torch.device) -> int:
    """The largest number of packs on any process, so that all run as many forwards."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return packs
    count = torch.tensor(packs, device=device)
    torch.distributed.all_reduce(count, torch.distributed.ReduceOp.MAX)
    return int(count)


def packed_logps(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    logits_to_keep: int,
    temperature: float,
    token_budget: int,
    entropy: bool = False,
    fused: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(rows, logits_to_keep) log-probabilities of the completions, 0 on padding, and entropies (or None) alike.

    The same numbers as a padded forward, at the cost of the real tokens. `fused`: the model has TRL's fused head
    (add_fused_lm_head, which holds the temperature already and computes entropies if it was asked to), and no logits
    are kept.
    """
    lengths = attention_mask.sum(1).tolist()
    packs = pack_rows(lengths, token_budget)
    packs = pack_rows(lengths, token_budget, most_packs(len(packs), input_ids.device))
    flat = [flatten(rows, input_ids, attention_mask, logits_to_keep) for rows in packs]
    scores = [score(model, pack, temperature, entropy, fused) for pack in flat]
    place = torch.cat([p.row for p in flat]), torch.cat([p.column for p in flat])

    def padded(values: list[Tensor]) -> Tensor:
        values = torch.cat(values)
        return values.new_zeros(len(input_ids), logits_to_keep).index_put(place, values)

    logps = padded([s[0] for s in scores])
    return logps, padded([s[1] for s in scores]) if entropy else None

"""A forward of rollouts without padding: several rows end to end in one pack, with position ids restarting at each.

Shapes as in TRL: input_ids and attention_mask (rows, width), prompts padded left, completions right; the last
logits_to_keep columns are the completion. The model's attention keeps the sequences of a pack apart: flash attention
has a variable-length kernel, flex attention a block mask, and sdpa is computed sequence by sequence here, which costs
only Σ tokens² and needs no mask. On a CPU a prompt is computed once for all its rows.
"""

from itertools import compress
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lead_kit.models.sampler import without_router_logits

BY_SEQUENCE = "sdpa_by_sequence"
_CHUNK = 128  # tokens whose probabilities are squared at once, of a whole vocabulary each


class _Pack(NamedTuple):
    """Rows end to end, the input of one forward."""

    input_ids: Tensor  # (1, tokens)
    position_ids: Tensor  # (1, tokens), from 0 at each sequence
    ends: Tensor  # (sequences + 1,) int32: where sequences begin and end, from 0
    longest: int
    row: Tensor  # (targets,): where the scored tokens belong in the padded layout
    column: Tensor
    before: Tensor  # (targets,): the place in input_ids that predicts each of them
    target: Tensor  # (targets,): token ids
    prompt_of: tuple[int, ...] = ()  # for each sequence the one that it continues, or −1; empty: all are whole rows


def pack_rows(lengths: list[int], token_budget: int, at_least: int = 1) -> list[list[int]]:
    """Every row once: greedy in order; a pack closes when the next row would exceed the budget (RLite's rule).

    A row longer than the budget gets a pack of its own. Sharded processes need the same number of forwards, so packs
    are halved until there are `at_least` so many; no row is repeated. Raises ValueError for a budget below 1.

    >>> pack_rows([5, 4, 3], token_budget=9)
    [[0, 1], [2]]
    """
    if token_budget < 1:
        raise ValueError(f"token_budget is {token_budget}, expected 1 token or more")
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


def flatten(
    rows: list[int], input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, shared: bool = False
) -> _Pack:
    """The attended tokens of `rows` end to end; those in the last logits_to_keep columns are scored.

    With `shared`, rows of one prompt, which stand together, have it once: a sequence that their completions continue.
    """
    chosen, first = torch.tensor(rows, device=input_ids.device), input_ids.shape[1] - logits_to_keep
    ids, mask = input_ids[chosen], attention_mask[chosen].bool()
    leader, kept, prompt_of = list(range(len(rows))), mask.clone(), ()  # leader: the row that has the row's prompt
    if shared:
        known: dict[tuple[int, ...], int] = {}
        leader = [known.setdefault(*pair) for pair in zip(_prompts_of(ids, mask, logits_to_keep), leader, strict=True)]
    leader = torch.tensor(leader, device=ids.device)
    kept[leader != torch.arange(len(rows), device=ids.device), :first] = False
    row, column = kept.nonzero(as_tuple=True)  # row by row, so a sequence stays contiguous
    position = (mask.cumsum(1) - 1)[row, column]
    sizes = kept.sum(1)
    if shared:
        sizes = torch.stack([kept[:, :first].sum(1), kept[:, first:].sum(1)], 1).flatten()  # prompt, completion, …
        sequence = (sizes > 0).cumsum(0) - 1
        prompt_of = torch.stack([torch.full_like(leader, -1), sequence[2 * leader]], 1).flatten()
        prompt_of, sizes = tuple(prompt_of[sizes > 0].tolist()), sizes[sizes > 0]
    # Nothing predicts the first token of a sequence; it is in these columns only if the row has no prompt.
    (scored,) = ((column >= first) & (position > 0)).nonzero(as_tuple=True)
    number = torch.zeros_like(input_ids[chosen])
    number[row, column] = torch.arange(len(row), device=ids.device)
    of_prompt = number[leader[row[scored]], first - 1]
    return _Pack(
        input_ids=ids[kept][None],
        position_ids=position[None],
        ends=pad(sizes.cumsum(0), (1, 0)).int(),
        longest=int(sizes.max()),
        row=chosen[row[scored]],
        column=column[scored] - first,
        before=of_prompt.where(column[scored] == first, scored - 1),
        target=ids[kept][scored],
        prompt_of=prompt_of,
    )


def _prompts_of(input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> list[tuple[int, ...]]:
    """The prompt of each row, as token ids."""
    first = input_ids.shape[1] - logits_to_keep
    ids, kept = (part[:, :first].tolist() for part in (input_ids, attention_mask))
    return [tuple(compress(*row)) for row in zip(ids, kept, strict=True)]


def shareable(input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> bool:
    """Whether every row has a prompt, and a completion without gaps."""
    first = input_ids.shape[1] - logits_to_keep
    gaps = attention_mask[:, first:].diff(dim=1) > 0
    return bool(attention_mask[:, :first].any(1).all()) and not gaps.any()


def _sdpa_by_sequence(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options):
    """transformers' sdpa attention on each packed sequence separately; (1, heads, tokens, size) in.

    A sequence that continues a prompt (`prompt_of`) also attends to all of it. Without cu_seq_lens_q, which only a
    packed forward passes, it is the ordinary sdpa attention.
    """
    ends, prompt_of = options.get("cu_seq_lens_q"), options.pop("prompt_of", ())
    if ends is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    sizes = ends.diff().tolist()
    queries, keys, values = (t.split(sizes, 2) for t in (query, key, value))
    longest = max((sizes[place] + sizes[prompt] for place, prompt in enumerate(prompt_of) if prompt >= 0), default=0)
    causal = query.new_full((1, 1, longest, longest), -torch.inf).triu(1)  # each sequence takes its rows of it
    outputs = []
    for sequence, part in enumerate(zip(queries, keys, values, strict=True)):
        seen = None
        if prompt_of and (prompt := prompt_of[sequence]) >= 0:
            part = part[0], torch.cat([keys[prompt], part[1]], 2), torch.cat([values[prompt], part[2]], 2)
            new, every = part[0].shape[2], part[1].shape[2]
            seen = causal[:, :, every - new : every, :every]
        outputs.append(sdpa_attention_forward(module, *part, seen, **options)[0])
    return torch.cat(outputs, 1), None


AttentionInterface.register(BY_SEQUENCE, _sdpa_by_sequence)
AttentionMaskInterface.register(BY_SEQUENCE, sdpa_mask)


def _text_config(model: nn.Module):
    return next(m for m in model.modules() if isinstance(m, PreTrainedModel)).config.get_text_config()


def attend_by_rows(model: nn.Module) -> None:
    """Takes `attend_by_sequence` back."""
    if _text_config(model)._attn_implementation == BY_SEQUENCE:
        _text_config(model)._attn_implementation = "sdpa"


def attend_by_sequence(model: nn.Module) -> bool:
    """Switches an sdpa model (plain or wrapped) to sdpa_by_sequence; True if it now uses that.

    Models with a sliding window or chunks are left alone: sdpa takes these from a dense mask.
    """
    config = _text_config(model)
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if config._attn_implementation == "sdpa" and not any(windows):
        config._attn_implementation = BY_SEQUENCE
    return config._attn_implementation == BY_SEQUENCE


def score(
    model: nn.Module, pack: _Pack, temperature: float, entropy: int, fused: bool, learned: bool = True
) -> tuple[Tensor, Tensor | None]:
    """(targets,) log-probabilities of the pack's scored tokens, and entropies of this order: 0 for none, 1 Shannon's, 2
    Rényi's −log Σπ². Shannon's that are not `learned` have no gradient, and so keep nothing for a backward pass."""
    # The model passes a 4-D mask on unchanged, so it builds none; sdpa_by_sequence ignores it.
    unused_mask = torch.ones(1, 1, 1, 1, device=pack.input_ids.device) if attend_by_sequence(model) else None
    inputs = dict(input_ids=pack.input_ids, position_ids=pack.position_ids, attention_mask=unused_mask, use_cache=False)
    inputs |= dict(
        cu_seq_lens_q=pack.ends, cu_seq_lens_k=pack.ends, max_length_q=pack.longest, max_length_k=pack.longest
    )
    inputs |= ({"prompt_of": pack.prompt_of} if pack.prompt_of else {}) | without_router_logits(model)
    if fused:
        labels = torch.full_like(pack.input_ids, -100)
        labels[0, pack.before] = pack.target
        output = model(**inputs, shift_labels=labels, fused_lm_head=True)
        entropies = -output.log_sum_sq_probs if entropy == 2 else output.entropy
        return output.log_probs[0, pack.before], entropies[0, pack.before] if entropy else None
    logits = model(**inputs, logits_to_keep=pack.before).logits[0].float() / temperature
    every = logits.log_softmax(-1)
    chosen = every.gather(1, pack.target[:, None]).squeeze(1)
    if entropy == 2:
        return chosen, -torch.cat([(2 * part).logsumexp(-1) for part in every.split(_CHUNK)])
    if not learned:
        every = every.detach()
    return chosen, -(every.exp() * every).sum(-1) if entropy else None


def _most_packs(packs: int, device: torch.device) -> int:
    """The largest number of packs on any process, so that all run as many forwards."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return packs
    count = torch.tensor(packs, device=device)
    torch.distributed.all_reduce(count, torch.distributed.ReduceOp.MAX)
    return int(count)


def packs_of(attention_mask: Tensor, token_budget: int, order: list[int], padded: bool = False) -> list[list[int]]:
    """The rows of each pack, taken in this order; equally many packs on every process that trains, of which the last
    are empty where a process has fewer rows. `padded`: each row counts as long as the longest one."""
    lengths = attention_mask.sum(1)[order].tolist()
    lengths = [max(lengths, default=0)] * len(lengths) if padded else lengths
    packs = pack_rows(lengths, token_budget)
    most = _most_packs(len(packs), attention_mask.device)
    packs = pack_rows(lengths, token_budget, most)
    return [[order[place] for place in pack] for pack in packs] + [[]] * (most - len(packs))


def rows_of(inputs: dict, rows: Tensor | list[int]) -> dict:
    """These rows of the fields of TRL's batch that have rows."""
    count = inputs["completion_mask"].shape[:1]
    return {k: v[rows] if torch.is_tensor(v) and v.shape[:1] == count else v for k, v in inputs.items()}


def layout_of(inputs: dict) -> tuple[Tensor, Tensor, int]:
    """input_ids, attention_mask and logits_to_keep of TRL's batch: its prompts and completions side by side."""
    ids, mask = (torch.cat([inputs[f"prompt_{part}"], inputs[f"completion_{part}"]], 1) for part in ("ids", "mask"))
    return ids, mask, inputs["completion_mask"].shape[1]


def micro_batches(inputs: dict, token_budget: int, padded: bool = False) -> list[dict]:
    """The rows of an optimiser update as one micro-batch for each pack, or for each budget of `padded` rows. An empty
    pack is a row without advantage: the other processes wait for its forward and backward."""
    layout = layout_of(inputs)
    packs = packs_of(layout[1], token_budget, by_prompt(*layout), padded)
    idle = rows_of(inputs, [0])
    idle["advantages"] = torch.zeros_like(idle["advantages"])
    return [rows_of(inputs, rows) if rows else idle for rows in packs]


def by_prompt(input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> list[int]:
    """The rows in an order in which those of one prompt stand together, prompts by their first row."""
    first: dict[tuple[int, ...], int] = {}
    prompts = _prompts_of(input_ids, attention_mask, logits_to_keep)
    return sorted(range(len(prompts)), key=lambda row: first.setdefault(prompts[row], row))


def packed_logps(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    logits_to_keep: int,
    temperature: float,
    token_budget: int,
    entropy: int = 0,
    fused: bool = False,
    learned: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """(rows, logits_to_keep) log-probabilities of the completions, 0 on padding, and entropies (or None) of `score`.

    The numbers of a padded forward, at the cost of the real tokens only. `fused`: the model has TRL's fused head
    (add_fused_lm_head, which applies the temperature itself and computes what it was told to); no logits are kept.
    `learned`: Shannon's entropies get a gradient. Without a budget (0) all rows are one pack.
    """
    layout = (input_ids, attention_mask, logits_to_keep)
    order = by_prompt(*layout)
    packs = packs_of(attention_mask, token_budget, order) if token_budget else [order]
    shared = not input_ids.is_cuda and attend_by_sequence(model) and shareable(*layout)
    flat = [flatten(rows, *layout, shared) for rows in packs]
    scores = [score(model, pack, temperature, entropy, fused, learned) for pack in flat]
    cells = torch.cat([p.row for p in flat]), torch.cat([p.column for p in flat])

    def padded(values: tuple[Tensor]) -> Tensor:
        values = torch.cat(values)
        return values.new_zeros(len(input_ids), logits_to_keep).index_put(cells, values)

    logps, entropies = zip(*scores, strict=True)
    return padded(logps), padded(entropies) if entropy else None

"""A forward of rollouts without padding: several rows stand end to end in one, position ids restart at each.

Shapes as in TRL: input_ids and attention_mask (rows, width), prompts padded left, completions right; the last
logits_to_keep columns are the completion. What keeps the sequences apart is the model's attention: flash attention has
a variable-length kernel, flex attention a block mask; sdpa is taken sequence by sequence here, which also costs
Σ tokens² and no mask.
"""

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lead_kit.train.packs import Pack, flatten, pack_rows

BY_SEQUENCE = "sdpa_by_sequence"


def sdpa_by_sequence(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options):
    """transformers' sdpa attention, with each packed sequence alone; (1, heads, tokens, size) in.

    Without cu_seq_lens_q, which only a packed forward gives, it is sdpa as it was.
    """
    ends = options.get("cu_seq_lens_q")
    if ends is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    parts = zip(*(t.split(ends.diff().tolist(), 2) for t in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, *part, None, **options)[0] for part in parts], 1), None


AttentionInterface.register(BY_SEQUENCE, sdpa_by_sequence)
AttentionMaskInterface.register(BY_SEQUENCE, sdpa_mask)


def attend_by_sequence(model: nn.Module) -> bool:
    """Turn an sdpa model (plain or wrapped) to sdpa_by_sequence, for all other calls the same. True where it is so.

    Not where layers see a window or chunks, which sdpa knows only from a mask: transformers then builds a dense one.
    """
    config = next(m for m in model.modules() if isinstance(m, PreTrainedModel)).config
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if config._attn_implementation == "sdpa" and not any(windows):
        config._attn_implementation = BY_SEQUENCE
    return config._attn_implementation == BY_SEQUENCE


def score(model: nn.Module, pack: Pack, temperature: float, entropy: bool, fused: bool) -> tuple[Tensor, Tensor | None]:
    """(targets,) log-probabilities, and entropies if asked for, of the pack's scored tokens."""
    # A 4-D mask goes through the model as it is: none is built where the sequences are kept apart by their ends.
    untouched = torch.ones(1, 1, 1, 1, device=pack.input_ids.device) if attend_by_sequence(model) else None
    inputs = dict(
        input_ids=pack.input_ids,
        position_ids=pack.position_ids,
        attention_mask=untouched,
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

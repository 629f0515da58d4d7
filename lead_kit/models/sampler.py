"""One batched sampler for rollouts and for evaluation: finished rows leave the batch.

Each row has its own seed, so a sample depends neither on the other rows of its batch nor on their order (up to the
rounding of a different batch shape). Keys and values of full-attention layers are written in place: transformers'
DynamicCache would copy all that it holds for each new token.
"""

import inspect
import math
from bisect import bisect_left
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedModel,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import DynamicLayer

from lead_kit.errors import InputError

_ROWS, _SMALL_ROWS = 256, 512  # of a forward at most
_SMALL = 10_000_000  # parameters below which Python takes longer than the arithmetic
_CACHE_SHARE = 0.5  # of a GPU's free memory: a cache that grows leaves gaps
_ROOM = 32  # tokens for which a layer takes memory at a time
_SHRINK = 0.85  # the batch is compacted when at most this share of its rows is unfinished
CACHE_NAMES = ("cache", "cache_params", "past_key_values")  # of a forward; transformers 5.24 has the first alone
_OTHERS = "use vLLM, or in training engine 'generate'"
_CHECKED_ROWS, _CHECKED_TOKENS = 4, 256  # rows, and last tokens of each, that are compared with a plain forward


class SamplingSettings(NamedTuple):
    """Sampling settings; top_k 0, top_p 1 and min_p 0 are off, temperature 0 takes the most likely token."""

    max_tokens: int  # limit of a completion, end token included
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    top_k: int = 0
    stop: tuple[str, ...] = ()  # texts that end a completion and are not part of it

    def as_dict(self) -> dict:
        """The settings as JSON holds them, without `stop` where there is none."""
        values = self._asdict() | {"stop": list(self.stop)}
        return values if self.stop else {name: value for name, value in values.items() if name != "stop"}

    def until_stop(self, sample: "GeneratedTokens", tokenizer) -> "GeneratedTokens":
        """The first tokens that hold a stop; the whole sample without one."""

        def stopped(count: int) -> bool:
            text = tokenizer.decode(sample.ids[:count], skip_special_tokens=True)
            return any(stop in text for stop in self.stop)

        if not self.stop or not stopped(len(sample.ids)):
            return sample
        count = bisect_left(range(len(sample.ids)), True, key=stopped)
        return GeneratedTokens(sample.ids[:count], sample.logprobs[:count], False)

    def before_stop(self, text: str) -> str:
        return text[: min((text.find(stop) for stop in self.stop if stop in text), default=len(text))]


class Request(NamedTuple):
    """One completion to sample."""

    record: dict
    sample: int
    seed: int


class Completion(NamedTuple):
    """One completion as text."""

    text: str
    length: int  # tokens generated, the end token included
    truncated: bool  # cut off at the token limit
    thinking: bool = False  # the prompt had opened <think>, so the text begins inside a thought

    @property
    def graded_text(self) -> str:
        """The text as the verifier must see it: inside a thought that was never closed there is no answer."""
        return f"<think>{self.text}" if self.thinking else self.text


class GeneratedTokens(NamedTuple):
    """One completion: its tokens (the end token included where there is one) and their log-probabilities."""

    ids: list[int]
    logprobs: list[float]
    truncated: bool


def row_seed(seed: int, identity: str, sample: int) -> int:
    """The seed of one sample of one problem, equal in every process and run."""
    return int.from_bytes(blake2b(f"{seed}/{identity}/{sample}".encode(), digest_size=7).digest(), "big")


def _filters(sampling: SamplingSettings) -> LogitsProcessorList:
    """The library's filters for the settings that are on."""
    top_k = [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    top_p = [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    min_p = [MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
    return LogitsProcessorList(top_k + top_p + min_p)


def _pick(logits: Tensor, draw: Tensor, temperature: float, filters: LogitsProcessorList) -> tuple[Tensor, Tensor]:
    """Next tokens (rows,), the quantiles of their distributions at `draw` (rows,), and their log-probabilities.

    Temperature 0 takes the most likely token.
    """
    logits = logits.float()
    if temperature == 0:
        scores = logits.log_softmax(-1)
        token = scores.argmax(-1)
    else:
        scores = filters(None, logits / temperature).log_softmax(-1)
        mass = scores.exp().cumsum(-1)
        token = torch.searchsorted(mass, (draw * mass[:, -1])[:, None], right=True)[:, 0].clamp(max=mass.shape[1] - 1)
    return token, scores.gather(-1, token[:, None])[:, 0]


class _PreallocatedLayer(DynamicLayer):
    """A layer's keys and values (rows, heads, tokens, head size), the filled part of two larger tensors."""

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Adds the states of new tokens; returns all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.stores = [self.keys, self.values] = [key_states[..., :0, :], value_states[..., :0, :]]
        new, filled = key_states.shape[-2], self.keys.shape[-2]
        if filled + new > self.stores[0].shape[-2]:
            self.stores = [torch.nn.functional.pad(part, (0, 0, 0, new + _ROOM)) for part in (self.keys, self.values)]
        self.keys, self.values = (store[..., : filled + new, :] for store in self.stores)
        self.keys[..., filled:, :], self.values[..., filled:, :] = key_states, value_states
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps only the rows `beam_idx`, in their order."""
        filled = self.keys.shape[-2]
        self.stores = [store.index_select(0, beam_idx) for store in self.stores]
        self.keys, self.values = (store[..., :filled, :] for store in self.stores)


def _preallocated_cache(config) -> DynamicCache:
    """An empty cache for a model; layers that do not keep every token are the library's own."""
    cache = DynamicCache(config=config)
    cache.layers = [_PreallocatedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _accepts_4d_mask(config) -> bool:
    """Whether a model's forward passes a 4-D mask on to every layer unchanged: sdpa without windows or alibi.

    transformers then builds none, which would be a tenth of a small model's step.
    """
    others = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "alibi")]
    layers = set(getattr(config, "layer_types", None) or ())
    return config._attn_implementation.startswith("sdpa") and not any(others) and layers <= {"full_attention"}


class _Batch:
    """The unfinished rows: their cache, mask, positions, last token and place in the output; `first` are the logits of
    the first token.

    Each different prompt is computed once, and its cache is repeated for all of its rows.
    """

    def __init__(self, model, prompts: list[list[int]], pad: int):
        device, width = model.device, max(map(len, prompts))
        different = list(dict.fromkeys(map(tuple, prompts)))
        places = {prompt: row for row, prompt in enumerate(different)}
        self.model, self.passes_mask = model, _accepts_4d_mask(model.config.get_text_config())
        self.ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in different], device=device)
        self.mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in different], device=device)
        self.positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        self.rows = torch.arange(len(different), device=device)
        self.cache = _preallocated_cache(model.config)
        inner = inspect.signature(_inner(model).forward).parameters
        self.cache_name = next((name for name in CACHE_NAMES if name in inner), "past_key_values")
        repeated = torch.tensor([places[tuple(prompt)] for prompt in prompts], device=device)
        try:
            self.first = self.logits()[repeated]
            self.keep(repeated)
        except (AttributeError, TypeError, ValueError) as error:  # a cache of the architecture's own
            raise InputError(
                f"the kit's sampler cannot sample from {type(model).__name__} ({error}); {_OTHERS}"
            ) from error
        self.rows = torch.arange(len(prompts), device=device)

    def logits(self) -> Tensor:
        """The next token's logits (rows, vocabulary)."""
        one_token = self.ids.shape[1] == 1 < self.mask.shape[1]
        output = self.model(
            input_ids=self.ids,
            attention_mask=self.mask.bool()[:, None, None] if self.passes_mask and one_token else self.mask,
            position_ids=self.positions,
            use_cache=True,
            logits_to_keep=1,
            **{self.cache_name: self.cache},
            **without_router_logits(self.model),
        )
        return output.logits[:, -1]

    def extend(self, token: Tensor) -> None:
        self.ids = token[:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(token), 1)], -1)
        self.positions = self.positions[:, -1:] + 1

    def keep(self, alive: Tensor) -> None:
        """Keeps only the rows `alive` (indices)."""
        self.cache.reorder_cache(alive)  # which layers with a recurrent state have, too
        self.ids, self.mask, self.positions = self.ids[alive], self.mask[alive], self.positions[alive]
        self.rows = self.rows[alive]


@torch.inference_mode()
def generate(
    model,
    prompts: list[list[int]],
    seeds: list[int],
    sampling: SamplingSettings,
    *,
    eos: list[int],
    pad: int,
    batch_size=0,
) -> list[GeneratedTokens]:
    """One completion for each prompt (token ids), in their order; rows are batched by prompt length, `batch_size` at
    once (0: as many as suit the size of the model), on a GPU at most those whose cache fits.

    The model's mode is not changed: put it in evaluation mode first if it has dropout.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"generate: {len(prompts)} prompts but {len(seeds)} seeds")
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    samples: list[GeneratedTokens] = [None] * len(prompts)
    filters = _filters(sampling)
    batch_size = batch_size or (_SMALL_ROWS if sum(p.numel() for p in model.parameters()) < _SMALL else _ROWS)
    if model.device.type == "cuda" and prompts:
        free = torch.cuda.mem_get_info(model.device)[0]
        free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        tokens = len(prompts[order[-1]]) + sampling.max_tokens
        batch_size = min(batch_size, _rows_that_fit(_inner(model).config, model.dtype.itemsize, tokens, free))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _Batch(model, [prompts[row] for row in rows], pad)
        generators = [torch.Generator().manual_seed(seeds[row]) for row in rows]
        draws = torch.stack([torch.rand(sampling.max_tokens, generator=one) for one in generators]).to(model.device)
        limits = torch.tensor([room_for_completion(model, len(prompts[row]), sampling.max_tokens) for row in rows])
        done = _decode(batch, draws, limits, torch.tensor(eos, device=model.device), sampling.temperature, filters)
        for row, sample in zip(rows, done, strict=True):
            samples[row] = sample
    return samples


def _rows_that_fit(config, width: int, tokens: int, free: float) -> int:
    """Rows of so many tokens whose keys and values of `width` bytes take their share of `free` bytes; at least one."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = 2 * config.num_hidden_layers * heads * size * width * tokens
    return max(1, int(_CACHE_SHARE * free / row))


def _inner(model) -> PreTrainedModel:
    """The model itself, without the wrappers of an adapter or of several processes."""
    return next(part for part in model.modules() if isinstance(part, PreTrainedModel))


def without_router_logits(model) -> dict:
    """The argument that spares a mixture of experts its auxiliary loss, which needs a mask of all tokens."""
    known = hasattr(_inner(model).config.get_text_config(), "output_router_logits")
    return {"output_router_logits": False} if known else {}


def plain_logps(model, prompt: list[int], completion: list[int], temperature: float, filters=()) -> Tensor:
    """(tokens,) log-probabilities of a completion's last tokens (_CHECKED_TOKENS at most) in a forward of this row
    alone: no padding, no cache, no pack."""
    ids = torch.tensor([[*prompt, *completion]], device=next(model.parameters()).device)
    count = min(len(completion), _CHECKED_TOKENS)
    options = {"use_cache": False, "logits_to_keep": count + 1} | without_router_logits(model)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **options).logits[0, -count - 1 : -1]
    logits = logits.float() / (temperature or 1.0)
    scores = (filters(None, logits) if filters else logits).log_softmax(-1)
    return scores.gather(1, ids[0, ids.shape[1] - count :, None])[:, 0]


def spread(count: int) -> list[int]:
    """_CHECKED_ROWS of so many rows, evenly spread; fewer rows are repeated, so that all processes check as many."""
    return [(count - 1) * place // (_CHECKED_ROWS - 1) for place in range(_CHECKED_ROWS)]


def largest_gap(model) -> float:
    """The mean difference of log-probabilities, in nats a token, that rounding may make."""
    exact = next(model.parameters()).dtype == torch.float32 and next(model.parameters()).device.type == "cpu"
    return 1e-4 if exact else 0.05


@torch.inference_mode()
def require_exact(model, prompts: list[list[int]], samples: list[GeneratedTokens], sampling: SamplingSettings) -> None:
    """Raises InputError where the log-probabilities of some samples are not those of a plain forward."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]) + len(samples[row].ids))
    rows = [order[place] for place in spread(len(order))]
    gaps, filters = [], _filters(sampling) if sampling.temperature else []
    for row in rows:
        ids, logprobs = samples[row].ids, samples[row].logprobs
        plain = plain_logps(model, prompts[row], ids, sampling.temperature, filters)
        gap = (plain.cpu() - torch.tensor(logprobs[-len(plain) :])).abs()
        gaps.append(gap.median() if filters else gap.mean())  # rounding moves a token over a filter's edge
    if not (gap := max(gaps).item()) <= largest_gap(model):
        raise InputError(
            f"the kit's sampler cannot sample from {type(model).__name__}: its log-probabilities differ by {gap:.2g} "
            f"a token from those of a plain forward; {_OTHERS}"
        )


def room_for_completion(model, prompt: int, max_tokens: int) -> int:
    """The tokens of a completion after a prompt of so many: max_tokens, or what the model's positions leave. Raises
    InputError for a prompt that fills them."""
    positions = getattr(_inner(model).config.get_text_config(), "max_position_embeddings", None) or math.inf
    if prompt >= positions:
        raise InputError(f"a prompt has {prompt} tokens, and the model {positions} positions: leave such problems out")
    return min(max_tokens, positions - prompt)


def _decode(
    batch: _Batch, draws: Tensor, limits: Tensor, eos: Tensor, temperature: float, filters
) -> list[GeneratedTokens]:
    """The samples of a batch; one that has filled its `limits` (rows,) without an end token is truncated."""
    count, limit, device = len(draws), int(limits.max()), draws.device
    tokens = torch.zeros(count, limit, dtype=torch.long, device=device)
    scores = torch.zeros(count, limit, device=device)
    lengths = limits.to(device)
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    for step in range(limit):
        logits = batch.logits() if step else batch.first
        token, score = _pick(logits, draws[batch.rows, step], temperature, filters)
        tokens[batch.rows, step], scores[batch.rows, step] = token, score
        ended = torch.isin(token, eos) & (lengths[batch.rows] > step)  # not once more, and not behind its limit
        finished[batch.rows] |= ended
        lengths[batch.rows] = torch.where(ended, step + 1, lengths[batch.rows])
        alive = lengths[batch.rows] > step + 1
        unfinished = int(alive.sum())  # the one number that a token sends to the host
        if not unfinished:
            break
        batch.extend(token)
        if unfinished <= _SHRINK * len(alive):
            batch.keep(alive.nonzero()[:, 0])
    tokens, scores, finished = tokens.cpu(), scores.cpu(), finished.cpu()
    return [
        GeneratedTokens(tokens[i, :n].tolist(), scores[i, :n].tolist(), not finished[i])
        for i, n in enumerate(lengths.tolist())
    ]

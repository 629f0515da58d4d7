"""One step of decoding: a token for each row, whose keys and values are stored in place.

transformers' DynamicCache copies all that it holds for each new token, and a small model spends more time in Python
than in its arithmetic. So a full-attention layer's keys and values lie in tensors with room for the tokens to come,
and the forward of a small model on a CPU is recorded once (`torch.jit.trace`) and replayed.
"""

import warnings
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging

SMALL = 10_000_000  # parameters below which Python takes longer than the arithmetic
ROOM = 32  # tokens for which a layer takes memory at a time
RECORDS: dict[tuple, torch.nn.Module] = {}  # what a model is but for its weights → a copy of it and its step


class PreallocatedLayer(DynamicLayer):
    """A layer's keys and values (rows, heads, tokens, head size), the filled part of two larger tensors."""

    def make_room(self, new: int) -> None:
        """Lets `keys` and `values` end with `new` places that are to be written."""
        filled = self.keys.shape[-2]
        if filled + new > self.stores[0].shape[-2]:
            self.stores = [_larger(part, new) for part in (self.keys, self.values)]
        self.keys, self.values = (store[..., : filled + new, :] for store in self.stores)

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Adds the states of new tokens; returns all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.stores = [self.keys, self.values] = [key_states[..., :0, :], value_states[..., :0, :]]
        new = key_states.shape[-2]
        self.make_room(new)
        self.keys[..., -new:, :], self.values[..., -new:, :] = key_states, value_states
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps only the rows `indices`, in their order."""
        filled = self.keys.shape[-2]
        self.stores = [store.index_select(0, indices) for store in self.stores]
        self.keys, self.values = (store[..., :filled, :] for store in self.stores)


def _larger(filled: Tensor, new: int) -> Tensor:
    *rows, tokens, size = filled.shape
    store = filled.new_empty(*rows, tokens + new + ROOM, size)
    store[..., :tokens, :] = filled
    return store


def preallocated_cache(config) -> DynamicCache:
    """An empty cache for a model; layers that do not keep every token are the library's own."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _LastPlace(DynamicLayer):
    """Keys and values whose last place is to be written."""

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        self.keys[..., -1:, :], self.values[..., -1:, :] = key_states, value_states
        return self.keys, self.values


def forward(model, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
    """The next token's logits (rows, vocabulary) by the library's own forward."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]


def accepts_4d_mask(config) -> bool:
    """Whether a model's forward hands a 4-D mask on to every layer as it is: sdpa attention without windows or alibi.

    transformers then builds none, which would be a tenth of a small model's step.
    """
    others = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "alibi")]
    layers = set(getattr(config, "layer_types", None) or ())
    return config._attn_implementation.startswith("sdpa") and not any(others) and layers <= {"full_attention"}


def recordable(model) -> bool:
    """Whether a model's step is the same operations for every batch, and recording it pays: a small model of the
    library's own modules (no adapters, no hooks) on a CPU, with a whole mask and positions that need no rescaling.
    """
    config, parts = model.config.get_text_config(), list(model.modules())
    return (
        model.device.type == "cpu"
        and sum(p.numel() for p in model.parameters()) < SMALL
        and accepts_4d_mask(config)
        and (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "default"
        and all(type(part).__module__.startswith(("torch.nn.", "transformers.")) for part in parts)
        and not any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    )


class _Step(torch.nn.Module):
    """A model's forward for one token a row as a function of tensors, as recording needs it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, *stored: Tensor) -> Tensor:
        cache = DynamicCache(config=self.model.config)
        cache.layers = [_LastPlace(*pair) for pair in zip(stored[::2], stored[1::2], strict=True)]
        return forward(self.model, ids, mask, positions, cache)


class Recorded:
    """The recorded step of a model as it is now; models of one architecture share the recording."""

    def __init__(self, model):
        config = model.config
        kind = type(model), config.to_json_string(), config._attn_implementation, model.dtype, model.training
        if kind not in RECORDS:
            with torch.random.fork_rng(devices=[]):  # whose weights are overwritten
                RECORDS[kind] = _Step(type(model)(config).to(model.dtype).train(model.training))
        self.kind, self.record = kind, RECORDS[kind]
        torch._foreach_copy_(list(self.record.parameters()), list(model.parameters()))

    def __call__(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """The logits (rows, vocabulary) that follow `ids` (rows, 1)."""
        for layer in cache.layers:
            layer.make_room(1)
        inputs = ids, mask, positions, *(part for layer in cache.layers for part in (layer.keys, layer.values))
        if not isinstance(self.record, torch.jit.ScriptModule):
            with _quietly():
                self.record = RECORDS[self.kind] = torch.jit.trace(self.record, inputs, check_trace=False)
        return self.record(*inputs)


@contextmanager
def _quietly():
    """Without what torch and transformers say of recording: it is deprecated, it keeps Python's decisions, and it looks
    at a loss that is not used.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)

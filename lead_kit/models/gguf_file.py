"""A model of the Llama family in a GGUF file, as a Hugging Face folder: float32 weights, fast tokenizer, chat template.

transformers reads GGUF too, but its model cannot be saved, and its tokenizer lacks the split into digits that SmolLM2
was trained with. The package gguf reads the file and undoes the quantisation.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lead_kit.errors import InputError

NAMES = {  # of a block's tensors in GGUF and in transformers
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
WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
WHOLE |= {"output.weight": "lm_head.weight"}
_SPLITS = {  # how text is cut before byte pairs are merged, by the name in tokenizer.ggml.pre
    "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
}
_CONTROL = 3  # tokenizer.ggml.token_type of a special token


def convert(path: Path, folder: Path) -> None:
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
    given = {name: field.contents() for name, field in file.fields.items()}
    _check(given, {tensor.name for tensor in file.tensors}, path)
    config = _config_of(given, tied="output.weight" not in {tensor.name for tensor in file.tensors})
    model, tokenizer = LlamaForCausalLM(config), _tokenizer_of(given)
    weights = {}
    for tensor in file.tensors:
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            kinds = f"tensor {tensor.name} of {path} is quantised as {tensor.tensor_type.name}"
            raise InputError(f"{kinds}, which the package gguf cannot undo; take Q4_1, Q8_0 or F16") from None
        weights.update(_renamed(tensor.name, torch.from_numpy(values.copy()), config))
    missing = model.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise InputError(f"{path} lacks or adds tensors: {[*missing.missing_keys, *missing.unexpected_keys][:3]}")
    model.generation_config.do_sample = True
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _check(given: dict, tensors: set[str], path: Path) -> None:
    """Raises InputError for what this reader does not know."""
    for key, known in {"general.architecture": ["llama"], "tokenizer.ggml.model": ["gpt2"]}.items():
        if given.get(key) not in known:
            raise InputError(f"{path}: {key} is {given.get(key)!r}, and only {known[0]!r} can be read")
    split = given.get("tokenizer.ggml.pre", "gpt-2")
    if split not in _SPLITS:
        raise InputError(f"{path}: tokenizer.ggml.pre is {split!r}, expected one of {list(_SPLITS)}")
    scaled = given.get("llama.rope.scaling.type", "none")
    if scaled != "none" or "rope_freqs.weight" in tensors:
        raise InputError(f"{path}: its positions are scaled ({scaled}), which cannot be read")


def _config_of(given: dict, tied: bool) -> LlamaConfig:
    tokens = given["tokenizer.ggml.tokens"]
    return LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=given["llama.embedding_length"],
        intermediate_size=given["llama.feed_forward_length"],
        num_hidden_layers=given["llama.block_count"],
        num_attention_heads=given["llama.attention.head_count"],
        num_key_value_heads=given["llama.attention.head_count_kv"],
        max_position_embeddings=given["llama.context_length"],
        rms_norm_eps=given["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": given["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=given.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=given["tokenizer.ggml.eos_token_id"],
        pad_token_id=_pad_token(given),
    )


def _pad_token(given: dict) -> int:
    """The padding token: <|endoftext|> where there is one, which is never the end of a turn."""
    tokens = given["tokenizer.ggml.tokens"]
    named = given.get("tokenizer.ggml.padding_token_id", given["tokenizer.ggml.eos_token_id"])
    return tokens.index("<|endoftext|>") if "<|endoftext|>" in tokens else named


def _renamed(name: str, values: torch.Tensor, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The tensor under its name in transformers; q and k as they were before llama.cpp interleaved their rows."""
    if name in WHOLE:
        return {WHOLE[name]: values}
    _, block, part, kind = name.split(".")
    if part in ("attn_q", "attn_k"):
        heads = config.num_attention_heads if part == "attn_q" else config.num_key_value_heads
        values = values.view(heads, -1, 2, values.shape[-1]).transpose(1, 2).reshape(values.shape)
    return {f"model.layers.{block}.{NAMES.get(part, part)}.{kind}": values}


def _tokenizer_of(given: dict) -> PreTrainedTokenizerFast:
    tokens, merges = given["tokenizer.ggml.tokens"], given["tokenizer.ggml.merges"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocabulary, [tuple(merge.split(" ", 1)) for merge in merges]))
    split = _SPLITS[given.get("tokenizer.ggml.pre", "gpt-2")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, given["tokenizer.ggml.token_type"], strict=True)
    tokenizer.add_special_tokens([token for token, kind in kinds if kind == _CONTROL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=tokens[given["tokenizer.ggml.eos_token_id"]],
        pad_token=tokens[_pad_token(given)],
        chat_template=given.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )

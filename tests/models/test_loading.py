"""Embedded models, tokenizers, loading, merging and working without a network."""

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from random import Random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from lead_kit.data import arithmetic
from lead_kit.errors import InputError
from lead_kit.models import loading
from lead_kit.models.chat import token_counter
from lead_kit.models.loading import load_model, merge_adapter, save_model
from lead_kit.models.tiny_models import arithmetic_tokenizer, byte_tokenizer, embedded_model
from lead_kit.runs import find

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    from lead_kit.models import loading

    torch.set_num_threads(1)
    return loading


def test_the_arithmetic_tokenizer_gives_problems_and_traces_back(models):
    tokenizer, rng = arithmetic_tokenizer(), Random(0)
    for record in arithmetic.draw(200, 1):
        for text in (record["problem"], arithmetic.solve_noisily(record["problem"], rng)):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids


def test_a_limit_counts_the_prompt_or_the_problem_alone(models):
    tokenizer, problem = arithmetic_tokenizer(), "Start at 1:\n(1) +5."
    alone, prompt = (token_counter(tokenizer, "plain", counted)(problem) for counted in ("problem", "prompt"))
    assert alone == len(tokenizer(problem).input_ids) == prompt - 2  # the markers of the two turns


@settings(max_examples=200)
@given(text=st.text(max_size=60))
def test_the_byte_tokenizer_gives_any_text_back(text):

    tokenizer = byte_tokenizers.setdefault("one", None) or byte_tokenizer()
    byte_tokenizers["one"] = tokenizer
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids) == text and len(ids) == len(text.encode())


byte_tokenizers = {}


def test_a_chat_is_turns_between_markers(models):
    tokenizer = byte_tokenizer()
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert asked == "<|system|>S<|user|>U<|assistant|>"
    said = [*turns, {"role": "assistant", "content": "A"}]
    whole = tokenizer.apply_chat_template(said, return_dict=True, return_assistant_tokens_mask=True)
    learned = [i for i, on in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if on]
    assert tokenizer.decode(learned) == "A<|end|>"


@pytest.mark.parametrize("name", ["tiny", "tiny-bytes"])
def test_weights_depend_on_the_seed_alone(models, name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, other, third = (embedded_model(name, seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not all(torch.equal(one[key], third[key]) for key in one)


@pytest.mark.parametrize("name", ["tiny", "tiny-bytes"])
def test_a_saved_model_comes_back_with_its_chat_template(models, name, tmp_path):
    model, tokenizer = embedded_model(name)
    save_model(model, tokenizer, tmp_path)
    assert list(tmp_path.glob("*.safetensors")) and not list(tmp_path.glob("*.bin"))
    again, its_tokenizer = load_model(str(tmp_path))
    ids = torch.arange(6, 40)[None]
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert its_tokenizer.chat_template == tokenizer.chat_template and its_tokenizer.padding_side == "left"
    assert its_tokenizer("Start at 1:").input_ids == tokenizer("Start at 1:").input_ids


def adapted_model(dtype, folder):
    """A tiny model with a random adapter, which is kept in the folder; rows of tokens and its logits on them."""
    model, _ = embedded_model("tiny")
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(model.to(dtype), lora)
    model.save_pretrained(folder)
    ids = torch.arange(6, 70).reshape(2, 32)
    return ids, loading.logits(model, ids)


def test_an_adapter_is_merged_into_the_same_function(models, tmp_path):
    ids, adapted = adapted_model(torch.float32, tmp_path)
    plain, change = merge_adapter(embedded_model("tiny")[0], tmp_path, ids, adapted, loading.BARS[torch.float32])
    assert type(plain).__name__ == "LlamaForCausalLM" and change < 1e-4
    assert loading.logits(plain, ids) == pytest.approx(adapted, abs=1e-4)
    assert (adapted - loading.logits(embedded_model("tiny")[0], ids)).abs().max() > 0.01  # the adapter did something


def test_a_merge_in_bfloat16_is_accepted_within_its_rounding(models, tmp_path):
    """A bfloat16 number has 8 bits: two ways to compute a logit differ by more than a thousandth of the largest."""
    ids, adapted = adapted_model(torch.bfloat16, tmp_path)
    base = embedded_model("tiny")[0].to(torch.bfloat16)
    _, change = merge_adapter(base, tmp_path, ids, adapted, loading.BARS[torch.bfloat16])
    assert (
        loading.BARS[torch.float32] * adapted.abs().max() < change < loading.BARS[torch.bfloat16] * adapted.abs().max()
    )


def test_a_merge_that_changes_the_model_is_refused_and_the_adapter_is_named(models, tmp_path):
    ids, adapted = adapted_model(torch.float32, tmp_path)
    other, _ = embedded_model("tiny", seed=1)
    with pytest.raises(ValueError, match=f"merging the adapter changed a logit by .*; it is kept in {tmp_path}"):
        merge_adapter(other, tmp_path, ids, adapted, loading.BARS[torch.float32])


def test_what_cannot_be_loaded_is_named(models, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    wrong = {
        "tinny": r"model is 'tinny'.*did you mean 'tiny'",
        "runs/nothing/model": "model folder runs/nothing/model does not exist",
        str(tmp_path / "half"): r"incomplete: tokenizer_config.json, \*.safetensors missing",
    }
    for name, sentence in wrong.items():
        with pytest.raises(InputError, match=sentence):
            load_model(name)
    with pytest.raises(InputError, match=r"backend is 'unslot'.*did you mean 'unsloth'"):
        load_model("tiny", backend="unslot")


def test_four_bits_are_refused_where_they_cannot_be(models, tmp_path, monkeypatch):
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(InputError, match="'qlora' needs bitsandbytes, which is not installed"):
            load_model(str(tmp_path), adapter="qlora")
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(__spec__=ModuleSpec("bitsandbytes", None)))
    with pytest.raises(InputError, match="'qlora' needs a trained model, and 'tiny' is drawn at random"):
        load_model("tiny", adapter="qlora")
    monkeypatch.setenv("LEAD_DISTRIBUTED", "fsdp2")
    with pytest.raises(InputError, match="four-bit weights, which fsdp2 cannot share out"):
        load_model(str(tmp_path), adapter="qlora")


def without_the_second_layer(tensors):
    return {name: tensor for name, tensor in tensors.items() if "layers.1.mlp" not in name}


def with_a_short_norm(tensors):
    return tensors | {"model.norm.weight": torch.ones(7)}


def under_other_names(tensors):
    return {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "change, sentence",
    [
        (without_the_second_layer, "configuration: model.layers.1.mlp.down_proj.weight is missing; model.layers"),
        (with_a_short_norm, r"model.norm.weight has shape \[7\], where config.json expects \[64\]$"),
        (under_other_names, "lm_head.weight is missing; .*, and 18 more"),
    ],
)
def test_weights_that_would_be_drawn_at_random_are_refused(models, tmp_path, change, sentence):
    save_model(*embedded_model("tiny"), tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=sentence):
        load_model(str(tmp_path))


def test_weights_that_were_cut_off_are_refused(models, tmp_path):
    save_model(*embedded_model("tiny"), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(InputError, match="model.safetensors is cut off or damaged: .*incomplete metadata"):
        load_model(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-2.safetensors"}}')
    with pytest.raises(InputError, match="is incomplete: model-2.safetensors missing"):
        load_model(str(tmp_path))


def test_the_hub_is_off_exactly_when_every_model_is_here(monkeypatch, tmp_path):
    for names, off in ((["tiny", str(tmp_path)], True), (["tiny", "Qwen/Qwen2.5-0.5B"], False)):
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        find.turn_hub_off_if_local(*names)
        assert os.environ.get("HF_HUB_OFFLINE") == ("1" if off else None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


WITHOUT_NETWORK = """
import socket, sys
def refuse(*_): raise AssertionError("a local model asked the network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from lead_kit.runs import find
find.turn_hub_off_if_local(sys.argv[1])
from lead_kit.models.loading import load_model
print(load_model(sys.argv[1])[0].num_parameters())
"""


def test_a_folder_is_loaded_without_a_network(models, tmp_path):
    model, tokenizer = embedded_model("tiny")
    save_model(model, tokenizer, tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(model.num_parameters())], done.stderr[-2000:]


def test_weights_move_at_a_recipes_rate_only_as_float32_masters(models, tmp_path):
    """AdamW at 1e-6 for twenty updates, as GRPO-LEAD's: nearly every float32 weight moves, and few bfloat16 ones."""
    save_model(*embedded_model("tiny"), tmp_path / "model")
    moved = {}
    for adapter in ("full", "lora"):
        dtype = load_model(str(tmp_path / "model"), dtype="bfloat16", adapter=adapter)[0].dtype
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(200, 200).mul(0.02).to(dtype))
        start, optimizer = weight.detach().clone(), torch.optim.AdamW([weight], lr=1e-6, weight_decay=0.0)
        for _ in range(20):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                (torch.randn(8, 200) @ weight).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        moved[dtype] = (weight != start).float().mean().item()
    assert moved[torch.float32] > 0.99 and moved[torch.bfloat16] < 0.3


def test_the_marks_of_a_thought_stay_in_decoded_texts_where_they_are_special(models, tmp_path):
    model, tokenizer = embedded_model("tiny-bytes")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    model.resize_token_embeddings(len(tokenizer))
    save_model(model, tokenizer, tmp_path)
    again = models.load_tokenizer(str(tmp_path))
    ids = again("<think>a</think>b<|end|>", add_special_tokens=False).input_ids
    assert len(ids) == 5 and again.decode(ids, skip_special_tokens=True) == "<think>a</think>b"


def test_adapters_go_on_the_modules_that_are_named_and_a_name_without_one_is_refused(models, capsys):
    from tests.models.families import build

    phi, _ = build("phi3")
    with pytest.raises(InputError, match="lora_targets has 'q_proj', which Phi3ForCausalLM lacks; there are o_proj"):
        models.lora_targets(phi, ["q_proj", "o_proj"])
    every = models.lora_targets(phi, ["all-linear"])
    assert sorted(every) == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]
    assert "adapters on 2 o_proj, 2 qkv_proj" in capsys.readouterr().out
    adapted = get_peft_model(phi, LoraConfig(target_modules=models.lora_targets(phi, ["qkv_proj"])))
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 2
    gpt, _ = build("gpt2")
    assert sorted(models.lora_targets(gpt, ["all-linear"])) == ["c_attn", "c_fc", "c_proj"]

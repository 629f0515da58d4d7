"""A step of decoding: keys and values in place, and the recorded forward beside the library's."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lead_kit.models import kv_cache, sampler

pytestmark = pytest.mark.slow
SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 256}
PROMPTS = [[4, 5, 6], [7], [8, 9, 10, 11, 12], [7], [13, 14]] * 3


def model(kind: str, seed: int = 0):
    torch.manual_seed(seed)
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)).eval()
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def sampled(policy, tokens: int = 60):
    """Samples of more tokens than a layer takes memory for at a time."""
    return sampler.generate(
        policy, PROMPTS, list(range(len(PROMPTS))), sampler.SamplingSettings(tokens), eos=[1], pad=0
    )


def by_the_library(policy):
    """The same samples by the library's own forward, which a hook demands."""
    handle = policy.register_forward_hook(lambda module, inputs, output: None)
    try:
        assert not kv_cache.recordable(policy)
        return sampled(policy)
    finally:
        handle.remove()


@pytest.fixture(autouse=True)
def nothing_recorded(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(kv_cache, "RECORDS", {})


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_recorded_step_draws_what_the_librarys_forward_draws(kind, caplog):
    policy = model(kind)
    random = torch.get_rng_state()
    samples = sampled(policy)
    assert len(kv_cache.RECORDS) == 1 and torch.equal(torch.get_rng_state(), random)
    assert not caplog.records
    assert max(len(one.ids) for one in samples) > kv_cache.ROOM > min(len(one.ids) for one in samples)
    assert [one.ids for one in sampled(policy)] == [one.ids for one in samples]  # from the record that is there now
    for one, other in zip(samples, by_the_library(policy), strict=True):
        assert one.ids == other.ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_weights_that_have_changed_are_used_and_another_model_shares_the_recording(kind):
    policy, other = model(kind), model(kind, seed=1)
    before = sampled(policy)
    with torch.no_grad():
        policy.model.layers[0].mlp.down_proj.weight.mul_(-300)
    after = sampled(policy)
    assert [one.ids for one in after] != [one.ids for one in before]
    assert [one.ids for one in after] == [one.ids for one in by_the_library(policy)]
    assert [one.ids for one in sampled(other)] == [one.ids for one in by_the_library(other)]
    assert len(kv_cache.RECORDS) == 1


def test_a_step_is_recorded_only_where_it_is_the_same_for_every_batch(monkeypatch):
    from peft import LoraConfig, get_peft_model

    assert kv_cache.recordable(model("llama"))
    scaled = LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    assert not kv_cache.recordable(LlamaForCausalLM(scaled))
    eager = model("llama")
    eager.set_attn_implementation("eager")
    assert not kv_cache.recordable(eager)
    inner = model("llama")
    adapted = get_peft_model(inner, LoraConfig(r=2, target_modules=["q_proj"]))
    assert not kv_cache.recordable(inner) and not kv_cache.recordable(adapted)
    monkeypatch.setattr(kv_cache, "SMALL", 1000)
    assert not kv_cache.recordable(model("llama"))


def test_the_roomy_cache_holds_what_the_librarys_cache_holds():
    config, one = LlamaConfig(**SIZES), torch.Generator().manual_seed(0)
    ours, theirs = kv_cache.preallocated_cache(config), DynamicCache(config=config)
    for step in range(3 * kv_cache.ROOM):
        rows = ours.layers[0].keys.shape[0] if step else 6
        for layer in range(2):
            keys, values = torch.randn(2, rows, 2, 1 if step else 5, 8, generator=one)
            for mine, known in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                assert torch.equal(mine, known)
        if step % 20 == 7:
            for cache in (ours, theirs):
                cache.batch_select_indices(torch.arange(rows - 1).flip(0))
    assert ours.get_seq_length() == theirs.get_seq_length() == 3 * kv_cache.ROOM + 4


def test_a_layer_that_forgets_stays_the_librarys_own():
    config = Qwen2Config(
        **SIZES, layer_types=["full_attention", "sliding_attention"], sliding_window=16, use_sliding_window=True
    )
    assert [type(layer).__name__ for layer in kv_cache.preallocated_cache(config).layers] == [
        "PreallocatedLayer",
        "DynamicSlidingWindowLayer",
    ]

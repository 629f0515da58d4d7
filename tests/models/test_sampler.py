"""The kit's sampler: what it draws, and that a row depends on its own seed alone."""

from random import Random
from types import SimpleNamespace

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, Qwen2Config

from lead_kit.errors import InputError

pytestmark = pytest.mark.slow
LIMIT = 24


@pytest.fixture(scope="module")
def kit():
    from lead_kit.data import arithmetic
    from lead_kit.models import chat, sampler
    from lead_kit.models.tiny_models import embedded_model

    torch.set_num_threads(1)
    model, tokenizer = embedded_model("tiny", seed=3)
    model.eval()
    prompts = [chat.chat_prompt(tokenizer, "plain", r["problem"]).ids for r in arithmetic.draw(24, 5)]
    return SimpleNamespace(sample=sampler, model=model, tokenizer=tokenizer, prompts=prompts)


def generate(kit, prompts, seeds, **settings):
    sampling = kit.sample.SamplingSettings(
        LIMIT, **{n: settings.pop(n) for n in ("temperature", "top_p", "min_p", "top_k") if n in settings}
    )
    ends = {"eos": [kit.tokenizer.eos_token_id], "pad": kit.tokenizer.pad_token_id}
    return kit.sample.generate(kit.model, prompts, seeds, sampling, **ends, **settings)


def test_a_row_depends_neither_on_order_nor_on_batch_size(kit):
    seeds = list(range(len(kit.prompts)))
    expected = [one.ids for one in generate(kit, kit.prompts, seeds)]
    order = Random(1).sample(seeds, len(seeds))
    for size in (5, 24):
        samples = generate(kit, [kit.prompts[i] for i in order], [seeds[i] for i in order], batch_size=size)
        assert [one.ids for one in samples] == [expected[i] for i in order]
    assert len({tuple(ids) for ids in expected}) == len(expected)


@pytest.fixture
def forwards(kit):
    """The inputs of every forward of the model, which is not recorded as long as it has a hook."""
    inputs = []
    handle = kit.model.register_forward_pre_hook(lambda model, args, kwargs: inputs.append(kwargs), with_kwargs=True)
    yield inputs
    handle.remove()


def test_a_prompt_that_is_asked_for_several_times_is_computed_once(kit, forwards):
    prompts, seeds = [kit.prompts[i] for i in (0, 1, 0, 0, 1, 0)], list(range(6))
    together = generate(kit, prompts, seeds)
    widths = [tuple(inputs["input_ids"].shape) for inputs in forwards]
    assert widths[0] == (2, max(map(len, prompts))) and widths[1] == (6, 1)
    alone = [generate(kit, [prompt], [seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    assert [one.ids for one in together] == [one.ids for one in alone]


def test_a_small_model_takes_more_rows_at_once(kit, monkeypatch, forwards):
    prompts, seeds = kit.prompts * 25, list(range(25 * len(kit.prompts)))
    small = generate(kit, prompts, seeds)
    assert max(len(inputs["input_ids"]) for inputs in forwards) == kit.sample._SMALL_ROWS
    forwards.clear()
    monkeypatch.setattr(kit.sample, "_SMALL", 0)
    assert [one.ids for one in generate(kit, prompts, seeds)] == [one.ids for one in small]
    assert max(len(inputs["input_ids"]) for inputs in forwards) == kit.sample._ROWS


def test_rows_on_a_gpu_are_those_whose_cache_takes_half_of_the_free_memory(kit):
    # of Qwen2.5-1.5B: 2 x 28 layers x 2 heads x 128 numbers of 2 bytes are 28,672 bytes a token; 9,000 tokens of a row
    # take 258 MB, so 100 GB hold 193 rows in their half
    config = Qwen2Config(num_hidden_layers=28, num_key_value_heads=2, num_attention_heads=12, hidden_size=1536)
    assert kit.sample._rows_that_fit(config, 2, 9000, 100e9) == 193
    assert kit.sample._rows_that_fit(config, 2, 9000, 1e6) == 1


def test_a_step_has_a_mask_that_transformers_leaves_alone_and_the_same_numbers(kit, monkeypatch, forwards):
    seeds = list(range(len(kit.prompts)))
    whole = generate(kit, kit.prompts, seeds)
    masks = [inputs["attention_mask"] for inputs in forwards]
    assert masks[0].dim() == 2 and {mask.dim() for mask in masks[1:]} == {4} and not masks[1].all()
    forwards.clear()
    monkeypatch.setattr(kit.model.config, "sliding_window", 4096, raising=False)
    built = generate(kit, kit.prompts, seeds)
    assert {inputs["attention_mask"].dim() for inputs in forwards} == {2}
    assert [one.ids for one in whole] == [one.ids for one in built]
    for one, other in zip(whole, built, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({}, True),
        ({"_attn_implementation": "eager"}, False),
        ({"alibi": True}, False),
        ({"layer_types": ["full_attention", "linear_attention"]}, False),
        ({"layer_types": ["full_attention"]}, True),
    ],
)
def test_a_model_that_reads_its_mask_itself_gets_the_plain_one(kit, settings, taken):
    config = SimpleNamespace(**{"_attn_implementation": "sdpa_by_sequence"} | settings)
    assert kit.sample._accepts_4d_mask(config) == taken


def test_temperature_0_is_what_the_library_decodes_greedily(kit):
    samples = generate(kit, kit.prompts, [0] * len(kit.prompts), temperature=0.0)
    for prompt, one in zip(kit.prompts, samples, strict=True):
        out = kit.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=LIMIT)
        assert one.ids == out[0, len(prompt) :].tolist()


def test_logprobs_are_those_of_a_full_forward(kit):
    for prompt, one in zip(kit.prompts, generate(kit, kit.prompts, list(range(len(kit.prompts)))), strict=True):
        with torch.no_grad():
            scores = kit.model(torch.tensor([prompt + one.ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        full = scores.gather(-1, torch.tensor(one.ids)[:, None])[:, 0]
        assert torch.tensor(one.logprobs) == pytest.approx(full, abs=1e-4)


def test_a_row_ends_at_its_first_end_token_or_at_the_limit(kit):
    end = kit.tokenizer.eos_token_id
    samples = generate(kit, kit.prompts * 8, list(range(len(kit.prompts) * 8)))
    assert {one.truncated for one in samples} == {True, False}
    for one in samples:
        assert (one.ids.index(end) == len(one.ids) - 1) if not one.truncated else (end not in one.ids)
        assert len(one.ids) == LIMIT or not one.truncated


def test_tokens_are_drawn_as_often_as_they_are_likely(kit):
    # a grid of draws in place of random ones: each token's share is its probability up to the grid
    likely = torch.tensor([0.5, 0.25, 0.125, 0.125])
    draws = (torch.arange(800) + 0.5) / 800
    none = kit.sample._filters(kit.sample.SamplingSettings(1))
    token, score = kit.sample._pick(likely.log().expand(800, 4), draws, 1.0, none)
    assert torch.bincount(token).tolist() == [400, 200, 100, 100]
    assert score == pytest.approx(likely[token].log(), abs=1e-5)
    # temperature ½ squares the odds: .25 : .0625 : .015625 : .015625
    token, _ = kit.sample._pick(likely.log().expand(800, 4), draws, 0.5, none)
    assert torch.bincount(token)[:2].tolist() == pytest.approx([800 * 0.25 / 0.34375, 800 * 0.0625 / 0.34375], abs=1)


@pytest.mark.parametrize(
    ("cut", "kept"),
    [({"top_k": 2}, {0, 1}), ({"top_p": 0.6}, {0, 1}), ({"min_p": 0.3}, {0, 1}), ({"min_p": 0.2}, {0, 1, 2, 3})],
)
def test_cuts_leave_the_likely_tokens(kit, cut, kept):
    likely = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().expand(800, 4)
    filters = kit.sample._filters(kit.sample.SamplingSettings(1, **cut))
    token, _ = kit.sample._pick(likely, (torch.arange(800) + 0.5) / 800, 1.0, filters)
    assert set(token.tolist()) == kept


def test_a_sample_has_a_seed_of_its_own_that_never_changes(kit):
    seeds = {kit.sample.row_seed(s, name, k) for s in range(3) for name in ("a", "b") for k in range(3)}
    assert len(seeds) == 18 and max(seeds) < 2**56
    assert kit.sample.row_seed(0, "a", 1) == 60853503956883744  # blake2b of 0/a/1, first seven bytes


def test_prompts_and_seeds_must_be_as_many(kit):
    with pytest.raises(ValueError, match="24 prompts but 1 seeds"):
        generate(kit, kit.prompts, [0])


SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 256}


def test_the_preallocated_cache_holds_what_the_librarys_cache_holds(kit):
    config, one = LlamaConfig(**SIZES), torch.Generator().manual_seed(0)
    ours, theirs = kit.sample._preallocated_cache(config), DynamicCache(config=config)
    for step in range(3 * kit.sample._ROOM):
        rows = ours.layers[0].keys.shape[0] if step else 6
        for layer in range(2):
            keys, values = torch.randn(2, rows, 2, 1 if step else 5, 8, generator=one)
            for mine, known in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                assert torch.equal(mine, known)
        if step % 20 == 7:
            for cache in (ours, theirs):
                cache.reorder_cache(torch.arange(rows - 1).flip(0))
    assert ours.get_seq_length() == theirs.get_seq_length() == 3 * kit.sample._ROOM + 4


def test_a_layer_that_forgets_stays_the_librarys_own(kit):
    config = Qwen2Config(
        **SIZES, layer_types=["full_attention", "sliding_attention"], sliding_window=16, use_sliding_window=True
    )
    assert [type(layer).__name__ for layer in kit.sample._preallocated_cache(config).layers] == [
        "_PreallocatedLayer",
        "DynamicSlidingWindowLayer",
    ]


def test_a_completion_ends_where_the_model_s_positions_end(kit, monkeypatch):
    prompt = kit.prompts[0]
    monkeypatch.setattr(kit.model.config, "max_position_embeddings", len(prompt) + 3)
    ends = {"eos": [-1], "pad": kit.tokenizer.pad_token_id}
    long, short = kit.sample.generate(kit.model, [prompt, prompt[:-2]], [0, 1], kit.sample.SamplingSettings(9), **ends)
    assert (len(long.ids), long.truncated) == (3, True) and (len(short.ids), short.truncated) == (5, True)
    monkeypatch.setattr(kit.model.config, "max_position_embeddings", len(prompt))
    with pytest.raises(InputError, match=f"a prompt has {len(prompt)} tokens, and the model {len(prompt)} positions"):
        generate(kit, [prompt], [0])


@pytest.mark.parametrize("settings", [{"temperature": 0.0, "top_p": 0.5}, {"top_p": 0.5}, {"top_k": 3}, {"min_p": 0.1}])
def test_samples_are_those_of_a_plain_forward_at_any_settings_and_others_are_refused(kit, settings):
    seeds = list(range(len(kit.prompts)))
    samples, sampling = generate(kit, kit.prompts, seeds, **settings), kit.sample.SamplingSettings(LIMIT, **settings)
    kit.sample.require_exact(kit.model, kit.prompts, samples, sampling)
    shifted = [one._replace(logprobs=[value - 0.1 for value in one.logprobs]) for one in samples]
    with pytest.raises(InputError, match="the kit's sampler cannot sample from LlamaForCausalLM: .* differ by 0.1 a"):
        kit.sample.require_exact(kit.model, kit.prompts, shifted, sampling)

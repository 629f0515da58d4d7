"""A packed forward gives what a padded one gives."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lead_kit.train.packing import (
    BY_SEQUENCE,
    attend_by_sequence,
    by_prompt,
    flatten,
    pack_rows,
    packed_logps,
    shareable,
)
from tests import ranks

ROWS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=8)


def ragged(rows, seed=0):
    """TRL's layout for (prompt tokens, completion tokens) per row: prompts padded left, completions right."""
    prompt, completion = max(p for p, _ in rows), max(1, max(c for _, c in rows))
    mask = torch.zeros(len(rows), prompt + completion, dtype=torch.long)
    for row, (p, c) in enumerate(rows):
        mask[row, prompt - p : prompt + c] = 1
    ids = torch.randint(1, 50, mask.shape, generator=torch.Generator().manual_seed(seed)) * mask
    return ids, mask, completion


def test_a_pack_closes_when_the_next_row_would_overflow_it():
    assert pack_rows([3, 4, 3, 2, 9, 1], token_budget=7) == [[0, 1], [2, 3], [4], [5]]


def test_packs_are_halved_until_every_process_has_as_many():
    assert pack_rows([1, 1, 1, 1, 1], token_budget=9, at_least=3) == [[0, 1], [2], [3, 4]]
    assert pack_rows([1, 1], token_budget=9, at_least=5) == [[0], [1]]


def test_a_budget_without_tokens_is_refused():
    with pytest.raises(ValueError, match="token_budget is 0"):
        pack_rows([1], token_budget=0)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 60), st.integers(1, 12))
def test_no_row_is_dropped_or_repeated_and_only_a_lone_row_overflows(lengths, budget, at_least):
    packs = pack_rows(lengths, budget, at_least)
    assert [row for pack in packs for row in pack] == list(range(len(lengths)))
    assert all(len(pack) == 1 or sum(lengths[row] for row in pack) <= budget for pack in packs)
    assert len(packs) >= min(at_least, len(lengths))


def test_positions_restart_and_each_scored_token_is_predicted_by_the_one_before():
    ids, mask, keep = ragged([(2, 2), (1, 3)])
    pack = flatten([0, 1], ids, mask, keep)
    assert pack.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert pack.ends.tolist() == [0, 4, 8] and pack.longest == 4
    assert pack.before.tolist() == [1, 2, 4, 5, 6]
    assert list(zip(pack.row.tolist(), pack.column.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert pack.target.tolist() == pack.input_ids[0, pack.before + 1].tolist()


SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def tiny():
    """A Llama of two layers in fp32, random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, initializer_range=0.05))


def padded_logps(model, ids, mask, keep, temperature):
    """The ordinary forward: one row a sequence, padding masked, positions counted over attended tokens."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, :-1].float() / temperature
    every = logits.log_softmax(-1)
    chosen = every.gather(2, ids[:, 1:, None]).squeeze(2)[:, -keep:] * mask[:, -keep:]
    return chosen, (-(every.exp() * every).sum(-1))[:, -keep:] * mask[:, -keep:]


def gradients(model, value):
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.slow
@settings(max_examples=40)
@given(rows=ROWS, budget=st.integers(1, 80), seed=st.integers(0, 99))
def test_packed_and_padded_agree_in_log_probabilities_entropies_and_gradients(tiny, rows, budget, seed):
    ids, mask, keep = ragged(rows, seed)
    padded, padded_entropy = padded_logps(tiny, ids, mask, keep, temperature=0.8)
    packed, packed_entropy = packed_logps(tiny, ids, mask, keep, 0.8, budget, entropy=True)
    assert (padded - packed).abs().max() < 1e-5
    assert (padded_entropy - packed_entropy).abs().max() < 1e-5
    if not mask[:, -keep:].any():
        return
    weight = torch.randn(padded.shape, generator=torch.Generator().manual_seed(seed))  # as advantages would
    by_padding, by_packing = (gradients(tiny, (weight * logps).sum() / mask.sum()) for logps in (padded, packed))
    assert (by_padding - by_packing).norm() < 1e-6 * by_padding.norm()


def groups_of(prompts, completions, seed=0):
    """TRL's layout of rows whose prompts repeat: row i has the prompt prompts[i] (number, tokens)."""
    ids, mask, keep = ragged([(p, c) for (_, p), c in zip(prompts, completions, strict=True)], seed)
    width = ids.shape[1] - keep
    for row, (number, tokens) in enumerate(prompts):
        ids[row, width - tokens : width] = torch.arange(1, tokens + 1) + 7 * number
    return ids, mask, keep


SHARED = [(0, 4), (1, 2), (0, 4), (2, 7), (1, 2), (0, 4), (2, 7), (1, 2)]


@pytest.mark.parametrize("budget", [1, 23, 400])
def test_rows_of_one_prompt_share_it_and_nothing_changes(tiny, budget):
    ids, mask, keep = groups_of(SHARED, [3, 5, 0, 1, 6, 2, 4, 5])
    padded, padded_entropy = padded_logps(tiny, ids, mask, keep, temperature=0.8)
    packed, packed_entropy = packed_logps(tiny, ids, mask, keep, 0.8, budget, entropy=True)
    assert (padded - packed).abs().max() < 1e-5 and (padded_entropy - packed_entropy).abs().max() < 1e-5
    weight = torch.randn(padded.shape, generator=torch.Generator().manual_seed(1))
    by_padding, by_packing = (gradients(tiny, (weight * logps).sum() / mask.sum()) for logps in (padded, packed))
    assert (by_padding - by_packing).norm() < 1e-6 * by_padding.norm()


def test_a_pack_holds_each_prompt_once():
    ids, mask, keep = groups_of(SHARED, [3, 5, 0, 1, 6, 2, 4, 5])
    pack = flatten(by_prompt(ids, mask, keep), ids, mask, keep, shared=True)
    assert pack.input_ids.shape[1] == 4 + 2 + 7 + 26  # three prompts, and all completions
    assert pack.ends.diff().tolist() == [4, 3, 2, 2, 5, 6, 5, 7, 1, 4]
    assert pack.prompt_of == (-1, 0, 0, -1, 3, 3, 3, -1, 7, 7)
    assert pack.position_ids[0, :9].tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5]
    assert pack.before[:5].tolist() == [3, 4, 5, 3, 7]  # the first token of each completion follows the prompt
    scored = ids[pack.row, ids.shape[1] - keep + pack.column]
    assert (pack.target == scored).all() and len(scored) == 26


def test_rows_without_a_prompt_or_with_a_gap_are_left_apart():
    ids, mask, keep = groups_of(SHARED, [3, 5, 2, 1, 6, 2, 4, 5])
    assert shareable(ids, mask, keep)
    gap, bare = mask.clone(), mask.clone()
    gap[0, -keep], bare[1, :-keep] = 0, 0
    assert not shareable(ids, gap, keep) and not shareable(ids, bare, keep)


def test_an_entropy_that_is_only_logged_has_no_gradient(tiny):
    ids, mask, keep = ragged([(3, 5), (7, 2)])
    logged, learned = (packed_logps(tiny, ids, mask, keep, 0.8, 20, entropy=True, learned=is_so) for is_so in (0, 1))
    assert learned[1].requires_grad and not logged[1].requires_grad
    assert (logged[1] == learned[1]).all() and (logged[0] == learned[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("entropy", [False, True])
def test_trl_s_fused_head_gives_the_same(tiny, entropy):
    from trl.trainer.utils import add_fused_lm_head

    model = copy.deepcopy(tiny)
    add_fused_lm_head(model, temperature=0.8, outputs=("log_probs", "entropy"))
    ids, mask, keep = ragged([(3, 5), (7, 2), (1, 9), (4, 0)])
    plain = packed_logps(tiny, ids, mask, keep, 0.8, 20, entropy=entropy)
    fused = packed_logps(model, ids, mask, keep, 0.8, 20, entropy=entropy, fused=True)
    assert (plain[0] - fused[0]).abs().max() < 1e-5
    assert fused[1] is None if not entropy else (plain[1] - fused[1]).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("attention, window", [("eager", None), ("sdpa", 3), ("eager", 3)])
def test_other_attentions_and_sliding_windows_agree_too(attention, window):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(**SIZES, sliding_window=window, attn_implementation=attention)
    model = MistralForCausalLM(config)
    ids, mask, keep = ragged([(3, 5), (7, 2), (1, 9), (4, 0)])
    padded, _ = padded_logps(model, ids, mask, keep, 1.0)
    packed, _ = packed_logps(model, ids, mask, keep, 1.0, 20)
    assert (padded - packed).abs().max() < 1e-5
    assert model.config._attn_implementation != BY_SEQUENCE


@pytest.mark.slow
def test_an_ordinary_forward_and_a_saved_model_are_as_before(tiny, tmp_path):
    model = copy.deepcopy(tiny)
    model.config._attn_implementation = "sdpa"
    ids, mask, keep = ragged([(3, 5), (7, 2)])
    before, _ = padded_logps(model, ids, mask, keep, 1.0)
    assert attend_by_sequence(model)
    assert torch.equal(before, padded_logps(model, ids, mask, keep, 1.0)[0])
    model.save_pretrained(tmp_path)
    assert "by_sequence" not in (tmp_path / "config.json").read_text()


@pytest.mark.slow
def test_two_processes_run_as_many_forwards_and_share_the_padded_gradient(tiny, tmp_path, forks):
    """Rows of 2–4 tokens on one process, of 13–20 on the other: one pack alone, but as many as the other's three."""
    ids, mask, keep = ragged([(1, 1), (2, 1), (2, 2), (8, 5), (8, 9), (8, 12)])
    torch.save({"ids": ids, "mask": mask, "keep": keep}, tmp_path / "batch.pt")
    tiny.save_pretrained(tmp_path)
    ranks.run(forks, "tests.straddle:packs", tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["forwards"] == other["forwards"] == 3
    assert one["packs"] == [[1.0], [1.0], [1.0]] and other["packs"] == [[1.0], [0.0], [0.0]]
    padded = gradients(tiny, padded_logps(tiny, ids, mask, keep, 1.0)[0].sum() / 2)  # processes are averaged
    assert torch.equal(one["gradient"], other["gradient"])
    assert (padded - one["gradient"]).norm() < 1e-6 * padded.norm()

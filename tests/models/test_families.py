"""Architectures of transformers through the whole kit: sampled, scored in packs, trained a step, saved and loaded.

The verdict on each family stands in the table of docs/models.md; LEAD_GOLDENS=write writes it.
"""

import os
from pathlib import Path

import pytest
import torch

from bench import small_trainer
from lead_kit.errors import InputError
from lead_kit.models import sampler
from lead_kit.models.loading import load_model, save_gathered, save_model
from lead_kit.models.sampler import SamplingSettings
from lead_kit.runs.log_files import read_metrics
from lead_kit.train import sft_rows
from tests.models.families import FAMILIES, build

pytestmark = pytest.mark.slow
TABLE = Path(__file__).parents[2] / "docs/models.md"
RIGHT, PADDED, REFUSED = "right", "right without packs", "refused"
PROMPTS = [[9, 10, 11, 12, 13], [9, 10, 11, 14, 15, 16, 17, 18, 19], [9, 10, 11, 12, 13], [20]]
RECORD = {"id": "1", "problem": "Start at 3: +4.", "solution": "\n(1) +4=7.\n\\boxed{7}"}


def verdicts() -> dict[str, str]:
    """The table of docs/models.md: family → verdict."""
    lines = [line.split("|") for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {line[1].strip(" `"): line[2].strip() for line in lines}


def write_verdict(family: str, seen: str) -> None:
    """Writes a family's line into the table, in the order of the names."""
    known = verdicts() | {family: seen}
    text = TABLE.read_text(encoding="utf-8")
    head = text[: text.index("|---|---|\n") + len("|---|---|\n")]
    tail = text[len(head) :].lstrip("|").partition("\n\n")[2]
    rows = "".join(f"| `{name}` | {known[name]} |\n" for name in sorted(known))
    TABLE.write_text(head + rows + "\n" + tail, encoding="utf-8")


def row_by_row(model, prompts, samples) -> float:
    """The largest difference between the sampler's log-probabilities and those of a forward of each row."""
    rows = zip(prompts, samples, strict=True)
    gaps = [sampler.plain_logps(model, prompt, one.ids, 1.0) - torch.tensor(one.logprobs) for prompt, one in rows]
    return max(gap.abs().max().item() for gap in gaps)


def check_sampling(model, tokenizer) -> None:
    """Samples have the log-probabilities of a plain forward; greedy ones are those of the library's `generate`."""
    ends, pad = [tokenizer.eos_token_id, 30, 31, 32, 33], tokenizer.pad_token_id
    samples = sampler.generate(model, PROMPTS, [1, 2, 3, 4], SamplingSettings(14), eos=ends, pad=pad)
    sampler.require_exact(model, PROMPTS, samples, SamplingSettings(14))
    assert row_by_row(model, PROMPTS, samples) < 1e-4
    greedy = sampler.generate(model, PROMPTS, [1, 2, 3, 4], SamplingSettings(8, 0.0), eos=[-1], pad=pad)
    for prompt, one in zip(PROMPTS[:2], greedy, strict=False):
        options = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": pad}
        ids = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), **options)[0]
        assert ids[len(prompt) :].tolist() == one.ids


def gradient(folder, out, **others) -> tuple[torch.Tensor, object]:
    """The gradient of one update on the batch that seed 0 samples, and its trainer."""
    machine = {"max_completion_length": 12}
    sizes = {"batch_size": 16, "group_size": 4, "steps": 1}
    trainer = small_trainer.trainer(
        folder, out, estimator="grpo", rewards=("random",), machine=machine, **sizes, **others
    )
    trainer.model.eval()  # without dropout
    trainer.create_optimizer()
    trainer.model.train = lambda mode=True: trainer.model
    trainer.model.training = True
    batch = trainer._prepare_inputs([number for number in range(4) for _ in range(4)])
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]), trainer


def examine(family: str, tmp_path: Path) -> tuple[str, str]:
    """RIGHT, PADDED or REFUSED, and in words what was said."""
    torch.set_num_threads(1)
    save_model(*build(family), tmp_path / "model")
    model, tokenizer = load_model(str(tmp_path / "model"))
    rows, _ = sft_rows.tokenise_solutions([RECORD], tokenizer, "plain", 64)
    labels = torch.tensor([rows[0]["labels"]])
    assert model(input_ids=torch.tensor([rows[0]["input_ids"]]), labels=labels).loss.isfinite()
    try:
        check_sampling(model.eval(), tokenizer)
        packed, trainer = gradient(tmp_path / "model", tmp_path / "packed", pack_tokens=256)
    except InputError as error:
        return REFUSED, str(error)
    alone, _ = gradient(tmp_path / "model", tmp_path / "alone", pack_tokens=1)  # every row by itself
    assert alone.norm() > 0 and (packed - alone).norm() < 1e-3 * alone.norm()
    return (PADDED if trainer.padded else RIGHT), ""


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_right_or_refused_as_the_table_says(family, tmp_path):
    seen, sentence = examine(family, tmp_path)
    if os.environ.get("LEAD_GOLDENS") == "write":
        write_verdict(family, seen)
    assert seen == verdicts()[family], sentence


def test_the_table_names_every_family_that_is_tried():
    assert list(verdicts()) == sorted(FAMILIES)


def test_the_positions_of_padded_rows_begin_at_their_first_token(tmp_path):
    save_model(*build("gpt2"), tmp_path / "model")
    padded, _ = gradient(tmp_path / "model", tmp_path / "padded", pack_tokens=0)
    alone, _ = gradient(tmp_path / "model", tmp_path / "alone", pack_tokens=1)
    assert (padded - alone).norm() < 1e-4 * alone.norm()


def test_inexact_packs_can_stop_a_training(tmp_path):
    save_model(*build("lfm2"), tmp_path / "model")
    with pytest.raises(InputError, match="Lfm2ForCausalLM differ by .* a token in packs; inexact_packs 'pad'"):
        gradient(tmp_path / "model", tmp_path / "out", pack_tokens=256, inexact_packs="stop")


@pytest.mark.parametrize("family", ["qwen3_moe", "lfm2"])
def test_a_step_is_trained_saved_and_loaded(family, tmp_path):
    save_model(*build(family), tmp_path / "model")
    sizes = {"batch_size": 16, "group_size": 4, "steps": 1, "pack_tokens": 256}
    trainer = small_trainer.trainer(tmp_path / "model", tmp_path, estimator="grpo", rewards=("random",), **sizes)
    trainer.train()
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["grad_norm"] > 0
    save_gathered(trainer, tmp_path / "trained")
    again, start = (load_model(str(tmp_path / name))[0] for name in ("trained", "model"))
    assert again.start_flags == start.start_flags
    ids = torch.tensor([PROMPTS[1]])
    assert torch.allclose(again(ids).logits, trainer.model.eval()(ids).logits, atol=1e-5)

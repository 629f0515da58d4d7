"""Rollouts of a trainer: rows by number, old log-probabilities from the sampler, validation in one call."""

from types import SimpleNamespace

import pytest
import torch
from trl import GRPOTrainer

from bench import small_trainer
from lead_kit.errors import InputError
from lead_kit.models.loading import save_model
from lead_kit.models.sampler import SamplingSettings, row_seed
from lead_kit.models.tiny_models import embedded_model
from lead_kit.runs.files import read_jsonl
from lead_kit.train import packed_loss
from lead_kit.train.trainer import LeadTrainer
from lead_kit.train.validation import Validation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A model that has learned nothing; rewards are random."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fresh")
    save_model(*embedded_model("tiny", seed=0), folder)
    return folder


def trainer_on(model, out, **others):
    return small_trainer.trainer(model, out, estimator="grpo", rewards=("random",), **{"updates_per_batch": 2} | others)


def scored(trainer) -> tuple[dict, int]:
    """A batch that the trainer has sampled and scored, and the number of its scoring forwards."""
    forwards, score = [], trainer._get_per_token_logps_and_entropies
    trainer._compared = True  # with rows alone, which takes forwards of its own

    def counted(*args, **kwargs):
        forwards.append(1)
        return score(*args, **kwargs)

    trainer._get_per_token_logps_and_entropies = counted
    trainer.model.train()
    batch = trainer._prepare_inputs([number for number in range(8) for _ in range(4)])
    trainer._get_per_token_logps_and_entropies = score
    return batch, len(forwards)


@pytest.mark.parametrize("pack_tokens", [0, 256])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_sampler_s_numbers_are_those_of_the_forward_that_trl_runs(fresh, tmp_path, pack_tokens, temperature):
    trainer = trainer_on(fresh, tmp_path, pack_tokens=pack_tokens, machine={"temperature": temperature})
    batch, forwards = scored(trainer)
    assert forwards == 0
    trainer.sampler_scores = False
    ids, mask = (torch.cat([batch[f"prompt_{part}"], batch[f"completion_{part}"]], 1) for part in ("ids", "mask"))
    forward = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, batch["completion_ids"].shape[1])[0]
    tokens = batch["completion_mask"].bool()
    assert 8 < tokens.sum() < tokens.numel()
    assert (batch["old_per_token_logps"] - forward.detach())[tokens].abs().max() < 1e-5


def test_a_policy_that_has_not_moved_needs_no_old_log_probabilities(fresh, tmp_path):
    trainer = trainer_on(fresh, tmp_path, updates_per_batch=1)
    batch, forwards = scored(trainer)
    assert forwards == 0 and "old_per_token_logps" not in batch
    trainer = trainer_on(fresh, tmp_path, updates_per_batch=1, num_iterations=2, save_steps=0)
    batch, forwards = scored(trainer)
    assert forwards == 0 and batch["old_per_token_logps"].any()
    assert trainer.args.gradient_accumulation_steps == 1


@pytest.mark.parametrize("others", [{"engine": "generate"}, {"machine": {"bf16": True}}])
def test_a_forward_scores_what_another_engine_or_half_precision_sampled(fresh, tmp_path, others):
    batch, forwards = scored(trainer_on(fresh, tmp_path, **others))
    assert forwards == 1 and batch["old_per_token_logps"].any()


def test_numbers_are_exact_in_float32_without_dropout():
    model, _ = embedded_model("tiny", seed=0)
    whole = SimpleNamespace(bf16=False, fp16=False)
    assert packed_loss.can_reuse(model, whole)
    assert not packed_loss.can_reuse(model, SimpleNamespace(bf16=False, fp16=True))
    model.config.attention_dropout = 0.1
    assert not packed_loss.can_reuse(model, whole)
    model.config.attention_dropout = 0.0
    model.dropout = torch.nn.Dropout(0.1)
    assert not packed_loss.can_reuse(model, whole)
    model.dropout.p = 0.0
    assert packed_loss.can_reuse(model, whole) and not packed_loss.can_reuse(model.bfloat16(), whole)


@pytest.mark.parametrize("engine, calls", [("sampler", 1), ("generate", 2)])
def test_validation_is_one_call_where_each_row_has_its_own_seed(fresh, tmp_path, engine, calls):
    trainer = trainer_on(fresh, tmp_path, engine=engine)
    records, sizes = [trainer.train_dataset[number] for number in range(6)], []
    complete = trainer.complete
    trainer.complete = lambda ids, seeds, sampling: sizes.append(len(ids)) or complete(ids, seeds, sampling)
    validation = Validation(records, max_tokens=24, temperature=1.0, every=1, samples=2, seed=0)
    validation.trainer = trainer
    rows = validation.rows(records)
    assert sizes == [12 // calls] * calls
    assert [(row["id"], row["sample"]) for row in rows] == [(one["id"], k) for one in records for k in range(2)]
    assert any(one["completion"] != two["completion"] for one, two in zip(rows[::2], rows[1::2], strict=True))
    if engine == "sampler":
        for row, record in zip(rows, (one for one in records for _ in range(2)), strict=True):
            (alone,) = complete([record["prompt_ids"]], [row_seed(0, row["id"], row["sample"])], SamplingSettings(24))
            assert trainer.processing_class.decode(alone.ids, skip_special_tokens=True) == row["completion"]


def test_the_loader_hands_on_the_numbers_of_the_rows_that_trl_would_read(fresh, tmp_path, monkeypatch):
    trainer = trainer_on(fresh, tmp_path)
    numbers = next(iter(trainer.get_train_dataloader()))
    monkeypatch.setattr(LeadTrainer, "_get_dataloader", GRPOTrainer._get_dataloader)
    rows = next(iter(trainer.get_train_dataloader()))
    assert len(rows) == 32 and len(set(numbers)) == 8
    assert [trainer.train_dataset[number] for number in numbers] == rows
    trainer.model.train()
    trainer._prepare_inputs(numbers)
    assert trainer._rows == rows


def test_a_stop_ends_rollouts_and_validation_samples_and_is_their_end(fresh, tmp_path):
    trainer = trainer_on(fresh, tmp_path)
    trainer.grader.stop = ("1",)
    _, forwards = scored(trainer)
    stopped = [one for one in trainer._rollouts if "1" in one.completion]
    assert forwards == 0 and len(stopped) > 4 and not any(one.truncated for one in stopped)
    assert all(
        one.completion.index("1") >= len(one.completion) - 4 for one in stopped
    )  # in the last token, such as (12)
    prompts = [row["prompt_ids"] for row in trainer._rows]
    samples = trainer.complete(prompts, list(range(32)), SamplingSettings(24))
    assert not any("1" in trainer.processing_class.decode(one.ids[:-1]) for one in samples)
    trainer.engine = "generate"
    with pytest.raises(InputError, match="engine 'generate' knows no stop in training"):
        trainer._check_engine()


def test_validation_on_several_sets_logs_a_curve_of_each(fresh, tmp_path):
    trainer = trainer_on(fresh, tmp_path)
    records = [trainer.train_dataset[number] | {"source": f"set {number % 2}"} for number in range(6)]
    validation = Validation(records, max_tokens=24, temperature=1.0, every=1, samples=2, seed=0)
    validation.trainer = trainer
    right = {record["id"] for record in records[::2]}
    rows = [row | {"correct": row["id"] in right} for row in validation.rows(records)]
    validation.rows = lambda _: rows
    validation.measure()
    (line,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert (line["pass@1"], line["pass@1 set 0"], line["pass@1 set 1"]) == (0.5, 1.0, 0.0)
    validation.records = [record | {"source": "one"} for record in records]
    validation.measure()
    assert "pass@1 one" not in read_jsonl(tmp_path / "metrics.jsonl")[-1]

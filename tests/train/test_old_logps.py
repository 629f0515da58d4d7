"""The old log-probabilities of the loss are the sampler's own where a forward gives the same; rows come by number."""

from types import SimpleNamespace

import pytest
import torch
from trl import GRPOTrainer

from lead_kit.models.embedded import embedded_model
from lead_kit.models.saving import save_model
from lead_kit.train import old_logps
from lead_kit.train.trainer import LeadTrainer
from tests import apprentice

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A model that has learned nothing; rewards are random."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fresh")
    save_model(*embedded_model("tiny", seed=0), folder)
    return folder


def trainer_on(model, out, **others):
    return apprentice.trainer(model, out, estimator="grpo", rewards=("random",), **{"updates_per_batch": 2} | others)


def scored(trainer) -> tuple[dict, int]:
    """A batch that the trainer has sampled and scored, and the number of its scoring forwards."""
    forwards, score = [], trainer._get_per_token_logps_and_entropies

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
    assert old_logps.exact(model, whole)
    assert not old_logps.exact(model, SimpleNamespace(bf16=False, fp16=True))
    model.config.attention_dropout = 0.1
    assert not old_logps.exact(model, whole)
    model.config.attention_dropout = 0.0
    model.dropout = torch.nn.Dropout(0.1)
    assert not old_logps.exact(model, whole)
    model.dropout.p = 0.0
    assert old_logps.exact(model, whole) and not old_logps.exact(model.bfloat16(), whole)


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

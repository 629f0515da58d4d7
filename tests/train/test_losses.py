"""Losses in the trainer: packs add up to the whole, options by entropy, and losses that TRL lacks."""

import pytest
import torch

from lead_kit.errors import InputError
from lead_kit.method.losses import LOSSES, OF_TOKENS, Tokens
from lead_kit.parameters import bind
from lead_kit.train import packing
from lead_kit.train.packed_loss import trained_rows
from lead_kit.train.packing import layout_of, micro_batches
from tests.train.updates import gradient, scored_batch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo", "luspo"])
def test_packs_over_an_update_add_up_to_the_padded_loss(small_trainer, model_folder, tmp_path, loss_type):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", loss_type=loss_type)
    inputs = scored_batch(trainer)
    padded = gradient(trainer, inputs)
    trainer.pack_tokens = 64
    forwards = []
    hook = trainer.model.register_forward_hook(lambda *_: forwards.append(1))
    packed = gradient(trainer, inputs)
    hook.remove()
    assert 2 <= len(forwards) < 32  # packs of several rows
    assert (packed - padded).norm() / padded.norm() < 1e-5


def test_bnpo_and_the_entropy_bonus_average_over_packs(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", loss_type="bnpo", pack_tokens=128)
    trainer.entropy_coef, trainer._entropy_bonus_enabled = 0.1, True
    inputs = scored_batch(trainer)
    packs = micro_batches(inputs, 128)
    parts = [gradient(trainer, pack) for pack in packs]  # each pack alone: the mean over its tokens
    whole = gradient(trainer, inputs)
    assert len(packs) > 2
    assert (whole - sum(parts) / len(parts)).norm() / whole.norm() < 1e-5


@pytest.mark.parametrize("pack_tokens", [0, 100_000])
def test_only_the_tokens_of_highest_entropy_train(small_trainer, model_folder, tmp_path, pack_tokens):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", pack_tokens=pack_tokens)
    inputs = scored_batch(trainer)
    mask = inputs["completion_mask"].bool()
    layout = layout_of(inputs)
    with torch.no_grad():
        entropy = trainer._get_per_token_logps_and_entropies(trainer.model, *layout, compute_entropy=True)[1]
    high = entropy >= entropy[mask].quantile(0.8)
    by_token = inputs | {"advantages": inputs["advantages"][:, None] * high}
    expected, every = gradient(trainer, by_token), gradient(trainer, inputs)
    trainer.top_entropy_quantile = 0.2
    assert (gradient(trainer, inputs) - expected).norm() < 1e-5 * expected.norm()
    assert (expected - every).norm() > 0.01 * every.norm()  # most tokens train no longer


@pytest.mark.parametrize("target, coefficient", [(99.0, 2 * 0.005), (1e-9, 0.0)])
def test_an_adaptive_entropy_bonus_takes_one_step_an_update(small_trainer, model_folder, tmp_path, target, coefficient):
    machine = {"use_adaptive_entropy": True, "entropy_target": target}
    options = {"steps": 1, "updates_per_batch": 2, "pack_tokens": 128, "machine": machine}
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", **options)
    trainer.train()
    assert trainer.entropy_coef == pytest.approx(coefficient)
    assert (trainer.args.entropy_coef_delta, trainer.args.entropy_coef_max) == (0.005, 1.0)


OF_LOSSES = dict(clip_low=0.1, clip_high=0.1, cov_share=0.2, cov_bounds=[0.0, 99.0], kl_cov_coef=1.0)


def off_policy(trainer) -> dict:
    """A scored batch whose old policy was another one, by up to a factor of e a token."""
    inputs = scored_batch(trainer)
    with torch.no_grad():
        logps = trainer._get_per_token_logps_and_entropies(trainer.model, *layout_of(inputs))[0]
    noise = torch.rand(logps.shape, generator=torch.Generator().manual_seed(0))
    return inputs | {"old_per_token_logps": logps + 2 * noise - 1}


def by_policy_loss(small_trainer, model_folder, folder, name, **others):
    loss = bind(LOSSES[name], OF_LOSSES)
    return small_trainer.trainer(model_folder, folder, estimator="grpo", loss_type=name, policy_loss=loss, **others)


def test_gmpo_has_the_gradient_of_trl_s(small_trainer, model_folder, tmp_path):
    from trl.experimental.gmpo import GMPOTrainer

    trainer = by_policy_loss(small_trainer, model_folder, tmp_path, "gmpo")
    inputs = off_policy(trainer)
    ours = gradient(trainer, inputs)
    clipped = {name: values[-1] for name, values in trainer._metrics["train"].items() if "_mean" in name}
    trainer.epsilon_low = trainer.epsilon_high = 0.1
    trainer.model.zero_grad()
    GMPOTrainer._compute_loss(trainer, trainer.model, inputs).backward()
    theirs = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    for name in ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"):
        assert 0 < clipped[name] == pytest.approx(trainer._metrics["train"][name][-1])


@pytest.mark.parametrize("pack_tokens", [0, 100_000])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_the_kit_gives_the_model_its_gradient(small_trainer, model_folder, tmp_path, name, pack_tokens):
    trainer = by_policy_loss(small_trainer, model_folder, tmp_path, name, pack_tokens=pack_tokens)
    inputs = off_policy(trainer)
    rows = inputs["completion_mask"].sum(1, keepdim=True)
    torch.manual_seed(0)
    trained = gradient(trainer, inputs)
    trainer.model.zero_grad()
    batch = inputs if name not in OF_TOKENS else packing.rows_of(inputs, trained_rows(inputs["advantages"], 1))
    mask, layout = batch["completion_mask"], layout_of(batch)
    logps = trainer._get_per_token_logps_and_entropies(trainer.model, *layout)[0]
    torch.manual_seed(0)
    advantages = batch["advantages"][:, None].expand(mask.shape)
    loss = trainer.policy_loss(Tokens(logps, batch["old_per_token_logps"], advantages, mask)) * mask
    total = (loss.sum(1, keepdim=True) / rows).mean() if name == "gmpo" else loss.sum() / inputs["num_items_in_batch"]
    total.backward()
    expected = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert (trained - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("name", ["gmpo", "dppo_tv"])
def test_packs_of_a_loss_of_the_kit_add_up(small_trainer, model_folder, tmp_path, name):
    trainer = by_policy_loss(small_trainer, model_folder, tmp_path, name)
    inputs = off_policy(trainer)
    padded = gradient(trainer, inputs)
    trainer.pack_tokens = 64
    assert (gradient(trainer, inputs) - padded).norm() < 1e-5 * padded.norm()


@pytest.mark.parametrize("pack_tokens", [0, 64])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo", "bnpo", "luspo"])
def test_a_loss_that_is_not_trl_s_must_have_the_value_of_the_first_update(
    small_trainer, model_folder, tmp_path, loss_type, pack_tokens
):
    trainer = small_trainer.trainer(model_folder, tmp_path, loss_type=loss_type, pack_tokens=pack_tokens)
    inputs, trainer._foreign = scored_batch(trainer), "another library"
    gradient(trainer, inputs)  # TRL's own has the value
    wrong = inputs | {"advantages": inputs["advantages"] + 0.01 * inputs["advantages"].abs().mean()}
    trainer._check_value(trainer.compute_loss(trainer.model, dict(inputs)), inputs)
    if loss_type != "bnpo" or not pack_tokens:
        loss = trainer.compute_loss(trainer.model, dict(inputs))
        with pytest.raises(InputError, match=f"another library computes loss_type '{loss_type}' as"):
            trainer._check_value(loss, wrong)

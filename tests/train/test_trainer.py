"""LeadTrainer on TRL: the logged advantage is the pure function's, on one process and on two; drops, refill, resume."""

import functools
import inspect
import json
import weakref
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from trl import GRPOConfig

from lead_kit.errors import InputError
from lead_kit.method import advantages
from lead_kit.method.advantages import finished_rollouts, mixed_groups
from lead_kit.method.curricula import near_half
from lead_kit.method.estimators import bind_estimator
from lead_kit.method.losses import LOSSES
from lead_kit.method.rewards import Rollout
from lead_kit.models.sampler import SamplingSettings
from lead_kit.runs import log_files
from lead_kit.runs.checkpoints import chosen_checkpoint, updates_in
from lead_kit.runs.files import read_jsonl
from lead_kit.train import packing
from lead_kit.train.packing import layout_of, rows_of
from lead_kit.train.trainer import LeadTrainer
from lead_kit.train.validation import equal_part
from lead_kit.verify.verdict import Verdict
from tests import ranks
from tests.train.updates import gradient, scored_batch

pytestmark = pytest.mark.slow


def as_group(rollouts: pd.DataFrame, size: int) -> advantages.Group:
    def field(name):
        return torch.tensor(rollouts[name].to_numpy(dtype="float32")).view(-1, size)

    return advantages.Group(field("correct"), field("length"), field("reward"))


def test_the_signatures_that_are_overridden_are_as_known():
    from trl import GRPOTrainer

    def names(method):
        return list(inspect.signature(method).parameters)

    assert names(GRPOTrainer._calculate_rewards) == ["self", "inputs", "prompts", "completions", "completion_ids_list"]
    assert names(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert names(GRPOTrainer._generate) == ["self", "prompts"]
    assert names(GRPOTrainer.compute_loss) == ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]
    scored = names(GRPOTrainer._get_per_token_logps_and_entropies)
    assert scored[:7] == [
        "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
    ]  # fmt: skip


def test_the_ledger_holds_the_advantage_of_the_pure_function(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, updates_per_batch=2)
    trainer.train()
    rollouts = log_files.read_rollouts(tmp_path)
    assert sorted(set(rollouts["step"])) == [1, 2]
    assert 0 < rollouts["correct"].mean() < 1
    estimate = bind_estimator(small_trainer.KNOBS | {"estimator": "lead"})
    for _, batch in rollouts.groupby("step"):
        group = as_group(batch, 4)
        shaped, before, after = estimate.steps(group)
        for name, values in (("advantage", after), ("advantage_before", before), ("shaped", shaped.reward)):
            assert batch[name].to_numpy() == pytest.approx(values.flatten().numpy(), abs=1e-6)
        assert (batch.groupby("group")["id"].nunique() == 1).all()
    last = rollouts[rollouts["step"] == 2]["advantage"].tolist()
    assert list(trainer._logs["advantages"])[-len(last) :] == pytest.approx(last)


def test_two_processes_with_packs_train_as_one_process_without(small_trainer, model_folder, tmp_path, forks):
    from tests import straddle

    said = ranks.run(forks, "tests.straddle:trainings", model_folder, tmp_path / "two")
    assert "processes 2" in said
    [whole] = [json.loads(line.partition(" ")[2]) for line in said.splitlines() if line.startswith("gathered")]
    assert whole == {
        "prompt_ids": [[0, 7], [7, 7]],
        "completion_mask": [[1.0, 1.0], [1.0, 0.0]],
        "advantages": [0.0, 0.5],
        "ratio": [[1.0], [2.0]],  # one value a row, however long its completion
        "items": 3,
    }
    for name, case in straddle.CASES.items():
        alone, both = tmp_path / "one" / name, tmp_path / "two" / name
        small_trainer.trainer(model_folder, alone, **case).train()
        one, two = log_files.read_rollouts(alone), log_files.read_rollouts(both)
        assert one["completion"].tolist() == two["completion"].tolist()  # seeds belong to rows, not to processes
        assert two["advantage"].abs().max() > 0
        assert one["advantage"].to_numpy() == pytest.approx(two["advantage"].to_numpy(), abs=1e-5)
        first, second = (read_jsonl(folder / "metrics.jsonl")[0] for folder in (alone, both))
        for metric in ("loss", "grad_norm"):
            assert first[metric] == pytest.approx(second[metric], rel=1e-4)


def test_rows_without_advantage_change_nothing_in_the_gradient(small_trainer, model_folder, tmp_path):
    from lead_kit.train.packed_loss import PackedUpdate

    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", batch_size=32, group_size=4)
    inputs = scored_batch(trainer)
    assert (inputs["advantages"] == 0).any() and (inputs["advantages"] != 0).any()
    fast = gradient(trainer, inputs)
    trainer.model.zero_grad()
    super(PackedUpdate, trainer).compute_loss(trainer.model, dict(inputs)).backward()
    slow = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert (fast - slow).norm() / slow.norm() < 1e-6


def test_one_update_a_batch_is_reinforce(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo")
    inputs = scored_batch(trainer)
    ratio = gradient(trainer, inputs)  # −min(wA, clip(w)A) with w = 1
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    logps, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, inputs["completion_ids"].shape[1]
    )
    trainer.model.zero_grad()
    tokens = inputs["completion_mask"]
    (-(inputs["advantages"][:, None] * logps * tokens).sum() / tokens.sum()).backward()
    reinforce = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert (ratio - reinforce).norm() / reinforce.norm() < 1e-5


def test_a_prompt_mean_weighs_every_prompt_alike(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", loss_type="prompt_mean")
    inputs = scored_batch(trainer)
    ours = gradient(trainer, inputs)
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    logps, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, inputs["completion_ids"].shape[1]
    )
    plain = advantages.grpo(trainer._group, std_ddof=1, std_epsilon=1e-6).flatten()
    tokens = inputs["completion_mask"]
    sums = (-(plain[:, None] * logps * tokens)).view(8, -1).sum(1) / tokens.view(8, -1).sum(1)
    trainer.model.zero_grad()
    sums.mean().backward()
    by_hand = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert (ours - by_hand).norm() / by_hand.norm() < 1e-5


def test_a_dropped_group_leaves_the_token_count(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, group_filter=mixed_groups)
    inputs = scored_batch(trainer)
    kept = mixed_groups(trainer._group).repeat_interleave(4)
    assert not kept.all() and kept.any()
    assert (inputs["completion_mask"][~kept] == 0).all()
    assert inputs["num_items_in_batch"] == inputs["completion_mask"].sum()
    assert (inputs["advantages"][~kept] == 0).all()


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "luspo", "prompt_mean"])
def test_a_dropped_group_leaves_a_mean_over_rows(small_trainer, model_folder, tmp_path, loss_type):
    """The update is that of the kept rows alone, with the advantages that they have without a filter."""
    options = {"loss_type": loss_type, "pack_tokens": 256}
    trainer = small_trainer.trainer(model_folder, tmp_path, group_filter=mixed_groups, **options)
    inputs = scored_batch(trainer)
    kept = mixed_groups(trainer._group).repeat_interleave(4)
    alone = rows_of(inputs, kept)
    unfiltered = trainer.estimate(trainer._group).flatten()[kept]
    if trainer.prompt_mean:
        tokens = trainer._group.length.sum(1).repeat_interleave(4)[kept]
        unfiltered = unfiltered * 4 * trainer.max_completion_length / tokens
    ours, theirs = gradient(trainer, inputs), gradient(trainer, alone | {"advantages": unfiltered})
    assert not kept.all() and (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_a_truncated_rollout_has_no_part_in_the_loss_but_in_the_mean(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(
        model_folder, tmp_path, group_filter=finished_rollouts, machine={"max_completion_length": 8}
    )
    inputs = scored_batch(trainer)
    cut = trainer._group.truncated.flatten() > 0
    assert (inputs["completion_mask"].any(1) == ~cut).all()
    assert inputs["num_items_in_batch"] == inputs["completion_mask"].sum()
    assert inputs["advantages"].tolist() == trainer.estimate(trainer._group).flatten().masked_fill(cut, 0.0).tolist()


def test_the_majority_reward_votes_on_equal_answers(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo_majority")
    verdicts = [Verdict("wrong", answer, "", "same") for answer in ("1/2", "0.5", "7", "", "3", "4", "4", "8")]
    rollouts = [Rollout("p", "c", "9", 1, False, verdict) for verdict in verdicts]
    batch = trainer.as_group(rollouts, torch.zeros(8, 1))
    assert trainer.estimate.shape(batch).tolist() == [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]


def test_dynamic_sampling_fills_the_batch_with_mixed_groups(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", refill_batches=12)
    inputs = scored_batch(trainer)
    assert mixed_groups(trainer._group).all()
    assert len(inputs["advantages"]) == 32
    assert trainer.refill.report["mixed_groups_filled"] == 1
    assert 0 < trainer.refill.report["mixed_groups_sampled"] < 1
    assert trainer.refill.report["extra_generations"] >= 1


def test_dynamic_sampling_says_when_its_cap_is_reached(small_trainer, model_folder, tmp_path, capsys):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", refill_batches=1)
    scored_batch(trainer)
    assert trainer.refill.report["mixed_groups_filled"] < 1
    assert "after 1 generation batches" in capsys.readouterr().out


def test_unsloth_s_call_with_seven_arguments_gives_what_it_unpacks(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, pack_tokens=64)
    ids = torch.randint(6, 60, (2, 12))
    call = (trainer.model, ids, torch.ones_like(ids), 4, None, False)  # unsloth 2026.10.6, grpo_trainer_compute_loss
    assert trainer._get_per_token_logps_and_entropies(*call, True) == (None, None)
    logps, entropies, auxiliary = trainer._get_per_token_logps_and_entropies(*call, False)
    assert logps.shape == (2, 4) and entropies is None and auxiliary is None


def test_the_kl_to_the_start_is_zero_at_first_then_follows_the_policy(small_trainer, model_folder, tmp_path):
    machine = {"learning_rate": 1e-2}
    trainer = small_trainer.trainer(
        model_folder, tmp_path, estimator="whitened", pack_tokens=64, steps=3, machine=machine
    )
    batches, with_kl = [], trainer._with_kl
    trainer._with_kl = lambda group, output: batches.append((group, output)) or with_kl(group, output)

    def kl(batch):
        return with_kl(*batch).kl

    firsts, on_train_begin = [], trainer.compute_loss

    def before_the_first_update(*args, **kwargs):
        firsts.extend([] if firsts else [kl(batches[0])])
        return on_train_begin(*args, **kwargs)

    trainer.compute_loss = before_the_first_update
    trainer.train()
    assert firsts[0].abs().max() < 1e-5
    packed = kl(batches[-1])
    fused = functools.partial(packing.packed_logps, fused=True)
    trainer._packed = lambda model, *layout, **_: fused(model, *layout[:3], trainer.temperature, layout[3])
    with_fused_head = kl(batches[-1])
    trainer.padded = True
    for model in (trainer.model, trainer.reference):
        packing.attend_by_rows(model)
    padded = kl(batches[-1])
    assert packed.abs().mean() > 1e-3
    assert (packed - padded).abs().max() < 1e-4 and (with_fused_head - padded).abs().max() < 1e-4


def test_the_whitened_baseline_trains_on_advantages_of_tokens(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="whitened", updates_per_batch=2)
    inputs = scored_batch(trainer)
    assert inputs["advantages"].shape == inputs["completion_ids"].shape
    mask = inputs["completion_mask"].bool()
    assert inputs["advantages"][mask].mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs["advantages"][mask].std(correction=0).item() == pytest.approx(1, abs=1e-4)
    trainer.train()


def test_remax_compares_with_a_greedy_completion_of_each_prompt(small_trainer, model_folder, tmp_path):
    options = {"rewards": ("correct", "random(seed=1)"), "machine": {"reward_weights": [1.0, 0.5]}}
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="remax", refill_batches=2, **options)
    inputs = scored_batch(trainer)
    greedy = []
    for row in trainer._rows[::4]:
        prompt = torch.tensor([row["prompt_ids"]])
        whole = trainer.model.generate(prompt, do_sample=False, max_new_tokens=trainer.max_completion_length)
        ids = whole[0, prompt.shape[1] :].tolist()
        text = trainer.processing_class.decode(ids, skip_special_tokens=True)
        [rollout] = trainer.grade([row], [[{"content": text}]], [ids])
        correct, random = (score(rollout) for score in trainer.grader.reward_table.values())
        greedy.append(correct + 0.5 * random)
    assert len({*greedy}) > 1
    expected = trainer._group.reward - torch.tensor(greedy)[:, None]
    assert inputs["advantages"].tolist() == pytest.approx(expected.flatten().tolist(), abs=1e-6)
    trainer.train()
    assert len(log_files.read_rollouts(tmp_path)) == 2 * 32  # no greedy completion


@pytest.mark.parametrize("pack_tokens", [64, 0])
def test_the_optimal_token_baseline_takes_the_energies_of_a_plain_forward(
    small_trainer, model_folder, tmp_path, pack_tokens
):
    options = {"pack_tokens": pack_tokens, "machine": {"temperature": 0.8}}
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="otb", **options)
    inputs = scored_batch(trainer)
    ids, attended, width = layout_of(inputs)
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=attended).logits[:, -width - 1 : -1] / 0.8
    chosen = torch.nn.functional.one_hot(ids[:, -width:], logits.shape[-1])
    mask = inputs["completion_mask"]
    energy = (chosen - logits.softmax(-1)).square().sum(-1) * mask  # the logits' gradient, squared
    group = trainer._for_baseline(trainer._group, inputs)
    assert energy.any() and (group.energy.flatten(0, 1) - energy).abs().max() < 1e-5
    with torch.no_grad():  # on a GPU TRL's fused head computes them
        shape = (trainer.model, ids, attended, width, 0.8, 64)
        logps, entropies = packing.packed_logps(*shape, entropy=2, fused=True)
    fused = ((1 - 2 * logps.exp() + (-entropies).exp()) * mask - energy).abs().max()
    assert fused < 1e-5
    assert torch.equal(inputs["advantages"], advantages.otb(group).flatten(0, 1)) and inputs["advantages"].any()
    trainer.train()


def test_a_kl_that_costs_nothing_needs_no_reference(small_trainer, model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(small_trainer.KNOBS, "kl_reward_coef", 0.0)
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="whitened")
    inputs = scored_batch(trainer)
    assert not hasattr(trainer, "reference") and trainer._group.kl is None
    group = trainer._with_kl(trainer._group, inputs)
    assert not group.kl.any() and inputs["advantages"].any()


def test_one_forward_s_tokens_are_all_that_an_update_holds(small_trainer, model_folder, tmp_path):
    """The graph of a pack is gone before the next forward begins."""
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", loss_type="grpo", pack_tokens=128)
    inputs, alive = scored_batch(trainer), []

    def count(_module, _inputs, output):
        before = [one for one in alive if one() is not None]
        alive.append(weakref.ref(output.logits))
        assert not before

    hook = trainer.model.register_forward_hook(count)
    gradient(trainer, inputs)
    hook.remove()
    assert len(alive) > 2


def test_a_reward_that_is_no_number_stops_the_training(small_trainer, model_folder, tmp_path, monkeypatch):
    from lead_kit.method.rewards import REWARDS

    def broken(rollout):
        return float("nan") if rollout.length > 10 else 1.0

    monkeypatch.setitem(REWARDS, "broken", broken)
    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", rewards=("broken",))
    with pytest.raises(InputError, match="the reward 'broken' is nan, expected a finite number"):
        trainer.train()


def test_lead_without_the_reward_correct_is_refused(small_trainer, model_folder, tmp_path):
    with pytest.raises(InputError, match="replaces the reward 'correct', which must have weight 1"):
        small_trainer.trainer(model_folder, tmp_path, rewards=("random",))


@pytest.mark.parametrize("curriculum", [None, near_half])
def test_a_resumed_run_ends_as_an_uninterrupted_one(small_trainer, model_folder, tmp_path, curriculum):
    options = {"updates_per_batch": 2, "steps": 4, "save_steps": 4, "curriculum": curriculum}
    whole = small_trainer.trainer(model_folder, tmp_path / "whole", **options)
    whole.train()
    # as if the run had been stopped after two of its four batches, while it wrote a later checkpoint
    saved = tmp_path / "whole" / "checkpoints"
    (saved / "checkpoint-8" / "checkpoint.json").unlink()
    checkpoint = chosen_checkpoint("", saved)
    assert updates_in(checkpoint) == 4
    second = small_trainer.trainer(model_folder, tmp_path / "rest", **options)
    second.train(resume_from_checkpoint=str(checkpoint))
    pairs = zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for (_, one), other in pairs)
    if curriculum:
        histories = zip(whole.problem_draw.history, second.problem_draw.history, strict=True)
        assert all(torch.equal(*pair.nan_to_num(nan=-1)) for pair in map(torch.stack, histories))


def test_a_curriculum_decides_which_problems_are_drawn(small_trainer, model_folder, tmp_path):
    def hardest(history):
        return (history.level >= history.level.sort().values[-8]).float() * (history.samples == 0)

    trainer = small_trainer.trainer(model_folder, tmp_path, estimator="grpo", steps=1, curriculum=hardest)
    trainer.train()
    rollouts, history = log_files.read_rollouts(tmp_path), trainer.problem_draw.history
    levels = sorted({row["problem"]: row["level"] for row in trainer.train_dataset}.values())
    assert rollouts.groupby("group")["problem"].nunique().eq(1).all() and rollouts["problem"].nunique() == 8
    assert rollouts["level"].min() >= levels[-8]
    assert (history.samples.sum(), history.right.sum()) == (32, rollouts["correct"].sum())
    [logged] = [row for row in read_jsonl(tmp_path / "metrics.jsonl") if row["split"] == "train"]
    left = sum(level >= levels[-8] for level in levels) - 8
    assert logged["open_problems"] == pytest.approx(left / len(levels))


def test_weights_that_are_none_are_refused_before_training(small_trainer, model_folder, tmp_path):
    def negative(history):
        return history.right - 1

    with pytest.raises(InputError, match="curriculum 'negative' must give each of the .* problems a weight of 0 or"):
        small_trainer.trainer(model_folder, tmp_path, curriculum=negative)


def test_validation_has_its_own_settings_with_the_models_own_generate(small_trainer, model_folder, tmp_path):
    trainer = small_trainer.trainer(model_folder, tmp_path, engine="generate")
    ids = [trainer.train_dataset[i]["prompt_ids"] for i in (0, 0, 0, 0, 1, 1, 1, 1)]

    def completions(seed, **settings):
        return [one.ids for one in trainer.complete(ids, [seed] * len(ids), SamplingSettings(**settings))]

    usual = trainer.generation_config.to_dict()
    greedy = completions(0, max_tokens=24, temperature=0.0)
    assert greedy[:4] == [greedy[0]] * 4 and greedy == completions(1, max_tokens=24, temperature=0.0)
    assert {len(tokens) for tokens in completions(0, max_tokens=3)} == {3}
    drawn = completions(0, max_tokens=24)
    assert drawn == completions(0, max_tokens=24) != completions(1, max_tokens=24)  # the stated seed
    assert trainer.generation_config.to_dict() == usual


def test_every_process_validates_as_many_problems_as_the_others():
    parts = [equal_part(list("abcdefg"), index, 3) for index in range(3)]
    assert [own for _, own in parts] == [3, 3, 1] and {len(records) for records, _ in parts} == {3}
    assert [record for records, own in parts for record in records[:own]] == list("abcdefg")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"loss_type": "cispo"}, "cispo caps the ratio itself at clip_high, which is 0.2"),
        (
            {"loss_type": "grpo", "beta": 0.1, "group_filter": mixed_groups},
            "group_filter 'mixed_groups' drops rollouts from loss_type",
        ),
        (
            {"policy_loss": LOSSES["gmpo"], "loss_type": "gmpo", "machine": {"importance_sampling_level": "sequence"}},
            "loss_type 'gmpo' takes no ratio_level",
        ),
    ],
)
def test_a_loss_that_would_not_mean_what_it_says_is_refused(small_trainer, model_folder, tmp_path, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        small_trainer.trainer(model_folder, tmp_path, estimator="grpo", **settings)


def test_the_reference_follows_the_policy_where_it_is_synced(small_trainer, model_folder, tmp_path):
    machine = {"sync_ref_model": True, "ref_model_sync_steps": 1}
    trainer = small_trainer.trainer(model_folder, tmp_path, beta=0.1, steps=1, updates_per_batch=1, machine=machine)
    start = [parameter.clone() for parameter in trainer.ref_model.parameters()]
    trainer.train()
    policy = list(trainer.model.parameters())
    for first, now, trained in zip(start, trainer.ref_model.parameters(), policy, strict=True):
        assert torch.allclose(now, 0.6 * trained + 0.4 * first, atol=1e-6)
    assert any((now != first).any() for first, now in zip(start, trainer.ref_model.parameters(), strict=True))


LOSS = dict(beta=0.0, off_policy_mask=0.0, reference_sync=0, sapo_temperatures=[1.0, 1.05])
LOSS |= dict(cov_share=0.0002, cov_bounds=[1.0, 5.0])
LOSS |= dict(entropy_target=0.0, top_entropy_quantile=1.0, vespo_powers=[2.0, 3.0], vespo_decays=[3.0, 2.0])
VLLM = dict(vllm_correction=True, vllm_correction_mode="sequence_mask", vllm_correction_max=3.0)


def trl_settings(adapter="full", **changes):
    loss, vllm = ({name: changes.get(name, value) for name, value in known.items()} for known in (LOSS, VLLM))
    return LeadTrainer.trl_settings(SimpleNamespace(**loss), SimpleNamespace(**vllm), adapter)


def test_the_defaults_of_the_notebook_are_trl_s():
    for name, value in trl_settings().items():
        assert GRPOConfig.__dataclass_fields__[name].default == value, name
    mixed = trl_settings(beta=0.1, reference_sync=8, off_policy_mask=0.5, vespo_powers=[1.0, 4.0])
    assert (mixed["sync_ref_model"], mixed["ref_model_sync_steps"]) == (True, 8)
    adaptive = trl_settings(entropy_target=0.2)
    assert (adaptive["use_adaptive_entropy"], adaptive["entropy_target"]) == (True, 0.2)
    assert (mixed["off_policy_mask_threshold"], mixed["vespo_k_pos"], mixed["vespo_k_neg"]) == (0.5, 1.0, 4.0)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"sapo_temperatures": [1.0]}, "sapo_temperatures is .1.0., expected two numbers"),
        ({"reference_sync": 8}, "mixes the reference of beta above 0"),
        ({"reference_sync": 8, "beta": 0.1, "adapter": "lora"}, "with adapter full"),
        ({"top_entropy_quantile": 0.0}, "top_entropy_quantile is 0.0, expected a share of tokens above 0"),
        ({"cov_share": 0.0}, "cov_share is 0.0, expected a share of tokens above 0"),
        ({"cov_bounds": [1.0]}, "cov_bounds is .1.0., expected the least and the largest covariance"),
        ({"vllm_correction_mode": "token_clip"}, "vllm_correction_mode is 'token_clip'"),
    ],
)
def test_settings_that_trl_would_refuse_late_are_refused_before_a_model_is_loaded(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        trl_settings(**changes)

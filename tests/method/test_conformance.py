"""The formulas against other ways to compute them: plain loops, the released order of operations, TRL's own loss."""

import math
from itertools import combinations
from statistics import fmean, stdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx
from torch import tensor

from lead_kit.method.advantages import Group, gdpo, gfpo, grpo, lite_ppo, otb, pass_at_k, reinforce_pp, whitened
from lead_kit.method.estimators import bind_estimator
from tests.references import losses

CURVE = dict(weight_low=0.4, weight_high=1.5, weight_midpoint=0.75, weight_steepness=10.0)
STD = dict(std_ddof=1, std_epsilon=1e-6)


def lead_with(**knobs):
    """GRPO-LEAD's estimator with the paper's curve."""
    return bind_estimator({"estimator": "lead", **CURVE, **STD, **knobs})


def weight(rho):
    return 0.4 + 1.1 / (1 + math.exp(10 * (rho - 0.75)))


def standardised(values, epsilon):
    mean, spread = fmean(values), stdev(values)
    return [0.0 if spread == 0 else (v - mean) / (spread + epsilon) for v in values]


def lead_by_loops(correct, length, alpha, wrong):
    """GRPO-LEAD §2.1–2.3 for one group in Python floats, as one would write it with the paper alone."""
    right = [n for c, n in zip(correct, length, strict=True) if c]
    spread = stdev(right) if len(right) > 1 else 1.0
    rewards = []
    for c, n in zip(correct, length, strict=True):
        rewards.append(math.exp(-alpha * (n - fmean(right)) / (spread + 1e-6)) if c else wrong)
    rho = fmean(correct)
    return [a * weight(rho) if a > 0 else a * weight(1 - rho) for a in standardised(rewards, 1e-6)]


GROUPS = st.integers(2, 8).flatmap(
    lambda size: st.lists(
        st.lists(st.tuples(st.booleans(), st.integers(1, 16_000)), min_size=size, max_size=size), min_size=1, max_size=4
    )
)


@given(GROUPS, st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([-1.0, 0.0]))
def test_lead_is_the_double_loop(rows, alpha, wrong):
    correct = tensor([[float(c) for c, _ in row] for row in rows], dtype=torch.float64)
    length = tensor([[float(n) for _, n in row] for row in rows], dtype=torch.float64)
    ours = lead_with(length_alpha=alpha, wrong_reward=wrong)(Group(correct, length, correct))
    for row, advantage in zip(rows, ours.tolist(), strict=True):
        loops = lead_by_loops([c for c, _ in row], [n for _, n in row], alpha, wrong)
        assert advantage == approx(loops, rel=1e-6, abs=1e-6)


def test_lead_code_keeps_the_released_order_of_operations():
    """One group of eight, step by step: training map, floor on the three shortest, L on r > 0, z, weight, drop."""
    correct = [1, 1, 1, 0, 0, 1, 0, 0]
    length = [5000, 7000, 9000, 4500, 8000, 12000, 12000, 12000]
    truncated = [0, 0, 0, 0, 0, 1, 1, 1]  # the sixth is right but was cut off
    repetitive = [0, 1, 0, 0, 0, 0, 0, 1]  # counts only where truncated
    mapped = [1.0, 1.0, 1.0, -1.0, -1.0, 0.0, 0.0, -2.0]
    assert fmean(sorted(length)[:3]) == 5500  # 4500, 5000 and 7000, right or wrong: above the floor of 4000
    # correct by r > 0: 5000, 7000, 9000; mean 7000, spread 2000; z = -1, 0, 1
    rewards = [math.exp(0.05), 1.0, math.exp(-0.05), *mapped[3:]]
    rho = 3 / 8  # and not 4/8: the truncated right answer has r = 0
    expected = [a * weight(rho) if a > 0 else a * weight(1 - rho) for a in standardised(rewards, 1e-6)]
    batch = Group(*(tensor([[float(v) for v in field]]) for field in (correct, length, correct, truncated, repetitive)))
    released = {"truncated_reward": 0.0, "repetitive_reward": -2.0, "length_floor": 4000.0}
    knobs = {"estimator": "lead_code", "length_alpha": 0.05, "wrong_reward": -1.0, **released, **CURVE, **STD}
    ours = bind_estimator(knobs)(batch)
    assert ours[0].tolist() == approx(expected, abs=1e-5)
    assert expected[5] > expected[3]  # truncated is better than wrong


@given(st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), min_size=2, max_size=3), st.integers(0, 99))
def test_batch_whitening_is_the_plain_loop(rewards, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 6, (len(rewards), 4), generator=generator)
    kl = torch.randn(len(rewards), 4, 5, generator=generator, dtype=torch.float64)
    mask = (torch.arange(5) < tokens[..., None]).double()
    reward = tensor(rewards, dtype=torch.float64)
    ours = whitened(Group(reward, reward, reward, kl=kl, mask=mask), kl_reward_coef=0.01, std_ddof=1, std_epsilon=1e-8)
    raw = []
    for p, group in enumerate(rewards):
        for i, z in enumerate(standardised(group, 1e-8)):
            for t in range(tokens[p, i]):
                raw.append(z - 0.01 * sum(kl[p, i, s].item() for s in range(t, tokens[p, i])))
    mean = fmean(raw)
    scale = max(fmean([(a - mean) ** 2 for a in raw]), 1e-8) ** -0.5
    assert ours[mask.bool()].tolist() == approx([(a - mean) * scale for a in raw], rel=1e-5, abs=1e-5)


@given(st.integers(0, 10_000))
def test_the_optimal_token_baseline_is_verl_s_by_loops(seed):
    """Σ G W/(Σ W + 1e-8) over the rollouts that reach the token, W the sum of 1 − 2π + Σπ² so far (core_algos.py)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 5, (2, 3), generator=generator)
    reward, chosen = torch.rand(2, 3, generator=generator, dtype=torch.float64), logits[..., 0]
    mask = (torch.arange(4) < tokens[..., None]).double()
    log_pi, squares = chosen - logits.logsumexp(-1), logits.softmax(-1).square().sum(-1)
    energy = 1 - 2 * log_pi.exp() + squares
    by_autograd = torch.autograd.functional.jacobian(lambda x: x.log_softmax(-1)[..., 0].sum(), logits)
    assert torch.allclose(energy, by_autograd.square().sum(-1))
    ours = otb(Group(reward, reward, reward, energy=energy, mask=mask))
    for p in range(2):
        for t in range(4):
            reach = [i for i in range(3) if tokens[p, i] > t]
            path = {i: sum(energy[p, i, s].item() for s in range(t + 1)) for i in reach}
            baseline = sum(reward[p, i].item() * path[i] for i in reach) / (sum(path.values()) + 1e-8)
            expected = [reward[p, i].item() - baseline if i in reach else 0.0 for i in range(3)]
            assert ours[p, :, t].tolist() == approx(expected, abs=1e-9)


@given(st.lists(st.booleans(), min_size=2, max_size=9), st.data())
def test_pass_at_k_is_the_mean_over_all_draws_of_k(right, data):
    """Pass@k training, full sampling: each answer's advantage is the mean of those of all groups of k that hold it."""
    k = data.draw(st.integers(1, len(right)))
    draws = list(combinations(range(len(right)), k))
    rewards = [float(any(right[i] for i in draw)) for draw in draws]
    spread = (fmean(rewards) * (1 - fmean(rewards))) ** 0.5
    ours = pass_at_k(Group(*tensor([[[float(r) for r in right]]] * 3, dtype=torch.float64)), pass_k=k)[0]
    for i, advantage in enumerate(ours.tolist()):
        of_draws = [reward - fmean(rewards) for reward, draw in zip(rewards, draws, strict=True) if i in draw]
        assert advantage == approx(fmean(of_draws) / spread if spread else 0.0, abs=1e-9)


@given(GROUPS, st.data())
def test_gfpo_and_reinforce_pp_are_the_plain_loops(rows, data):
    correct = tensor([[float(c) for c, _ in row] for row in rows], dtype=torch.float64)
    length = tensor([[float(n) for _, n in row] for row in rows], dtype=torch.float64)
    batch, keep = Group(correct, length, correct), data.draw(st.integers(2, len(rows[0])))
    for row, ours in zip(rows, gfpo(batch, gfpo_keep=keep, **STD).tolist(), strict=True):
        best = sorted(range(len(row)), key=lambda i: row[i][1])[:keep]
        z = dict(zip(best, standardised([float(row[i][0]) for i in best], 1e-6), strict=True))
        assert ours == approx([z.get(i, 0.0) for i in range(len(row))], abs=1e-6)
    tokens = [float(c) for row in rows for c, n in row for _ in range(n % 50 + 1)]
    scale = (stdev(tokens) ** 2 + 1e-8) ** 0.5 if len(set(tokens)) > 1 else 1.0
    ours = reinforce_pp(batch._replace(length=length % 50 + 1)).flatten().tolist()
    assert ours == approx([(float(c) - fmean(tokens)) / scale for row in rows for c, _ in row], abs=1e-6)


def by_trl(rewards, scale):
    """TRL 1.16's advantages, `sum_then_normalize`: (prompts, group) rewards, spread per group or per batch, ε 1e-4."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / ((rewards.std(1, keepdim=True) if scale == "group" else rewards.std()) + 1e-4)


def test_grpo_lite_ppo_and_gdpo_with_trl_s_conventions():
    rewards = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))
    batch = Group(rewards, rewards, rewards, components=torch.stack([rewards, rewards.flip(1)], -1))
    knobs = dict(std_ddof=1, std_epsilon=1e-4)
    assert torch.allclose(grpo(batch, **knobs), by_trl(rewards, "group"), atol=1e-6)
    assert torch.allclose(lite_ppo(batch, **knobs), by_trl(rewards, "batch"), atol=1e-6)
    summed = by_trl(rewards, "group") + by_trl(rewards.flip(1), "group")
    assert torch.allclose(gdpo(batch, **knobs), (summed - summed.mean()) / (summed.std() + 1e-4), atol=1e-6)


# -- TRL's loss on the same batch --------------------------------------------------------------------------------------

ROWS, PROMPT, TOKENS, CLIP_LOW, CLIP_HIGH, BETA = 6, 4, 7, 0.2, 0.28, 0.04


def batch_for_trl():
    """Ragged rows as TRL lays them out, with old and reference log-probabilities far enough off for clips to act."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 60, (ROWS, PROMPT + TOKENS), generator=generator)
    lengths = tensor([7, 3, 5, 1, 7, 2])
    mask = (torch.arange(TOKENS) < lengths[:, None]).long()
    return {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": torch.ones(ROWS, PROMPT, dtype=torch.long),
        "completion_ids": ids[:, PROMPT:],
        "completion_mask": mask,
        "advantages": torch.randn(ROWS, generator=generator),
        "num_items_in_batch": mask.sum(),
        "noise": 0.4 * torch.randn(2, ROWS, TOKENS, generator=generator),
    }


def trl_trainer(folder, **settings):
    """TRL's trainer around the embedded tiny model, on the CPU."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from lead_kit.models.tiny_models import embedded_model

    model, tokenizer = embedded_model("tiny-bytes")
    model.save_pretrained(folder / "model")  # β > 0: TRL reads the reference from where the model came from
    args = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=ROWS,
        num_generations=2,
        max_completion_length=TOKENS,
        epsilon=CLIP_LOW,
        temperature=0.9,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        **settings,
    )
    trainer = GRPOTrainer(
        str(folder / "model"),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "1+1"}] * ROWS),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def ours(loss_type, logp, old, reference, batch, settings):
    """The same loss from tests.references.losses."""
    mask, advantage = batch["completion_mask"], batch["advantages"][:, None]
    log_ratio = logp - old
    sequence = settings.get("importance_sampling_level") == "sequence"
    ratio = losses.sequence_ratio(log_ratio, mask) if sequence else log_ratio.exp()
    if loss_type == "cispo":
        token = losses.cispo(logp, ratio, advantage, settings["epsilon_high"])
    elif loss_type == "sapo":
        token = losses.sapo(ratio, advantage, 1.0, 1.05)
    elif "delta" in settings:
        token = losses.two_sided(ratio, advantage, CLIP_LOW, CLIP_HIGH, settings["delta"])
    else:
        token = losses.clipped(ratio, advantage, CLIP_LOW, CLIP_HIGH)
    corrected = ratio if settings.get("use_bias_correction_kl") else 1.0
    token = token + BETA * losses.k3(logp, reference) * corrected
    if loss_type in ("grpo", "sapo"):
        return losses.seq_mean_token_mean(token, mask)
    if loss_type == "bnpo":
        return losses.token_mean_local(token, mask)
    if loss_type == "dr_grpo":
        return losses.token_sum_const(token, mask, sequences=ROWS, max_tokens=TOKENS)
    return losses.token_mean_global(token, mask, tokens=mask.sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss_type, settings",
    [
        ("grpo", {}),
        ("bnpo", {}),
        ("dr_grpo", {}),
        ("dapo", {}),
        ("dapo", {"delta": 1.5}),
        ("dapo", {"use_bias_correction_kl": True}),
        ("grpo", {"importance_sampling_level": "sequence"}),
        ("cispo", {"epsilon_high": 1.2}),
        ("sapo", {}),
    ],
)
def test_our_loss_and_its_gradient_are_trl_s(tmp_path, loss_type, settings):
    defaults = {"epsilon_high": CLIP_HIGH, "use_bias_correction_kl": False}  # TRL 1.16 corrects the KL unless told
    trainer = trl_trainer(tmp_path, loss_type=loss_type, beta=BETA, steps_per_generation=1, **(defaults | settings))
    batch = batch_for_trl()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attended = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logp = trainer._get_per_token_logps_and_entropies(trainer.model, ids, attended, TOKENS)[0]
    old, reference = logp.detach() + batch.pop("noise")
    batch |= {"old_per_token_logps": old, "ref_per_token_logps": reference}

    parameters = list(trainer.model.parameters())
    our_loss = ours(loss_type, logp, old, reference, batch, settings)
    our_gradient = torch.autograd.grad(our_loss, parameters)
    trl_loss = trainer._compute_loss(trainer.model, batch)
    trl_gradient = torch.autograd.grad(trl_loss, parameters)
    assert our_loss.item() == approx(trl_loss.item(), rel=1e-5)
    for one, other in zip(our_gradient, trl_gradient, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


# -- a group that lies on two processes --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_group_on_two_processes_has_the_advantages_it_has_on_one(tmp_path, forks):
    """Three groups of four, six rows a process: the second group straddles both."""
    from tests import ranks

    generator = torch.Generator().manual_seed(1)
    correct = tensor([1.0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0])
    length = torch.randint(10, 500, (12,), generator=generator).float()
    torch.save(torch.stack([correct, length]), tmp_path / "fields.pt")
    ranks.run(forks, "tests.straddle:groups", tmp_path / "fields.pt", tmp_path)
    batch = Group(correct.view(3, 4), length.view(3, 4), correct.view(3, 4))
    alone = lead_with(length_alpha=0.05, wrong_reward=-1.0)(batch).flatten()
    slices = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(torch.cat(slices), alone) and alone[4:8].all()

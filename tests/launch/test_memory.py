"""Memory of a dry run: what a process holds, and vLLM's share that cannot hold its weights."""

import pytest

from lead_kit.errors import InputError
from lead_kit.launch import memory, recipes

BIG = memory.SHAPES[4]  # 14.8 billion parameters


def stage(**changes):
    job = next(job for job in recipes.plan("grpo_lead_14b", "8x80gb", [0]) if job.stage == "stage1")
    return job._replace(parameters=recipes.settled(job) | {"model": "x-14B"} | changes)


def test_the_14b_recipe_fits_its_scale_and_is_refused_where_vllm_cannot_hold_the_weights():
    assert "of them vLLM's" in memory.describe(stage(), {}, 80)
    # 14.8e9 weights of 2 bytes are 27.6 GiB, and .3 of 80 GiB are 24
    with pytest.raises(InputError, match="24 GiB, but vLLM's weights take 27.6 GiB a GPU; raise vllm_memory or vllm_t"):
        memory.describe(stage(vllm_tensor_parallel=1), {}, 80)


def test_trained_weights_are_counted_as_float32_masters_and_frozen_ones_are_not():
    full, lora = (memory.training_bytes(BIG, stage(adapter=adapter), "fsdp2") for adapter in ("full", "lora"))
    # on 8 processes: 16 bytes a parameter (weights, gradients, two moments) against 2 bytes and a hundredth trained
    assert full - lora == pytest.approx(BIG.parameters * (16 - 2 - 0.06) / 8, rel=0.01)


def test_deepspeed_keeps_masters_beside_a_model_in_bfloat16():
    zero2, zero3 = (memory.training_bytes(BIG, stage(), plugin) for plugin in ("zero2", "zero3"))
    # ZeRO-3 spreads the 2 bytes a weight over 8 processes, ZeRO-2 does not
    assert zero2 - zero3 == pytest.approx(2 * BIG.parameters * 7 / 8)
    # FSDP2's 16 bytes a weight are float32 weights, gradients and two moments; ZeRO-3 has 2 bytes more
    assert zero3 - memory.training_bytes(BIG, stage(), "fsdp2") == pytest.approx(2 * BIG.parameters / 8)


def test_a_forward_holds_a_pack_or_one_longer_rollout():
    def activations(**changes):
        fixed = memory.training_bytes(BIG, stage(pack_tokens=0, micro_batch_size=0), "fsdp2")
        return memory.training_bytes(BIG, stage(**changes), "fsdp2") - fixed

    tokens = stage().parameters["max_tokens"]
    one = activations(pack_tokens=0, micro_batch_size=1)
    assert activations(pack_tokens=1) == activations(pack_tokens=1, micro_batch_size=8) == pytest.approx(one)
    assert activations(pack_tokens=2 * (tokens + memory.PROMPT_TOKENS)) == pytest.approx(2 * one)


@pytest.mark.parametrize("changes, copies", [({"kl_reward_coef": 0.01}, 1), ({"kl_reward_coef": 0.0}, 0)])
def test_a_reference_is_counted_only_where_its_kl_costs_something(changes, copies):
    plain = memory.training_bytes(BIG, stage(), "fsdp2")
    paid = memory.training_bytes(BIG, stage(estimator="whitened", **changes), "fsdp2")
    assert paid - plain == pytest.approx(copies * BIG.parameters * 4 / 8)

"""A dry run: what a process holds, how long it takes, and what its run would refuse."""

import pytest

from lead_kit.errors import InputError
from lead_kit.launch import estimates, recipe_model, recipes
from lead_kit.runs import files, manifest

BIG = estimates.SHAPES[4]  # 14.8 billion parameters
GPUS = recipe_model.Scale(gpu_memory=80.0, gpu_flops=3e14, gpu_bandwidth=2e12)
ROLLOUTS = {"batch_size": 256, "max_tokens": 8192, "vllm_tensor_parallel": 1}


def training_bytes(*arguments):
    return sum(estimates.training_bytes(*arguments))


def stage(**changes):
    job = next(job for job in recipes.plan("grpo_lead_14b", "8x80gb", [0]) if job.stage == "stage1")
    return job._replace(parameters=recipes.settled(job) | {"model": "x-14B"} | changes)


def test_the_14b_recipe_fits_its_scale_and_is_refused_where_vllm_cannot_hold_the_weights():
    assert "of them vLLM's" in estimates.describe(stage(), 80)
    # 14.8e9 weights of 2 bytes are 27.57 GiB, 16 bytes of 152,064 logits of 32 rows .07, and .3 of 80 GiB are 24
    sentence = "vLLM takes 28.6 GiB a GPU without its cache, and vllm_memory gives it 24; raise it or vllm_tensor_p"
    with pytest.raises(InputError, match=sentence):
        estimates.require([stage(vllm_tensor_parallel=1)], recipe_model.load_scale("8x80gb"))


def test_trained_weights_are_counted_as_float32_masters_and_frozen_ones_are_not():
    full, lora = (training_bytes(BIG, stage(adapter=adapter), "fsdp2") for adapter in ("full", "lora"))
    # on 8 processes: 16 bytes a parameter (weights, gradients, two moments) against 2 bytes and a hundredth trained
    # and the head's gradient, 4 bytes for each of 152,064 x 5,120 weights
    head = 4 * 152064 * 5120
    assert full - lora == pytest.approx(BIG.parameters * (16 - 2 - 0.06) / 8 + head, rel=0.01)


def test_deepspeed_keeps_masters_beside_a_model_in_bfloat16():
    zero2, zero3 = (training_bytes(BIG, stage(), plugin) for plugin in ("zero2", "zero3"))
    # ZeRO-3 spreads the 2 bytes a weight over 8 processes, ZeRO-2 does not
    # and gathers two layers of 48 and the gradient of one
    assert zero2 - zero3 == pytest.approx(2 * BIG.parameters * 7 / 8 - 6 * BIG.parameters / 48)
    # FSDP2's 16 bytes a weight are float32 weights, gradients and two moments; ZeRO-3 has 2 bytes more
    assert zero3 - training_bytes(BIG, stage(), "fsdp2") == pytest.approx(2 * BIG.parameters / 8)


def test_sharded_weights_are_gathered_layer_by_layer():
    spread, whole = (training_bytes(BIG, stage()._replace(nproc=1), plugin) for plugin in ("fsdp2", "ddp"))
    # two layers of 48 in bfloat16, and a gradient of one
    assert spread - whole == pytest.approx(6 * BIG.parameters / 48)


def test_a_forward_holds_a_pack_or_one_longer_rollout():
    def activations(**changes):
        fixed = training_bytes(BIG, stage(pack_tokens=0, micro_batch_size=0), "fsdp2")
        return training_bytes(BIG, stage(**changes), "fsdp2") - fixed

    tokens = stage().parameters["max_tokens"]
    one = activations(pack_tokens=0, micro_batch_size=1)
    assert activations(pack_tokens=1) == activations(pack_tokens=1, micro_batch_size=8) == pytest.approx(one)
    assert activations(pack_tokens=2 * (tokens + estimates.PROMPT_TOKENS)) == pytest.approx(2 * one)


@pytest.mark.parametrize("changes, copies", [({"kl_reward_coef": 0.01}, 1), ({"kl_reward_coef": 0.0}, 0)])
def test_a_reference_is_counted_only_where_its_kl_costs_something(changes, copies):
    plain = training_bytes(BIG, stage(), "fsdp2")
    paid = training_bytes(BIG, stage(estimator="whitened", **changes), "fsdp2")
    assert paid - plain == pytest.approx(copies * BIG.parameters * 4 / 8)


RATES = recipe_model.Rates(training=200.0, sampling=100.0, prompt=60.0, answer=40.0, longest=100.0)


def small(stage, **changes):
    job = next(job for job in recipes.plan("figure_smollm2", "smollm2") if job.stage == stage)
    return job._replace(parameters=recipes.settled(job) | changes)


def test_minutes_on_a_cpu_are_tokens_over_the_scale_s_rates():
    # 10 updates of 12 rows of 100 tokens at 200 a second, and one answer of 40 tokens to each of 30 problems
    assert estimates.minutes(small("sft", steps=10, batch_size=12), RATES, 30) == pytest.approx((60 + 12) / 60)
    # 10 batches of 16: an answer is sampled in .4 s and trained on in .5 s; 3 validations of 2 answers to 30 problems
    changes = {"steps": 10, "batch_size": 16, "validate_every": 5, "validation_samples": 2, "pack_tokens": 0}
    assert estimates.minutes(small("grpo", **changes), RATES, 30) == pytest.approx((160 * 0.9 + 3 * 60 * 0.4) / 60)
    # in packs eight answers share a prompt: an answer is trained on in .2 s, its share of the prompt in .0375 s
    changes["pack_tokens"] = 1024
    assert estimates.minutes(small("grpo", **changes), RATES, 30) == pytest.approx((160 * 0.6375 + 3 * 60 * 0.4) / 60)
    # 4 samples of each of 30 problems by each of 4 models
    assert estimates.minutes(small("evaluate", n=4), RATES, 30) == pytest.approx(4 * 4 * 30 * 0.4 / 60)


def test_on_a_cpu_all_layers_keep_their_activations():
    shape = estimates.NAMED["smollm2"]
    one, two = (training_bytes(shape, small("grpo", pack_tokens=n), "cpu", 57) for n in (1000, 2000))
    # a token: 68 bytes of each of 576 units of 30 layers, and 12 of each of 49,152 logits where it is scored
    assert two - one == pytest.approx(1000 * (68 * 576 * 30 + 80 / 137 * 12 * 49152))


def test_seconds_of_a_batch_come_from_operations_and_bytes_read():
    shape = estimates.SHAPES[3]
    parts = estimates._seconds_a_batch(shape, stage(**ROLLOUTS), GPUS)
    # 256 answers of 4,096 tokens and an eighth of a prompt of 1,024: 8 operations a weight on 8 GPUs at half of 3e14
    assert parts["training"] == pytest.approx(8 * 7.6e9 * 256 * (4096 + 128) / (8 * 1.5e14))
    # 8,192 steps read 15.2 GB of weights, and each of 32 x 4,096 tokens 57,344 bytes for a prompt and 2,048 tokens
    of_cache = 32 * 4096 * 57344 * (1024 + 2048)
    assert parts["generation"] == pytest.approx((8192 * 15.2e9 + of_cache) / 2e12)
    # 216 samples of 27 problems on 8 GPUs once in 40 batches; 91.2e9 bytes of weights and moments every 20 updates
    with_validation = estimates._seconds_a_batch(shape, stage(**ROLLOUTS), GPUS, held_out=27)
    of_cache = 27 * 4096 * 57344 * (1024 + 2048)
    assert with_validation["validation"] == pytest.approx((8192 * 15.2e9 + of_cache) / 2e12 / 40)
    assert with_validation["checkpoints"] == pytest.approx(91.2 / 20)
    # .22 of the card have room for 8 rows, so 32 take four turns of 4,096 steps
    crowded = estimates._seconds_a_batch(shape, stage(**ROLLOUTS, vllm_memory=0.22), GPUS)
    of_cache = 32 * 4096 * 57344 * (1024 + 2048)
    assert crowded["generation"] == pytest.approx((4 * 4096 * 15.2e9 + of_cache) / 2e12)


def test_rollouts_that_fit_at_once_are_the_cache_over_the_bytes_of_a_rollout():
    # .3 of 80 GiB are 25.77e9 bytes: 15.2e9 weights, 2.49e9 for 1,024 rows of 152,064 logits, 1.07e9 graphs, and 7.0e9
    # of cache for rollouts of 1,024 + 8,192 tokens at 57,344 bytes: 13.3 of the 1,024 of a GPU, as 8 GPUs sample 8,192
    job = stage(batch_size=8192, max_tokens=16384, vllm_tensor_parallel=1)
    assert estimates._at_once(estimates.SHAPES[3], job, 80.0, 0.3) == (13, 1024)
    # two GPUs share an engine: 51.5e9 bytes less 29.6e9, 2 x .16e9 for 64 rows and 2 x 1.07e9 are 19.5e9 of cache, for
    # rollouts of 1,024 + 6,144 tokens at 196,608 bytes
    job = stage(batch_size=256, max_tokens=12288, vllm_tensor_parallel=2)
    assert estimates._at_once(BIG, job, 80.0, 0.3) == (13, 64)


def shared(model, **changes):
    job = stage(model=model, **changes)
    del job.parameters["vllm_memory"], job.parameters["vllm_sleep"]
    return estimates.share_cards([job], GPUS)[0].parameters


def test_vllm_gets_what_whole_rollouts_need_where_training_leaves_it():
    values = shared("x-7B", **ROLLOUTS, pack_tokens=0, micro_batch_size=2)
    # weights 14.16 GiB, 32 rows of logits .07, graphs 1, 32 rollouts of 9,216 tokens 15.75: 30.98 of 80 GiB = .387
    assert (values["vllm_memory"], values["vllm_sleep"]) == (0.39, False)


def test_vllm_sleeps_during_training_where_the_rollouts_would_not_fit_otherwise():
    values = shared("x-7B", **ROLLOUTS | {"batch_size": 2048}, pack_tokens=0, micro_batch_size=2)
    # training's 25.24 GiB and 4 spare ones leave 50.8, of which 35 are cache: 128 of 256 rollouts of 5,120 tokens.
    # Gradients (3.54), layers (1.52), activations (5.54) and head (2.03) are free while it samples: 63.4 of 80 = .792
    assert (values["vllm_memory"], values["vllm_sleep"]) == (0.79, True)
    # a share that is set stays
    assert estimates.share_cards([stage()], GPUS) == [stage()]


@pytest.mark.parametrize(
    "changes, accelerate, sentence",
    [
        ({"estimator": "whitened", "kl_reward_coef": 0.01}, "fsdp2", "baseline 'whitened' copies the model"),
        ({"engine": "sampler"}, "zero3", "engine 'sampler' needs the whole model on each process"),
        ({"adapter": "qlora"}, "ddp", "engine 'vllm_colocate' cannot take four-bit weights"),
        ({"batch_size": 24}, "fsdp2", None),
        ({"batch_size": 36, "group_size": 6}, "fsdp2", "updates_per_batch × processes must divide batch_size: 36 % 8"),
        ({"save_steps": 3, "updates_per_batch": 2}, "fsdp2", "save_steps is 3"),
        ({"model": "Qwen/Qwen2.5-Math-7B", "max_tokens": 4097}, "fsdp2", "max_tokens 4097 after a prompt of 0 is more"),
        ({"model": "Qwen/Qwen2.5-Math-7B", "max_tokens": 4096}, "fsdp2", None),
        ({"model": "tiny", "max_tokens": 600}, "ddp", "more than the model's 512 positions"),
    ],
)
def test_a_plan_refuses_what_its_run_would_refuse(changes, accelerate, sentence):
    job = stage(model="x-1.5B", vllm_tensor_parallel=1)
    job = job._replace(parameters=job.parameters | changes, accelerate=f"experiments/accelerate/{accelerate}.yaml")
    if sentence is None:
        estimates.require([job], recipe_model.load_scale("8x80gb"))
        return
    with pytest.raises(InputError, match=f"stage1-lead-s0: {sentence}" if "positions" not in sentence else sentence):
        estimates.require([job], recipe_model.load_scale("8x80gb"))


def test_processes_of_all_hosts_share_a_batch():
    job = next(job for job in recipes.plan("grpo_lead_14b", "8x80gb", [0]) if job.stage == "sft")
    estimates.require([job], recipe_model.load_scale("8x80gb"))
    with pytest.raises(InputError, match="the number of processes must divide batch_size: 24 % 16 is not 0"):
        estimates.require([job], recipe_model.load_scale("2x8x80gb"))


def test_a_plan_beyond_the_card_names_a_scale_and_an_adapter_that_fit():
    def plan_at(scale):
        return recipes.plan("grpo_lead_7b", scale, [0], ["grpo"])

    # 16 bytes for each of 7.6e9 weights are 113 GiB
    with pytest.raises(
        InputError, match=r"needs about 1\d\d GiB .*has 80; --scale 8x80gb fits, adapter lora in the sc"
    ):
        estimates.require(plan_at("1x80gb"), recipe_model.load_scale("1x80gb"), plan_at)


def test_a_plan_takes_the_time_of_a_finished_run_with_the_same_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RUNS", tmp_path)
    job = small("grpo")
    record = {"status": "done", "notebook": "notebooks/03_grpo.ipynb", "parameters": job.parameters}
    record |= {"start": "2026-01-01T10:00:00+00:00", "end": "2026-01-01T11:30:00+00:00"}
    record |= {"attempts": [{"status": "done", "code": None}]}
    folder = tmp_path / job.name
    folder.mkdir(parents=True)
    manifest.write_manifest(folder, record)
    assert estimates._measured([job]) == f"90.0 min each, measured in runs/{job.name}"
    assert not estimates._measured([job._replace(parameters=job.parameters | {"steps": 7})])
    manifest.write_manifest(folder, record | {"attempts": record["attempts"] * 2})  # its last attempt began later
    assert not estimates._measured([job])


@pytest.mark.parametrize("path", sorted((files.ROOT / "experiments/recipes").glob("*.yaml")), ids=lambda one: one.stem)
def test_the_size_of_every_recipe_s_validation_set_is_known(path):
    sets = [job.parameters.get("validation_data") for job in recipes.plan(path.stem, "8x80gb", [0])]
    named = {name for names in sets if isinstance(names, list) for name in names if not name.startswith("runs/")}
    assert named <= estimates._PROBLEMS.keys()

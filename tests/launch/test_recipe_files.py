"""The recipes as files: they plan at every scale, hold the papers' values, and a scale changes sizes only."""

from functools import cache
from pathlib import Path

import pytest

from lead_kit.errors import InputError
from lead_kit.launch import commands, estimates, recipe_model, recipes
from lead_kit.parameters import read_parameters
from lead_kit.report.published import published_table

NAMES = sorted(path.stem for path in (recipe_model.EXPERIMENTS / "recipes").glob("*.yaml"))
SCALES = sorted(path.stem for path in (recipe_model.EXPERIMENTS / "scales").glob("*.yaml"))
SMALL = ("tiny", "smoke", "smollm2")  # scales whose model takes one prompt
WANTED = {
    *("figure1", "grpo_lead_7b", "grpo_lead_14b", "reflection_1.5b", "reflection_7b", "reflection_lora"),
    *("clip_higher_1.5b", "rlite_on_policy_7b", "rlite_packing_7b"),
}
LENGTHS = {"max_tokens", "max_length", "max_prompt_tokens", "length_floor", "pack_tokens"}
COUNTS = {
    "steps",
    "epochs",
    "batch_size",
    "micro_batch_size",
    "warmup_steps",
    "n",
    "draw_train",
    "draw_sft",
    "validation_size",
}
RECORDS = {"validate_every", "validation_samples", "rollouts_every", "save_steps", "run_name"}
MACHINE = {"backend", "dtype", "engine", "vllm_memory", "vllm_tensor_parallel"}
DATA = {"dataset", "data_path", "added_data", "validation_data", "evaluation_sets", "min_difficulty", "duplicates"}
DATA |= {"train_data", "pass_rates", "benchmark", "carry", "borrow", "teacher_repair", "teacher_stuck"}
DATA |= {"train_weights", "sft_weights", "validation_weights"}
MODEL = {"model", "models", "template", "learning_rate", "optimizer", "adam_beta2", "end_marker", "answer_region"}
MODEL |= {"lora_saved"}  # a head that is tied to the embedding cannot be saved apart from it
FIGURES = {"runs", "other_runs", "third_runs", "samples", "published_table", "published_curve"}
SIZES = LENGTHS | COUNTS | RECORDS | MACHINE | DATA | MODEL | FIGURES


@cache
def planned(name, scale):
    """The jobs of every arm, the optional ones too, for one seed; `seed_prompt` not where arms share a prompt."""
    arms = [arm for arm in recipe_model.load_recipe(name).arms if arm != "seed_prompt" or scale not in SMALL]
    return recipes.plan(name, scale, [0], arms or None)


@cache
def defaults(notebook):
    return {name: one.default for name, one in read_parameters(notebook).items()}


def settled(job):
    """All parameters of a job, those at the notebook's default included."""
    return defaults(job.notebook) | job.parameters


@cache
def jobs(name, scale="8x80gb"):
    """stage-arm of each job, and its parameters."""
    return {"-".join(filter(None, (job.stage, job.arm))): settled(job) for job in planned(name, scale)}


def test_the_nine_recipes_are_there():
    assert WANTED <= set(NAMES)


@pytest.mark.slow  # reads every notebook for every recipe and scale
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs_at_every_scale_with_every_arm_or_says_in_a_sentence_what_it_lacks(name, scale):
    jobs = estimates.share_cards(planned(name, scale), recipe_model.load_scale(scale))
    fits_in = {
        "1x24gb": ("figure", "atlas", "reflection_lora"),
        "1x80gb": ("figure", "atlas", "reflection_lora", "clip", "reflection_1.5b"),
    }
    if name.startswith(fits_in.get(scale, "")):
        estimates.require(jobs, recipe_model.load_scale(scale))
        return
    with pytest.raises(InputError, match=r"^[^\n]* GiB[^\n]*; --scale (1x80gb|8x80gb) fits[^\n]*$"):
        estimates.require(jobs, recipe_model.load_scale(scale), lambda other: planned(name, other))


@pytest.mark.parametrize("scale", SMALL)
@pytest.mark.parametrize("name", NAMES)
def test_a_small_scale_changes_sizes_data_and_model_and_nothing_of_the_method(name, scale):
    big, small = jobs(name), jobs(name, scale)
    assert set(small) - {"base"} == set(big) - {"grpo-seed_prompt"}  # no other stage and no other arm is left out
    for key in set(small) - {"base"}:
        values = big[key]
        changed = {p for p in values if values[p] != small[key][p]}
        assert changed <= SIZES, f"{key}: {sorted(changed - SIZES)}"


def flat(values):
    """Every value of a list and of the lists in it."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["tiny", "smoke", "smollm2"])
def test_a_small_scale_downloads_nothing(name, scale):
    task = recipe_model.load_recipe(name).task
    embedded = {"arithmetic": ("tiny", "arithmetic"), "words": ("tiny-words", "words")}[task]
    if name == "atlas":
        embedded = ("tiny", "arithmetic", "tiny-words", "words")
    if scale == "smollm2":  # every recipe takes the task in words, and a model that a package ships
        embedded, task = ("smollm2", "words"), "words"
    for job in planned(name, scale):
        sources = [settled(job).get(p) for p in ("model", "dataset", "data_path", "added_data", "validation_data")]
        for source in flat([*filter(None, sources), *settled(job).get("models", [])]):
            assert source in embedded or source.startswith(f"runs/{name}/{scale}/"), source
        assert job.benchmark in (None, task) and not settled(job).get("evaluation_sets")


@pytest.mark.parametrize("name", NAMES)
def test_lengths_shrink_in_one_proportion_up_to_the_positions_of_the_embedded_model(name):
    recipe, tiny = recipe_model.load_recipe(name), recipe_model.load_scale("tiny")
    factor, most = recipes._length_factor(recipe, tiny), tiny.lengths.most
    for key in set(jobs(name, "tiny")) - {"base"}:
        values = jobs(name)[key]
        for length in set(recipe.lengths) & set(values) - {"max_prompt_tokens"}:
            if length in recipe.stages[key.split("-")[0]].parameters and values[length] > 1:
                assert jobs(name, "tiny")[key][length] == max(1, round(min(values[length] * factor, most)))


@pytest.mark.parametrize("scale", ["smoke", "tiny", "smollm2"])
@pytest.mark.parametrize("name", NAMES)
def test_a_small_scale_fine_tunes_on_whole_solutions(name, scale):
    """Their limit is no length of a rollout: shrunk like one it would leave out the teacher's solutions."""
    limits = [job.parameters.get("max_length") for job in recipes.plan(name, scale) if job.notebook.stem == "02_sft"]
    assert set(limits) <= {512}


@pytest.mark.parametrize("name", ["reflection_1.5b", "reflection_7b", "rlite_on_policy_7b", "rlite_packing_7b"])
@pytest.mark.parametrize("scale", SMALL)
def test_arms_that_a_scale_has_made_the_same_run_are_refused_together(name, scale):
    usual = next(iter(recipe_model.load_recipe(name).arms))
    with pytest.raises(InputError, match=f"arms {usual} and seed_prompt are the same run here, leave one out"):
        recipes.plan(name, scale, [0, 1], [usual, "seed_prompt"])
    assert recipes.plan(name, scale, [0], ["seed_prompt"]) and recipes.plan(name, "8x80gb", [0], [usual, "seed_prompt"])


@pytest.mark.parametrize("name", NAMES)
def test_batches_divide_at_every_scale(name):
    for scale in SCALES:
        for job in planned(name, scale):
            if job.notebook.stem == "03_grpo":
                values = settled(job)
                rows, rest = divmod(values["batch_size"], values["updates_per_batch"] * job.nproc)
                assert not rest and not values["batch_size"] % values["group_size"], job.name
                assert values["pack_tokens"] or not rows % min(rows, values["micro_batch_size"]), job.name


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_method_says_where_it_comes_from(name):
    plumbing = {*FIGURES, "metric", "split", "caption_note", "train_data", "validation_data", "model", "models"}
    plumbing |= {"data_path", "dataset", "pass_rates", "seed", "arm", "benchmark"}
    assert [row[:2] for row in commands._recipe_table(name)[1:] if not row[-1] and row[1] not in plumbing] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_published_table_has_the_benchmarks_it_is_set_beside(name):
    for job in planned(name, "8x80gb"):
        if table := job.parameters.get("published_table"):
            assert job.benchmark in set(published_table(table)["benchmark"]), (table, job.benchmark)


LEAD = {"weight_low": 0.4, "weight_high": 1.5, "weight_midpoint": 0.75, "weight_steepness": 10.0}
LEAD |= {"length_alpha": 0.05, "wrong_reward": -1.0, "group_size": 8, "beta": 0.0, "updates_per_batch": 1}
FIGURE1 = {"estimator": "lead", "length_alpha": 0.05, "weight_low": 0.4, "weight_high": 1.5}
REFLECTION = {
    "beta": 0.04,
    "learning_rate": 3e-6,
    "group_size": 7,
    "batch_size": 7 * 128,
    "rewards": ["correct", "format", "reflection_v2"],
    "reward_weights": [1.0, 1.0, 1.0],
    "schedule": "cosine",
    "max_tokens": 1024,
}
RLITE = {"batch_size": 1024 * 8, "updates_per_batch": 1, "group_size": 8, "std_ddof": 0, "max_grad_norm": 0.0}
RLITE |= {"beta": 0.0, "schedule": "constant", "warmup_steps": 0, "weight_decay": 0.01, "adam_beta2": 0.999}
BASELINE = {"estimator": "whitened", "clip_low": 0.2, "updates_per_batch": 2, "batch_size": 64 * 8, "temperature": 1.0}


@pytest.mark.parametrize(
    "name, job, golden",
    [
        ("figure1", "grpo-grpo", {"estimator": "grpo"}),
        ("figure1", "grpo-length", {"length_alpha": 0.05, "wrong_reward": 0.0, "weight_low": 1.0, "weight_high": 1.0}),
        ("figure1", "grpo-length_reweighting", FIGURE1 | {"wrong_reward": 0.0}),
        ("figure1", "grpo-lead", FIGURE1 | {"wrong_reward": -1.0}),
        ("grpo_lead_7b", "grpo-grpo", {"estimator": "grpo", "batch_size": 256, "learning_rate": 1e-6}),
        ("grpo_lead_7b", "grpo-length", {"length_alpha": 0.05, "wrong_reward": 0.0, "weight_low": 1.0}),
        ("grpo_lead_7b", "grpo-length_reweighting", LEAD | {"wrong_reward": 0.0, "estimator": "lead"}),
        ("grpo_lead_7b", "grpo-lead", LEAD | {"estimator": "lead", "temperature": 0.6, "max_tokens": 8192}),
        ("grpo_lead_7b", "grpo-lead_code", LEAD | {"estimator": "lead_code", "entropy_coef": 0.001}),
        (
            "grpo_lead_7b",
            "grpo-lead_code",
            {"length_floor": 4000, "group_filter": "lead_code_keep", "loss_type": "bnpo"},
        ),
        *[
            (f"grpo_lead_{size}", arm, {"reject_restated_problem": False})
            for size, arm in (("7b", "grpo-lead_code"), ("14b", "stage1-lead_code"), ("14b", "stage2-lead_code"))
        ],
        ("reflection_7b", "grpo-grpo", {"reject_restated_problem": False}),
        (
            "clip_higher_1.5b",
            "grpo-baseline",
            {"stop": ["\nuser\n"], "validation_temperature": 0.7, "max_tokens": 1024},
        ),
        ("clip_higher_1.5b", "preprocess", {"limit_validation": True}),
        ("rlite_on_policy_7b", "grpo-on_policy", {"reject_restated_problem": True}),
        ("grpo_lead_14b", "stage1-lead", LEAD | {"steps": 100, "rollouts_every": 1, "max_tokens": 12288}),
        ("grpo_lead_14b", "stage2-lead", LEAD | {"steps": 120, "max_tokens": 14336, "length_alpha": 0.0}),
        ("grpo_lead_14b", "stage2_length-lead", LEAD | {"steps": 120, "max_tokens": 14336}),
        ("grpo_lead_14b", "stage1-lead_code", {"steps": 900, "pack_tokens": 13312, "batch_size": 240}),
        ("grpo_lead_14b", "stage2-lead_code", {"length_alpha": 0.05, "rewards": ["correct"]}),
        ("grpo_lead_14b", "preprocess_stage2-lead", {"min_pass_rate": 0.0, "max_pass_rate": 0.75}),
        ("reflection_1.5b", "grpo-grpo", REFLECTION),
        ("reflection_7b", "grpo-sft_grpo", REFLECTION),
        (
            "reflection_7b",
            "sft",
            {"loss_on": "all", "learning_rate": 5e-5, "lr_floor": 0.1, "packing": "wrapped", "epochs": 1.0},
        ),
        ("clip_higher_1.5b", "preprocess", {"max_prompt_tokens": 309, "prompt_length_of": "problem"}),
        (
            "reflection_lora",
            "sft",
            {"loss_on": "all", "adapter": "lora", "lora_rank": 16, "lora_alpha": 64, "learning_rate": 5e-4},
        ),
        ("clip_higher_1.5b", "grpo-baseline", BASELINE | {"clip_high": 0.2, "lr_floor": 0.1, "kl_reward_coef": 0.01}),
        ("clip_higher_1.5b", "grpo-improved", BASELINE | {"clip_high": 0.28, "lr_floor": 0.8, "kl_reward_coef": 0.0}),
        ("rlite_on_policy_7b", "grpo-on_policy", RLITE | {"max_tokens": 1024, "pack_tokens": 0}),
        ("rlite_packing_7b", "grpo-on_policy", RLITE | {"max_tokens": 16384, "pack_tokens": 17408}),
    ],
)
def test_the_papers_values(name, job, golden):
    values = jobs(name)[job]
    assert {parameter: values[parameter] for parameter in golden} == golden


def test_grpo_reflection_is_evaluated_with_its_own_prompts():
    asked = {
        job.benchmark: settled(job)["template"] for job in planned("reflection_7b", "8x80gb") if job.stage == "evaluate"
    }
    assert asked == {"AIME24": "last_line", "MATH-500": "last_line", "GPQA-diamond": "multiple_choice"}


def test_stage_two_trains_on_what_stage_one_did_not_solve_and_an_added_set():
    values = jobs("grpo_lead_14b")
    second = values["preprocess_stage2-lead"]
    assert second["pass_rates"] == "runs/grpo_lead_14b/8x80gb/stage1-lead-s0" and second["added_data"]
    assert values["stage2-lead"]["model"] == "runs/grpo_lead_14b/8x80gb/stage1-lead-s0/model"
    assert values["stage2-lead"]["train_data"].startswith("runs/grpo_lead_14b/8x80gb/preprocess_stage2-lead-s0/")


def test_the_warm_up_stays_the_same_share_of_the_run():
    big, small = jobs("reflection_7b")["grpo-grpo"], jobs("reflection_7b", "tiny")["grpo-grpo"]
    assert (big["warmup_steps"], big["steps"]) == (6, 58)
    assert small["warmup_steps"] == round(small["steps"] * 6 / 58) > 1


def test_a_scale_replaces_what_comes_from_outside_and_not_what_a_recipe_makes():
    assert recipes._replace_external("Qwen/Qwen2.5-7B", "{base}/model") == "{base}/model"
    assert recipes._replace_external("{sft}/model", "{base}/model") == "{sft}/model"
    assert recipes._replace_external(["Qwen/Qwen2.5-7B", "{grpo}/model"], ["{base}/model"]) == [
        "{base}/model",
        "{grpo}/model",
    ]
    assert recipes._replace_external(["{grpo}/model"], ["{base}/model"]) == ["{grpo}/model"]


def test_a_stand_in_runs_only_where_something_needs_it():
    stages = {name: {job.stage for job in planned(name, "tiny")} for name in ("figure1", "rlite_packing_7b")}
    assert "base" not in stages["figure1"] and "base" in stages["rlite_packing_7b"]


def test_figure_1_has_the_arms_of_the_paper():
    arms = recipe_model.load_recipe("figure1").arms
    assert [arm for arm, block in arms.items() if not block.optional] == [
        "grpo", "length", "length_reweighting", "lead",
    ]  # fmt: skip


@pytest.mark.parametrize("scale", ["8x80gb", "slurm"])
def test_weights_are_shared_out_as_in_the_original_where_there_are_eight_gpus(scale):
    def plugins(name):
        return {job.stage: Path(job.accelerate).stem for job in planned(name, scale) if job.nproc > 1}

    for size in ("1.5b", "7b"):
        assert plugins(f"reflection_{size}") == {"sft": "zero3", "grpo": "zero2"}
    assert plugins("reflection_lora") == {"sft": "ddp"}
    assert set(plugins("grpo_lead_7b").values()) == {"fsdp2"}  # the scale's own
    files = {job.accelerate for name in NAMES for job in planned(name, scale)} - {""}
    assert all((recipes.ROOT / file).is_file() for file in files)

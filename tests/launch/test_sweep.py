"""A sweep: the recipe that is made of a parameter and its values, and what is refused before anything runs."""

import pytest

from lead_kit import cli
from lead_kit.errors import InputError
from lead_kit.launch import recipes, sweep


def made(recipe="figure1", **parameters):
    return sweep.make_recipe("03_grpo", parameters, recipe)


def trained(name, recipe, scale="tiny", seeds=(0,)):
    jobs = recipes.plan(name, scale, list(seeds), made=recipe)
    return {job.name.rpartition("/")[2]: job for job in jobs if job.stage == "grpo"}


def test_each_value_is_an_arm_with_the_start_data_and_evaluation_of_the_recipe():
    name, recipe = made(length_alpha="0,0.02,0.1")
    assert name == "sweep-figure1-length_alpha"
    jobs = trained(name, recipe, seeds=(0, 1))
    assert list(jobs) == [f"grpo-length_alpha_{value}-s{seed}" for seed in (0, 1) for value in ("0", "0.02", "0.1")]
    usual = {job.seed: job.parameters for job in recipes.plan("figure1", "tiny", [0, 1], ["grpo"]) if job.arm}
    for job in jobs.values():
        values = job.parameters | {"model": "", "train_data": "", "validation_data": "", "run_name": ""}
        expected = usual[job.seed] | {"length_alpha": job.parameters["length_alpha"], "arm": job.arm}
        del expected["estimator"]  # that of the arm grpo; a sweep has the notebook's
        assert values == expected | {"model": "", "train_data": "", "validation_data": "", "run_name": ""}
    *_, evaluation, figures = recipes.plan(name, "tiny", [0, 1], made=recipe)
    assert len(evaluation.parameters["models"]) == 7 and len(figures.parameters["runs"]) == 6
    assert (figures.parameters["swept"], figures.parameters["reference"]) == (["length_alpha"], "length_alpha_0")
    assert recipe.planned is None  # that of the recipe's own arms


def test_a_swept_value_wins_over_the_scale_and_is_not_shortened():
    name, recipe = made(learning_rate="1e-4,1e-3", max_tokens="48", warmup_steps="0")
    jobs = trained(name, recipe)
    assert [job.parameters["learning_rate"] for job in jobs.values()] == [1e-4, 1e-3]
    assert {job.parameters["max_tokens"] for job in jobs.values()} == {48}
    assert {job.parameters["warmup_steps"] for job in jobs.values()} == {0}
    assert name == "sweep-figure1-learning_rate-max_tokens_48-warmup_steps_0"  # another fixed value is another sweep


def test_two_parameters_are_a_grid_whose_first_values_are_the_reference():
    name, recipe = made(length_alpha="0,0.05", wrong_reward="-1.0,0")
    jobs = trained(name, recipe)
    pairs = [(job.parameters["length_alpha"], job.parameters["wrong_reward"]) for job in jobs.values()]
    assert sorted(pairs) == [(0, -1), (0, 0), (0.05, -1), (0.05, 0)]
    figures = recipes.plan(name, "tiny", [0], made=recipe)[-1]
    assert figures.parameters["reference"] == "length_alpha_0-wrong_reward_-1"


def test_an_arm_of_the_recipe_gives_what_all_runs_share():
    jobs = trained(*made("figure1/length", length_alpha="0,0.05"))
    assert {job.parameters["weight_high"] for job in jobs.values()} == {1.0}
    assert {job.parameters["length_alpha"] for job in jobs.values()} == {0, 0.05}


@pytest.mark.parametrize(
    "name, text, labels",
    [
        ("estimator", "lead(length_alpha=0.1,wrong_reward=0),grpo", ["lead(length_alpha=0.1,wrong_reward=0)", "grpo"]),
        ("rewards", '[["correct"], ["correct", "format"]]', ['["correct"]', '["correct", "format"]']),
        ("schedule", "constant, cosine", ["constant", "cosine"]),
        ("template", '["a, b", "c"]', ["a, b", "c"]),
        ("rewards", "correct", ['["correct"]']),
        ("learning_rate", "1e-6, 1.50", ["1e-06", "1.5"]),
    ],
)
def test_a_text_is_split_where_a_value_ends(name, text, labels):
    declared = sweep.read_parameters(sweep.find_notebook("03_grpo"))
    assert list(sweep._list_values(name, text, declared)) == labels


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"length_alfa": "0,1"}, "did you mean 'length_alpha'"),
        ({"length_alpha": "0,much"}, "'length_alpha' must be float, got 'much'"),
        ({"length_alpha": "0,nan"}, "expected a finite number"),
        ({"length_alpha": "0,0.0"}, "names '0' twice"),
        ({"template": "Solve {problem}, please."}, "does not show where a value ends"),
        ({"length_alpha": "0,,1"}, "does not show where a value ends"),
        ({"length_alpha": "0.1"}, "0 parameters have several values"),
        ({"rewards": "correct,format"}, 'write JSON, as in [["correct"], ["correct", "format"]]'),
        ({"rewards": '["correct", "format"]'}, "write JSON"),
        ({"seed": "0,1"}, "parameters of 03_grpo: no 'seed' here"),
        ({"estimator": "lead(length_alpha=0.1),grpo", "length_alpha": "0,1"}, "set one argument twice"),
        ({"length_alpha": "0,1", "beta": "0,1", "steps": "1,2"}, "3 parameters have several values"),
    ],
)
def test_what_is_ambiguous_or_misspelt_is_refused_in_one_sentence(parameters, sentence):
    with pytest.raises(InputError) as error:
        made(**parameters)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["02_sft", "-p", "steps", "1,2"], "recipe figure1 runs 02_sft for each arm in 0 stages"),
        (["03_grpo", "-p", "group_size", "7,8"], "group_size must divide batch_size"),
        (["03_grpo", "-p", "clip_low", "0.2,-0.1"], "clip_low is -0.1, expected 0 or more"),
        (["03_grpo", "-p", "estimator", "lead,grop"], "estimator is 'grop'"),
        (
            ["03_grpo", "-p", "length_alpha", "0,1", "-p", "estimator", "grpo"],
            "length_alpha_0 and length_alpha_1 are the same run here",
        ),
        (["03_grpo", "-p", "length_alpha", "0", "-p", "length_alpha", "1"], "length_alpha is there twice"),
    ],
)
def test_a_sweep_that_its_runs_would_refuse_does_not_start(words, sentence, capsys):
    assert cli.main(["sweep", *words, "--dry-run"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_dry_run_prints_the_runs_of_the_sweep(capsys):
    words = ["sweep", "03_grpo", "-p", "length_alpha", "0,0.02,0.05,0.1,0.2", "--seeds", "0,1,2,3,4", "--dry-run"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "grpo: 25 runs" in out and "-p length_alpha 0.0" in out and "and 24 more" in out

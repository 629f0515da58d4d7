"""Control arms: every recipe that trains by rewards can train on one that says nothing about accuracy."""

import pytest

from lead_kit.errors import InputError
from lead_kit.launch import recipe_model, recipes
from lead_kit.method.named_estimators import ESTIMATORS

NAMES = sorted(path.stem for path in recipe_model.EXPERIMENTS.glob("recipes/*.yaml"))
TRAINING = [name for name in NAMES if name != "reflection_lora"]  # that one is SFT alone


@pytest.mark.parametrize("name", TRAINING)
def test_every_recipe_that_trains_by_rewards_has_both_controls(name):
    recipe = recipe_model.load_recipe(name)
    jobs = [job for job in recipes.plan(name, "tiny", [3], ["random"]) if job.notebook.stem == recipe_model.TRAINING]
    assert jobs and all(job.arm == "random" and job.seed == 3 for job in jobs)
    for job in jobs:
        assert job.parameters["rewards"] == ["random", "correct"] and job.parameters["reward_weights"] == [1.0, 0.0]
        assert job.parameters["estimator"] not in ESTIMATORS
        assert recipes.settled(job)["group_filter"] == "every_group" and recipes.settled(job)["refill_batches"] == 0
        assert job.parameters["seed"] == 3  # also that of the random reward
    assert recipe.arms["format_only"].optional


def test_a_control_is_the_first_arm_with_another_reward():
    """reflection_7b's first arm starts from the base model, which stands in the arm."""
    arms = recipe_model.load_recipe("reflection_7b").arms
    assert arms["random"].stages["grpo"] == arms["grpo"].stages["grpo"] | {
        "rewards": ["random", "correct"],
        "reward_weights": [1.0, 0.0],
    }
    lead = recipe_model.load_recipe("grpo_lead_14b").arms["random"].stages
    assert all(lead[stage]["estimator"] == "grpo" for stage in ("stage1", "stage2", "stage2_length"))


def test_plus_controls_adds_them_to_the_usual_or_the_named_arms():
    def arms_of(*asked):
        return list(
            dict.fromkeys(job.arm for job in recipes.plan("figure1", "tiny", [0], list(asked) or None) if job.arm)
        )

    usual = ["grpo", "length", "length_reweighting", "lead"]
    assert arms_of() == usual
    assert arms_of("+controls") == [*usual, "random", "format_only"]
    assert arms_of("length", "+controls") == ["length", "random", "format_only"]
    with pytest.raises(InputError, match=r"no '\+control' here .did you mean '\+controls'"):
        arms_of("+control")
    with pytest.raises(InputError, match="this recipe trains no arm by rewards"):
        recipes.plan("reflection_lora", "tiny", [0], ["+controls"])


def test_a_recipes_own_arm_of_that_name_stays():
    stages = {"grpo": {"notebook": "03_grpo", "per": ["arm"], "arms": ["a"]}}
    arms = {"a": {"label": "A"}, "random": {"label": "mine"}}
    recipe = recipe_model._with_controls(recipe_model.Recipe(arms=arms, stages=stages))
    assert recipe.arms["random"].label == "mine" and "format_only" in recipe.arms
    assert recipe.stages["grpo"].arms == ["a", "format_only"]
    assert recipe_model._with_controls(recipe_model.Recipe(stages=stages)).arms == {}

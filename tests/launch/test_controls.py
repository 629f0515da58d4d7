"""Control arms: the recipes of the figures can train on a reward that says nothing about accuracy."""

import pytest

from lead_kit.launch import recipe_model, recipes


@pytest.mark.parametrize("name", ["figure1", "figure_reflection", "figure_smollm2"])
@pytest.mark.parametrize("control", ["random", "format_only"])
def test_a_control_arm_trains_on_its_reward_alone_and_logs_accuracy(name, control):
    (job,) = [j for j in recipes.plan(name, "tiny", [3], [control]) if j.notebook.stem == recipe_model.TRAINING]
    assert recipe_model.load_recipe(name).arms[control].optional and job.arm == control
    assert job.parameters["rewards"] == [control, "correct"] and job.parameters["reward_weights"] == [1.0, 0.0]
    assert job.parameters["estimator"] == "grpo" and recipes.settled(job)["group_filter"] == "every_group"
    assert job.parameters["seed"] == 3  # also that of the random reward

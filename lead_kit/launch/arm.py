"""What one arm of a recipe gives to training: the parameters by which a replay takes it as a variant."""

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.launch.recipes import TRAINING, load_recipe, refuse_unknown


def training_parameters(text: str) -> dict:
    """The parameters of 03_grpo in the arm that RECIPE/ARM names, or RECIPE/ARM/STAGE where it trains in stages.

    Raises InputError for an unknown recipe, arm or stage, and where several stages train.
    """
    recipe_name, _, rest = text.partition("/")
    arm, _, stage = rest.partition("/")
    recipe = load_recipe(recipe_name)
    refuse_unknown([arm], recipe["arms"], f"recipe {recipe_name}, arms")
    stages = {
        name: content
        for name, content in recipe["stages"].items()
        if content["notebook"] == TRAINING and arm in content.get("arms", [arm])
    }
    if stage and stage not in stages:
        raise InputError(f"{text}: no training stage {stage!r}{nearest_or_all(stage, stages)}")
    if not stages:
        raise InputError(f"{text}: this arm trains nothing")
    if len(stages) > 1 and not stage:
        raise InputError(
            f"{text}: this arm trains in the stages {', '.join(stages)}: name one, as in {text}/{min(stages)}"
        )
    stage = stage or next(iter(stages))
    return stages[stage].get("parameters", {}) | recipe["arms"][arm].get(stage, {})

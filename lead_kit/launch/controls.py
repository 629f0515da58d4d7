"""Control arms: what remains of a gain when the reward says nothing about accuracy (Spurious Rewards, 2506.10947).

Every recipe that trains by arms gets two optional ones, `random` and `format_only`. They are its first arm with that
reward alone, plain GRPO where the arm's estimator reads accuracy itself, and no rule that drops groups by accuracy.
Accuracy is logged with weight 0.
"""

from lead_kit.errors import InputError
from lead_kit.method.named_estimators import ESTIMATORS, name_of

_CONTROLS = {"random": "control: random reward", "format_only": "control: reward for a box alone"}
ALL = "+controls"  # in --arms: the named arms, or the usual ones, and the controls
_BY_ACCURACY = {"group_shape": "none", "group_weight": "none", "keep": "every_group", "refill_batches": 0}


def with_controls(recipe: dict, training: str) -> dict:
    """The recipe with the control arms that it does not define; `training` is the notebook that trains by rewards."""
    stages = [s for s, one in recipe["stages"].items() if one["notebook"] == training and "arm" in one.get("per", [])]
    usual = [name for name, arm in recipe["arms"].items() if not arm.get("optional")]
    if not stages or not usual:
        return recipe
    first, arms = recipe["arms"][usual[0]], dict(recipe["arms"])
    for name, label in _CONTROLS.items():
        if name not in arms:
            arms[name] = {stage: first[stage] for stage in recipe["stages"] if stage in first}
            arms[name] |= {stage: _training_values(recipe, stage, first, name) for stage in stages}
            arms[name] |= {"label": label, "optional": True, "control": True}
    return recipe | {"arms": arms, "stages": {s: opened(one, usual[0], arms) for s, one in recipe["stages"].items()}}


def _training_values(recipe: dict, stage: str, first: dict, reward: str) -> dict:
    """What a control sets in a training stage, beside what the first arm sets there."""
    own = dict(first.get(stage, {}))
    given = recipe["stages"][stage].get("parameters", {}) | own
    if name_of(str(given.get("estimator", "lead"))) in ESTIMATORS:  # it has a shape or a weight
        own["estimator"] = "grpo"
    own |= {name: value for name, value in _BY_ACCURACY.items() if given.get(name)}
    return own | {"rewards": [reward, "correct"], "reward_weights": [1.0, 0.0]}


def opened(stage: dict, first: str, arms: dict) -> dict:
    """The stage for the control arms, too, where it names the first arm among its own."""
    if first not in stage.get("arms", []):
        return stage
    return stage | {"arms": [*stage["arms"], *(name for name, arm in arms.items() if arm.get("control"))]}


def expanded(arms: list[str] | None, recipe: dict) -> list[str]:
    """The arms that --arms names: all that are not optional by default, and the controls with `+controls`.

    Raises InputError where controls are asked for and the recipe has none.
    """
    usual = [name for name, arm in recipe["arms"].items() if not arm.get("optional")]
    named = [arm for arm in arms or [] if arm != ALL] or usual
    if ALL in (arms or []) and not set(_CONTROLS) & set(recipe["arms"]):
        raise InputError(f"--arms {ALL}: this recipe trains no arm by rewards, so it has no control arms")
    asked = [name for name in _CONTROLS if name in recipe["arms"]] if ALL in (arms or []) else []
    return named + [name for name in asked if name not in named]

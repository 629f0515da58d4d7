"""The estimators of the papers by name: which shape, baseline and weight each of them combines.

Only names and numbers, without torch, so that `lead reproduce` estimates memory quickly. estimators.py binds them.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Parts(NamedTuple):
    """The three choices of a named estimator, and its source."""

    shape: str  # a name of SHAPES
    baseline: str  # a name of BASELINES
    weight: str  # a name of WEIGHTS
    source: str


ESTIMATORS = {  # every baseline alone is also an estimator
    "lead": Parts("lead", "grpo", "difficulty", "GRPO-LEAD (2504.09696, §2.1–2.3)"),
    "lead_code": Parts("lead_code", "grpo_verl", "difficulty_code", "GRPO-LEAD, released code"),
    "grpo_majority": Parts(
        "majority", "grpo", "none", "control: GRPO with the group's majority answer (TTRL, 2504.16084)"
    ),
    "grpo_alp": Parts("alp", "grpo", "none", "GRPO with the adaptive length penalty ALP (2506.05256)"),
    "grpo_kimi": Parts("kimi", "grpo", "none", "GRPO with the length reward of Kimi k1.5 (2501.12599, §2.3.3)"),
}
KL_PRICE_ARGUMENT = {"whitened": "kl_reward_coef"}  # baselines that subtract the KL of every token, times this argument


def name_of(text: str) -> str:
    """The name in `name` or `name(argument=literal, ...)`."""
    return text.partition("(")[0].strip()


def needs_reference(parameters: Mapping) -> bool:
    """Whether the chosen baseline uses the KL of every token to the start, and so needs a frozen copy of the model."""
    name = name_of(parameters.get("estimator", ""))
    baseline = parameters.get("group_baseline") or (ESTIMATORS[name].baseline if name in ESTIMATORS else name)
    price = KL_PRICE_ARGUMENT.get(name_of(baseline))
    return bool(price and parameters.get(price))

"""The estimators of the papers: a shape, a baseline and a weight, applied in this order with their parameters bound.

Importing it does not import torch, so that `lead reproduce` estimates memory quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from lead_kit.errors import InputError, lookup
from lead_kit.method.advantages import BASELINES, REPLACE_CORRECT, SHAPES, UNSHAPED, WEIGHTS, Group
from lead_kit.parameters import call_name, select_function, with_user_functions

if TYPE_CHECKING:
    from torch import Tensor


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


class Estimate(NamedTuple):
    """Three bound functions applied in turn: a Group in, one advantage a rollout out."""

    shape: Callable[[Group], Tensor]
    baseline: Callable[[Group], Tensor]
    weight: Callable[[Tensor, Group], Tensor]

    def steps(self, group: Group) -> tuple[Group, Tensor, Tensor]:
        """The group with its shaped reward, the advantage before the weight, and the advantage."""
        shaped = group._replace(reward=self.shape(group))
        before = self.baseline(shaped)
        return shaped, before, self.weight(before, shaped)

    def __call__(self, group: Group) -> Tensor:
        return self.steps(group)[-1]

    def __repr__(self) -> str:
        return "\n".join(f"{part:9}{function!r}" for part, function in self._asdict().items())


def bind_estimator(config: Mapping, user_functions: Mapping[str, Callable] = MappingProxyType({})) -> Estimate:
    """The estimator that the parameters name, with its arguments bound from them.

    `config` holds `estimator` (a name of ESTIMATORS or of a baseline) and the arguments of the parts; `group_shape`,
    `group_baseline` and `group_weight` replace a part. A name of `user_functions` is a baseline without shape and
    weight. Raises InputError for an unknown name, a missing argument, or incompatible parts.

    >>> bind_estimator({"estimator": "rloo", "group_shape": "kimi", "kimi_weight": 0.5}).shape
    kimi(kimi_weight=0.5)
    """
    text = config["estimator"]
    baselines = with_user_functions(BASELINES, user_functions, "estimator")
    alone = {name: Parts("none", text, "none", "") for name in baselines}
    parts = lookup(with_user_functions(ESTIMATORS, alone, "estimator"), call_name(text, "estimator"), "estimator")
    if call_name(text, "estimator") in ESTIMATORS and text != call_name(text, "estimator"):
        raise InputError(f"estimator {text!r}: {call_name(text, 'estimator')} takes its arguments from the parameters")
    choice = {part: config.get(f"group_{part}") or getattr(parts, part) for part in ("shape", "baseline", "weight")}
    if choice["baseline"] in UNSHAPED and choice["shape"] != "none":
        reason = f"{choice['baseline']} {UNSHAPED[choice['baseline']]}"
        raise InputError(f"group_shape is {choice['shape']!r}, but {reason}: set it to none")
    tables = {"shape": SHAPES, "baseline": BASELINES, "weight": WEIGHTS}
    tables = {part: with_user_functions(table, user_functions, f"group_{part}") for part, table in tables.items()}
    return Estimate(
        **{part: select_function(name, tables[part], f"group_{part}", config) for part, name in choice.items()}
    )


def require_correct(estimator: Estimate, weights: Mapping[str, float]) -> None:
    """Raises InputError where the shape replaces the reward `correct` and that reward does not have weight 1."""
    if estimator.shape.__name__ in REPLACE_CORRECT and weights.get("correct") != 1:
        raise InputError(
            f"group_shape {estimator.shape.__name__!r} replaces the reward 'correct', which must have weight 1, but "
            f"rewards and reward_weights are {dict(weights)}"
        )


def needs_reference(parameters: Mapping) -> bool:
    """Whether the chosen baseline uses the KL of every token to the start, and so needs a frozen copy of the model."""
    name, baseline = (parameters.get(part, "").partition("(")[0].strip() for part in ("estimator", "group_baseline"))
    baseline = baseline or (ESTIMATORS[name].baseline if name in ESTIMATORS else name)
    return baseline in KL_PRICE_ARGUMENT and bool(parameters.get(KL_PRICE_ARGUMENT[baseline]))

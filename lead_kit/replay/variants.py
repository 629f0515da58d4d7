"""The variants: arms of recipes, named estimators with parameters, your own; and the advantages that each gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from lead_kit.errors import InputError
from lead_kit.method.advantages import BASELINES, BATCH_WIDE, GROUP_FILTERS, Group, every_group, no_shape, rollouts_kept
from lead_kit.method.estimators import KL_PRICE_ARGUMENT, Estimate, bind_estimator, require_correct
from lead_kit.method.rewards import bind_rewards
from lead_kit.parameters import Parameter, convert_values, read_call, select_function
from lead_kit.replay.groups import Block, MissingField, RecordedGroup, Rollouts, group_of
from lead_kit.replay.recompute_rewards import computed, rollouts_of

RECORDED, TRAINED = "as recorded", "as trained"
SHAPE = "shape"  # the part of a reward that depends on the group, such as a length term
_MEANINGS = {
    "length": "the tokens of each rollout (-p length_unit characters lets characters stand in)",
    "truncated": "whether each rollout was cut off (-p end_marker TEXT names what a complete one holds)",
    "correct": "the accuracy of each rollout (-p golds FILE, or -p columns correct=COLUMN)",
    "components": "each reward alone (-p recorded_rewards, or -p columns reward_NAME=COLUMN)",
    "weights": "each reward alone (-p recorded_rewards, or -p columns reward_NAME=COLUMN)",
    "mask": "the mask of generated tokens",
    "kl": "the log-probabilities of policy and reference",
    "greedy": "the reward of a greedy completion of each prompt",
    "energy": "the squared norm of the logits' gradient at each token",
    "answer": "classes of equal answers, which only a run computes",
}


class Variant(NamedTuple):
    """An estimator, a group filter and, where they are not those of the record, rewards."""

    name: str
    estimate: Estimate
    group_filter: Callable[[Group], torch.Tensor]
    rewards: list[str] | None  # with arguments; None: as recorded
    weights: list[float]
    user_functions: Mapping[str, Callable]


class Outcome(NamedTuple):
    """What a variant makes of the record; (rollouts,) arrays are 0 outside of groups."""

    variant: Variant
    parts: dict[str, np.ndarray]  # the rewards by name, unweighted, and SHAPE: what the shape adds to their sum
    weights: dict[str, float]
    advantage: np.ndarray  # 0 in dropped groups
    kept: np.ndarray  # booleans


def read_variant(
    text: str, declared: Mapping[str, Parameter], arm: Callable[[str], dict], user_functions: Mapping[str, Callable]
) -> Variant:
    """The variant that a text names: RECIPE/ARM, or an estimator with parameters of 03_grpo, as in
    `lead(length_alpha=0.1, group_filter="mixed_groups")`. `label` renames it. `arm` gives the parameters of a
    recipe's arm.

    Raises InputError for an unknown name, parameter or value.
    """
    name, arguments = read_call(text, "variants")
    label = str(arguments.pop("label", text))
    of_arm = "/" in name and ".py" not in name
    config = {parameter: one.default for parameter, one in declared.items()}
    config |= convert_values(arm(name), declared) if of_arm else {"estimator": name}
    config |= convert_values(arguments, declared)
    chosen, rewards, weights = of_arm or "rewards" in arguments, config["rewards"], config["reward_weights"]
    if chosen and len(rewards) != len(weights):
        if "reward_weights" in arguments:
            raise InputError(f"variants, {label}: {len(weights)} reward_weights for {rewards}")
        config["reward_weights"] = [1.0] * len(rewards)
    return _bound(label, config, list(rewards) if chosen else None, user_functions)


def _bound(name: str, config: Mapping, rewards: list[str] | None, user_functions: Mapping[str, Callable]) -> Variant:
    """The variant of a configuration of 03_grpo."""
    group_filter = select_function(config["group_filter"], GROUP_FILTERS, "group_filter")
    estimate = bind_estimator(config, user_functions)
    return Variant(name, estimate, group_filter, rewards, list(config["reward_weights"]), user_functions)


def read_variants(
    texts: Sequence[str],
    declared: Mapping[str, Parameter],
    arm: Callable,
    user_functions: Mapping,
    trained: Mapping | None = None,
) -> list[Variant]:
    """The recorded rewards under GRPO's z-score first; then, for one run of the kit, as it was `trained` (unless by an
    estimator of the user's own, whose file may have changed); then those that are named. Raises InputError for a name
    twice.
    """
    variants = [read_variant(f"grpo(label={RECORDED!r})", declared, arm, user_functions)]
    parts = ("estimator", "group_shape", "group_baseline", "group_weight", "group_filter")
    trained = trained or {}
    if "estimator" in trained and not any(":" in str(trained.get(part)) for part in parts):
        config = {name: trained.get(name, one.default) for name, one in declared.items()}
        variants.append(_bound(TRAINED, config, None, user_functions))
    variants += [read_variant(text, declared, arm, user_functions) for text in texts]
    names = [variant.name for variant in variants]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"variants names {twice[0]!r} twice; label=... gives a variant another name")
    return variants


def _without_unused(estimate: Estimate, group: RecordedGroup) -> tuple[Estimate, RecordedGroup]:
    """The estimator and the group where a parameter of 0 makes a field irrelevant, so that it need not be recorded.

    With length_alpha 0 the length reward is 1 for any length; with a price of 0 the KL costs nothing for any KL.
    """
    shape, baseline = estimate.shape, estimate.baseline
    if getattr(shape, "keywords", {}).get("length_alpha") == 0:
        zero = torch.zeros_like(group.reward)
        estimate = estimate._replace(shape=lambda group: shape(group._replace(length=zero)))
    price = KL_PRICE_ARGUMENT.get(baseline.__name__)
    if price and not baseline.keywords[price]:
        width = int(group.length.max().item())
        mask = (torch.arange(width) < group.length[..., None]).double()
        group = group._replace(kl=torch.zeros_like(mask), mask=mask)
    return estimate, group


def _rewards_of(variant: Variant, data: Rollouts) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """The total, the unweighted rewards by name, and their weights. Raises InputError naming what the record lacks."""
    if variant.rewards is None:
        if "reward" not in data.fields:
            raise InputError(f"{variant.name}: the record has no reward; name rewards, as in grpo(rewards=['correct'])")
        return data.fields["reward"], data.parts, {name: data.weights[name] for name in data.parts}
    correct, parts, rollouts, where = data.fields.get("correct"), {}, None, np.flatnonzero(data.in_groups)
    graded = correct is not None and not np.isnan(correct[where]).any()
    for text in variant.rewards:
        if text == "correct" and graded:
            parts[text] = correct
        elif text in data.parts:
            parts[text] = data.parts[text]
        else:
            rollouts = rollouts or rollouts_of(data.frame.iloc[where], None if correct is None else correct[where])
            ((name, score),) = bind_rewards([text], variant.user_functions).items()
            parts[name] = np.full(len(data.frame), np.nan)
            parts[name][where] = computed(name, score, rollouts)
    weights = dict(zip(parts, variant.weights, strict=True))
    return sum(weights[name] * values for name, values in parts.items()), parts, weights


def _blocks_for(estimate: Estimate, data: Rollouts) -> list[Block]:
    """The blocks; for a baseline that looks beyond the group, as one of your own may, a block for each batch.

    Raises ValueError where such a batch has groups of different sizes.
    """
    name = estimate.baseline.__name__
    if name in BASELINES and name not in BATCH_WIDE:
        return data.blocks
    blocks = []
    for block in data.blocks:
        for number in np.unique(block.batch):
            chosen = block.batch == number
            blocks.append(Block(block.rows[chosen], block.batch[chosen]))
    if len({block.batch[0] for block in blocks}) < len(blocks):
        raise ValueError(f"{name} looks at the whole batch, and a batch of the record holds groups of different sizes")
    return blocks


def _advantages(
    estimate: Estimate, group_filter: Callable, data: Rollouts, total: np.ndarray, parts: Mapping, weights: Mapping
) -> np.ndarray:
    """(3, rollouts): the shaped reward, the advantage, and 1 in kept groups."""
    result = np.zeros((3, len(data.frame)))
    data.repetitive()
    for block in _blocks_for(estimate, data):
        bound, group = _without_unused(estimate, group_of(data, block, total, parts, weights))
        shaped, _, advantage = bound.steps(group)
        if advantage.dim() == 3:  # one of each token: their mean over the rollout
            advantage = advantage.sum(-1) / group.length.clamp(min=1)
        kept = rollouts_kept(group_filter(shaped), block.rows.shape[1])
        result[:, block.rows] = np.stack([value.double().numpy() for value in (shaped.reward, advantage, kept)])
    result[1] *= result[2]
    return result


def evaluate(variant: Variant, data: Rollouts) -> Outcome:
    """The advantages of a variant. Raises InputError naming what it needs and the record lacks."""
    if not data.blocks:
        raise InputError(
            "no group of the record has two rollouts with a reward: name the groups with -p columns group=COLUMN or "
            "-p group_size G"
        )
    total, parts, weights = _rewards_of(variant, data)
    if "correct" in data.parts or variant.rewards is not None:
        require_correct(variant.estimate, weights)
    try:
        shaped, advantage, kept = _advantages(variant.estimate, variant.group_filter, data, total, parts, weights)
    except MissingField as error:
        raise InputError(f"{variant.name}: needs {_MEANINGS[error.field]}, which the record lacks") from None
    except ValueError as error:  # an estimator's own word on values that it cannot take, such as maxrl's
        raise InputError(f"{variant.name}: {error}") from None
    if (gap := np.where(data.in_groups, shaped - total, 0.0)).any():
        parts, weights = parts | {SHAPE: gap}, weights | {SHAPE: 1.0}
    return Outcome(variant, parts, weights, advantage, kept > 0)


def evaluate_all(variants: Sequence[Variant], data: Rollouts) -> tuple[dict[str, Outcome], list[str]]:
    """The outcomes that the record allows, by name, and a sentence on each of the others."""
    outcomes, refused = {}, []
    for variant in variants:
        try:
            outcomes[variant.name] = evaluate(variant, data)
        except InputError as error:
            refused.append(f"Not computed: {error}.")
    return outcomes, list(dict.fromkeys(refused))


def advantages_of_parts(outcome: Outcome, data: Rollouts, names: Sequence[str]) -> np.ndarray:
    """(rollouts,): the advantages with the named parts as the only rewards, in the groups that the variant keeps.

    What the shape adds is one part, as it was with all of them.
    """
    total = sum((outcome.weights[name] * outcome.parts[name] for name in names), np.zeros(len(data.frame)))
    alone = {name: values if name in names else 0 * values for name, values in outcome.parts.items() if name != SHAPE}
    estimate = outcome.variant.estimate._replace(shape=no_shape)
    return _advantages(estimate, every_group, data, total, alone, outcome.weights)[1] * outcome.kept

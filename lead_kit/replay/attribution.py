"""Where the gradient comes from: Σ|A| by the groups' accuracy, by reward, by length and over training.

The advantage mass outside mixed groups is Σ|A| of the groups whose answers are all right or all wrong, over Σ|A|:
such advantages carry no information about accuracy. Intervals take groups as clusters.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd

from lead_kit.evaluate import stats
from lead_kit.replay.groups import THIRDS, Block, Rollouts
from lead_kit.replay.variants import Outcome, advantages_of_parts

_MOST_PARTS = 6  # Shapley values need 2^k evaluations


def _share_with_interval(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float, float]:
    """(Σ numerator / Σ denominator, low, high), groups as clusters, within 0 and 1; nan where there is nothing."""
    if not len(denominator) or not denominator.sum() > 0:
        return (np.nan,) * 3
    value, low, high, _ = stats.t_interval(stats.linearised(numerator, denominator))
    return float(value), float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def share_outside_mixed_groups(mass: np.ndarray, groups: pd.DataFrame) -> tuple[float, float, float]:
    """The share of Σ|A| in groups whose accuracies are all equal, with its interval; groups of unknown accuracy out.

    `mass` is Σ|A| of each group, (groups,).
    """
    known = groups["kind"].to_numpy() >= 0
    return _share_with_interval((mass * (groups["kind"].to_numpy() > 0))[known], mass[known])


def over_steps(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """The advantage mass outside mixed groups at each recorded step: run, variant, step, value, low, high."""
    columns, rows = ["run", "variant", "step", "value", "low", "high"], []
    if "step" not in data.groups or data.groups["step"].isna().any():
        return pd.DataFrame(columns=columns)
    for name, outcome in outcomes.items():
        mass = data.group_sums(np.abs(outcome.advantage))
        for (run, step), part in data.groups.groupby(["run", "step"], sort=True):
            value, low, high = share_outside_mixed_groups(mass[part.index], part)
            rows.append({"run": run, "variant": name, "step": step, "value": value, "low": low, "high": high})
    return pd.DataFrame(rows, columns=columns).dropna(subset="value")


def by_reward(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """Σ|A| by part of the reward: Shapley shares (Shapley 1953), which add up to 1.

    v(S) is Σ|A| with the parts in S as the only rewards; a share is the mean over all orders of what the part adds. The
    shape (length term, penalties) counts as a part of its own. v is a sum over groups, which give the intervals.
    """
    rows = []
    for name, outcome in outcomes.items():
        parts, total = list(outcome.parts), data.group_sums(np.abs(outcome.advantage))
        if not total.sum() or len(parts) > _MOST_PARTS:
            continue
        value = {frozenset(): np.zeros(len(total))}
        for size in range(1, len(parts) + 1):
            for chosen in combinations(parts, size):
                value[frozenset(chosen)] = data.group_sums(np.abs(advantages_of_parts(outcome, data, chosen)))
        for part in parts:
            earlier = [frozenset(order[: order.index(part)]) for order in permutations(parts)]
            added = np.mean([value[others | {part}] - value[others] for others in earlier], axis=0)
            bounds = stats.t_interval(stats.linearised(added, total))[:3]
            rows.append({"variant": name, "reward": part} | _named_bounds("Shapley", bounds))
    return pd.DataFrame(rows, columns=["variant", "reward", "Shapley", "Shapley_low", "Shapley_high"])


def variant_table(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """One row a variant; the intervals take groups as clusters. NAME_early and NAME_late: of the first and last third
    of the steps."""
    rows, name = [], "advantage_outside_mixed_groups"
    for variant, outcome in outcomes.items():
        mass, third = data.group_sums(np.abs(outcome.advantage)), data.groups["third"].to_numpy()
        kept = data.group_sums(outcome.kept) > 0
        row = {"variant": variant, "groups": len(mass), "kept": int(kept.sum()), "dropped": int((~kept).sum())}
        row |= {"with advantage": int((mass > 0).sum()), "sum_abs_advantage": mass.sum()}
        row |= _named_bounds(name, share_outside_mixed_groups(mass, data.groups))
        for index, part in ((0, "early"), (2, "late")):
            chosen = third == index
            row[f"{name}_{part}"] = share_outside_mixed_groups(mass[chosen], data.groups[chosen])[0]
        row |= _named_bounds("right_punished", _wrong_way(outcome, data, 1))
        rows.append(row | _named_bounds("wrong_rewarded", _wrong_way(outcome, data, 0)))
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["variant"])


def _named_bounds(name: str, values: Sequence[float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _wrong_way(outcome: Outcome, data: Rollouts, right: int) -> tuple[float, float, float]:
    """In groups with right and wrong answers: the share of right ones with A < 0, or (right 0) of wrong with A > 0."""
    chosen = data.fields.get("correct", np.full(len(data.frame), np.nan)) == right
    against = chosen & (outcome.advantage < 0 if right else outcome.advantage > 0)
    mixed = data.groups["kind"].to_numpy() == 0
    return _share_with_interval(data.group_sums(against)[mixed], data.group_sums(chosen)[mixed])


_NOISE = 1e-9  # an advantage that is smaller than this, beside the variant's largest, is 0


def _mass_moved(first: Outcome, other: Outcome, data: Rollouts) -> tuple[float, float, float]:
    """½ Σ|p − q|, p and q the two variants' shares of |A|: the part of Σ|A| that stands on other rollouts; bounds.
    nan where one of them has no advantage.

    With s the sign of p − q it is ½ (Σ s|A| / Σ|A| of the one − that of the other), whose ratios are linearised.
    """
    masses = [np.abs(outcome.advantage) for outcome in (first, other)]
    if not all(mass.any() for mass in masses):
        return (np.nan,) * 3
    sign = np.sign(masses[0] / masses[0].sum() - masses[1] / masses[1].sum())
    ratios = [stats.linearised(data.group_sums(sign * mass), data.group_sums(mass)) for mass in masses]
    value, low, high, _ = stats.t_interval((ratios[0] - ratios[1]) / 2)
    return float(value), max(float(low), 0.0), min(float(high), 1.0)


def compare_variants(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """A row for each two variants. `flips`: share of the rollouts in groups whose advantage changes its sign;
    `right_lose` and `wrong_gain`: right answers that go from + to −, wrong ones from − to +, from a to b. `moved`: the
    share of Σ|A| that stands on other rollouts. `flips` and `moved` have intervals, groups as clusters.
    """
    correct = data.fields.get("correct", np.full(len(data.frame), np.nan))
    sign, size, rows = {}, data.groups["size"].to_numpy(float), []
    for name, outcome in outcomes.items():
        large = np.abs(outcome.advantage) > _NOISE * np.abs(outcome.advantage).max(initial=0)
        sign[name] = np.where(large, np.sign(outcome.advantage), 0)
    for a, b in combinations(outcomes, 2):
        flips = sign[a] * sign[b] < 0
        row = {"a": a, "b": b} | _named_bounds("flips", _share_with_interval(data.group_sums(flips), size))
        row |= {"right_lose": int((flips & (correct == 1) & (sign[b] < 0)).sum())}
        row |= {"wrong_gain": int((flips & (correct == 0) & (sign[b] > 0)).sum())}
        rows.append(row | _named_bounds("moved", _mass_moved(outcomes[a], outcomes[b], data)))
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["a", "b", "flips", "right_lose", "wrong_gain"])


def separation(outcome: Outcome, data: Rollouts) -> pd.DataFrame:
    """Does a part still separate right from wrong? reward, steps, groups, separation, low, high.

    Separation is the share of pairs (right, wrong) of one group in which the right answer's part is higher, ties half:
    1 separates, .5 says nothing, below .5 the wrong answers have the higher reward. Groups are clusters.
    """
    rows, correct = [], data.fields.get("correct")
    for name, values in outcome.parts.items() if correct is not None else ():
        if name == "correct" or not any(np.ptp(values[block.rows]) for block in data.blocks):
            continue
        signed = values * np.sign(outcome.weights[name] or 1.0)
        wins, pairs = np.concatenate([_pairwise_wins(signed, correct, block) for block in data.blocks], axis=1)
        for index, third in enumerate(("all", *THIRDS)):
            chosen = (pairs > 0) & ((data.groups["third"] == index - 1) if index else True)
            value, low, high = _share_with_interval(wins[chosen], pairs[chosen])
            row = {"reward": name, "steps": third, "groups": int(chosen.sum())}
            rows.append(row | {"separation": value, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["reward", "steps", "groups", "separation", "low", "high"]).dropna()


def _pairwise_wins(values: np.ndarray, correct: np.ndarray, block: Block) -> np.ndarray:
    """(2, groups): pairs (right, wrong) won by the right answer, ties as half, and their number."""
    value, right = values[block.rows], correct[block.rows] == 1
    pair = right[:, :, None] & (correct[block.rows] == 0)[:, None, :]
    gap = value[:, :, None] - value[:, None, :]
    wins = np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0)) * pair
    return np.array([wins.sum((1, 2)), pair.sum((1, 2))])

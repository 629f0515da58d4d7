"""Where the gradient comes from: Σ|A| by the groups' accuracy, by reward, by length and over training.

The advantage mass outside mixed groups is Σ|A| of the groups whose answers are all right or all wrong, over Σ|A|:
such advantages carry no information about accuracy. Intervals take groups as clusters.
"""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lead_kit.evaluate import stats
from lead_kit.replay.groups import KINDS, THIRDS, Rollouts
from lead_kit.replay.variants import LENGTH_NORMALISED, SHAPE, Outcome, advantages_of_parts

_MOST_PARTS = 6  # Shapley values need 2^k evaluations
_MASS = "share of Σ|A|"


def share_with_interval(numerator: np.ndarray, denominator: np.ndarray) -> tuple[float, float, float]:
    """(Σ numerator / Σ denominator, low, high), groups as clusters, within 0 and 1; nan where there is nothing."""
    if not len(denominator) or not denominator.sum() > 0:
        return (np.nan,) * 3
    value, low, high, _ = stats.t_interval(numerator, denominator)
    return float(value), float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def _named_ratio(name: str, numerator: np.ndarray, denominator: np.ndarray) -> dict[str, float]:
    """Σ numerator / Σ denominator by its name, and its bounds with groups as clusters; nan where there is nothing."""
    if not len(denominator) or not denominator.sum() > 0:
        return _named_bounds(name, (np.nan,) * 3)
    return _named_bounds(name, tuple(float(one) for one in stats.t_interval(numerator, denominator)[:3]))


def _token_weight(outcome: Outcome, data: Rollouts) -> np.ndarray | None:
    """The weight of a rollout in the variant's loss, beside A; None where it needs lengths that are not recorded."""
    if outcome.variant.loss_type in LENGTH_NORMALISED:
        return np.ones(len(data.frame))
    length = data.fields.get("length")
    if length is None or outcome.variant.loss_type != "prompt_mean":
        return length
    weight = np.ones(len(length))
    for block in data.blocks:
        weight[block.rows] = length[block.rows] / length[block.rows].mean(1, keepdims=True).clip(1)
    return weight


def masses_of_groups(outcome: Outcome, data: Rollouts) -> tuple[np.ndarray, np.ndarray | None]:
    """(groups,): Σ|A| of each group, and Σ|A| as the variant's loss weighs it (None without lengths)."""
    size, weight = np.abs(outcome.advantage), _token_weight(outcome, data)
    return data.group_sums(size), None if weight is None else data.group_sums(size * weight)


def share_outside_mixed_groups(mass: np.ndarray, groups: pd.DataFrame) -> tuple[float, float, float]:
    """The share of Σ|A| in groups whose accuracies are all equal, with its interval; groups of unknown accuracy out."""
    known = groups["kind"].to_numpy() >= 0
    return share_with_interval((mass * (groups["kind"].to_numpy() > 0))[known], mass[known])


def by_kind(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """Σ|A| split by the accuracy of the groups: all of the record, then each third. variant, part, kind, share, …"""
    rows = []
    for name, outcome in outcomes.items():
        mass = masses_of_groups(outcome, data)[0]
        for part in ("all", *THIRDS):
            chosen = np.ones(len(mass), bool) if part == "all" else data.groups["third"] == THIRDS.index(part)
            chosen &= data.groups["kind"] >= 0
            for index, kind in enumerate(KINDS):
                of_kind = (data.groups["kind"] == index)[chosen]
                value, low, high = share_with_interval(mass[chosen] * of_kind, mass[chosen])
                row = {"variant": name, "steps": part, "groups are": kind, "groups": int(of_kind.sum())}
                rows.append(row | {"share of Σ|A|": value, "low": low, "high": high})
    columns = ["variant", "steps", "groups are", "groups", "share of Σ|A|", "low", "high"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="share of Σ|A|")


def over_steps(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """The advantage mass outside mixed groups at each recorded step: run, variant, step, value, low, high."""
    columns, rows = ["run", "variant", "step", "value", "low", "high"], []
    if "step" not in data.groups or data.groups["step"].isna().any():
        return pd.DataFrame(columns=columns)
    for name, outcome in outcomes.items():
        mass = masses_of_groups(outcome, data)[0]
        for (run, step), part in data.groups.groupby(["run", "step"], sort=True):
            value, low, high = share_outside_mixed_groups(mass[part.index], part)
            rows.append({"run": run, "variant": name, "step": step, "value": value, "low": low, "high": high})
    return pd.DataFrame(rows, columns=columns).dropna(subset="value")


def by_reward(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """Σ|A| by part of the reward: leave-one-out and Shapley shares, which for Shapley add up to 1.

    v(S) is Σ|A| with the parts in S as the only rewards. Leave-one-out: v(all) − v(all but it). Shapley: the mean over
    all orders of what the part adds. The shape (length term, penalties) counts as a part of its own. Both are sums
    over groups, which give their intervals.
    """
    rows = []
    for name, outcome in outcomes.items():
        parts, total = list(outcome.parts), masses_of_groups(outcome, data)[0]
        if not total.sum() or len(parts) > _MOST_PARTS:
            continue
        value = {(): np.zeros(len(total))}
        for size in range(1, len(parts) + 1):
            for chosen in combinations(parts, size):
                value[chosen] = data.group_sums(np.abs(advantages_of_parts(outcome, data, chosen)))
        of_all = value[tuple(parts)]
        for part in parts:
            others = tuple(other for other in parts if other != part)
            row = {"variant": name, "reward": part} | _named_ratio("leave-one-out", of_all - value[others], total)
            rows.append(row | _named_ratio("Shapley", _shapley(part, parts, value), total))
    columns = ["variant", "reward", "leave-one-out", "leave-one-out_low", "leave-one-out_high"]
    return pd.DataFrame(rows, columns=[*columns, "Shapley", "Shapley_low", "Shapley_high"])


def _shapley(part: str, parts: list[str], value: Mapping[tuple, np.ndarray]) -> np.ndarray:
    """(groups,): Σ over the sets S without the part of |S|! (k − 1 − |S|)! / k! (v(S and it) − v(S)) (Shapley 1953)."""
    others, count, total = [other for other in parts if other != part], len(parts), np.zeros_like(value[()])
    for size in range(count):
        weight = factorial(size) * factorial(count - 1 - size) / factorial(count)
        for chosen in combinations(others, size):
            joined = tuple(one for one in parts if one in chosen or one == part)
            total += weight * (value[joined] - value[chosen])
    return total


def _shape_changes(outcome: Outcome, data: Rollouts) -> dict[str, float]:
    """Σ|A − A without the shape| / Σ|A|: what the length term and other shapes change; 0 without a shape."""
    plain = outcome.advantage
    if SHAPE in outcome.parts:
        plain = advantages_of_parts(outcome, data, [name for name in outcome.parts if name != SHAPE])
    return _named_ratio(
        "changed_by_shape", data.group_sums(np.abs(outcome.advantage - plain)), masses_of_groups(outcome, data)[0]
    )


def variant_table(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """One row a variant; the intervals take groups as clusters. changed_by_weight is Σ|A − A before the weight| over
    Σ|A before the weight|.
    """
    rows, correct = [], data.fields.get("correct")
    for name, outcome in outcomes.items():
        mass, weighed = masses_of_groups(outcome, data)
        kept = data.group_sums(outcome.kept.astype(float)) > 0
        row = {"variant": name, "groups": len(mass), "kept": int(kept.sum()), "dropped": int((~kept).sum())}
        row |= {"with advantage": int((mass > 0).sum()), "sum_abs_advantage": mass.sum()}
        row["effective_groups"] = mass.sum() ** 2 / max((mass**2).sum(), 1e-300)
        row |= _named_bounds("advantage_outside_mixed_groups", share_outside_mixed_groups(mass, data.groups))
        nothing = (np.nan,) * 3
        row |= _named_bounds(
            "share_as_the_loss_weighs", nothing if weighed is None else share_outside_mixed_groups(weighed, data.groups)
        )
        row |= _named_bounds("right_punished", _wrong_way(outcome, data, correct, 1))
        row |= _named_bounds("wrong_rewarded", _wrong_way(outcome, data, correct, 0))
        weighed = data.group_sums(np.abs(outcome.advantage - outcome.before))
        row |= _shape_changes(outcome, data) | _named_ratio(
            "changed_by_weight", weighed, data.group_sums(np.abs(outcome.before))
        )
        rows.append(row)
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["variant"])


def _named_bounds(name: str, values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _wrong_way(outcome: Outcome, data: Rollouts, correct, right: int) -> tuple[float, float, float]:
    """In groups with right and wrong answers: the share of right ones with A < 0, or (right 0) of wrong with A > 0."""
    if correct is None:
        return (np.nan,) * 3
    chosen = correct == right
    against = chosen & (outcome.advantage < 0 if right else outcome.advantage > 0)
    mixed = data.groups["kind"].to_numpy() == 0
    return share_with_interval(
        data.group_sums(against.astype(float))[mixed], data.group_sums(chosen.astype(float))[mixed]
    )


_NOISE = 1e-9  # an advantage that is smaller than this, beside the variant's largest, is 0


def _signs(outcome: Outcome) -> np.ndarray:
    """−1, 0 or 1 for each rollout."""
    largest = np.abs(outcome.advantage).max(initial=0)
    return np.where(np.abs(outcome.advantage) > _NOISE * largest, np.sign(outcome.advantage), 0)


def _centred_ranks(outcome: Outcome, data: Rollouts) -> list[np.ndarray]:
    """For each block (groups, size): ranks inside the group minus their mean; ties share a rank."""
    step = _NOISE * max(np.abs(outcome.advantage).max(initial=0), 1e-300)
    blocks = [rankdata(np.round(outcome.advantage[block.rows] / step) * step, axis=1) for block in data.blocks]
    return [ranks - ranks.mean(1, keepdims=True) for ranks in blocks]


def rank_correlation(first: list[np.ndarray], other: list[np.ndarray]) -> dict[str, float]:
    """Spearman's correlation inside groups: its mean over the groups in which both variants rank anything, bounds."""
    correlations = []
    for a, b in zip(first, other, strict=True):
        spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
        correlations.append(((a * b).sum(1) / np.where(spread > 0, spread, 1))[spread > 0])
    correlations = np.concatenate(correlations)
    return _named_ratio("rank_correlation", correlations, np.ones(len(correlations)))


def _mass_moved(first: Outcome, other: Outcome, data: Rollouts) -> dict[str, float]:
    """½ Σ|p − q|, p and q the two variants' shares of |A|: the part of Σ|A| that stands on other rollouts; bounds.

    With s the sign of p − q it is ½ (Σ s|A| / Σ|A| of the one − that of the other), whose ratios are linearised.
    """
    sizes = [np.abs(outcome.advantage) for outcome in (first, other)]
    shares = [size / max(size.sum(), 1e-300) for size in sizes]
    sign, value = np.sign(shares[0] - shares[1]), np.abs(shares[0] - shares[1]).sum() / 2
    pulls = [data.group_sums((sign - (sign * share).sum()) * share) for share in shares]
    interval = stats.t_interval(len(pulls[0]) * (pulls[0] - pulls[1]) / 2)
    half = float(interval.high - interval.estimate)
    return _named_bounds("moved", (float(value), max(value - half, 0.0), min(value + half, 1.0)))


def compare_variants(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """A row for each two variants. `flips`: share of the rollouts in groups whose advantage changes its sign;
    `right_lose` and `wrong_gain`: right answers that go from + to −, wrong ones from − to +, from a to b. `flips`,
    `rank_correlation` and `moved` have intervals, groups as clusters.
    """
    correct = data.fields.get("correct", np.full(len(data.frame), np.nan))
    sign = {name: _signs(outcome) for name, outcome in outcomes.items()}
    ranks = {name: _centred_ranks(outcome, data) for name, outcome in outcomes.items()}
    kept = {name: data.group_sums((sign[name] != 0).astype(float)) > 0 for name in outcomes}
    size, rows = data.groups["size"].to_numpy(float), []
    for a, b in combinations(outcomes, 2):
        flips = sign[a] * sign[b] < 0
        value, low, high = share_with_interval(data.group_sums(flips.astype(float)), size)
        row = {"a": a, "b": b, "flips": value, "flips_low": low, "flips_high": high}
        row |= {"right_lose": int((flips & (correct == 1) & (sign[b] < 0)).sum())}
        row |= {"wrong_gain": int((flips & (correct == 0) & (sign[b] > 0)).sum())}
        row |= rank_correlation(ranks[a], ranks[b]) | _mass_moved(outcomes[a], outcomes[b], data)
        row |= {"groups_only_a": int((kept[a] & ~kept[b]).sum()), "groups_only_b": int((kept[b] & ~kept[a]).sum())}
        rows.append(row)
    columns = ["a", "b", "flips", "right_lose", "wrong_gain", "groups_only_a", "groups_only_b"]
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else columns)


def with_changes(table: pd.DataFrame, compared: pd.DataFrame, first: str) -> pd.DataFrame:
    """The table of variants with what each changes against the `first` one."""
    changes = compared[compared["a"] == first].set_index("b").drop(columns="a")
    return table.join(changes.add_prefix("against_recorded_"), on="variant")

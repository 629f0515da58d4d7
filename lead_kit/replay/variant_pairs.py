"""Variant against variant on the same rollouts: signs, ranks inside groups, groups kept, Σ|A| moved."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lead_kit.evaluate import stats
from lead_kit.replay.attribution import bounds, ratio, share
from lead_kit.replay.groups import Rollouts
from lead_kit.replay.variants import Outcome

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


def rank_correlation(one: list[np.ndarray], other: list[np.ndarray]) -> dict[str, float]:
    """Spearman's correlation inside groups: its mean over the groups in which both variants rank anything, bounds."""
    found = []
    for a, b in zip(one, other, strict=True):
        spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
        found.append(((a * b).sum(1) / np.where(spread > 0, spread, 1))[spread > 0])
    found = np.concatenate(found)
    return ratio("rank_correlation", found, np.ones(len(found)))


def moved(one: Outcome, other: Outcome, data: Rollouts) -> dict[str, float]:
    """½ Σ|p − q|, p and q the two variants' shares of |A|: the part of Σ|A| that stands on other rollouts; bounds.

    With s the sign of p − q it is ½ (Σ s|A| / Σ|A| of the one − that of the other), whose ratios are linearised.
    """
    sizes = [np.abs(outcome.advantage) for outcome in (one, other)]
    shares = [size / max(size.sum(), 1e-300) for size in sizes]
    sign, value = np.sign(shares[0] - shares[1]), np.abs(shares[0] - shares[1]).sum() / 2
    pulls = [data.summed((sign - (sign * share).sum()) * share) for share in shares]
    interval = stats.t_interval(len(pulls[0]) * (pulls[0] - pulls[1]) / 2)
    half = float(interval.high - interval.estimate)
    return bounds("moved", (float(value), max(value - half, 0.0), min(value + half, 1.0)))


def pairs(outcomes: Mapping[str, Outcome], data: Rollouts) -> pd.DataFrame:
    """A row for each two variants. `flips`: share of the rollouts in groups whose advantage changes its sign;
    `right_lose` and `wrong_gain`: right answers that go from + to −, wrong ones from − to +, from a to b. `flips`,
    `rank_correlation` and `moved` have intervals, groups as clusters.
    """
    correct = data.fields.get("correct", np.full(len(data.frame), np.nan))
    sign = {name: _signs(outcome) for name, outcome in outcomes.items()}
    ranks = {name: _centred_ranks(outcome, data) for name, outcome in outcomes.items()}
    kept = {name: data.summed((sign[name] != 0).astype(float)) > 0 for name in outcomes}
    size, rows = data.groups["size"].to_numpy(float), []
    for a, b in combinations(outcomes, 2):
        flips = sign[a] * sign[b] < 0
        value, low, high = share(data.summed(flips.astype(float)), size)
        row = {"a": a, "b": b, "flips": value, "flips_low": low, "flips_high": high}
        row |= {"right_lose": int((flips & (correct == 1) & (sign[b] < 0)).sum())}
        row |= {"wrong_gain": int((flips & (correct == 0) & (sign[b] > 0)).sum())}
        row |= rank_correlation(ranks[a], ranks[b]) | moved(outcomes[a], outcomes[b], data)
        row |= {"groups_only_a": int((kept[a] & ~kept[b]).sum()), "groups_only_b": int((kept[b] & ~kept[a]).sum())}
        rows.append(row)
    columns = ["a", "b", "flips", "right_lose", "wrong_gain", "groups_only_a", "groups_only_b"]
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else columns)


def matrix(table: pd.DataFrame, outcomes: Mapping[str, Outcome], value: str) -> pd.DataFrame:
    """The pairs as a square, variants by variants."""
    names = list(outcomes)
    square = pd.DataFrame(1.0 if value == "rank_correlation" else 0.0, index=names, columns=names)
    for row in table.itertuples():
        square.loc[row.a, row.b] = square.loc[row.b, row.a] = getattr(row, value)
    return square


def beside(table: pd.DataFrame, compared: pd.DataFrame, first: str) -> pd.DataFrame:
    """The table of variants with what each changes against the `first` one."""
    own = compared[compared["a"] == first].set_index("b").drop(columns="a")
    return table.join(own.add_prefix("against_recorded_"), on="variant")

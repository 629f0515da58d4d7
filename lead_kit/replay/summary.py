"""A replay in numbers and in words: run.json's summary and the paragraph that reads the tables aloud."""

import re

import numpy as np
import pandas as pd

from lead_kit.errors import lookup
from lead_kit.method.rewards import PENALTIES
from lead_kit.replay.figures import SHARE, short_names
from lead_kit.replay.groups import Rollouts, into_groups, thirds
from lead_kit.replay.logged_batches import SPLIT
from lead_kit.replay.read_record import Record
from lead_kit.replay.recompute_rewards import Explanation
from lead_kit.replay.variants import RECORDED

_LENGTHS = {
    "recorded": None,
    "characters": lambda texts: texts.str.len(),
    "words": lambda texts: texts.str.split().str.len(),
}


def prepare_rollouts(
    record: Record,
    explanation: Explanation,
    length_unit: str,
    regraded: np.ndarray | None,
    end_marker: str,
    max_tokens: int,
) -> Rollouts:
    """The record with its parts and accuracy, cut into groups.

    `length_unit`: what stands for the tokens where the record has none (a name of LENGTHS). Raises InputError.
    """
    frame, fields = record.frame, {}
    stand_in = lookup(_LENGTHS, length_unit, "length_unit")
    if "reward" in frame:
        fields["reward"] = frame["reward"].to_numpy(float)
    if "length" in frame and frame["length"].notna().all():
        fields["length"] = frame["length"].to_numpy(float)
    elif stand_in:
        fields["length"] = stand_in(frame["completion"]).to_numpy(float)
    accuracy = explanation.correct if explanation.correct is not None else regraded
    if accuracy is not None and not np.isnan(accuracy).all():
        fields["correct"] = accuracy
    truncated, how = truncation(frame, end_marker, max_tokens)
    if how != FROM_TEXT:  # an estimate from the text is a diagnosis, and no variant's input
        fields["truncated"] = truncated
    return into_groups(frame, fields, explanation.parts, explanation.weights)


def summary(data: Rollouts, explanation: Explanation, table: pd.DataFrame, truncated: np.ndarray) -> dict:
    """The numbers of run.json, for the rewards as recorded; None where the record does not say.

    `table` is from `attribution.variant_table`.
    """
    recorded, explained, parts = table[table["variant"] == RECORDED], explanation.explained, reward_parts(data)
    late = truncated[thirds(data.frame) == 2]
    if explained is not None:
        explained = float(explained[~np.isnan(data.fields["reward"])].mean())
    return {
        "rollouts": len(data.frame),
        "groups": int(data.frame["group"].nunique()) if "group" in data.frame else 0,
        "explained": explained,
        SHARE: float(recorded[SHARE].iloc[0]) if len(recorded) else np.nan,
        "dead_rewards": int(parts["dead"].sum()) if data.blocks and len(parts) else None,
        "truncated_late": float(late.mean()) if len(late) else np.nan,
    }


def _percent(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"


def paragraph(numbers: dict, parts: pd.DataFrame, rewards: pd.DataFrame, table: pd.DataFrame, how: str) -> list[str]:
    """What the numbers say, in sentences. `how`: how it is known that a completion was cut off."""
    lines = [f"{numbers['rollouts']:,} rollouts in {numbers['groups']:,} groups."]
    if numbers["explained"] is not None:
        lines.append(f"The rewards that are named explain {_percent(numbers['explained'])} of the recorded rewards.")
    if len(table) and table.iloc[0]["variant"] == RECORDED:
        lines += _of_recorded(table.iloc[0], rewards)
    if dead := parts.loc[parts["dead"], "reward"].tolist():
        lines.append(f"Dead, as they differ inside less than 1% of the groups: {', '.join(dead)}.")
    if not np.isnan(numbers["truncated_late"]):
        cut = _percent(numbers["truncated_late"])
        lines.append(f"In the last third {cut} of the completions were cut off ({how}).")
    return lines


def _of_recorded(row: pd.Series, rewards: pd.DataFrame) -> list[str]:
    """Which groups and rewards the advantages of the recorded rewards come from, in sentences."""
    lines, name = [], SHARE
    if not np.isnan(row[name]):
        low, high = _percent(row[f"{name}_low"]), _percent(row[f"{name}_high"])
        lines.append(
            f"{_percent(row[name])} [{low}, {high}] of Σ|A| is in groups that are all right or all wrong, which carry "
            "no information about accuracy."
        )
        early, late = row[f"{name}_early"], row[f"{name}_late"]
        if not np.isnan(early + late):
            lines.append(f"That share was {_percent(early)} in the first third and {_percent(late)} in the last.")
    if not np.isnan(row["right_punished"]):
        lines.append(
            f"In groups with right and wrong answers, {_percent(row['right_punished'])} of the right ones got a "
            f"negative advantage and {_percent(row['wrong_rewarded'])} of the wrong ones a positive one."
        )
    shares = rewards[rewards["variant"] == RECORDED].sort_values("Shapley", ascending=False)
    if len(shares) > 1:
        listed = ", ".join(f"{row.reward} {_percent(row.Shapley)}" for row in shares.itertuples())
        lines.append(f"Σ|A| by reward (Shapley): {listed}.")
    return lines


_DEAD = 0.01  # a reward that differs inside fewer than this share of the groups has no effect
_SENTENCE_END = re.compile(r"[.!?…。:;)\]}>$`*|\"'’”]\s*\Z")
AS_RECORDED, MARKED, LIMIT, FROM_TEXT = "recorded", "without the end marker", "at the limit", "ends inside a sentence"


def truncation(frame: pd.DataFrame, end_marker: str = "", max_tokens: int = 0) -> tuple[np.ndarray, str]:
    """(rollouts,) 1 where a completion was cut off, and how that is known.

    As recorded; else by the marker that a complete one holds; else by the limit in tokens; else by its text: one that
    ends inside a sentence was cut off. A text cut behind a full stop is then missed, so that share is a lower bound.
    """
    if "truncated" in frame and frame["truncated"].notna().all():
        return frame["truncated"].to_numpy(float), AS_RECORDED
    if end_marker:
        return (~frame["completion"].str.contains(end_marker, regex=False)).to_numpy(float), MARKED
    if max_tokens and "length" in frame:
        return (frame["length"] >= max_tokens).to_numpy(float), LIMIT
    return np.array([float(_SENTENCE_END.search(text[-40:]) is None) for text in frame["completion"]]), FROM_TEXT


def reward_parts(data: Rollouts) -> pd.DataFrame:
    """Each part of the recorded reward: mean, share of the groups inside which it differs, whether it is dead."""
    rows = []
    for name, values in data.parts.items():
        spread = [np.ptp(values[block.rows], axis=1) > 1e-9 for block in data.blocks]
        differs = float(np.concatenate(spread).mean()) if spread else np.nan
        paid = int((np.nan_to_num(values) != 0).sum())
        dead = bool(differs < _DEAD) and name not in PENALTIES  # a penalty that nothing earns is no fault
        rows.append((name, data.weights[name], np.nanmean(values), differs, paid, dead))
    return pd.DataFrame(rows, columns=["reward", "weight", "mean", "differs", "paid", "dead"])


def means_over_steps(data: Rollouts, cut: np.ndarray) -> pd.DataFrame:
    """Means over the rollouts of each step in the tidy frame of `curves`, whose arms are the runs: truncated (`cut`),
    and of `as_ledger` what is a number, the parts of the reward unweighted.
    """
    ledger = as_ledger(data)
    if ledger.empty:
        return ledger
    numbers = ledger.drop(columns=["group", "completion"]).assign(truncated=cut)
    means = numbers.groupby(["run", "step"], as_index=False).mean()
    return means.assign(arm=means["run"].map(short_names(means["run"])), seed=0, split=SPLIT)


def as_ledger(data: Rollouts) -> pd.DataFrame:
    """The record with the columns of the ledger that `logged_batches.trips` reads; without steps or groups no rows."""
    if not {"step", "group"} <= set(data.frame) or data.frame["step"].isna().any():
        return data.frame.iloc[:0]
    table = data.frame[["run", "step", "group", "completion"]].assign(repetitive=data.repetitive())
    names = ("correct", "length", "truncated", "reward")
    known = {name: data.fields[name] for name in names if name in data.fields}
    return table.assign(**known, **{f"reward_{name}": values for name, values in data.parts.items()})

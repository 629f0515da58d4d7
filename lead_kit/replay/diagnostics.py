"""Truncation, repetition and dead rewards over training."""

import re

import numpy as np
import pandas as pd

from lead_kit.evaluate import stats
from lead_kit.method.rewards import PENALTIES
from lead_kit.replay.groups import Rollouts, thirds

_DEAD = 0.01  # a reward that differs inside fewer than this share of the groups pays for nothing
_SENTENCE_END = re.compile(r"[.!?…。:;)\]}>$`*|\"'’”]\s*\Z")
RECORDED, MARKED, LIMIT, TEXT = "recorded", "without the end marker", "at the limit", "ends inside a sentence"


def cut_off(frame: pd.DataFrame, end_marker: str = "", max_tokens: int = 0) -> tuple[np.ndarray, str]:
    """(rollouts,) 1 where a completion was cut off, and how that is known.

    As recorded; else by the marker that a complete one holds; else by the limit in tokens; else by its text: one that
    ends inside a sentence was cut off. A text cut behind a full stop is then missed, so that share is a lower bound.
    """
    if "truncated" in frame and frame["truncated"].notna().all():
        return frame["truncated"].to_numpy(float), RECORDED
    if end_marker:
        return (~frame["completion"].str.contains(end_marker, regex=False)).to_numpy(float), MARKED
    if max_tokens and "length" in frame:
        return (frame["length"] >= max_tokens).to_numpy(float), LIMIT
    return np.array([float(_SENTENCE_END.search(text[-40:]) is None) for text in frame["completion"]]), TEXT


def parts(data: Rollouts) -> pd.DataFrame:
    """Each part of the recorded reward: mean, share of the groups inside which it differs, whether it is dead."""
    rows = []
    for name, values in data.parts.items():
        spread = [np.ptp(values[block.rows], axis=1) > 1e-9 for block in data.blocks]
        differs = float(np.concatenate(spread).mean()) if spread else np.nan
        row = {"reward": name, "weight": data.weights[name], "mean": np.nanmean(values), "differs": differs}
        dead = bool(differs < _DEAD) and name not in PENALTIES  # a penalty that nothing earns is no fault
        row |= {"paid": int((np.nan_to_num(values) != 0).sum()), "dead": dead}
        rows.append(row)
    return pd.DataFrame(rows, columns=["reward", "weight", "mean", "differs", "paid", "dead"])


def late(values: np.ndarray, frame: pd.DataFrame) -> float:
    """The mean over the last third of the recorded steps; nan where the record has no steps."""
    chosen = values[thirds(frame) == 2]
    return float(chosen.mean()) if len(chosen) else np.nan


def over_steps(data: Rollouts, cut: np.ndarray) -> pd.DataFrame:
    """Means over the rollouts of each step: run, step, truncated, repetitive, characters, length, correct and parts.

    NAME_low and NAME_high are 95% bounds, with groups as clusters where they are known.
    """
    if "step" not in data.frame or data.frame["step"].isna().any():
        return pd.DataFrame(columns=["run", "step"])
    columns = {"truncated": cut, "repetitive": data.repetitive()}
    columns["characters"] = data.frame["completion"].str.len().to_numpy()
    columns |= {name: data.fields[name] for name in ("length", "correct") if name in data.fields}
    columns |= {f"reward_{name}": values for name, values in data.parts.items()}
    values = pd.DataFrame(columns, index=data.frame.index)
    keys = [data.frame["run"], data.frame["step"]]
    cluster = data.frame["group"] if "group" in data.frame else data.frame.index
    sums, counts = (values.groupby([*keys, cluster]).agg(one) for one in ("sum", "count"))
    rows = []
    for (run, step), total in sums.groupby(level=[0, 1]):
        bounds = stats.t_interval(total.to_numpy().T, counts.loc[total.index].to_numpy().T)
        named = zip(values, bounds.estimate, bounds.low, bounds.high, strict=True)
        row = {name + end: one for name, *three in named for end, one in zip(("", "_low", "_high"), three, strict=True)}
        rows.append({"run": run, "step": step} | row)
    return pd.DataFrame(rows)


def as_ledger(data: Rollouts) -> pd.DataFrame:
    """The record with the columns of the ledger that `evaluate.tripped` looks at; without steps or groups no rows."""
    if not {"step", "group"} <= set(data.frame) or data.frame["step"].isna().any():
        return data.frame.iloc[:0]
    table = data.frame[["run", "step", "group", "completion"]].assign(repetitive=data.repetitive())
    names = ("correct", "length", "truncated", "reward")
    known = {name: data.fields[name] for name in names if name in data.fields}
    return table.assign(**known, **{f"reward_{name}": values for name, values in data.parts.items()})

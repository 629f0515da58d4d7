"""How often each problem was solved: from a run's rollouts, an evaluation's samples, or a column of a data set.

A frame of counts has one row a problem: id (text), hits, n (samples) and tokens (mean length of a completion, missing
where none was recorded).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lead_kit.data.files import read_frame
from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.runs.paths import shown

_MOST_SAMPLES = 256  # the largest number of samples that is tried as the denominator of a column of rates
_TOLERANCE = 1e-3  # of a rate times n from a whole number: rates are often written with a few digits


def of_samples(source: Path, model: str = "") -> pd.DataFrame:
    """Counts of a run folder (rollouts/, else samples.jsonl) or of a file of samples with id and correct.

    `model` chooses one arm, or model, of an evaluation of several. Raises InputError where there are no samples, a
    column is missing, or several models are mixed.
    """
    source = Path(source)
    files = sorted((source / "rollouts").glob("*.parquet")) or [f for f in [source / "samples.jsonl"] if f.is_file()]
    if source.is_dir() and not files:
        raise InputError(f"{shown(source)} has no rollouts and no samples.jsonl: expected a 03_grpo or 04_evaluate run")
    frame = pd.concat(
        [_columns(read_frame(file), file) for file in (files if source.is_dir() else [source])], ignore_index=True
    )
    for label in ("arm", "model"):
        names = sorted(map(str, frame[label].dropna().unique())) if label in frame else []
        if model in names:
            frame = frame[frame[label].astype(str) == model]
        elif len(names) > 1 and model:
            raise InputError(f"{shown(source)} has no model {model!r}{nearest_or_all(model, names)}")
        elif len(names) > 1:
            raise InputError(f"{shown(source)} holds several models: choose one, as in {source.name}@{names[0]}")
    by_problem = frame.assign(id=frame["id"].astype(str), correct=frame["correct"].astype(bool)).groupby("id")
    counts = by_problem.agg(hits=("correct", "sum"), n=("correct", "size"), tokens=("length", "mean"))
    return counts.reset_index()


def _columns(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    for name in ("id", "correct"):
        if name not in frame:
            raise InputError(f"{shown(file)} has no column {name!r}{nearest(name, frame.columns)}")
    for row, value in enumerate(frame["correct"].tolist(), 1):
        if value not in (True, False):
            raise InputError(f"{shown(file)}, row {row}: correct is {shorten(repr(value))}, expected true or false")
    if "length" in frame and not pd.api.types.is_numeric_dtype(frame["length"]):
        raise InputError(f"{shown(file)}: length holds {shorten(repr(frame['length'].iloc[0]))}, expected tokens")
    kept = [name for name in ("id", "correct", "length", "model", "arm") if name in frame]
    return frame[kept] if "length" in frame else frame[kept].assign(length=np.nan)


def of_column(records: list[dict], column: str, samples: int = 0) -> pd.DataFrame:
    """Counts from a column with the share of right samples; `samples` stand behind each share.

    With 0 it is the smallest number of which every share is a whole multiple. Raises InputError for a column that is
    not there, a share outside 0…1, or shares that are no multiples of 1/samples.
    """
    given = [(str(record["id"]), record[column]) for record in records if record.get(column) is not None]
    if not given:
        names = sorted(set().union(*records)) if records else []
        raise InputError(f"pass_rates is {column!r}: neither a run with rollouts nor a column{nearest(column, names)}")
    for number, value in given:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{column} of problem {number} is {shorten(repr(value))}, expected a share from 0 to 1")
    shares = np.array([share for _, share in given], float)
    n = samples or _smallest_denominator(shares)
    apart = np.abs(shares * n - np.round(shares * n)) if n else np.ones(1)
    if apart.max() > _TOLERANCE * max(n, 1):
        worst = shares[apart.argmax()] if n else shares[0]
        raise InputError(
            f"{column} holds {worst:g}, which is no multiple of 1/{n or _MOST_SAMPLES}: give the number of samples "
            "behind each share (pass_rate_samples, --samples)"
        )
    hits = np.round(shares * n).astype(int)
    return pd.DataFrame({"id": [one for one, _ in given], "hits": hits, "n": n, "tokens": np.nan})


def _smallest_denominator(shares: np.ndarray) -> int:
    """The smallest n ≤ MOST_SAMPLES with every share a multiple of 1/n; 0 when there is none."""
    distinct = np.unique(shares)
    for n in range(1, _MOST_SAMPLES + 1):
        if np.abs(distinct * n - np.round(distinct * n)).max() <= 1e-6 * n:
            return n
    return 0


def rates(counts: pd.DataFrame) -> dict[str, float]:
    """The pass rate of each problem by id."""
    return dict(zip(counts["id"], counts["hits"] / counts["n"], strict=True))

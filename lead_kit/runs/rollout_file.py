"""The samples that a run logged: rollouts and validation samples as parquet."""

from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError, shorten
from lead_kit.runs.files import atomic
from lead_kit.runs.paths import shown


def sample_row(record: dict, sample: int, completion, verdict) -> dict:
    """One graded sample of one problem. `completion` has text, length (tokens, the end token included), truncated."""
    return {
        "id": record["id"],
        "sample": sample,
        "level": record.get("level"),
        "gold": record["gold"],
        "completion": completion.text,
        "answer": verdict.answer,
        "length": completion.length,
        "truncated": completion.truncated,
        "thinking": completion.thinking,
        "correct": verdict.status == "correct",
        "status": verdict.status,
        "reason": verdict.reason,
    }


def write_rows(rows: list[dict], path: Path) -> None:
    """Writes rows as parquet, all of them or none."""
    with atomic(path) as part:
        pd.DataFrame(rows).to_parquet(part, index=False)


def has_rollouts(run: Path) -> bool:
    """Whether a run folder holds logged rollouts."""
    return any((run / "rollouts").glob("step_*.parquet"))


def newest_rollouts(run: Path) -> pd.DataFrame:
    """The rollouts of the last logged batch of a run that has logged some."""
    return pd.read_parquet(max((Path(run) / "rollouts").glob("step_*.parquet")))


def read_rollouts(run: Path) -> pd.DataFrame:
    """All logged rollouts of a run folder, in step order. Raises InputError when it has none."""
    files = sorted((Path(run) / "rollouts").glob("step_*.parquet"))
    if not files:
        raise InputError(f"run {run} has no rollouts; expected {run}/rollouts/step_*.parquet")
    return pd.concat([_read_part(file) for file in files], ignore_index=True)


def _read_part(file: Path) -> pd.DataFrame:
    """One parquet file of a ledger. Raises InputError for a file that is cut off or is no parquet."""
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(file)} cannot be read as parquet ({shorten(str(error), 100)})") from None

"""What a run logs: metrics.jsonl and graded samples as parquet."""

from pathlib import Path
from typing import TYPE_CHECKING

from lead_kit.errors import InputError
from lead_kit.runs.files import atomic, read_jsonl, read_parquet, resolve, shown, write_jsonl

if TYPE_CHECKING:
    import pandas as pd


def read_metrics(path: str | Path) -> list[dict]:
    """The lines of a run's metrics.jsonl (folder or file), without a last line that a crash left half written.

    Raises InputError when the file does not exist or another line is malformed.
    """
    path = resolve(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no metrics in {shown(path)}: expected the metrics.jsonl of a run")
    return read_jsonl(path, torn=True)


def delete_later_logs(folder: Path, after_step: int) -> None:
    """Deletes what a run wrote after a step: metric lines, rollouts and validation samples."""
    if (folder / "metrics.jsonl").is_file():
        kept = [row for row in read_metrics(folder) if row["step"] <= after_step]
        write_jsonl(folder / "metrics.jsonl", kept)
    for file in [*folder.glob("rollouts/step_*.parquet"), *folder.glob("validation/step_*.parquet")]:
        if int(file.stem.removeprefix("step_")) > after_step:
            file.unlink()


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


def write_samples(rows: list[dict], path: Path) -> None:
    """Writes rows as parquet, all of them or none."""
    import pandas as pd  # imported here: `lead run` needs this module, but no frames

    with atomic(path) as part:
        pd.DataFrame(rows).to_parquet(part, index=False)


def has_rollouts(run: Path) -> bool:
    """Whether a run folder holds logged rollouts."""
    return any((run / "rollouts").glob("step_*.parquet"))


def read_rollouts(run: Path, newest: bool = False) -> "pd.DataFrame":
    """All logged rollouts of a run folder in step order, or those of the newest batch. Raises InputError without any.

    Example: `read_rollouts("runs/03_grpo").groupby("step")["correct"].mean()`
    """
    import pandas as pd

    files = sorted((Path(run) / "rollouts").glob("step_*.parquet"))
    if not files:
        raise InputError(f"run {run} has no rollouts; expected {run}/rollouts/step_*.parquet")
    return pd.concat([read_parquet(file).to_pandas() for file in (files[-1:] if newest else files)], ignore_index=True)

"""metrics.jsonl: one line for each logged batch. When a run resumes, later lines are dropped."""

from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.runs.files import read_jsonl, write_jsonl
from lead_kit.runs.paths import resolve, shown


def read_metrics(path: str | Path) -> list[dict]:
    """The lines of a run's metrics.jsonl (folder or file), without a last line that a crash left half written.

    Raises InputError when the file does not exist or another line is malformed.
    """
    path = resolve(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no metrics in {shown(path)}: expected the metrics.jsonl of a run")
    return read_jsonl(path, torn=True)


def truncate(folder: Path, after_step: int) -> None:
    """Deletes what a run wrote after a step: metric lines, rollouts and validation samples."""
    if (folder / "metrics.jsonl").is_file():
        kept = [row for row in read_metrics(folder) if row["step"] <= after_step]
        write_jsonl(folder / "metrics.jsonl", kept)
    for file in [*folder.glob("rollouts/step_*.parquet"), *folder.glob("validation/step_*.parquet")]:
        if int(file.stem.removeprefix("step_")) > after_step:
            file.unlink()

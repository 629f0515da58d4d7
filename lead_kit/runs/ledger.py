"""What a run logged step by step: metrics.jsonl, and the rollouts and validation samples as parquet."""

import json
from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError
from lead_kit.runs.files import write_text
from lead_kit.runs.paths import resolve, shown


def sample_row(record: dict, sample: int, completion: str, tokens: int, finished: bool, verdict) -> dict:
    """One graded sample of one problem; `tokens` counts what was generated, the end token included."""
    return {
        "id": record["id"],
        "sample": sample,
        "level": record.get("level"),
        "answer": record["answer"],
        "completion": completion,
        "predicted": verdict.answer,
        "tokens": tokens,
        "finish": "stop" if finished else "length",
        "correct": verdict.status == "correct",
        "status": verdict.status,
        "reason": verdict.reason,
    }


def write(rows: list[dict], path: Path) -> None:
    """The rows as parquet, in one step: a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(partial, index=False)
    partial.replace(path)


def read_rollouts(run: Path) -> pd.DataFrame:
    """All logged rollouts of a run folder, in step order. Raises InputError when it has none."""
    files = sorted((Path(run) / "rollouts").glob("step_*.parquet"))
    if not files:
        raise InputError(f"run {run} has no rollouts; expected {run}/rollouts/step_*.parquet")
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def read_validation(run: Path) -> pd.DataFrame:
    """All validation samples of a run folder with their step. Raises InputError when it has none."""
    files = sorted((Path(run) / "validation").glob("step_*.parquet"))
    if not files:
        raise InputError(f"run {run} has no validation samples; expected {run}/validation/step_*.parquet")
    return pd.concat([pd.read_parquet(f).assign(step=int(f.stem.split("_")[1])) for f in files], ignore_index=True)


def read_metrics(path: str | Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last line torn by a crash is left out, any other bad line raises InputError."""
    path = resolve(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no metrics in {shown(path)}: expected the metrics.jsonl of a run")
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):  # whole lines end in a newline, so the last piece is empty or torn
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise InputError(f"{shown(path)}, line {number} is not JSON: {line[:80]!r}") from None
    return rows


def truncate(folder: Path, after_step: int) -> None:
    """Drops what a run wrote after a step: metric lines, rollouts and validation samples."""
    metrics = folder / "metrics.jsonl"
    if metrics.is_file():
        kept = [json.dumps(row) + "\n" for row in read_metrics(metrics) if row["step"] <= after_step]
        write_text(metrics, "".join(kept))
    for file in [*folder.glob("rollouts/step_*.parquet"), *folder.glob("validation/step_*.parquet")]:
        if int(file.stem.removeprefix("step_")) > after_step:
            file.unlink()

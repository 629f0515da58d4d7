"""The rollout ledger: what was sampled, how it was graded and what it was worth, one parquet a logged step."""

from pathlib import Path

import pandas as pd

from lead_kit.params import InputError
from lead_kit.record import read_metrics


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


def extremes(rollouts: pd.DataFrame, n: int = 2, by: str = "reward") -> pd.DataFrame:
    """The n best and n worst rollouts by reward, one a prompt, to read aloud at the end of a run."""
    best = rollouts.sort_values([by, "tokens"], ascending=[False, True]).drop_duplicates("prompt_id")
    worst = rollouts.sort_values([by, "tokens"], ascending=[True, False]).drop_duplicates("prompt_id")
    return pd.concat([best.head(n), worst.head(n)])


def metrics(run: Path, split: str) -> pd.DataFrame:
    """The lines of metrics.jsonl of one split, by step."""
    frame = pd.DataFrame(read_metrics(Path(run) / "metrics.jsonl"))
    if not len(frame):
        return frame
    frame = frame[frame["split"] == split].drop(columns="split")
    return frame.dropna(axis="columns", how="all").sort_values("step", ignore_index=True)


def reading(curve: pd.DataFrame) -> str:
    """What a validation curve says, in a sentence."""
    if not len(curve):
        return "No validation was asked for (validate_every 0)."
    if not curve["pass@1"].any():
        return "No validation answer was correct: text went through every stage, and nothing follows for a method."
    first, last = curve.iloc[0], curve.iloc[-1]
    return (
        f"In {last['step']:.0f} steps Pass@1 went from {first['pass@1']:.3f} to {last['pass@1']:.3f} and the length "
        f"from {first['length']:.1f} to {last['length']:.1f} tokens; one run of one seed says little about the method."
    )


def summary(curve: pd.DataFrame) -> dict[str, float]:
    """Final and mean Pass@1 and final length of a validation curve; empty for an empty curve."""
    if not len(curve):
        return {}
    last = curve.iloc[-1]
    return {"pass@1": last["pass@1"], "mean_pass@1": curve["pass@1"].mean(), "length": last["length"]}

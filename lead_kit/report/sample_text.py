"""Sentences about a run or an evaluation, and samples to read."""

from pathlib import Path

import pandas as pd

from lead_kit.runs.log_files import read_metrics
from lead_kit.safe_text import safe_line, safe_text

NOTHING_RIGHT = "No answer was correct, so these numbers cannot tell methods apart."


def caveats(samples: pd.DataFrame, temperature: float) -> list[str]:
    """Sentences on why these samples (of several arms) allow no conclusion; empty if they do."""
    sentences = []
    if not samples["correct"].any():
        sentences.append(NOTHING_RIGHT)
    elif samples["correct"].all():
        sentences.append("Every answer was correct: the problems are too easy to tell the models apart.")
    for arm, rows in samples.groupby("arm"):
        by_problem = rows.groupby(["seed", "id"])["completion"]
        if temperature and by_problem.size().max() > 1 and by_problem.nunique().max() == 1:
            sentences.append(
                f"{arm}: all samples of a problem are the same text although temperature is {temperature:g}; "
                "is it ignored? (`transformers serve` needs do_sample in the model's generation_config.json)"
            )
        if (cut := rows["truncated"].mean()) > 0.5:
            sentences.append(f"{arm}: {cut:.0%} of the answers were cut at the token limit; raise max_tokens.")
    return sentences


def sample_text(row, arm: str) -> str:
    """A graded sample to read: arm and id, the text as `safe_text` shows it, the verdict."""
    head = f"{safe_line(arm)}, {safe_line(row.id)}, {row.length} tokens"
    return (
        f"{head}\n{safe_text(row.completion)}\n→ gold {safe_line(row.gold)}: {row.status} ({safe_line(row.reason)})\n"
    )


def best_and_worst(rollouts: pd.DataFrame, n: int = 2, by: str = "reward") -> pd.DataFrame:
    """The n best and n worst rollouts by reward, each of a different problem."""
    best = rollouts.sort_values([by, "length"], ascending=[False, True]).drop_duplicates("id")
    worst = rollouts.sort_values([by, "length"], ascending=[True, False]).drop_duplicates("id")
    return pd.concat([best.head(n), worst.head(n)])


def split_metrics(run: Path, split: str) -> pd.DataFrame:
    """The lines of metrics.jsonl of one split, by step."""
    frame = pd.DataFrame(read_metrics(Path(run) / "metrics.jsonl"))
    if not len(frame):
        return frame
    frame = frame[frame["split"] == split].drop(columns="split")
    return frame.sort_values("step", ignore_index=True).dropna(axis="columns", how="all")


def curve_sentence(curve: pd.DataFrame) -> str:
    """A validation curve in one sentence."""
    if not len(curve):
        return "The run has no validation (validate_every 0)."
    if not curve["pass@1"].any():
        return NOTHING_RIGHT
    first, last = curve.iloc[0], curve.iloc[-1]
    return (
        f"In {last['step']:.0f} steps Pass@1 went from {first['pass@1']:.3f} to {last['pass@1']:.3f} and the length "
        f"from {first['length']:.1f} to {last['length']:.1f} tokens; one run of one seed says little about the method."
    )


def curve_summary(curve: pd.DataFrame) -> dict[str, float]:
    """Final and mean Pass@1 and final length of a validation curve; empty for an empty curve."""
    if not len(curve):
        return {}
    last = curve.iloc[-1]
    return {"pass@1": last["pass@1"], "mean_pass@1": curve["pass@1"].mean(), "length": last["length"]}

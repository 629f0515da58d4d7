"""What a training notebook shows of its run: curves and groups as figures that the run keeps, a sentence, rollouts."""

from pathlib import Path

import pandas as pd

from lead_kit.report import curves, training_figures
from lead_kit.report.read_rollouts import best_and_worst, sample_text
from lead_kit.runs import log_files
from lead_kit.safe_text import safe_text


def save_validation(run) -> list:
    """The validation's Pass@1 and mean length over the batches, saved in the run; empty without a validation."""
    validated = curves.runs_that_logged(curves.load_runs([run.path]), "pass@1")
    figures = []
    for name, metric in {"validation_trend": "pass@1", "response_length": "length"}.items() if len(validated) else ():
        figure = training_figures.trend(validated, metric, note=curves.validation_setting(validated))
        run.save_figure(name, figure, training_figures.trend_points(validated, metric), pdf=False)
        figures.append(figure)
    return figures


def save_groups(run) -> list:
    """Diagnostics of the groups of the logged batches, saved in the run; empty where no rollouts were logged."""
    if not log_files.has_rollouts(run.path):
        return []
    groups = curves.group_statistics(log_files.read_rollouts(run.path))
    figure = training_figures.group_diagnostics(groups, f"arm {run.config['arm']}, {run.config['run_name']}")
    run.save_figure("group_diagnostics", figure, groups, pdf=False)
    return [figure]


def extreme_rollouts(run) -> str:
    """The best and the worst rollouts of the last logged batch as text, with their problems and advantages."""
    if not log_files.has_rollouts(run.path):
        return "The run has logged no rollouts (rollouts_every 0)."
    logged, arm = log_files.read_rollouts(run.path), run.config["arm"]
    rows = best_and_worst(logged[logged["step"] == logged["step"].max()]).itertuples()
    texts = (f"{safe_text(row.problem)}\n{sample_text(row, arm)}  advantage {row.advantage:+.2f}\n" for row in rows)
    return "\n".join(texts)


def split_metrics(run: Path, split: str) -> pd.DataFrame:
    """The lines of metrics.jsonl of one split, by step."""
    frame = pd.DataFrame(log_files.read_metrics(Path(run) / "metrics.jsonl"))
    if not len(frame):
        return frame
    frame = frame[frame["split"] == split].drop(columns="split")
    return frame.sort_values("step", ignore_index=True).dropna(axis="columns", how="all")


def curve_sentence(curve: pd.DataFrame) -> str:
    """A validation curve in one sentence."""
    if not len(curve):
        return "The run has no validation (validate_every 0)."
    if not curve["pass@1"].any():
        return curves.NOTHING_RIGHT
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

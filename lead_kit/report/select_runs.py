"""Which runs are compared: those of the newest experiment unless others are named, and what beside the method differs
between their arms."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lead_kit.report import curves
from lead_kit.runs.files import resolve, shown
from lead_kit.runs.find import matching_paths
from lead_kit.runs.log_files import read_metrics
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import safe_line

_SETTINGS = (  # parameters that say on what and how much an arm trains and is validated, not by which method
    "model", "train_data", "validation_data", "template", "batch_size", "group_size", "max_tokens",
    "validation_samples", "validation_temperature", "adapter", "dtype",
)  # fmt: skip


def _experiments(metric: str, split: str = "validation") -> dict[str, list[str]]:
    """The run folders that logged the metric, by the folder in which they lie (an experiment), the newest first."""
    runs, started = {}, {}
    for path in matching_paths(["runs/**"]):
        if has_metric(path, metric, split):
            folder = shown(path.parent)
            runs.setdefault(folder, []).append(shown(path))
            start = str((read_manifest(path) or {}).get("start", ""))
            started[folder] = max(started.get(folder, ""), start)
    return {folder: runs[folder] for folder in sorted(runs, key=started.get, reverse=True)}


def has_metric(folder: Path, metric: str, split: str = "validation") -> bool:
    """Whether a run logged the metric in the split; of a step that was logged twice, the newest line counts."""
    newest = {row.get("step"): row.get(metric) for row in read_metrics(folder) if row.get("split") == split}
    return any(value is not None and value == value for value in newest.values())  # null and NaN are no value


def newest_experiment(metric: str, split: str = "validation") -> tuple[list[str], str]:
    """The runs of the newest experiment, and a sentence that names it and the others; no run where there is none."""
    found = _experiments(metric, split)
    if not found:
        return [], f"No run below runs/ has {split} {metric}: run notebooks/03_grpo.ipynb first."
    (folder, runs), *others = found.items()
    counted = [f"{name} ({len(each)})" for name, each in others]
    sentence = f"The newest experiment: {folder}, {len(runs)} run{'s' * (len(runs) > 1)}."
    if counted:
        sentence += (
            f" Others, with their numbers of runs: {', '.join(counted)}; choose one with -p runs '{others[0][0]}/*'"
        )
    return runs, sentence


def differing_settings(trained: pd.DataFrame, metric: str, split: str = "validation") -> dict[str, str]:
    """By name, a sentence on each thing beside the method in which the arms differ: experiment, length, SETTINGS."""
    values = curves.logged_values(trained, metric, split)
    facts = []
    for (arm, run), rows in values.groupby(["arm", "run"]):
        folder = resolve(run)
        manifest = read_manifest(folder) if folder.is_dir() else None
        fact = {"arm": arm, "experiment": str(Path(run).parent), "last step": int(rows["step"].max())}
        facts.append(fact | _recorded_settings((manifest or {}).get("parameters", {})))
    table = pd.DataFrame(facts).set_index("arm")
    found = {}
    for name in table:
        by_arm = {arm: tuple(sorted(set(part.dropna().map(str)))) for arm, part in table[name].groupby(level=0)}
        arms: dict[tuple, list[str]] = {}
        for arm in curves.arms_of(values):
            arms.setdefault(by_arm[arm], []).append(safe_line(arm))
        if len(arms) > 1:
            parts = [
                f"{safe_line(', '.join(value)) or 'not recorded'} in {', '.join(which)}"
                for value, which in arms.items()
            ]
            found[name] = f"The arms differ in {name}: {'; '.join(parts)}."
    return found


def _recorded_settings(parameters: Mapping) -> dict:
    """The SETTINGS that a run recorded, as text."""
    kept = {name: parameters[name] for name in _SETTINGS if name in parameters}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in kept.items()}


def settings_caption(apart: Mapping) -> str:
    """The names in what `differing` found, as a sentence for a caption; empty where the arms are alike."""
    return f"Beside the method, the arms differ in {', '.join(apart)}." if apart else ""

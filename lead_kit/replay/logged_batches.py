"""Numbers of logged batches: tripwires on any record of rollouts, and the advantage mass, rewards and words of runs."""

from collections.abc import Mapping

import pandas as pd

from lead_kit.method import tripwires
from lead_kit.method.diagnostics import variance_shares
from lead_kit.parameters import call_name
from lead_kit.report import curves, training_figures
from lead_kit.report.tables import format_interval
from lead_kit.runs import log_files
from lead_kit.runs.files import resolve
from lead_kit.runs.log_files import read_metrics

_MEANS = ("truncated", "correct", "length", "reward", "repetitive")


def _numbers(batch: pd.DataFrame, weights: Mapping[str, float]) -> dict[str, float]:
    """The numbers of one batch, as `metrics.jsonl` has them, of what the record holds for all of its rollouts.

    `weights` are those of the components in the reward (default 1). Advantages are GRPO's z-scores of the reward.
    """
    known = [name for name in batch if batch[name].notna().all()]
    numbers = {name: float(batch[name].mean()) for name in _MEANS if name in known}
    if "reward" in known:
        groups = batch.groupby("group")["reward"]
        spread = groups.transform("max") - groups.transform("min")
        size = ((batch["reward"] - groups.transform("mean")) / groups.transform("std")).where(spread > 0, 0.0).abs()
        numbers["zero_advantage"] = float((size.groupby(batch["group"]).max() == 0).mean())
        if "correct" in known and size.sum() > 0:
            numbers["advantage_share_flat_accuracy"] = mass_outside_mixed_groups(batch.assign(size=size))
    variances = {}
    for name in [name.removeprefix("reward_") for name in known if name.startswith("reward_")]:
        values = batch[f"reward_{name}"].astype(float)
        numbers |= {f"reward_{name}": float(values.mean()), f"reward_{name}_std": float(values.std(ddof=0))}
        variances[name] = float(values.var(ddof=0)) * weights.get(name, 1.0) ** 2
    return numbers | variance_shares(variances)


def mass_outside_mixed_groups(batch: pd.DataFrame) -> float:
    """Σ size of the groups whose answers are all right or all wrong, over Σ size; nan where that is 0.

    `batch` has group, correct and size, which is |advantage|.
    """
    flat = batch["correct"].groupby(batch["group"]).transform("nunique") == 1
    total = batch["size"].sum()
    return float(batch["size"][flat].sum() / total) if total else float("nan")


def trips(
    rollouts: pd.DataFrame, weights: Mapping[str, float], run: str = "", parameters: Mapping | None = None
) -> tuple[pd.DataFrame, list]:
    """The trips of a record as a table (wire, step, sentence), and the wires that it has no numbers for.

    `rollouts` has step, group, and where they are known those of `_MEANS` and reward_NAME for each component;
    `weights` are those of the components. A window of batches counts recorded steps, however far apart they lie.
    For a run of the kit, with its settled parameters, what it logged of every batch and validation counts instead.
    """
    folder, held_out, samples = resolve(run), [], 0
    if parameters is not None and (folder / "metrics.jsonl").is_file():
        names = [call_name(text, "rewards").rpartition(":")[2] for text in parameters["rewards"]]
        weights = dict(zip(names, parameters["reward_weights"], strict=True))
        batches, held_out = tripwires.by_split(read_metrics(folder), weights)
        validated = sorted((folder / "validation").glob("step_*.parquet"))
        samples = len(pd.read_parquet(validated[0], columns=["id"])) if validated else 0
    else:
        batches = [{"step": int(step)} | _numbers(batch, weights) for step, batch in rollouts.groupby("step")]
    tripped = [trip._asdict() for trip in tripwires.replay(batches, held_out, samples)]
    return pd.DataFrame(tripped, columns=["wire", "step", "sentence"]), tripwires.unchecked(batches, held_out)


SPLIT = "rollouts"
SHARE = "advantage mass outside mixed groups"  # from groups whose answers are all right or all wrong
WORDS = "words a completion"


def of_rollouts(rollouts: pd.DataFrame) -> pd.DataFrame:
    """For each logged step: SHARE, WORDS and the mean of each reward. A batch without any advantage has no share."""
    sizes = rollouts.assign(size=rollouts["advantage"].abs())
    parts = {SHARE: sizes.groupby("step")[["group", "correct", "size"]].apply(mass_outside_mixed_groups)}
    parts[WORDS] = rollouts["completion"].str.split().str.len().groupby(rollouts["step"]).mean()
    for name in [name for name in rollouts if name.startswith("reward_")]:
        parts[name] = rollouts.groupby("step")[name].mean()
    return pd.DataFrame(parts).reset_index()


def load(frame: pd.DataFrame) -> pd.DataFrame:
    """The tidy frame of `curves` with these numbers for every run that kept rollouts; empty if only one reward ran."""
    parts = []
    for run in frame[["run", "arm", "seed"]].drop_duplicates().to_dict("records"):
        if log_files.has_rollouts(resolve(run["run"])):
            parts.append(of_rollouts(log_files.read_rollouts(resolve(run["run"]))).assign(**run, split=SPLIT))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table if len(curves.rewards_in(table)) > 1 else table.iloc[:0]


def shown(table: pd.DataFrame) -> list[str]:
    """The numbers worth a panel: the share, the rewards beside `correct`, and the words.

    There is no share where no logged batch of any run had an advantage.
    """
    names = [SHARE, *(name for name in curves.rewards_in(table) if name != "reward_correct"), WORDS]
    return [name for name in names if table[name].notna().any()]


def sentences(table: pd.DataFrame) -> list[str]:
    """For each arm, the numbers of its last logged step with 95% t-intervals over seeds."""
    points, lines = training_figures.trend_points(table, shown(table), SPLIT), []
    for arm, rows in points[points["step"] == points["step"].max()].groupby("arm", sort=False):
        parts = []
        for row in rows.rename(columns={"mean": "estimate"}).itertuples():
            text = format_interval(row, 2) if row.seeds > 1 else f"{row.estimate:.2f} (one seed)"
            parts.append(f"{row.metric.removeprefix('reward_')} {text}")
        lines.append(f"{arm} at step {rows['step'].iloc[0]}: {'; '.join(parts)}")
    return lines

"""Training curves: the metrics of many runs in one frame, their mean over seeds, what is missing in them.

The tidy frame has one row for each logged line: run, arm, seed, step (rollout batches done), split and the metrics by
name. A wandb export (.csv) and TRL's completions (.parquet) can stand in for a run folder.
"""

from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError, nearest
from lead_kit.evaluate import stats
from lead_kit.report.exports import KEYS, _label, trl_completions, wandb_export
from lead_kit.runs.find import arm_in, find
from lead_kit.runs.ledger import has_rollouts
from lead_kit.runs.log import read_metrics
from lead_kit.runs.manifest import read_record
from lead_kit.runs.paths import resolve, shown

ARMS = ("sft", "grpo", "length", "lead")  # arms of the paper come in this order, others after them by name


def load_runs(runs: list[str]) -> pd.DataFrame:
    """The tidy frame of run folders, globs of them, wandb exports or TRL completions; empty where nothing is found.

    A step that was logged twice (a run taken up again) counts once, with its newest numbers.
    """
    frames = [_read(path) for path in find(runs)]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=KEYS)
    frame = pd.concat(frames, ignore_index=True).drop_duplicates(["run", "split", "step"], keep="last")
    return distinct_arms(frame).sort_values(KEYS, kind="stable").reset_index(drop=True)


def distinct_arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Arms whose label and seed belong to several runs take the run's folder into their label.

    Seeds of an arm are averaged as independent runs, so one seed must not stand there twice.
    """
    runs = frame[["run", "arm", "seed"]].drop_duplicates()
    for part in (lambda run: str(Path(run).parent).removeprefix("runs/"), lambda run: run.removeprefix("runs/")):
        clash = set(runs.loc[runs.duplicated(["arm", "seed"], keep=False), "arm"])
        longer = {
            run: f"{arm} ({part(run)})" for run, arm in zip(runs["run"], runs["arm"], strict=True) if arm in clash
        }
        frame = frame.assign(arm=frame["run"].map(longer).fillna(frame["arm"]))
        runs = frame[["run", "arm", "seed"]].drop_duplicates()
    return frame


def having(frame: pd.DataFrame, metric: str, split: str = "validation") -> pd.DataFrame:
    """The rows of runs that logged the metric in the split; SFT, for one, has no validation Pass@1."""
    if metric not in frame:
        return frame.iloc[:0]
    return frame[frame["run"].isin(set(frame.loc[(frame["split"] == split) & frame[metric].notna(), "run"]))]


def _read(path: Path) -> pd.DataFrame:
    if path.is_dir():
        logged = [] if (path / "metrics.jsonl").is_file() else sorted(path.glob("**/completions_*.parquet"))
        return pd.concat([trl_completions(file) for file in logged]) if logged else _run_folder(path)
    if path.suffix == ".csv":
        return wandb_export(path)
    if path.suffix == ".parquet":
        return trl_completions(path)
    if path.name == "metrics.jsonl":
        return _run_folder(path.parent)
    raise InputError(f"{shown(path)} is no run: expected a run folder, a wandb .csv or TRL's completions .parquet")


def _run_folder(path: Path) -> pd.DataFrame:
    parameters = (read_record(path) or {}).get("parameters", {})
    frame = pd.DataFrame(read_metrics(path))
    return _label(frame, shown(path), parameters.get("arm") or arm_in(path.name), parameters.get("seed"))


def arms_of(frame: pd.DataFrame) -> list[str]:
    """The arms in the order of every figure and table."""
    present = set(frame["arm"])
    return [arm for arm in ARMS if arm in present] + sorted(present - set(ARMS))


def points(frame: pd.DataFrame, metric: str, split: str = "validation") -> pd.DataFrame:
    """Where the metric was logged: arm, seed, run, step, value. Raises InputError naming the metrics there are."""
    rows = frame[frame["split"] == split]
    logged = [name for name in rows if name not in KEYS and rows[name].notna().any()]
    if metric not in logged:
        there = f"{nearest(metric, logged)}; there are: {', '.join(logged) or 'none'}"
        raise InputError(f"no run logged {metric!r} in {split}{there}")
    rows = rows.loc[rows[metric].notna(), ["arm", "seed", "run", "step", metric]].rename(columns={metric: "value"})
    twice = rows[rows.duplicated(["arm", "seed", "step"], keep=False)]
    if len(twice):
        arm, seed = twice.iloc[0][["arm", "seed"]]
        names = ", ".join(twice[(twice["arm"] == arm) & (twice["seed"] == seed)]["run"].unique())
        raise InputError(f"arm {arm!r} has seed {seed} more than once, and seeds must be independent runs: {names}")
    return rows.sort_values(["arm", "seed", "step"]).reset_index(drop=True)


def common_steps(values: pd.DataFrame) -> list[int]:
    """The steps that every run of `points` has."""
    return sorted(set.intersection(*(set(run["step"]) for _, run in values.groupby("run"))))


def mean_curve(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95% t-interval: arm, step, mean, low, high, seeds.

    Only steps that all seeds of the arm have. One seed has no interval: low and high are missing.
    """
    rows = []
    for arm in arms_of(values):
        of_arm = values[values["arm"] == arm]
        table = of_arm.pivot(index="step", columns="seed", values="value").dropna()
        if table.empty:
            continue
        interval = stats.t_interval(table.to_numpy())
        rows.append(
            pd.DataFrame(
                {"arm": arm, "step": table.index, "mean": interval.estimate, "low": interval.low, "high": interval.high}
            ).assign(seeds=table.shape[1])
        )
    if not rows:
        raise InputError("no arm has a step that all its seeds have: there is no mean to draw")
    return pd.concat(rows, ignore_index=True)


def gaps(values: pd.DataFrame) -> list[str]:
    """What the mean leaves out and what pairing lacks, in sentences: steps or seeds that are not everywhere."""
    found = []
    for arm in arms_of(values):
        of_arm = values[values["arm"] == arm]
        by_seed = of_arm.groupby("seed")["step"].agg(set)
        partial = sorted(set.union(*by_seed) - set.intersection(*by_seed))
        if partial:
            ends = ", ".join(f"seed {seed} ends at {max(steps)}" for seed, steps in by_seed.items())
            found.append(f"{arm}: steps {_few(partial)} are not in every seed and left out of the mean ({ends}).")
    seeds = values.groupby("arm")["seed"].agg(set)
    unpaired = sorted(set.union(*seeds) - set.intersection(*seeds)) if len(seeds) else []
    if unpaired:
        found.append(
            f"Seeds {_few(unpaired)} are not in every arm: a difference pairs only the seeds that both arms have."
        )
    return found


def _few(numbers: list) -> str:
    return ", ".join(map(str, numbers[:6])) + (f" … {numbers[-1]}" if len(numbers) > 6 else "")


def compared(values: pd.DataFrame) -> str:
    """At which steps runs are compared, in a sentence."""
    steps = common_steps(values)
    if not steps:
        return "The runs have no step in common: each is taken at its own steps, so more training stands beside less."
    return f"Runs are compared at the {len(steps)} validations that all of them have, the last at step {steps[-1]}."


def by_run(values: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, final, curve_mean: each run's last value and its mean, at the steps that `compared` tells."""
    steps = common_steps(values)
    shared = values[values["step"].isin(steps)] if steps else values
    return (
        shared.sort_values("step").groupby(["arm", "seed"])["value"].agg(final="last", curve_mean="mean").reset_index()
    )


def with_rollouts(frame: pd.DataFrame) -> dict[str, str]:
    """For each arm the last of its runs that has a rollout ledger."""
    kept = [row for row in frame[["arm", "run"]].drop_duplicates().itertuples() if has_rollouts(resolve(row.run))]
    return {row.arm: row.run for row in kept}


def groups(rollouts: pd.DataFrame) -> pd.DataFrame:
    """One row for each group of a rollout ledger: step, group, rho, signal, weight.

    rho: share of right answers; signal: some advantage is not 0; weight: Σ|advantage| after weighting over before
    (missing where there was none).
    """
    sizes = rollouts.assign(after=rollouts["advantage"].abs(), before=rollouts["advantage_before"].abs())
    table = sizes.groupby(["step", "group"], as_index=False)
    found = table.agg(rho=("correct", "mean"), after=("after", "sum"), before=("before", "sum"))
    found["signal"] = found["after"] > 0
    found["weight"] = (found["after"] / found["before"]).where(found["before"] > 0)
    return found.drop(columns=["after", "before"])

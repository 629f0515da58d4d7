"""Training curves: the metrics of many runs in one frame, their mean over seeds, and what is missing in them.

The tidy frame has one row for each logged line: run, arm, seed, step (rollout batches done), split and the metrics by
name. A wandb export (.csv) and TRL's completions (.parquet) are read as well as run folders.
"""

from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError, nearest
from lead_kit.evaluate import stats
from lead_kit.evaluate.sample_arrays import first_few
from lead_kit.report.import_curves import KEYS, labelled, trl_completions, wandb_export
from lead_kit.runs.files import resolve, shown
from lead_kit.runs.find import matching_paths
from lead_kit.runs.log_files import has_rollouts, read_metrics
from lead_kit.runs.manifest import read_manifest

# the start and the control arms come first, then the paper's, in this order; others follow by name
_ARMS = ("sft", "random", "format_only", "grpo", "length", "length_reweighting", "lead")


def load_runs(runs: list[str]) -> pd.DataFrame:
    """The tidy frame of run folders, globs, wandb exports or TRL completions; empty where a glob matches nothing.

    A step that was logged twice (in a resumed run) counts once, with its newest numbers.
    """
    frames = [frame for frame in map(_read, matching_paths(runs)) if len(frame)]
    if not frames:
        return pd.DataFrame(columns=KEYS)
    frame = pd.concat(frames, ignore_index=True).drop_duplicates(["run", "split", "step"], keep="last")
    return _distinct_arms(frame).sort_values(KEYS, kind="stable").reset_index(drop=True)


def _distinct_arms(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the run's folder added to an arm's name where several runs share that arm and a seed.

    Seeds are averaged as independent runs, so an arm must not hold one seed twice.
    """
    for folder in (lambda run: str(Path(run).parent), str):
        runs = frame[["run", "arm", "seed"]].drop_duplicates()
        clashing = runs.loc[runs.duplicated(["arm", "seed"], keep=False), "arm"]
        longer = frame["arm"] + " (" + frame["run"].map(folder).str.removeprefix("runs/") + ")"
        frame = frame.assign(arm=frame["arm"].mask(frame["arm"].isin(clashing), longer))
    return frame


def runs_that_logged(frame: pd.DataFrame, metric: str, split: str = "validation") -> pd.DataFrame:
    """The rows of the runs that logged the metric in the split (SFT runs log no validation Pass@1)."""
    if metric not in frame:
        return frame.iloc[:0]
    return frame[frame["run"].isin(set(frame.loc[(frame["split"] == split) & frame[metric].notna(), "run"]))]


def _read(path: Path) -> pd.DataFrame:
    if path.is_dir() and not (path / "metrics.jsonl").is_file():
        if logged := sorted(path.glob("**/completions_*.parquet")):
            return pd.concat([trl_completions(file) for file in logged])
    if path.is_dir() or path.name == "metrics.jsonl":
        folder = path if path.is_dir() else path.parent
        parameters = (read_manifest(folder) or {}).get("parameters", {})
        metrics = pd.DataFrame(read_metrics(folder))
        return labelled(metrics, shown(folder), folder.name, parameters.get("arm"), parameters.get("seed"))
    if path.suffix == ".csv":
        return wandb_export(path)
    if path.suffix == ".parquet":
        return trl_completions(path)
    raise InputError(f"{shown(path)} is no run: expected a run folder, a wandb .csv or TRL's completions .parquet")


def arms_of(frame: pd.DataFrame) -> list[str]:
    """The arms in the order of every figure and table."""
    present = set(frame["arm"].unique())
    return [arm for arm in _ARMS if arm in present] + sorted(present - set(_ARMS))


def logged_values(frame: pd.DataFrame, metric: str, split: str = "validation") -> pd.DataFrame:
    """Where the metric was logged: arm, seed, run, step, value. Raises InputError naming the logged metrics."""
    rows = frame[frame["split"] == split]
    logged = [name for name in rows if name not in KEYS and rows[name].notna().any()]
    if metric not in logged:
        hint = f"{nearest(metric, logged)}; there are: {', '.join(logged) or 'none'}"
        raise InputError(f"no run logged {metric!r} in {split}{hint}")
    rows = rows.loc[rows[metric].notna(), ["arm", "seed", "run", "step", metric]].rename(columns={metric: "value"})
    twice = rows[rows.duplicated(["arm", "seed", "step"], keep=False)]
    if len(twice):
        arm, seed = twice.iloc[0][["arm", "seed"]]
        names = ", ".join(twice[(twice["arm"] == arm) & (twice["seed"] == seed)]["run"].unique())
        raise InputError(f"arm {arm!r} has seed {seed} more than once, and seeds must be independent runs: {names}")
    return rows.sort_values(["arm", "seed", "step"]).reset_index(drop=True)


def _common_steps(values: pd.DataFrame) -> list[int]:
    """The steps that every run of `points` has."""
    return sorted(set.intersection(*(set(run["step"]) for _, run in values.groupby("run"))))


def mean_curve(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95% t-interval: arm, step, mean, low, high, seeds.

    Only steps that all seeds of the arm have. With one seed, low and high are missing.
    """
    curves = []
    for arm in arms_of(values):
        table = values[values["arm"] == arm].pivot(index="step", columns="seed", values="value").dropna()
        if table.empty:
            continue
        mean, low, high, _ = stats.t_interval(table.to_numpy())
        columns = {"arm": arm, "step": table.index, "mean": mean, "low": low, "high": high, "seeds": table.shape[1]}
        curves.append(pd.DataFrame(columns))
    if not curves:
        raise InputError("no arm has a step that all its seeds have: there is no mean to draw")
    return pd.concat(curves, ignore_index=True)


def describe_gaps(values: pd.DataFrame) -> list[str]:
    """Sentences on what is missing: steps that some seeds of an arm lack, and seeds that some arms lack."""
    sentences = []
    for arm in arms_of(values):
        by_seed = values[values["arm"] == arm].groupby("seed")["step"].agg(set)
        partial = sorted(set.union(*by_seed) - set.intersection(*by_seed))
        if partial:
            ends = ", ".join(f"seed {seed} ends at {max(steps)}" for seed, steps in by_seed.items())
            sentences.append(
                f"{arm}: steps {first_few(partial)} are not in every seed and left out of the mean ({ends})."
            )
    seeds = values.groupby("arm")["seed"].agg(set)
    unpaired = sorted(set.union(*seeds) - set.intersection(*seeds)) if len(seeds) else []
    if unpaired:
        few = first_few(unpaired)
        sentences.append(f"Seeds {few} are not in every arm: a difference pairs only the seeds that both arms have.")
    return sentences


def compared_steps(values: pd.DataFrame) -> str:
    """A sentence on the steps at which runs are compared."""
    steps = _common_steps(values)
    if not steps:
        return "The runs have no step in common: each is taken at its own steps, so their amounts of training differ."
    return f"Runs are compared at the {len(steps)} validations that all of them have, the last at step {steps[-1]}."


def by_run(values: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, final, curve_mean: each run's last value and its mean, at the steps of `compared_steps`."""
    steps = _common_steps(values)
    shared = values[values["step"].isin(steps)] if steps else values
    by_seed = shared.sort_values("step").groupby(["arm", "seed"])["value"]
    return by_seed.agg(final="last", curve_mean="mean").reset_index()


def validation_setting(frame: pd.DataFrame) -> str:
    """A sentence for a caption on the validations of these runs: problems, samples of each, temperature; "" if unknown.

    Where runs differ, all their values are named.
    """
    found = []
    for run in frame["run"].unique():
        parameters = (read_manifest(resolve(run)) or {}).get("parameters", {}) if resolve(run).is_dir() else {}
        files = sorted((resolve(run) / "validation").glob("step_*.parquet"))
        if files and "validation_temperature" in parameters:
            problems = pd.read_parquet(files[0], columns=["id"])["id"].nunique()
            found.append((problems, parameters["validation_samples"], f"{parameters['validation_temperature']:g}"))
    if not found:
        return ""
    problems, samples, temperature = (" or ".join(dict.fromkeys(map(str, one))) for one in zip(*found, strict=True))
    each = "sample" if samples == "1" else "samples"
    return f"Validation: {problems} problems, {samples} {each} of each, temperature {temperature}."


def runs_with_rollouts(frame: pd.DataFrame) -> dict[str, str]:
    """Each arm's last run that has a rollout ledger."""
    runs = frame[["arm", "run"]].drop_duplicates().itertuples(index=False)
    return {arm: run for arm, run in runs if has_rollouts(resolve(run))}


def group_statistics(rollouts: pd.DataFrame) -> pd.DataFrame:
    """One row for each group of a rollout ledger: step, group, rho, nonzero, weight.

    rho: share of correct answers; nonzero: some advantage is not 0; weight: Σ|advantage| after weighting divided by
    that before it (missing where that was 0).
    """
    sizes = rollouts.assign(after=rollouts["advantage"].abs(), before=rollouts["advantage_before"].abs())
    by_group = sizes.groupby(["step", "group"], as_index=False)
    table = by_group.agg(rho=("correct", "mean"), after=("after", "sum"), before=("before", "sum"))
    table["nonzero"] = table["after"] > 0
    table["weight"] = (table["after"] / table["before"]).where(table["before"] > 0)
    return table.drop(columns=["after", "before"])

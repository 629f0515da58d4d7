"""Training curves: which runs are compared, their metrics in one frame, the mean over seeds, what is missing.

The tidy frame has one row for each logged line: run, arm, seed, step (rollout batches done), split and the metrics by
name. A wandb export (.csv) is read as well as run folders. Without named runs, those of the newest experiment are
compared.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError, nearest
from lead_kit.evaluate import stats
from lead_kit.evaluate.graded_samples import first_few
from lead_kit.runs.files import resolve, shown
from lead_kit.runs.find import arm_and_seed, matching_paths
from lead_kit.runs.log_files import has_rollouts, read_metrics
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import safe_line

POINTS = ("pass@1", "length", "truncated")  # of each problem, in a validation.parquet of points.py
NOTHING_RIGHT = "No answer was correct, so these numbers cannot tell methods apart."
_KEYS = ["run", "arm", "seed", "step", "split"]
_STEP_COLUMNS = ("step", "Step", "_step", "train/global_step", "trainer/global_step")
_WANDB_COLUMN = re.compile(r"^(?:(?P<run>.+) - )?(?:(?P<split>train|eval|val|validation|test)/)?(?P<metric>.+)$")
_SETTINGS = (  # parameters that say on what and how much an arm trains and is validated, not by which method
    "model", "train_data", "validation_data", "template", "batch_size", "group_size", "max_tokens",
    "validation_samples", "validation_temperature", "adapter", "dtype",
)  # fmt: skip
# the start and the control arms come first, then the paper's, in this order; others follow by name
_ARMS = ("sft", "random", "format_only", "grpo", "length", "length_reweighting", "lead")


def load_runs(runs: list[str]) -> pd.DataFrame:
    """The tidy frame of run folders, globs, wandb exports or committed points; empty where a glob matches nothing.

    A step that was logged twice (in a resumed run) counts once, with its newest numbers.
    """
    frames = [frame for frame in map(_read, matching_paths(runs)) if len(frame)] or [pd.DataFrame(columns=_KEYS)]
    frame = pd.concat(frames, ignore_index=True).drop_duplicates(["run", "split", "step"], keep="last")
    return _distinct_arms(frame).sort_values(_KEYS, kind="stable").reset_index(drop=True)


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
    """The metrics of a run folder (or its metrics.jsonl) with run, arm and seed, from its record or else its name."""
    if path.suffix == ".csv":
        return _wandb_export(path)
    if path.name == "validation.parquet":
        problems = pd.read_parquet(path).groupby(["run", "arm", "seed", "step"])
        return problems[list(POINTS)].mean().reset_index().assign(split="validation")
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.name != "metrics.jsonl":
        raise InputError(
            f"{shown(path)} is no run: expected a run folder or a wandb .csv (06_replay reads completions)"
        )
    parameters, (arm, seed) = _parameters(folder), arm_and_seed(folder.name)
    labels = {"run": shown(folder), "arm": parameters.get("arm") or arm, "seed": int(parameters.get("seed", seed))}
    return pd.DataFrame(read_metrics(folder)).assign(**labels)


def _wandb_export(path: Path) -> pd.DataFrame:
    """A wandb history saved as CSV: one column for each metric, or "RUN - METRIC" as the panels export it.

    The step is the first of _STEP_COLUMNS; `eval/…`, `val/…` and `validation/…` become the validation split.
    Raises InputError where no column is a step.
    """
    wide = pd.read_csv(path)
    step = next((name for name in _STEP_COLUMNS if name in wide), None)
    if step is None:
        raise InputError(f"{shown(path)} has no step column ({', '.join(_STEP_COLUMNS)}): {list(wide)[:6]}")
    numbers = wide.drop(columns=step).select_dtypes("number")
    numbers = numbers[[name for name in numbers if not re.search(r"__(MIN|MAX)$", name)]]
    long = numbers.assign(step=wide[step]).melt("step").dropna()
    parts = long["variable"].str.extract(_WANDB_COLUMN)
    split = parts["split"].isin(["eval", "val", "validation"]).map({True: "validation", False: "train"})
    long = long.assign(run=parts["run"].fillna(path.stem), split=split, metric=parts["metric"])
    tidy = long.pivot_table("value", ["run", "step", "split"], "metric", aggfunc="last").reset_index()
    named = tidy["run"].map(arm_and_seed)
    return tidy.assign(arm=named.str[0], seed=named.str[1].astype(int))


def _parameters(run: str | Path) -> dict:
    """The parameters that a run recorded; none for what is no run folder."""
    return (read_manifest(resolve(run)) or {}).get("parameters", {})


def arms_of(frame: pd.DataFrame) -> list[str]:
    """The arms in the order of every figure and table: those of _ARMS, then by name, numbers in it by their size."""
    present = set(frame["arm"].unique())
    return [arm for arm in _ARMS if arm in present] + sorted(present - set(_ARMS), key=numbers_by_size)


def numbers_by_size(name: str) -> list[tuple[float, str]]:
    """A key for sorting in which a_9 comes before a_10, and a_0.05 before a_0.1."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", name)
    return [(float(part), "") if index % 2 else (math.inf, part) for index, part in enumerate(parts)]


def swept_values(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Each arm with its value of each parameter in `names`, as its runs recorded it: arm and a column for each name.

    A list stands as JSON, and where two arms have the same values, their own names stand for the first parameter.
    """
    rows = []
    for arm, run in frame.drop_duplicates("arm")[["arm", "run"]].itertuples(index=False):
        values = {name: _parameters(run).get(name) for name in names}
        rows.append({"arm": arm} | {n: json.dumps(v) if isinstance(v, list) else v for n, v in values.items()})
    doses = pd.DataFrame(rows)
    return doses.assign(**{names[0]: doses["arm"]}) if doses.duplicated(list(names)).any() else doses


def rewards_in(frame: pd.DataFrame) -> list[str]:
    """The columns of metrics or rollouts that hold one reward each, not its spread or range."""
    names = [name for name in frame if name.startswith("reward_") and frame[name].notna().any()]
    return [name for name in names if name != "reward_std" and not name.endswith(("_std", "_share", "_min", "_max"))]


def logged_values(frame: pd.DataFrame, metric: str, split: str = "validation") -> pd.DataFrame:
    """Where the metric was logged: arm, seed, run, step, value. Raises InputError naming the logged metrics."""
    rows = frame[frame["split"] == split]
    logged = [name for name in rows if name not in _KEYS and rows[name].notna().any()]
    if metric not in logged:
        hint = f"{nearest(metric, logged)}; there are: {', '.join(logged) or 'none'}"
        raise InputError(f"no run logged {metric!r} in {split}{hint}")
    rows = rows.loc[rows[metric].notna(), ["arm", "seed", "run", "step", metric]].rename(columns={metric: "value"})
    return rows.sort_values(["arm", "seed", "step"]).reset_index(drop=True)


def _common_steps(values: pd.DataFrame) -> list[int]:
    """The steps that every run of `logged_values` has."""
    return sorted(set.intersection(*(set(run["step"]) for _, run in values.groupby("run"))))


def mean_curve(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds with its 95% t-interval: arm, step, mean, low, high, seeds.

    Only steps that all seeds of the arm have. With one seed, low and high are missing.
    """
    curves = []
    for arm in arms_of(values):
        table = values[values["arm"] == arm].pivot(index="step", columns="seed", values="value").dropna()
        mean, low, high, _ = stats.t_interval(table.to_numpy())
        columns = {"arm": arm, "step": table.index, "mean": mean, "low": low, "high": high, "seeds": table.shape[1]}
        curves.append(pd.DataFrame(columns))
    curve = pd.concat(curves, ignore_index=True)
    if curve.empty:
        raise InputError("no arm has a step that all its seeds have: there is no mean to draw")
    return curve


def describe_gaps(values: pd.DataFrame) -> list[str]:
    """Sentences on what is missing: steps that some seeds of an arm lack, and seeds that some arms lack."""
    sentences = []
    for arm in arms_of(values):
        by_seed = values[values["arm"] == arm].groupby("seed")["step"].agg(set)
        partial = sorted(set.union(*by_seed) - set.intersection(*by_seed))
        if partial:
            few, ends = first_few(partial), (f"seed {seed} ends at {max(steps)}" for seed, steps in by_seed.items())
            sentence = f"{arm}: steps {few} are not in every seed and left out of the mean ({', '.join(ends)})."
            sentences.append(sentence)
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
    """arm, seed, run, final, curve_mean: each run's last value and its mean, at the steps of `compared_steps`."""
    steps = _common_steps(values)
    shared = values[values["step"].isin(steps)] if steps else values
    of_run = shared.sort_values("step").groupby(["arm", "seed", "run"])["value"]
    return of_run.agg(final="last", curve_mean="mean").reset_index()


def validation_setting(frame: pd.DataFrame) -> str:
    """A sentence for a caption on the validations of these runs: problems, samples of each, temperature; "" if unknown.

    Where runs differ, all their values are named.
    """
    settings = []
    for run in frame["run"].unique():
        parameters, files = _parameters(run), sorted((resolve(run) / "validation").glob("step_*.parquet"))
        if files and "validation_temperature" in parameters:
            problems = pd.read_parquet(files[0], columns=["id"])["id"].nunique()
            settings.append((problems, parameters["validation_samples"], f"{parameters['validation_temperature']:g}"))
    if not settings:
        return ""
    problems, samples, temperature = (" or ".join(dict.fromkeys(map(str, v))) for v in zip(*settings, strict=True))
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


def newest_experiment(metric: str, split: str = "validation") -> tuple[list[str], str]:
    """The runs of the newest experiment, and a sentence that names it and the others; no run where there is none."""
    runs = runs_that_logged(load_runs(["runs/**"]), metric, split)["run"].drop_duplicates()
    if runs.empty:
        return [], f"No run below runs/ has {split} {metric}: run notebooks/03_grpo.ipynb first."
    folders = runs.map(lambda run: str(Path(run).parent))
    started = runs.map(lambda run: str((read_manifest(resolve(run)) or {}).get("start", "")))
    ranked = started.groupby(folders).max().sort_values(ascending=False).index
    newest, *others = (f"{folder} ({count})" for folder, count in folders.value_counts()[ranked].items())
    sentence = f"The newest experiment, with its number of runs: {newest}."
    if others:
        sentence += f" Others: {', '.join(others)}; choose one with -p runs '{ranked[1]}/*'"
    return runs[folders == ranked[0]].tolist(), sentence


def differing_settings(trained: pd.DataFrame, metric: str, split: str = "validation") -> dict[str, str]:
    """By name, a sentence on each thing other than the method in which the arms differ: experiment, last step,
    _SETTINGS."""
    values = logged_values(trained, metric, split)
    rows = []
    for (arm, run), step in values.groupby(["arm", "run"])["step"].max().items():
        settings = {"experiment": str(Path(run).parent), "last step": int(step)} | _parameters(run)
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
        rows.append(texts | {"arm": arm})
    facts = pd.DataFrame(rows).set_index("arm").reindex(columns=["experiment", "last step", *_SETTINGS])
    sentences = {}
    for name, recorded in facts.items():
        by_arm = recorded.groupby("arm").agg(lambda known: ", ".join(sorted(set(known.dropna()))) or "not recorded")
        alike = by_arm[arms_of(values)].groupby(by_arm, sort=False)
        if alike.ngroups > 1:
            parts = [f"{safe_line(known)} in {', '.join(map(safe_line, arms.index))}" for known, arms in alike]
            sentences[name] = f"The arms differ in {name}: {'; '.join(parts)}."
    return sentences


def settings_caption(differing: Mapping) -> str:
    """The names in `differing_settings`, as a sentence for a caption; empty where the arms are alike."""
    return f"Beside the method, the arms differ in {', '.join(differing)}." if differing else ""


def split_metrics(run: Path, split: str) -> pd.DataFrame:
    """The lines of metrics.jsonl of one split, by step."""
    rows = [row for row in read_metrics(run) if row.pop("split") == split]
    return pd.DataFrame(sorted(rows, key=lambda row: row["step"])).dropna(axis="columns", how="all")


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

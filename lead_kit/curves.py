"""Training curves: the metrics of many runs in one frame, their mean over seeds, what is missing in them.

The tidy frame has one row for each logged line: run, arm, seed, step (rollout batches done), split and the metrics by
name. A wandb export (.csv) and TRL's completions (.parquet) can stand in for a run folder.
"""

import glob
import re
from pathlib import Path

import pandas as pd

from lead_kit import stats
from lead_kit.params import InputError, nearest
from lead_kit.record import read_metrics, read_record, resolve, shown

KEYS = ["run", "arm", "seed", "step", "split"]
ARMS = ("sft", "grpo", "length", "lead")  # arms of the paper come in this order, others after them by name
STEP_COLUMNS = ("step", "Step", "_step", "train/global_step", "trainer/global_step")
WANDB_COLUMN = re.compile(r"^(?:(?P<run>.+) - )?(?:(?P<split>train|eval|val|validation|test)/)?(?P<metric>.+)$")
TRL_COLUMNS = {"step", "prompt", "completion", "advantage"}


def find(patterns: list[str], holds: str = "metrics.jsonl") -> list[Path]:
    """Paths named by folders, files or globs below the repository root.

    Of a glob, folders that hold `holds` (no earlier attempts) and, where it ends in a suffix, files. A glob that
    matches nothing adds nothing. Raises InputError for a plain path that does not exist.
    """
    found = []
    for pattern in patterns:
        path = resolve(pattern)
        if glob.has_magic(str(pattern)):
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            matches = [match for match in matches if "attempts" not in match.parts]
            found += [match for match in matches if (match / holds).is_file() or (path.suffix and match.is_file())]
        elif path.exists():
            found.append(path)
        else:
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise InputError(f"{shown(path)} does not exist{nearest(path.name, beside)}")
    return list(dict.fromkeys(found))


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


def arm_in(name: str) -> str:
    """A run's name without its seed: `train-grpo-s3` → `train-grpo`."""
    return re.sub(r"[-_]s(?:eed)?\d+$", "", name)


def seed_in(name: str) -> int:
    match = re.search(r"[-_]s(?:eed)?(\d+)$", name)
    return int(match[1]) if match else 0


def _label(frame: pd.DataFrame, run: str, arm: str, seed) -> pd.DataFrame:
    if frame.empty:
        return frame
    labels = {"run": run, "arm": arm, "seed": seed_in(run) if seed is None else int(seed)}
    frame = frame.assign(**labels)
    return frame[KEYS + [name for name in frame if name not in KEYS]]


def wandb_export(path: Path) -> pd.DataFrame:
    """A wandb history saved as CSV: one column for each metric, or "RUN - METRIC" as the panels export it.

    The step is the first of STEP_COLUMNS; `eval/…`, `val/…` and `validation/…` become the validation split.
    Raises InputError where no column is a step.
    """
    wide = pd.read_csv(path)
    step = next((name for name in STEP_COLUMNS if name in wide), None)
    if step is None:
        raise InputError(f"{shown(path)} has no step column ({', '.join(STEP_COLUMNS)}): {list(wide)[:6]}")
    numbers = wide.drop(columns=step).select_dtypes("number")
    numbers = numbers[[name for name in numbers if not re.search(r"__(MIN|MAX)$", name)]]
    long = numbers.assign(step=wide[step]).melt("step").dropna()
    named = long["variable"].str.extract(WANDB_COLUMN)
    long = long.assign(
        run=named["run"].fillna(path.stem),
        split=named["split"]
        .map({"eval": "validation", "val": "validation", "validation": "validation"})
        .fillna("train"),
        metric=named["metric"],
    )
    tidy = long.pivot_table("value", ["run", "step", "split"], "metric", aggfunc="last").reset_index()
    frames = [_label(part.drop(columns="run"), run, arm_in(run), None) for run, part in tidy.groupby("run")]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=KEYS)


def trl_completions(path: Path) -> pd.DataFrame:
    """Completions as TRL's GRPOTrainer logs them (step, prompt, completion, rewards, advantage), averaged by step.

    The file holds no token counts: `characters` stands in for the length. Raises InputError where a column is missing.
    """
    rows = pd.read_parquet(path)
    if missing := TRL_COLUMNS - set(rows):
        raise InputError(f"{shown(path)} is not TRL's completions file: it lacks {', '.join(sorted(missing))}")
    rewards = [name for name in rows.select_dtypes("number") if name not in ("step", "advantage")]
    texts = rows[["prompt", "completion"]].astype(str)  # chat messages are lists, which cannot be grouped by
    rows = rows.assign(
        reward=rows[rewards].sum(axis=1), characters=texts["completion"].str.len(), prompt=texts["prompt"]
    )
    by_step = rows.groupby("step")
    frame = by_step[["reward", "characters"]].mean()
    for name in rewards:
        frame[f"reward_{name}"], frame[f"reward_{name}_std"] = by_step[name].mean(), by_step[name].std(ddof=0)
    flat = rows.groupby(["step", "prompt"])["reward"].agg(lambda group: group.max() == group.min())
    frame["zero_variance"] = flat.groupby("step").mean()
    frame = frame.reset_index().assign(split="train")
    if not path.stem.startswith("completions_"):
        return _label(frame, shown(path), arm_in(path.stem), seed_in(path.stem))
    folder = path.parent.parent if path.parent.name == "completions" else path.parent  # one file a step, of one run
    return _label(frame, shown(folder), arm_in(folder.name), seed_in(folder.name))


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

"""Training curves from other tools: wandb exports and the completions that TRL logs."""

import re
from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError
from lead_kit.runs.files import shown
from lead_kit.runs.find import arm_in, seed_in

KEYS = ["run", "arm", "seed", "step", "split"]
_STEP_COLUMNS = ("step", "Step", "_step", "train/global_step", "trainer/global_step")
_WANDB_COLUMN = re.compile(r"^(?:(?P<run>.+) - )?(?:(?P<split>train|eval|val|validation|test)/)?(?P<metric>.+)$")
_TRL_COLUMNS = {"step", "prompt", "completion", "advantage"}


def labelled(frame: pd.DataFrame, run: str, name: str, arm: str | None = None, seed: int | None = None) -> pd.DataFrame:
    """The frame with columns run, arm and seed; arm and seed are read from `name` where they are not given."""
    if frame.empty:
        return frame
    frame = frame.assign(run=run, arm=arm or arm_in(name), seed=seed_in(name) if seed is None else int(seed))
    return frame[KEYS + [column for column in frame if column not in KEYS]]


def wandb_export(path: Path) -> pd.DataFrame:
    """A wandb history saved as CSV: one column for each metric, or "RUN - METRIC" as the panels export it.

    The step is the first of STEP_COLUMNS; `eval/…`, `val/…` and `validation/…` become the validation split.
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
    frames = [labelled(part.drop(columns="run"), run, run) for run, part in tidy.groupby("run")]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=KEYS)


def trl_completions(path: Path) -> pd.DataFrame:
    """Completions as TRL's GRPOTrainer logs them (step, prompt, completion, rewards, advantage), averaged by step.

    The file holds no token counts: `characters` stands in for the length. Raises InputError where a column is missing.
    """
    rows = pd.read_parquet(path)
    if missing := _TRL_COLUMNS - set(rows):
        raise InputError(f"{shown(path)} is not TRL's completions file: it lacks {', '.join(sorted(missing))}")
    rewards = [name for name in rows.select_dtypes("number") if name not in ("step", "advantage")]
    texts = rows[["prompt", "completion"]].astype(str)  # chat messages are lists, which cannot be grouped by
    lengths = texts["completion"].str.len()
    rows = rows.assign(reward=rows[rewards].sum(axis=1), characters=lengths, prompt=texts["prompt"])
    by_step = rows.groupby("step")
    frame = by_step[["reward", "characters"]].mean()
    for name in rewards:
        frame[f"reward_{name}"], frame[f"reward_{name}_std"] = by_step[name].mean(), by_step[name].std(ddof=0)
    flat = rows.groupby(["step", "prompt"])["reward"].agg(lambda group: group.max() == group.min())
    frame["zero_variance"] = flat.groupby("step").mean()
    frame = frame.reset_index().assign(split="train")
    if not path.stem.startswith("completions_"):
        return labelled(frame, shown(path), path.stem)
    folder = path.parent.parent if path.parent.name == "completions" else path.parent  # one file a step, of one run
    return labelled(frame, shown(folder), folder.name)

"""`read`: rollouts of any tool as one frame with columns named by role, and sentences on what the record lacks.

A role is found by the names that the tools give its column; one that a record lacks is absent and never inferred.
Roles: run, step, table (a log within a step), group, id, prompt, completion, reward (the total), correct, gold, length
(tokens), truncated, advantage; `reward_NAME` is one part of the total.
"""

import glob
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.data.load import read_frame
from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.report.curves import numbers_by_size
from lead_kit.runs import log_files
from lead_kit.runs.files import parse_json, resolve, shown
from lead_kit.runs.find import matching_paths, notebook_that_writes, run_notebook_if_missing
from lead_kit.runs.manifest import read_manifest

PART = "reward_"  # the columns of a reward's parts
# A file that holds one step of the run that is its folder: of the kit and cs2916, of TRL (in wandb, too), of verl.
_STEP_FILE = re.compile(r"(step_|completions_)?(\d+)(?:_\w+\.table)?")
# Role: the columns that play it, the first that is there. Read from runs/log_files.py (ours), TRL 1.16 GRPOTrainer.log,
# verl ray_trainer._dump_generations, cs2916 2025 homework 1 ppo_trainer.py, verifiers (prime-rl)
# eval_utils.make_dataset and OpenRLHF batch_inference.py.
_ROLES = {
    "run": ("run",),
    "step": ("step",),
    "table": ("table",),
    "group": ("group", "uid"),
    "id": ("id", "example_id"),
    "prompt": ("prompt", "problem", "input"),
    "completion": ("completion", "output", "response"),
    "reward": ("reward", "score"),
    "correct": ("correct", "acc"),
    "gold": ("gold", "gts", "answer"),
    "length": ("length", "response_length"),
    "truncated": ("truncated", "is_truncated"),
    "advantage": ("advantage",),
}
_TRL = {"step", "prompt", "completion", "advantage"}  # beside these TRL logs each reward by the name of its function
# Names of a reward that is the accuracy: ours, TRL's and open-r1's, verl's.
_ACCURACY = ("correct", "accuracy_reward", "accuracy", "acc")


class Record(NamedTuple):
    """Recorded rollouts. The frame has one row a rollout; columns that the record lacks are absent."""

    frame: pd.DataFrame  # run and those of ROLES and reward_NAME that are there; group: one number for each group
    parameters: dict[str, dict]  # settled parameters by run, for runs of the kit
    notes: list[str]  # what the record lacks, as sentences


def read(pattern: str, columns: Sequence[str] = (), weights: Sequence[float] = (), group_size: int = 0) -> Record:
    """The rollouts that a run folder, a file or a glob names.

    `columns` maps roles to columns, as in "completion=text"; `weights` are those of the parts where no total is
    recorded. `group_size` splits rows in order where the record names no groups, and larger groups of one prompt.
    Raises InputError naming file, column and row.
    """
    if group_size < 0 or group_size == 1:
        raise InputError(f"group_size is {group_size}, expected 2 or more, or 0 for groups as recorded")
    mapping, frames, parameters = _read_mapping(columns), [], {}
    for path, files in _sources(pattern):
        manifest = read_manifest(path) if path.is_dir() else None
        for file in files:
            frame = _read_file(file, mapping)
            if "run" not in frame:
                part_of = file.parent if _STEP_FILE.fullmatch(file.stem) else file.with_suffix("")
                frame["run"] = shown(path if log_files.has_rollouts(path) else part_of)
            frames.append(frame)
        if manifest:
            parameters[shown(path)] = manifest["parameters"]
    frame = pd.concat(frames, ignore_index=True)
    _with_total(frame, weights)
    if "reward" in frame and frame["reward"].isna().all():
        frame = frame.drop(columns="reward")
    notes = _with_groups(frame, group_size)
    return Record(frame, parameters, notes + _lacks(frame))


def _read_mapping(texts: Sequence[str]) -> dict[str, str]:
    """{role: column} from texts such as "completion=text". Raises InputError for an unknown role."""
    mapping = {}
    for text in texts:
        role, equals, column = (part.strip() for part in text.partition("="))
        if not equals or not column:
            raise InputError(f"columns has {text!r}, expected ROLE=COLUMN, e.g. completion=text")
        if role not in _ROLES and not role.startswith(PART):
            raise InputError(f"columns names no role {role!r}{nearest_or_all(role, _ROLES)}")
        mapping[role] = column
    return mapping


def _read_file(path: Path, mapping: dict[str, str]) -> pd.DataFrame:
    """One file with its columns named by role."""
    raw, where = _read_rows(path), shown(path)
    if raw.empty:
        raise InputError(f"{where} holds no rows, expected one a rollout")
    raw.columns = [str(name) for name in raw.columns]
    of_trl, names = set(raw) >= _TRL, {name: name for name in raw if name.startswith(PART)}
    for role, usual in _ROLES.items():
        present = [name for name in (usual[:1] if of_trl else usual) if name in raw]
        names |= {role: present[0]} if present else {}
    if of_trl:
        taken = {*names.values(), *mapping.values()}
        free = [name for name in raw if name not in taken and not name.startswith("__")]
        values = raw[free].select_dtypes(exclude="bool").replace("", np.nan)
        numbers = values.apply(pd.to_numeric, errors="coerce").notna() == values.notna()
        names |= {PART + name: name for name in values if numbers[name].all()}
    names |= mapping
    if "completion" not in names:
        raise InputError(
            f"{where} has no column 'completion', the text that was generated; there are: {', '.join(list(raw)[:12])}. "
            "Name it with -p columns completion=COLUMN"
        )
    frame = pd.DataFrame({role: _one_column(raw, role, column, where) for role, column in names.items()})
    if "step" not in frame and (named := _STEP_FILE.fullmatch(path.stem)) and named[1] == "step_":
        frame["step"] = float(named[2])
    part = next((PART + name for name in _ACCURACY if PART + name in frame), None)
    if part and frame[part].dropna().isin([0, 1]).all():
        frame = frame.rename(columns={part: PART + "correct"})
        frame["correct"] = frame.get("correct", frame[PART + "correct"])
    return frame


def _one_column(raw: pd.DataFrame, role: str, name: str, where: str) -> pd.Series:
    """The values of a role, checked. Raises InputError naming column and row."""
    if name not in raw:
        there = ", ".join(list(raw)[:12])
        raise InputError(f"{where} has no column {name!r}{nearest(name, raw)}; there are: {there}")
    values, where = raw[name], f"{where}, column {name!r}"
    if role in ("completion", "prompt"):
        return _texts(values, where, "assistant" if role == "completion" else "")
    if role in ("reward", "advantage", "step", *_NUMBERS) or role.startswith(PART):
        return _numbers(values, where, *_NUMBERS.get(role, ("a number", np.isfinite)))
    if role == "gold":
        known = values.map(lambda value: isinstance(value, str | int | float) and value == value and value != "")
        return values.astype(str).where(known, None)
    return values.map(lambda value: value if isinstance(value, str | int | float) else json.dumps(value, default=str))


def _with_total(frame: pd.DataFrame, weights: Sequence[float]) -> None:
    """Adds `reward` where only its parts are there: their weighted sum. Raises InputError for weights that do not fit.

    Weights that are not given are 1 each, as TRL's default is.
    """
    parts = [name for name in frame if name.startswith(PART)]
    if "reward" not in frame and parts:
        if weights and len(weights) != len(parts):
            raise InputError(f"recorded_weights has {len(weights)} values for the parts {', '.join(parts)}")
        weighted = frame[parts] * (list(weights) or [1.0] * len(parts))
        frame["reward"] = weighted.sum(axis=1, min_count=1)  # as TRL: a part that was not given counts nothing


def _with_groups(frame: pd.DataFrame, group_size: int) -> list[str]:
    """Numbers the groups in the column `group`: the rollouts of one prompt in one batch. Returns sentences.

    A recorded group is split where its prompts differ, because the rollouts of a group share their prompt.
    """
    named = [role for role in ("group", "prompt", "id") if role in frame and frame[role].notna().all()]
    if not named and not group_size:
        if "group" in frame:
            del frame["group"]
        return [
            "The record names no groups (no group, prompt or id), so nothing can be said about advantages; "
            "with group_size, rows in their order are groups."
        ]
    keys = [role for role in ("run", "table", "step") if role in frame]
    keys += [role for role in named if role != "id" or len(named) == 1]
    frame["group"] = frame.groupby(keys, sort=False, dropna=False).ngroup()
    if group_size:
        part = frame.groupby("group").cumcount() // group_size
        frame["group"] = frame.assign(place=part).groupby(["group", "place"], sort=False).ngroup()
    return [] if named else [f"The record names no groups: {group_size} rows in their order are one group."]


def _lacks(frame: pd.DataFrame) -> list[str]:
    """Sentences on what is not recorded and on groups that are not alike."""
    sentences = []
    if "reward" not in frame:
        sentences.append("The record has no reward, so only rewards that the text or golds decide can be computed.")
    if missing := [name for name in ("step", "length", "truncated", "gold") if name not in frame]:
        sentences.append(f"The record has no {', '.join(missing)}.")
    gaps = frame[[name for name in ("reward", "step", "length", "truncated", "correct") if name in frame]].isna().sum()
    if gaps.any():
        counts = ", ".join(f"{name} {count:,}" for name, count in gaps.items() if count)
        sentences.append(f"Rollouts without a value: {counts}. A group that lacks a reward has no advantages.")
    sizes = frame["group"].value_counts().value_counts().sort_index() if "group" in frame else {}
    if len(sizes) > 1 or 1 in sizes:
        counts = ", ".join(f"{count} of {size}" for size, count in sizes.items())
        sentences.append(
            f"Groups by size: {counts}. Each is computed at its own size, and a rollout alone is left out."
        )
    return sentences


# In a folder that is no run of ours, the first of these that matches: one file for each step, or for each log.
_ENDINGS = (".parquet", ".csv", ".jsonl", ".json")
_IN_FOLDERS = ("completions_*.parquet", "*.table.json", "step_*.json", "results.jsonl", "*.jsonl", "*.parquet", "*.csv")


def _sources(pattern: str) -> list[tuple[Path, list[Path]]]:
    """(folder or file, its files) for what a folder, file or glob names. Raises InputError where there is nothing."""
    named = resolve(pattern)
    if not named.exists() and notebook_that_writes(named):
        run_notebook_if_missing(pattern)
    if named.exists():  # a folder may have [ or * in its own name
        paths = [named]
    else:
        paths = _matches(named) if glob.has_magic(pattern) else matching_paths([pattern])
    if not paths:
        raise InputError(f"no rollouts at {shorten(pattern)}: expected a run folder, a glob or a file of rollouts")
    return [(path, files_of(path)) for path in paths]


def _matches(pattern: Path) -> list[Path]:
    """The runs with rollouts that a glob matches, earlier attempts aside; else its files; else its folders."""
    paths = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]
    paths = [path for path in paths if "attempts" not in path.parts]
    runs = [path for path in paths if path.is_dir() and log_files.has_rollouts(path)]
    files = [path for path in paths if path.is_file() and path.suffix in _ENDINGS]
    return runs or files or [path for path in paths if path.is_dir()]


def inputs(pattern: str) -> list[Path]:
    """The files and folders that hold these rollouts, for the record of the run that reads them."""
    return [path / "rollouts" if log_files.has_rollouts(path) else path for path, _ in _sources(pattern)]


def files_of(path: Path) -> list[Path]:
    """The files of rollouts that a path stands for: those of a run of ours, of a foreign folder, or the file itself."""
    if path.is_file():
        if path.suffix not in _ENDINGS:
            raise InputError(f"cannot read {shown(path)}: expected a file that ends in {', '.join(_ENDINGS)}")
        return [path]
    if log_files.has_rollouts(path):
        return sorted((path / "rollouts").glob("step_*.parquet"))
    if (path / "run.json").is_file():
        raise InputError(f"run {shown(path)} kept no rollouts: set rollouts_every above 0 in its notebook")
    for pattern in _IN_FOLDERS:
        if files := sorted(path.rglob(pattern), key=lambda file: numbers_by_size(file.as_posix())):
            return files
    raise InputError(f"{shown(path)} holds no rollouts: expected files such as {', '.join(_IN_FOLDERS)}")


def _read_rows(path: Path) -> pd.DataFrame:
    """The rows of a data file, or of a table as wandb stores it: {"columns": [...], "data": [[...], ...]}."""
    table = parse_json(path.read_bytes(), path) if path.suffix == ".json" else None
    if not isinstance(table, dict):
        return read_frame(path).reset_index(drop=True)
    try:
        return pd.DataFrame([dict(zip(table["columns"], row, strict=True)) for row in table["data"]])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{shown(path)}: expected a list of objects, or a table with columns and rows of as many values"
        ) from None


_NUMBERS = {  # roles whose numbers are of a kind: its words and its test
    "correct": ("true or false, 1 or 0", lambda number: number.isin([0, 1])),
    "truncated": ("true or false, 1 or 0", lambda number: number.isin([0, 1])),
    "length": ("a number of 0 or more", lambda number: np.isfinite(number) & (number >= 0)),
}


def _numbers(values: pd.Series, where: str, expected: str, valid: Callable) -> pd.Series:
    """Floats, nan where a value is missing; true and false are 1 and 0.

    Raises InputError naming the row of a value that is not `valid`.
    """
    if values.dtype.kind not in "biuf":
        words = {"true": 1.0, "false": 0.0, "": np.nan}
        values = values.map(lambda value: words.get(value.strip().lower(), value) if isinstance(value, str) else value)
    numeric = pd.to_numeric(values, errors="coerce").astype(float)
    bad = values.notna() & ~valid(numeric)
    if bad.any():
        row = int(bad.argmax())
        value = values.iloc[row]
        text = f"{value:g}" if isinstance(value, float | np.number) else shorten(repr(value))
        raise InputError(f"{where}, row {row + 1}: {text}, expected {expected}")
    return numeric


def _texts(values: pd.Series, where: str, role: str) -> pd.Series:
    """Texts; a chat gives the contents of its turns (only those of `role`, where a role is given).

    Raises InputError naming the row of a value that is neither.
    """
    texts = values.map(lambda value: _one_text(value, role)).astype(object)
    if texts.isna().any():
        row = int(texts.isna().argmax())
        raise InputError(f"{where}, row {row + 1}: {shorten(repr(values.iloc[row]))}, expected a text or a chat")
    return texts


def _one_text(value, role: str) -> str | None:
    """The text of one cell; None for what is neither a text nor a chat."""
    if isinstance(value, list | tuple | np.ndarray) and all(isinstance(turn, dict) for turn in value):
        contents = [turn.get("content") for turn in value if not role or turn.get("role", role) == role]
        return "\n".join(contents) if all(isinstance(content, str) for content in contents) else None
    return value if isinstance(value, str) else None

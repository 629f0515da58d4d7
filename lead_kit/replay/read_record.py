"""`read`: rollouts of any tool as one frame with columns named by role, and sentences on what the record lacks.

FORMATS says which column plays which role in the records of each tool. A role that a record lacks is absent; it is
never inferred. Roles: run, step, table (a log within a step), group, id, prompt, completion, reward (the total),
correct, gold, length (tokens), truncated, advantage; `reward_NAME` is one part of the total.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.replay import read_files
from lead_kit.runs import log_files
from lead_kit.runs.files import shown
from lead_kit.runs.manifest import read_manifest

PART = "reward_"  # the columns of a reward's parts
_MEANING = {"completion": "the text that was generated", "prompt": "the problem or the whole prompt"}
_STEP_IN_NAME = re.compile(r"step_(\d+)")


_ROLES = (
    "run", "step", "table", "group", "id", "prompt", "completion", "reward", "correct", "gold", "length", "truncated",
    "advantage",
)  # fmt: skip


class _Format(NamedTuple):
    """The record of one tool."""

    name: str
    marks: tuple[str, ...]  # columns that only this tool's files have, of those listed above it
    columns: dict[str, str]  # role: column, where the column is not named as its role
    a_file_a_step: bool  # its files are parts of one run, which is their folder
    source: str


_FORMATS = (
    _Format(
        "ledger of lead_kit",
        ("step", "group", "completion", "reward", "shaped"),
        {"prompt": "problem"},
        True,
        "runs/log_files.py and train/trainer.py",
    ),
    _Format(
        "TRL completions",
        ("step", "prompt", "completion", "advantage"),
        {},
        True,
        "TRL 1.16, GRPOTrainer.log: one column for each reward, and no total",
    ),
    _Format(
        "verl dump",
        ("input", "output", "score"),
        {"prompt": "input", "completion": "output", "reward": "score", "gold": "gts", "correct": "acc", "group": "uid"},
        True,
        "verl, ray_trainer.py, _dump_generations: rollout_data_dir and validation_data_dir",
    ),
    _Format(
        "cs2916 samples",
        ("prompt", "response", "reward"),
        {"completion": "response", "length": "response_length"},
        True,
        "cs2916 2025 homework 1, ppo_trainer.py: samples_save_path/train/step_N.json",
    ),
    _Format(
        "verifiers results",
        ("example_id", "prompt", "completion", "reward"),
        {"id": "example_id", "gold": "answer", "truncated": "is_truncated"},
        False,
        "verifiers (prime-rl), eval_utils.py, make_dataset: results.jsonl",
    ),
    _Format(
        "OpenRLHF samples",
        ("input", "output", "reward"),
        {"prompt": "input", "completion": "output"},
        False,
        "OpenRLHF, batch_inference.py: generated and scored samples",
    ),
    _Format("named columns", ("completion",), {}, False, "columns named as the roles, or given by parameters"),
)
# Names of a reward that is the accuracy: ours, TRL's and open-r1's, verl's.
_ACCURACY = ("correct", "accuracy_reward", "accuracy", "acc")


def _format_of(columns: set[str]) -> _Format | None:
    """The first format whose marks are all there; None where no format fits."""
    return next((one for one in _FORMATS if set(one.marks) <= columns), None)


class Record(NamedTuple):
    """Recorded rollouts. The frame has one row a rollout; columns that the record lacks are absent."""

    frame: pd.DataFrame  # run, row and those of ROLES and reward_NAME that are there; group: one number for each group
    formats: list[str]  # names of the formats that were read
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
    mapping, frames, parameters, formats = _read_mapping(columns), [], {}, []
    for path, files in read_files.sources(pattern):
        manifest = read_manifest(path) if path.is_dir() else None
        for file in files:
            frame, kind = _read_file(file, mapping)
            if "run" not in frame:
                frame["run"] = shown(path if log_files.has_rollouts(path) else _run_of(file, kind))
            frames.append(frame)
            formats.append(kind.name)
        if manifest:
            parameters[shown(path)] = manifest["parameters"]
    frame = pd.concat(frames, ignore_index=True)
    frame["row"] = range(len(frame))
    _with_total(frame, weights)
    if "reward" in frame and frame["reward"].isna().all():
        frame = frame.drop(columns="reward")
    notes = _with_groups(frame, group_size)
    return Record(frame, list(dict.fromkeys(formats)), parameters, notes + lacks(frame))


def _run_of(file: Path, kind: _Format) -> Path:
    """What a foreign file is a part of: the run that is its folder where a file is a step, else a run of its own."""
    a_step = kind.a_file_a_step or _STEP_IN_NAME.fullmatch(file.stem)
    return file.parent if a_step else file.with_suffix("")


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


def _read_file(path: Path, mapping: dict[str, str]) -> tuple[pd.DataFrame, _Format]:
    """One file with its columns named by role, and its format."""
    raw, where = read_files.read_rows(path), shown(path)
    raw.columns = [str(name) for name in raw.columns]
    kind = _format_of(set(raw)) or _FORMATS[-1]
    names = {role: role for role in _ROLES if role in raw} | {r: c for r, c in kind.columns.items() if c in raw}
    names |= {name: name for name in raw if name.startswith(PART)}
    names |= {PART + name: name for name in _reward_columns(raw, kind, {*names.values(), *mapping.values()})}
    names |= mapping
    if "completion" not in names:
        there = ", ".join(list(raw)[:12])
        known = "; ".join(f"{one.name}: {', '.join(one.marks)}" for one in _FORMATS[:-1])
        raise InputError(
            f"{where} has no column 'completion', {_MEANING['completion']}; there are: {there}. Name it with "
            f"-p columns completion=COLUMN, or bring a file of a known tool ({known})"
        )
    frame = pd.DataFrame({role: _one_column(raw, role, column, where) for role, column in names.items()})
    if "step" not in frame and (number := _STEP_IN_NAME.fullmatch(path.stem)):  # cs2916 numbers its files
        frame["step"] = float(number[1])
    part = next((PART + name for name in _ACCURACY if PART + name in frame), None)
    if part and frame[part].dropna().isin([0, 1]).all():
        frame = frame.rename(columns={part: PART + "correct"})
        frame["correct"] = frame.get("correct", frame[PART + "correct"])
    return frame, kind


def _reward_columns(raw: pd.DataFrame, kind: _Format, taken: set[str]) -> list[str]:
    """TRL logs each reward as a column of its own name; of other tools only columns `reward_NAME` are parts."""
    if kind.name != "TRL completions":
        return []
    free = [name for name in raw if name not in taken and name not in _ROLES and not name.startswith("__")]
    return [name for name in free if raw[name].dtype.kind in "fiu" or raw[name].isna().all()]


def _one_column(raw: pd.DataFrame, role: str, name: str, where: str) -> pd.Series:
    """The values of a role, checked. Raises InputError naming column and row."""
    values = read_files.column(raw, name, where)
    if role in ("completion", "prompt"):
        return read_files.texts(values, name, where, "assistant" if role == "completion" else "")
    if role in ("correct", "truncated"):
        return read_files.flags(values, name, where)
    if role in ("reward", "length", "advantage", "step") or role.startswith(PART):
        return read_files.numbers(values, name, where, least=0 if role == "length" else None)
    if role == "gold":
        return values.map(_gold_text)
    return values.map(lambda value: value if isinstance(value, str | int | float) else json.dumps(value, default=str))


def _gold_text(value) -> str | None:
    """The right answer as a text; verl's dictionaries give their ground truth, a list its first item."""
    if isinstance(value, dict):
        value = value.get("ground_truth")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return None if value is None or value != value or value == "" else str(value)


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


def lacks(frame: pd.DataFrame) -> list[str]:
    """Sentences on what is not recorded and on groups that are not alike."""
    sentences = []
    if "reward" not in frame:
        sentences.append("The record has no reward, so only rewards that the text or golds decide can be computed.")
    elif count := int(frame["reward"].isna().sum()):
        sentences.append(
            f"Rollouts without a reward: {count}; their groups are left out wherever advantages are needed."
        )
    missing = [name for name in ("step", "length", "truncated", "gold") if name not in frame]
    if missing:
        sentences.append(f"The record has no {', '.join(missing)}.")
    gaps = {name: int(frame[name].isna().sum()) for name in ("step", "length", "truncated", "correct") if name in frame}
    if counts := ", ".join(f"{name} {count:,}" for name, count in gaps.items() if count):
        sentences.append(f"Rollouts without a value: {counts}.")
    if "group" in frame:
        sizes = frame["group"].value_counts().value_counts().sort_index()
        if len(sizes) > 1:
            counts = ", ".join(f"{count} of {size}" for size, count in sizes.items())
            sentences.append(f"Groups differ in size ({counts}); each is computed at its own size.")
        if 1 in sizes:
            sentences.append(
                f"Groups of one rollout: {sizes[1]}; such a rollout has nothing to be compared with and is left out."
            )
    return sentences

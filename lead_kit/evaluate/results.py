"""Samples of an evaluation: read, checked, and brought into the arrays of `metrics`.

One row is one sample: benchmark, id, sample, level, gold, completion, answer, length, truncated, correct (and run,
arm, seed). Every mean assumes the same problems and the same number of samples of each; what breaks that is named and
refused, or mended by an explicit choice that is told in `notes`, never averaged over.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.errors import InputError, nearest
from lead_kit.evaluate import metrics
from lead_kit.runs.files import read_jsonl
from lead_kit.runs.find import arm_in, find, seed_in
from lead_kit.runs.manifest import read_record
from lead_kit.runs.paths import shown

NEEDED = ["id", "sample", "correct"]
CHOICES = {
    "missing": ("refuse", "wrong", "leave out"),  # problems that another run, or the benchmark, has
    "mixed": ("refuse", "wrong", "fewest"),  # problems with fewer samples than others
    "duplicates": ("refuse", "first", "last"),  # the same sample of the same problem twice
    "foreign": ("refuse", "leave out"),  # problems that the benchmark does not have
}
REFUSE = dict.fromkeys(CHOICES, "refuse")


class Suite(NamedTuple):
    """One checked set of samples: arrays (problems, samples), ids and levels (problems,)."""

    samples: metrics.Samples
    ids: list[str]
    levels: list


def load_samples(paths: list[str]) -> pd.DataFrame:
    """All samples of run folders (04's samples, else the last validation), files or globs, with run, arm and seed.

    Raises InputError for a file that cannot be read or lacks a column, naming the line or the column.
    """
    frames = []
    for path in find([str(path) for path in paths], holds="samples.jsonl"):
        folder = path if path.is_dir() else path.parent
        parameters = (read_record(folder) or {}).get("parameters", {})
        frame = read_samples(path)
        name = folder.name if path.is_dir() or path.stem == "samples" else path.stem
        labels = {"arm": arm_in(name), "seed": seed_in(name), "benchmark": "unnamed"}
        for label, otherwise in labels.items():
            if label not in frame:
                frame[label] = parameters.get(label, otherwise)
        frames.append(frame.assign(run=_sources(path, frame)))
    if not frames:
        return pd.DataFrame(columns=[*NEEDED, "arm", "seed", "run"])
    return pd.concat(frames, ignore_index=True)


def _sources(path, frame):
    """The run of each row: its file, and what tells its rows apart where the file holds several models."""
    columns = [name for name in ("model", "arm", "seed") if name in frame and frame[name].nunique() > 1]
    labels = frame[columns].astype(str).agg(" ".join, axis=1) if columns else None
    return shown(path) if labels is None else shown(path) + " of " + labels


def read_samples(path: Path) -> pd.DataFrame:
    """The rows of one samples file or run folder. Raises InputError naming what is wrong with it."""
    if path.is_dir():
        found = [path / name for name in ("samples.jsonl", "samples.parquet") if (path / name).is_file()]
        found = found or sorted((path / "validation").glob("step_*.parquet"))[-1:]
        if not found:
            raise InputError(f"{shown(path)} holds no samples: expected samples.jsonl, samples.parquet or validation/")
        path = found[0]
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{shown(path)}: samples are read from .jsonl or .parquet")
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.DataFrame(read_jsonl(path))
    if frame.empty:
        raise InputError(f"{shown(path)} holds no samples")
    for name in NEEDED:
        if name not in frame:
            raise InputError(f"{shown(path)} has no column {name!r}{nearest(name, frame.columns)}")
    bad = frame[~frame["correct"].isin([True, False])]
    if len(bad):
        raise InputError(
            f"{shown(path)}, row {bad.index[0] + 1}: correct is {bad.iloc[0]['correct']!r}, expected true or false"
        )
    return frame.assign(id=frame["id"].astype(str), correct=frame["correct"].astype(bool))


def check(frame: pd.DataFrame, problems: list[str] = (), **choices: str) -> tuple[pd.DataFrame, list[str]]:
    """The samples, complete and rectangular in every run, and what was done to make them so, in sentences.

    `problems`: the ids of the benchmark; without them, every problem that any run has. `choices`: how to mend
    missing, mixed, duplicates, foreign (CHOICES); by default each is refused. Raises InputError naming the rows.
    """
    for name, choice in choices.items():
        if choice not in CHOICES.get(name, ()):
            raise InputError(f"{name} = {choice!r} is no choice; there are {CHOICES.get(name, tuple(CHOICES))}")
    choices = REFUSE | choices
    if frame.empty:
        raise InputError("there are no samples")
    benchmarks = sorted(frame["benchmark"].unique())
    if len(benchmarks) > 1:
        raise InputError(f"the samples are of several benchmarks ({', '.join(benchmarks)}): take one at a time")
    notes = []
    frame = _without_foreign(frame, problems, choices["foreign"], notes)
    wanted = list(problems) or list(dict.fromkeys(frame["id"]))
    parts = []
    for run, rows in frame.groupby("run", sort=False):
        rows = _without_duplicates(run, rows, choices["duplicates"], notes)
        rows = _with_all_problems(run, rows, wanted, choices["missing"], notes)
        parts.append(_rectangular(run, rows, choices["mixed"], notes))
    if choices["missing"] == "leave out":
        shared = set.intersection(*(set(part["id"]) for part in parts))
        parts = [part[part["id"].isin(shared)] for part in parts]
    sizes = {str(part["run"].iloc[0]): part.groupby("id").size().iloc[0] for part in parts}
    if len(set(sizes.values())) > 1 and choices["mixed"] == "refuse":
        raise InputError(
            f"runs have different numbers of samples per problem: {sizes}; take mixed='fewest' to cut to the fewest"
        )
    if len(set(sizes.values())) > 1:
        parts = [_first(part, min(sizes.values())) for part in parts]
        notes.append(f"All runs are cut to {min(sizes.values())} samples a problem.")
    return pd.concat(parts, ignore_index=True), notes


def _without_foreign(frame, problems, choice, notes):
    foreign = sorted(set(frame["id"]) - set(problems)) if len(problems) else []
    if not foreign:
        return frame
    if choice == "refuse":
        hint = nearest(foreign[0], problems)
        raise InputError(
            f"{len(foreign)} problems are not of this benchmark: {_some(foreign)}{hint}; foreign='leave out' drops them"
        )
    notes.append(f"{len(foreign)} problems are not of this benchmark and were left out: {_some(foreign)}.")
    return frame[frame["id"].isin(set(problems))]


def _without_duplicates(run, rows, choice, notes):
    twice = rows[rows.duplicated(["id", "sample"], keep=False)]
    if twice.empty:
        return rows
    names = _some([f"{row.id} sample {row.sample}" for row in twice.drop_duplicates(["id", "sample"]).itertuples()])
    if choice == "refuse":
        raise InputError(f"{run} holds samples twice: {names}; duplicates='first' or 'last' keeps one of each")
    notes.append(f"{run}: of samples that are there twice the {choice} was kept: {names}.")
    return rows.drop_duplicates(["id", "sample"], keep=choice)


def _with_all_problems(run, rows, wanted, choice, notes):
    missing = [name for name in wanted if name not in set(rows["id"])]
    if not missing:
        return rows
    if choice == "refuse":
        raise InputError(
            f"{run} lacks {len(missing)} of {len(wanted)} problems: {_some(missing)}; "
            "missing='wrong' counts them as wrong, missing='leave out' leaves them out of every run"
        )
    done = "are left out" if choice == "leave out" else "count as wrong"
    notes.append(f"{run}: {len(missing)} missing problems {done}: {_some(missing)}.")
    if choice == "leave out":
        return rows
    return _filled(rows, [(name, k) for name in missing for k in sorted(set(rows["sample"]))])


def _rectangular(run, rows, choice, notes):
    sizes = rows.groupby("id", sort=False).size()
    if sizes.nunique() == 1:
        return rows
    most, short = sizes.max(), sizes[sizes < sizes.max()]
    names = _some([f"{name} has {size}" for name, size in short.items()])
    if choice == "refuse":
        raise InputError(
            f"{run} has {most} samples for some problems and fewer for {len(short)}: {names}; "
            f"mixed='fewest' cuts all to {sizes.min()}, mixed='wrong' counts absent ones as wrong"
        )
    if choice == "fewest":
        notes.append(f"{run}: cut to {sizes.min()} samples a problem, the fewest there are ({names}).")
        return _first(rows, sizes.min())
    notes.append(f"{run}: samples that are absent count as wrong: {names}.")
    absent = [(name, -1 - k) for name, size in short.items() for k in range(most - size)]
    return _filled(rows, absent)


def _first(rows, size):
    return rows.sort_values("sample", kind="stable").groupby("id", sort=False).head(size)


def _filled(rows, absent):
    """Rows for samples that do not exist: wrong, unanswered, of unknown length."""
    known = rows.drop_duplicates("id").set_index("id")
    blank = pd.DataFrame(absent, columns=["id", "sample"])
    for name in ("run", "arm", "seed", "benchmark"):
        blank[name] = rows[name].iloc[0]
    if "level" in rows:
        blank["level"] = blank["id"].map(known["level"])
    blank = blank.assign(correct=False)
    return pd.concat([rows, blank], ignore_index=True)


def _some(names: list) -> str:
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def suite(frame: pd.DataFrame, equivalent=None) -> Suite:
    """Arrays of one run's checked samples, problems in order of id.

    A sample counts as answered when it was not truncated and an answer could be read. Length is nan where it is not
    known. Without columns `answer` and `gold`, all right answers are one class and no wrong one votes with another.
    """
    frame = frame.sort_values(["id", "sample"], kind="stable")
    ids = list(dict.fromkeys(frame["id"]))
    shape = (len(ids), -1)

    def column(name, otherwise):
        return frame[name] if name in frame else pd.Series(otherwise, index=frame.index)

    correct = frame["correct"].to_numpy(bool).reshape(shape)
    ending = column("truncated", False)
    truncated = (ending == True).to_numpy().reshape(shape)  # noqa: E712  missing where a sample does not exist
    answer = column("answer", None).to_numpy(object)
    known = np.array([isinstance(text, str) and text != "" for text in answer])
    if not {"answer", "gold"} <= set(frame):  # without a gold beside it, `answer` may be what a data set calls the gold
        known, answer = np.ones(len(frame), bool), np.array([f"?{i}" for i in range(len(frame))], object)
        equivalent = equivalent or str.__eq__
    answered = known.reshape(shape) & ~truncated & ending.notna().to_numpy().reshape(shape)
    answers = np.where(answered, answer.reshape(shape), None)
    cluster = metrics.cluster_answers(answers, correct, equivalent)
    length = column("length", np.nan).to_numpy(float).reshape(shape)
    levels = frame.drop_duplicates("id")["level"].tolist() if "level" in frame else [None] * len(ids)
    return Suite(
        metrics.Samples(correct.astype(int), answered.astype(int), truncated.astype(int), length, cluster), ids, levels
    )


def suites(frame: pd.DataFrame) -> dict[tuple[str, int], Suite]:
    """(arm, seed) → the suite of its run. Raises InputError where two runs claim the same arm and seed."""
    found = {}
    for run, rows in frame.groupby("run", sort=False):
        key = (str(rows["arm"].iloc[0]), int(rows["seed"].iloc[0]))
        if key in found:
            raise InputError(
                f"arm {key[0]!r} has seed {key[1]} more than once in the samples, the second time in {run}"
            )
        found[key] = suite(rows)
    return found

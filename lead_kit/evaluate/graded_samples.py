"""Graded samples: read, checked, and converted to the arrays of `metrics`; the file that an evaluation appends to.

One row is one sample: benchmark, id, sample, level, gold, completion, answer, length, truncated, correct (and run,
arm, seed). Every mean assumes the same problems and the same number of samples of each. Samples that break this raise
an error, or are cut by an explicit choice that `notes` reports.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.data.load import read_frame
from lead_kit.errors import InputError, lookup, nearest, shorten
from lead_kit.evaluate import metrics
from lead_kit.runs.files import parse_json, read_jsonl, shown, to_json_value, write_jsonl, write_text
from lead_kit.runs.find import arm_and_seed, matching_paths
from lead_kit.runs.manifest import differing_parameters, read_manifest

_STORED = {"id": str, "sample": int, "gold": str}  # what a stored sample is recognised by
_LARGEST = 1e15  # of a number in a column
_NEEDED = ["id", "sample", "correct"]
_OPTIONAL = {"truncated": False, "answer": None, "length": np.nan, "level": None}  # columns with their defaults


class Suite(NamedTuple):
    """One checked set of samples: arrays (problems, samples), ids and levels (problems,)."""

    samples: metrics.SampleArrays
    ids: list[str]
    levels: list


def load_samples(paths: list[str]) -> pd.DataFrame:
    """All samples of run folders (of 04_evaluate, else the last validation), files or globs, with run, arm and seed.

    Raises InputError naming the line or column of a file that cannot be read.
    """
    frames = []
    for path in matching_paths([str(path) for path in paths], holds="samples.jsonl"):
        folder = path if path.is_dir() else path.parent
        parameters = (read_manifest(folder) or {}).get("parameters", {})
        frame = read_samples(path)
        name = folder.name if path.is_dir() or path.stem == "samples" else path.stem
        labels = dict(zip(("arm", "seed"), arm_and_seed(name), strict=True)) | {"benchmark": "unnamed"}
        for label in [label for label in labels if label not in frame]:
            frame[label] = parameters.get(label, labels[label])
        _check_kinds(frame[[*labels]], path)
        frame["run"] = shown(path)
        # A file of several models holds several runs.
        several = [label for label in ("model", "arm", "seed") if label in frame and frame[label].nunique() > 1]
        if several:
            frame["run"] += " of " + frame[several].astype(str).agg(" ".join, axis=1)
        frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=[*_NEEDED, "arm", "seed", "run"])
    return pd.concat(frames, ignore_index=True)


def read_samples(path: Path, needed: Iterable[str] = _NEEDED) -> pd.DataFrame:
    """The rows of one samples file or run folder. Raises InputError naming what is wrong with it."""
    if path.is_dir():
        files = [path / name for name in ("samples.jsonl", "samples.parquet") if (path / name).is_file()]
        files = files or sorted((path / "validation").glob("step_*.parquet"))[-1:]
        if not files:
            raise InputError(f"{shown(path)} holds no samples: expected samples.jsonl, samples.parquet or validation/")
        path = files[0]
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{shown(path)}: samples are read from .jsonl or .parquet")
    frame = read_frame(path)
    if frame.empty:
        raise InputError(f"{shown(path)} holds no samples")
    for name in needed:
        if name not in frame:
            raise InputError(f"{shown(path)} has no column {name!r}{nearest(name, frame.columns)}")
    _check_kinds(frame, path)
    return frame.assign(id=frame["id"].astype(str), correct=frame["correct"].astype(bool))


def _is_missing(value) -> bool:
    return value is None or value != value  # a value that some rows lack is nan in their frame


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


_KINDS = (  # columns, what is read in them, in words
    (("id", "arm", "benchmark", "model"), lambda v: isinstance(v, str) or _is_number(v), "a text or a number"),
    (("sample", "seed"), lambda v: _is_number(v) and v == int(v), "a whole number"),
    (("correct",), lambda v: v in (True, False), "true or false"),
    (("truncated",), lambda v: _is_missing(v) or isinstance(v, bool), "true, false or null"),
    (("length",), lambda v: _is_missing(v) or (_is_number(v) and v >= 0), "a number of tokens or null"),
    (("answer",), lambda v: _is_missing(v) or isinstance(v, str), "a text or null"),
)


def _check_kinds(frame: pd.DataFrame, path: Path) -> None:
    """Raises InputError for the first value of a column that is not of its kind (see KINDS)."""
    for names, fits, words in _KINDS:
        # without a gold, `answer` may be a data set's word for the gold
        for name in [name for name in names if name in frame and (name != "answer" or "gold" in frame)]:
            for row, value in enumerate(frame[name].tolist(), 1):
                if not fits(value):
                    raise InputError(f"{shown(path)}, row {row}: {name} is {shorten(repr(value))}, expected {words}")


def require_rectangular(
    frame: pd.DataFrame, missing: str = "refuse", uneven_samples: str = "refuse"
) -> tuple[pd.DataFrame, list[str]]:
    """The samples, with the same problems and as many samples of each in every run; and notes on what was changed.

    `missing` "leave out": problems that a run lacks are left out of every run. `uneven_samples` "fewest": every problem
    keeps as many samples as the one with the fewest. By default both are refused, as is a sample that occurs twice.
    Raises InputError naming the rows.
    """
    lookup(dict.fromkeys(("refuse", "leave out")), missing, "missing")
    lookup(dict.fromkeys(("refuse", "fewest")), uneven_samples, "uneven_samples")
    if frame.empty:
        raise InputError("there are no samples")
    benchmarks = sorted(frame["benchmark"].unique())
    if len(benchmarks) > 1:
        raise InputError(f"the samples are of several benchmarks ({', '.join(benchmarks)}): take one at a time")
    twice = frame[frame.duplicated(["run", "id", "sample"])]
    if len(twice):
        names = first_few([f"{row.id} sample {row.sample}" for row in twice.itertuples()])
        raise InputError(f"{twice['run'].iloc[0]} holds samples twice: {names}")
    frame, notes = _without_missing_problems(frame, missing)
    sizes = frame.groupby(["run", "id"], sort=False).size()
    fewest, most = sizes.min(), sizes.max()
    if fewest < most:
        names = first_few([f"{run}: {problem} has {size}" for (run, problem), size in sizes[sizes < most].items()])
        if uneven_samples == "refuse":
            cure = f"uneven_samples='fewest' cuts all to {fewest}"
            raise InputError(f"problems have different numbers of samples, at most {most}: {names}; {cure}")
        frame = frame.sort_values("sample", kind="stable").groupby(["run", "id"], sort=False).head(fewest).sort_index()
        notes.append(f"All runs are cut to {fewest} samples per problem ({names}).")
    return frame.reset_index(drop=True), notes


def _without_missing_problems(frame: pd.DataFrame, choice: str) -> tuple[pd.DataFrame, list[str]]:
    """The samples of the problems that every run has, and a note for each run that lacks some."""
    present, notes = pd.crosstab(frame["id"], frame["run"]).astype(bool), []
    for run in frame["run"].unique():
        lacking = present.index[~present[run]].tolist()
        if lacking and choice == "refuse":
            lacks = f"{run} lacks {len(lacking)} of {len(present)} problems: {first_few(lacking)}"
            raise InputError(f"{lacks}; missing='leave out' leaves them out of every run")
        if lacking:
            notes.append(f"{run}: {len(lacking)} missing problems are left out: {first_few(lacking)}.")
    return frame[frame["id"].map(present.all(axis=1))].reset_index(drop=True), notes


def first_few(names: list) -> str:
    """The first five names, and how many more there are."""
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def suite(frame: pd.DataFrame) -> Suite:
    """Arrays of one run's checked samples, problems in order of id.

    A sample counts as answered when it was not truncated and an answer could be read. Unknown lengths are nan. Without
    columns `answer` and `gold`, all right answers are one class and each wrong answer is a class of its own.
    """
    frame = frame.sort_values(["id", "sample"], kind="stable")
    answers_known = {"answer", "gold"} <= set(frame)  # without a gold, `answer` may be a data set's word for the gold
    frame = frame.assign(**{name: default for name, default in _OPTIONAL.items() if name not in frame})
    ids = list(dict.fromkeys(frame["id"]))

    def shaped(values) -> np.ndarray:
        return np.asarray(values).reshape(len(ids), -1)

    correct, truncated = shaped(frame["correct"].astype(bool)), shaped(frame["truncated"].eq(True))
    answered = shaped(frame["truncated"].eq(False))  # nan, where a sample is missing, is neither
    if answers_known:
        answers = shaped(frame["answer"].map(lambda answer: answer if isinstance(answer, str) else ""))
        answered = answered & (answers != "")
        cluster = metrics.cluster_answers(np.where(answered, answers, None), correct)
    else:
        each = np.where(correct, 0, 1 + shaped(np.arange(len(frame))))
        cluster = np.where(answered, each, metrics.NO_VOTE)
    length = shaped(frame["length"].astype(float))
    samples = metrics.SampleArrays(correct.astype(int), answered.astype(int), truncated.astype(int), length, cluster)
    return Suite(samples, ids, frame.drop_duplicates("id")["level"].tolist())


def suites(frame: pd.DataFrame) -> dict[tuple[str, int], Suite]:
    """(arm, seed) → the suite of its run. Raises InputError where two runs have the same arm and seed."""
    by_run = {}
    for run, rows in frame.groupby("run", sort=False):
        arm, seed = str(rows["arm"].iloc[0]), int(rows["seed"].iloc[0])
        if (arm, seed) in by_run:
            raise InputError(f"arm {arm!r} has seed {seed} more than once in the samples, the second time in {run}")
        by_run[arm, seed] = suite(rows)
    return by_run


_SETTINGS = ".settings.json"  # the ending of the file that holds the settings of a samples file


def require_settings(path: Path, asked: Mapping) -> None:
    """Writes the settings of a new samples file. Raises InputError where those of an existing one differ."""
    if not path.is_file():
        write_text(path.with_suffix(_SETTINGS), json.dumps(to_json_value(asked), indent=1) + "\n")
    elif changed := differing_parameters(_settings_of(path), asked):
        listed = ", ".join(changed.values())
        raise InputError(f"{shown(path)} was sampled with other settings: {listed}; choose another run_name")


def _settings_of(path: Path) -> dict:
    """The settings of an existing samples file. Raises InputError where their file is gone."""
    file = path.with_suffix(_SETTINGS)
    if not file.is_file():
        raise InputError(f"{shown(path)} has no {file.name} beside it with its sampling settings")
    return parse_json(file.read_bytes(), file)


def stored_samples(path: Path, known: Mapping[str, dict] | None = None, tags: Mapping = MappingProxyType({})) -> list:
    """The rows in a samples file that have these tags; none if there is no file. A torn last line is ignored.

    With `known` problems (by id), raises InputError for the sample of another problem or of another gold answer.
    """
    rows = read_jsonl(path, torn=True) if path.is_file() else []
    for number, row in enumerate(rows, 1):
        for name, kind in _STORED.items():
            if not isinstance(row.get(name), kind):
                value = f"{name} is {shorten(row[name])}" if name in row else f"no {name!r}"
                raise InputError(f"{shown(path)}, sample {number}: {value}, expected {kind.__name__}")
    rows = [row for row in rows if all(row.get(name) == value for name, value in tags.items())]
    for row in rows if known is not None else []:
        if row["id"] not in known:
            raise InputError(f"{shown(path)} holds problem {row['id']!r}, which is not among those to evaluate")
        if row["gold"] != (gold := known[row["id"]]["gold"]):
            was = f"the gold answer of problem {row['id']!r} was {row['gold']!r} when it was sampled"
            raise InputError(f"{shown(path)}: {was}, and is now {gold!r}")
    return rows


def copy_samples(earlier: Path, path: Path, models: list[str], n: int) -> None:
    """Starts a samples file with the first n samples of these models in an earlier run's file.

    An existing file is left as it is, so an interrupted evaluation resumes. `evaluate` compares the settings.
    """
    if not path.is_file():
        rows = [row for row in stored_samples(earlier) if row.get("model") in models and row["sample"] < n]
        require_settings(path, _settings_of(earlier))
        write_jsonl(path, rows)

"""Files of rollouts as rows: parquet, CSV, JSON lines, JSON lists and wandb's tables; folders and globs of them."""

import glob
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lead_kit.errors import InputError, nearest, shorten
from lead_kit.runs import log_files
from lead_kit.runs.files import parse_json, read_jsonl, resolve, shown
from lead_kit.runs.find import matching_paths, notebook_that_writes, run_notebook_if_missing

_SUFFIXES = (".parquet", ".csv", ".jsonl", ".json")
# In a folder that is no run of ours, the first of these that matches: one file for each step, or for each log.
_IN_FOLDERS = ("completions_*.parquet", "*.table.json", "step_*.json", "results.jsonl", "*.jsonl", "*.parquet", "*.csv")
_NUMBER = re.compile(r"(\d+)")


def sources(pattern: str) -> list[tuple[Path, list[Path]]]:
    """(folder or file, its files) for what a folder, file or glob names. Raises InputError where there is nothing."""
    named = resolve(pattern)
    if not named.exists() and notebook_that_writes(named):
        run_notebook_if_missing(pattern)
    # A folder may hold [ or * in its own name, so that what exists is never taken for a glob.
    is_glob = glob.has_magic(str(pattern)) and not named.exists()
    paths = _matches(named) if is_glob else matching_paths([pattern]) if not named.exists() else [named]
    if not paths:
        raise InputError(f"no rollouts at {shorten(pattern)}: expected a run folder, a glob or a file of rollouts")
    return [(path, files_of(path)) for path in paths]


def _matches(pattern: Path) -> list[Path]:
    """The runs with rollouts that a glob matches, earlier attempts aside; else its files; else its folders."""
    paths = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]
    paths = [path for path in paths if "attempts" not in path.parts]
    runs = [path for path in paths if path.is_dir() and log_files.has_rollouts(path)]
    files = [path for path in paths if path.is_file() and path.suffix in _SUFFIXES]
    return runs or files or [path for path in paths if path.is_dir()]


def inputs(pattern: str) -> list[Path]:
    """The files and folders that hold these rollouts, for the record of the run that reads them."""
    return [path / "rollouts" if log_files.has_rollouts(path) else path for path, _ in sources(pattern)]


def files_of(path: Path) -> list[Path]:
    """The files of rollouts that a path stands for: those of a run of ours, of a foreign folder, or the file itself."""
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise InputError(f"cannot read {shown(path)}: expected a file that ends in {', '.join(_SUFFIXES)}")
        return [path]
    if log_files.has_rollouts(path):
        return sorted((path / "rollouts").glob("step_*.parquet"))
    if (path / "run.json").is_file():
        raise InputError(f"run {shown(path)} kept no rollouts: set rollouts_every above 0 in its notebook")
    for pattern in _IN_FOLDERS:
        if files := sorted(path.rglob(pattern), key=_in_order):
            return files
    raise InputError(f"{shown(path)} holds no rollouts: expected files such as {', '.join(_IN_FOLDERS)}")


def _in_order(path: Path) -> list:
    """Sorts step_9 before step_10."""
    return [int(part) if part.isdigit() else part for part in _NUMBER.split(path.as_posix())]


def read_rows(path: Path) -> pd.DataFrame:
    """One file as a frame with its own columns. Raises InputError naming the file and what is wrong with it."""
    readers = {".parquet": parquet, ".csv": csv, ".jsonl": _json_lines, ".json": _json_file}
    frame = readers[path.suffix](path)
    if frame.empty:
        raise InputError(f"{shown(path)} holds no rows, expected one a rollout")
    return frame.reset_index(drop=True)


def parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        raise InputError(f"{shown(path)} is not a readable parquet file: {shorten(str(error), 200)}") from None


def csv(path: Path) -> pd.DataFrame:
    """An empty cell is a missing number, or in a column of texts an empty text; "None" or "NA" stays a text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        frame = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""])
        return frame.fillna({name: "" for name in frame if frame[name].dtype.kind not in "biuf"})
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{shown(path)}, line {line}: not UTF-8 text ({error.reason})") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{shown(path)} is not a readable CSV file: {shorten(str(error), 200)}") from None


def _json_lines(path: Path) -> pd.DataFrame:
    return pd.DataFrame(read_jsonl(path))


def _json_file(path: Path) -> pd.DataFrame:
    """A list of objects, or a table as wandb stores it: {"columns": [...], "data": [[...], ...]}."""
    value = parse_json(path.read_bytes(), path)
    if isinstance(value, dict) and isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        for number, row in enumerate(value["data"], 1):
            if not isinstance(row, list) or len(row) != len(value["columns"]):
                raise InputError(f"{shown(path)}, row {number}: expected {len(value['columns'])} values, as in columns")
        return pd.DataFrame(value["data"], columns=[str(name) for name in value["columns"]])
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return pd.DataFrame(value)
    raise InputError(f"{shown(path)}: expected a list of objects, or a table with columns and data")


# -- one column -------------------------------------------------------------------------------------------------------


def column(frame: pd.DataFrame, name: str, where: str) -> pd.Series:
    """A column by its name. Raises InputError naming the nearest column."""
    if name not in frame:
        there = ", ".join(map(str, list(frame)[:12]))
        raise InputError(f"{where} has no column {name!r}{nearest(name, map(str, frame))}; there are: {there}")
    return frame[name]


def numbers(values: pd.Series, name: str, where: str, least: float | None = None) -> pd.Series:
    """Floats, nan where a value is missing; true and false are 1 and 0.

    Raises InputError naming the row of a value that is no finite number, or below `least`.
    """
    if values.dtype.kind not in "biuf":
        words = {"true": 1.0, "false": 0.0, "": np.nan}
        values = values.map(lambda value: words.get(value.strip().lower(), value) if isinstance(value, str) else value)
    numeric = pd.to_numeric(values, errors="coerce").astype(float)
    bad = numeric.isna() & values.notna() | np.isinf(numeric)
    bad |= False if least is None else numeric < least
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = values.iloc[row]
        text = f"{value:g}" if isinstance(value, float | np.number) else shorten(repr(value))
        expected = "a number" if least is None else f"a number of {least:g} or more"
        raise InputError(f"{where}, row {row + 1}, column {name!r}: {text}, expected {expected}")
    return numeric


def flags(values: pd.Series, name: str, where: str) -> pd.Series:
    """0 and 1 as floats, nan where missing. Raises InputError naming the row of any other value."""
    numeric = numbers(values, name, where)
    bad = numeric.notna() & ~numeric.isin([0, 1])
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{where}, row {row + 1}, column {name!r}: {numeric.iloc[row]:g}, expected true or false, 1 or 0"
        )
    return numeric


def texts(values: pd.Series, name: str, where: str, role: str = "") -> pd.Series:
    """Texts; a chat gives the contents of its turns (only those of `role`, where a role is given).

    Raises InputError naming the row of a value that is neither.
    """
    if pd.api.types.is_string_dtype(values) and values.notna().all():
        return values.astype(object)
    return pd.Series(
        [_one_text(value, role, row, name, where) for row, value in enumerate(values, 1)], values.index, object
    )


def _one_text(value, role: str, row: int, name: str, where: str) -> str:
    """The text of one cell."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | np.ndarray) and all(isinstance(turn, dict) for turn in value):
        turns = [turn for turn in value if not role or turn.get("role", role) == role]
        contents = [turn.get("content") for turn in turns]
        if all(isinstance(content, str) for content in contents):
            return "\n".join(contents)
    raise InputError(f"{where}, row {row}, column {name!r}: {shorten(repr(value))}, expected a text or a chat")

"""Problem files: reads .json, .jsonl and .parquet; writes parquet in the kit's schema and in verl's."""

from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet

from lead_kit.data import prompts
from lead_kit.data.named_sets import SUFFIXES
from lead_kit.data.normalise_rows import COLUMNS
from lead_kit.errors import InputError, nearest, shorten
from lead_kit.runs.files import parse_json, read_jsonl
from lead_kit.runs.paths import resolve, shown


def read_rows(path: str | Path) -> list[dict]:
    """The rows of a local file. Raises InputError naming the file and, where there is one, the malformed line."""
    path = resolve(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"cannot read {path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        siblings = (p.name for p in path.parent.glob("*") if p.suffix in SUFFIXES)
        raise InputError(f"no file {path}{nearest(path.name, siblings)}")
    if path.suffix == ".parquet":
        return read_parquet(path).to_pylist()
    return _read_json(path) if path.suffix == ".json" else read_jsonl(path)


def _read_json(path: Path) -> list[dict]:
    """The objects of a JSON file that holds a list of them. Raises InputError for anything else."""
    rows = parse_json(path.read_bytes(), path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects")
    return rows


def read_parquet(path: Path) -> pyarrow.Table:
    """The table in a parquet file. Raises InputError for a file that is damaged or no parquet file."""
    try:
        table = pyarrow.parquet.read_table(path)
        table.validate(full=True)
        return table
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{shown(path)} is not a readable parquet file: {shorten(str(error), 200)}") from None


def read_frame(path: Path) -> pandas.DataFrame:
    """The rows of a .jsonl or .parquet file as a frame. Raises InputError naming what is wrong with the file."""
    return read_parquet(path).to_pandas() if path.suffix == ".parquet" else pandas.DataFrame(read_jsonl(path))


def save_problems(rows: list[dict], path: Path) -> Path:
    """Writes records as parquet in the kit's schema: COLUMNS first, then any other columns, in order of name."""
    extra = sorted({column for row in rows for column in row} - set(COLUMNS))
    types = dict.fromkeys(COLUMNS, pyarrow.string()) | {"level": pyarrow.float64()}
    columns = {name: pyarrow.array([row.get(name) for row in rows], types[name]) for name in COLUMNS}
    columns |= {name: _arrow_column([row.get(name) for row in rows]) for name in extra}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def _arrow_column(values: list) -> pyarrow.Array:
    """An Arrow column; values of mixed types, and integers beyond 64 bits, become text."""
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        return pyarrow.array([None if value is None else str(value) for value in values])


def save_verl(rows: list[dict], path: Path, template: str, split: str) -> Path:
    """Writes records as parquet in verl's schema, as GRPO-LEAD's preprocessing does (released code)."""
    shaped = [
        {
            "data_source": row["source"],
            "prompt": prompts.messages(template, row["problem"]),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row["gold"]},
            "extra_info": {"split": split, "index": index, "id": row["id"]},
        }
        for index, row in enumerate(rows)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(shaped), path)
    return path

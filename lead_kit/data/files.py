"""Problem files: reads .json, .jsonl and .parquet; writes parquet in the kit's schema and in verl's."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet

from lead_kit.data import prompts
from lead_kit.data.rows import COLUMNS
from lead_kit.errors import InputError, nearest
from lead_kit.runs.files import read_jsonl
from lead_kit.runs.paths import resolve

SUFFIXES = (".json", ".jsonl", ".parquet")


def read_rows(path: str | Path) -> list[dict]:
    """The rows of a local file. Raises InputError naming the file and, where there is one, the malformed line."""
    path = resolve(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"cannot read {path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        siblings = (p.name for p in path.parent.glob("*") if p.suffix in SUFFIXES)
        raise InputError(f"no file {path}{nearest(path.name, siblings)}")
    if path.suffix == ".parquet":
        try:
            return pyarrow.parquet.read_table(path).to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path} is not a readable parquet file: {error}") from None
    return read_json(path) if path.suffix == ".json" else read_jsonl(path)


def read_json(path: Path) -> list[dict]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects")
    return rows


def save_problems(rows: list[dict], path: Path) -> Path:
    """Writes records as parquet in the kit's schema: COLUMNS first, then any other columns, in order of name."""
    extra = sorted({column for row in rows for column in row} - set(COLUMNS))
    types = dict.fromkeys(COLUMNS, pyarrow.string()) | {"level": pyarrow.float64()}
    columns = {name: pyarrow.array([row.get(name) for row in rows], types[name]) for name in COLUMNS}
    columns |= {name: arrow_column([row.get(name) for row in rows]) for name in extra}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def arrow_column(values: list) -> pyarrow.Array:
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

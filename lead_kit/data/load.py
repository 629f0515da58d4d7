"""Loads problems as records {id, problem, gold, level, source}: a set of the hub, a file, or a drawn task.

Saves them as parquet, too, in the kit's schema or verl's. lead_kit.data.clean filters them.
"""

import math
import re
from collections import Counter
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow
import pyarrow.parquet

from lead_kit.data import arithmetic, prompts, reasoning_gym, word_problems
from lead_kit.data.named_sets import SETS, SUFFIXES, SUITES, Source
from lead_kit.errors import InputError, nearest
from lead_kit.runs.files import parse_json, read_jsonl, read_parquet, resolve
from lead_kit.verify.extraction import NestedBox, last_box

EMBEDDED = {"arithmetic": arithmetic, "words": word_problems}
ROLES = {  # for each role, the column names to try, in this order, where a set does not name its own
    "problem": ("problem", "question", "Problem", "Question", "prompt", "query", "instruction", "context"),
    "gold": ("gold", "answer", "final_answer", "Answer", "ground_truth", "expected_answer", "reward_model", "target"),
    "solution": ("solution", "Solution", "r1_solution_1", "response", "output", "completion"),
    "level": ("level", "difficulty"),
    "id": ("id", "unique_id", "ID", "index"),
}
_WORDS = {"easy": 1.0, "medium": 2.0, "hard": 3.0}
COLUMNS = ("id", "problem", "gold", "level", "source", "solution")
_LETTERS = "ABCDEFGHIJ"


def load_problems(
    name: str | Path,
    path: str | Path = "",
    split: str = "",
    fields: dict[str, str] | None = None,
    seed: int = 0,
    need_gold: bool = True,
) -> list[dict]:
    """Records of the set `name`, or of the file `path` read as that set; `name` may itself be a file.

    `fields` maps roles (ROLES) to columns that do not have a common name. `seed` orders the options of multiple-choice
    questions. With need_gold=False a missing answer is left empty.
    Raises InputError for an unknown name, a missing or malformed file, or a row without problem or answer.

        load_problems("AIME24")
        load_problems("my_problems.jsonl", fields={"problem": "question_text"})
    """
    if is_data_file(name):
        name, path = Path(name).stem, path or name
    if not path and (name in EMBEDDED or reasoning_gym.is_gym(name)):
        raise InputError(f"{name} is drawn at random: expected a file of its problems, which 01_preprocess writes")
    if name in SUITES:
        raise InputError(f"{name} is the sets {', '.join(SUITES[name])}: expected one of them here")
    if not path and name not in SETS:
        names = [*SETS, *SUITES]
        expected = f"expected a {', '.join(SUFFIXES)} file or one of {', '.join(names)}{nearest(str(name), names)}"
        raise InputError(f"no data set {str(name)!r}: {expected}")
    source = SETS.get(str(name))
    rows, where = (_read_rows(path), str(path)) if path else (_hub_rows(source, split), source.hub)
    if not rows:
        raise InputError(f"{where} has no rows")
    return _to_records(rows, str(name), source, fields or {}, where, seed, need_gold)


def draw_problems(
    name: str,
    count: int,
    split: str = "train",
    seed: int = 0,
    weights: list[float] | None = None,
    exclude: frozenset[str] = frozenset(),
) -> list[dict]:
    """`count` records of a set that is drawn at random (EMBEDDED, reasoning_gym), none with a text in `exclude`.

    `weights` are the chances of 1, 2, … steps in an embedded task: by default uniform for the split "validation", whose
    problems are distinct; other splits are mostly easy and may repeat. Raises InputError for too few problems.
    """
    if count < 1:
        raise InputError(f"count is {count}: expected how many problems of {name} to draw")
    stream, distinct = f"{split}-{seed}", split == "validation"  # equal seeds draw other problems for another split
    if reasoning_gym.is_gym(name):
        return reasoning_gym.draw(name, count, stream, exclude, distinct)
    task = EMBEDDED[name]
    weights = (weights or (task.UNIFORM if distinct else arithmetic.EASY_HEAVY))[: task.MAX_STEPS]
    try:
        return task.draw(count, stream, weights, exclude, distinct)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def is_data_file(name: str | Path) -> bool:
    """Whether the name ends like a data file and so is a path, not the name of a set."""
    return Path(name).suffix in SUFFIXES


def expand_names(names: list[str]) -> dict[str, str]:
    """Short name (of a file: its stem) → set or file, for names of sets, files, suites (SUITES) and folders."""
    by_short_name = {}
    for name in [member for given in names for member in SUITES.get(given, (given,))]:
        folder = resolve(name)
        is_folder = name not in SETS and folder.is_dir()
        files = [p for p in sorted(folder.iterdir()) if is_data_file(p)] if is_folder else [name]
        for file in map(str, files):
            short = Path(file).stem if is_data_file(file) else file
            by_short_name[file if short in by_short_name else short] = file
    return by_short_name


def with_solutions(records: list[dict], seed: int, **dials: float) -> list[dict]:
    """Embedded problems, each with one worked solution of its noisy teacher; `dials` are those of `solve_noisily`."""
    rng = Random(f"traces-{seed}")
    return [r | {"solution": EMBEDDED[r["source"]].solve_noisily(r["problem"], rng, **dials)} for r in records]


def _hub_rows(source: Source, split: str) -> list[dict]:
    """The rows of a hub set, with the columns that its records need."""
    if not source.hub:
        raise InputError(f"this set is not on the hub: give data_path, a copy of {source.files}")
    # imported here: it takes five seconds, and a local file does not need it
    from datasets import concatenate_datasets, load_dataset

    files, part = source.files or None, split or source.split
    try:
        parts = [load_dataset(source.hub, c or None, split=part, data_files=files) for c in source.config.split(",")]
    except (OSError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise InputError(f"cannot load {source.hub} from the hub ({first}); data_path may name a local copy") from None
    rows = concatenate_datasets(parts)
    named = [source.problem, source.gold, source.solution, source.level, source.id, *source.wrong, *source.keep]
    wanted = {column.split(".")[0] for column in named if column} & set(rows.column_names)
    return list(rows.select_columns(sorted(wanted)) if source.problem else rows)


def _to_records(rows, name, source, fields, where, seed=0, need_gold=True) -> list[dict]:
    """Rows of any shape as records. Repeated ids get a suffix, so that ids are unique."""
    columns = set().union(*rows)
    names = {role: _column_of(role, source, fields, columns, where) for role in ROLES}
    wrong = source.wrong if source and set(source.wrong) <= columns else ()
    used = {column.split(".")[0] for column in (*names.values(), *wrong)} | set(COLUMNS)
    extra = sorted(column for column in columns - used if not source or column in source.keep)
    converted, seen = [], Counter()
    for number, row in enumerate(rows, 1):
        record = _one_record(row, names, name, f"{where}, row {number}", number, need_gold)
        if wrong:
            record |= _multiple_choice(record, [str(row[column]) for column in wrong], seed)
        record |= {column: row[column] for column in extra if isinstance(row.get(column), str | int | float)}
        seen[record["id"]] += 1
        if (repeat := seen[record["id"]]) > 1:
            record["id"] += f"#{repeat}"
        converted.append(record)
    return converted


def _column_of(role: str, source: Source | None, fields: dict, columns: set[str], where: str) -> str:
    """The column for `role`: the one in `fields`, else the set's own, else the first common name, else empty."""
    asked = fields.get(role, "")
    if asked and asked.split(".")[0] not in columns:
        raise InputError(f"{where}: no column {asked!r} for {role}; there are {', '.join(sorted(columns))}")
    usual = getattr(source, role) if source else ""
    column = asked or (usual if usual.split(".")[0] in columns else "")
    column = column or next((common for common in ROLES[role] if common in columns), "")
    if role == "problem" and not column:
        raise InputError(f"{where}: no column holds the problem; there are {', '.join(sorted(columns))}")
    return column


def _one_record(row: dict, names: dict[str, str], name: str, where: str, number: int, need_gold: bool) -> dict:
    """One row as a record. Raises InputError when the problem or a required answer is missing."""
    problem = _text_of(_value_at(row, names["problem"]), "user")
    if not problem.strip():
        raise InputError(f"{where}: no problem in column {names['problem']!r}")
    answer, solution = _value_at(row, names["gold"]), _text_of(_value_at(row, names["solution"]), "assistant")
    if isinstance(answer, str) and "####" in answer:  # GSM8K: the solution, four hashes, the answer
        solution, answer = (part.strip() for part in answer.rsplit("####", 1))
    text = _plain_answer(answer)
    text = _boxed(text) or text or _boxed(solution)  # in some sets the answer itself is boxed
    if need_gold and not text:
        raise InputError(f"{where}: no answer in column {names['gold'] or 'answer'!r}, nor a box in the solution")
    identity = _value_at(row, names["id"])
    record = {
        "id": f"{name}-{number - 1}" if identity is None else str(identity),
        "problem": problem,
        "gold": text,
        "level": _as_level(_value_at(row, names["level"])),
        "source": row["source"] if isinstance(row.get("source"), str) and row["source"] else name,
    }
    if isinstance(answer, list | tuple) and len(answer) > 1:
        record["golds"] = [_plain_answer(form) for form in answer]  # Minerva lists several forms of the answer
    # the solution keeps its leading line break, because the embedded tokenizer has "\n(1) " as one token
    return record | ({"solution": solution} if solution.strip() else {})


def _value_at(row, column: str):
    """The value at a path such as "a.0.b", or None when the path does not exist."""
    for part in column.split(".") if column else [""]:
        if isinstance(row, dict):
            row = row.get(part)
        elif isinstance(row, list) and part.isdigit() and int(part) < len(row):
            row = row[int(part)]
        else:
            return None
    return row


def _text_of(value, role: str) -> str:
    """A value as text; a chat gives its last turn of `role`."""
    if isinstance(value, list):
        turns = [turn["content"] for turn in value if isinstance(turn, dict) and turn.get("role") == role]
        return str(turns[-1]) if turns else ""
    return "" if value is None else str(value)


def _plain_answer(value) -> str:
    """An answer as text: 70.0 gives "70", a list its first item, verl's reward_model its ground truth."""
    if isinstance(value, dict):
        value = value.get("ground_truth")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    return "" if value is None else str(value).strip()


def _boxed(text: str) -> str:
    """The content of the last box in a text; empty without a box, or when that box nests another inside text."""
    try:
        return last_box(text) or ""
    except NestedBox:
        return ""


def _as_level(value) -> float | None:
    """A difficulty as a number: 3, "Level 3" and "hard" give 3; None when there is none."""
    if isinstance(value, int | float):
        return None if math.isnan(value) else float(value)
    if not isinstance(value, str):
        return None
    number = re.search(r"-?\d+(\.\d+)?", value)
    return float(number[0]) if number else _WORDS.get(value.strip().lower())


def _multiple_choice(record: dict, wrong: list[str], seed: int) -> dict:
    """The question followed by its options, with the letter of the right one as answer.

    The order depends only on seed and id, not on the row number (GRPO_reflection's evaluation draws it without a seed).
    """
    options = [record["gold"], *(text.strip() for text in wrong)]
    order = Random(f"{seed}/{record['id']}").sample(range(len(options)), len(options))
    lines = [f"{letter}. {options[i]}" for letter, i in zip(_LETTERS, order, strict=False)]
    return {"problem": record["problem"] + "\n\n" + "\n".join(lines), "gold": _LETTERS[order.index(0)]}


def _read_rows(path: str | Path) -> list[dict]:
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


def read_frame(path: Path) -> pd.DataFrame:
    """The rows of a .jsonl or .parquet file as a frame. Raises InputError naming what is wrong with the file."""
    return read_parquet(path).to_pandas() if path.suffix == ".parquet" else pd.DataFrame(read_jsonl(path))


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

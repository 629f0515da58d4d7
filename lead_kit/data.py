"""Problems from anywhere as one record: {id, problem, answer, level, source}, a solution and scalars where there are.

`load` takes a name of SETS (the hub), "arithmetic" (drawn here), or a local .json, .jsonl or .parquet file. A named set
also loads from a local file of the same shape. Nothing is filtered here: see lead_kit.clean and lead_kit.overlap.
"""

import json
import math
import re
from pathlib import Path
from random import Random

import pyarrow
import pyarrow.parquet

from lead_kit import arithmetic, prompts
from lead_kit.params import InputError, nearest
from lead_kit.record import resolve
from lead_kit.sets import SETS, Source

ROLES = {  # column names tried in this order where a set does not name its own
    "problem": ("problem", "question", "Problem", "Question", "prompt", "query", "instruction", "context"),
    "answer": ("answer", "final_answer", "Answer", "ground_truth", "expected_answer", "reward_model", "gold", "target"),
    "solution": ("solution", "Solution", "r1_solution_1", "response", "output", "completion"),
    "level": ("level", "difficulty"),
    "id": ("id", "unique_id", "ID", "index"),
}
WORDS = {"easy": 1.0, "medium": 2.0, "hard": 3.0}
COLUMNS = ("id", "problem", "answer", "level", "source", "solution")
SUFFIXES = (".json", ".jsonl", ".parquet")
LETTERS = "ABCDEFGHIJ"


def load(
    name: str | Path,
    path: str | Path = "",
    split: str = "",
    fields: dict[str, str] | None = None,
    count: int = 0,
    seed: int = 0,
    weights: list[float] | None = None,
    exclude: frozenset[str] = frozenset(),
    need_answer: bool = True,
) -> list[dict]:
    """Records of the set `name`, or of the file `path` read as that set; `name` may itself be a file.

    `fields` maps roles (ROLES) to columns where they are not found by their common names. `seed` orders the options of
    multiple-choice questions. `count`, `weights` and `exclude` (texts) are for the drawn set "arithmetic" alone, which
    may draw a problem again unless split is "validation". With need_answer=False a missing answer is left empty.
    Raises InputError for an unknown name, a missing or malformed file, or a row without problem or answer.
    """
    if str(name) == "arithmetic" and not path:
        return drawn(split or "train", count, seed, weights, exclude)
    if is_file(name):
        name, path = Path(name).stem, path or name
    if not path and name not in SETS:
        known = ["arithmetic", *SETS]
        raise InputError(
            f"no data set {str(name)!r}: expected a {', '.join(SUFFIXES)} file or one of {', '.join(known)}"
            f"{nearest(str(name), known)}"
        )
    source = SETS.get(str(name))
    rows, where = (read_rows(path), str(path)) if path else (hub_rows(source, split), f"{source.hub}")
    if not rows:
        raise InputError(f"{where} has no rows")
    return records(rows, str(name), source, fields or {}, where, seed, need_answer)


def is_file(name: str | Path) -> bool:
    """Is this a path and not the name of a set? It is one when it ends like a data file."""
    return Path(name).suffix in SUFFIXES


def expanded(names: list[str]) -> dict[str, str]:
    """Sets and files by a short name: a folder stands for all data files in it, a file is called by its stem."""
    found = {}
    for name in names:
        folder = resolve(name)
        files = [p for p in sorted(folder.iterdir()) if is_file(p)] if name not in SETS and folder.is_dir() else [name]
        for file in map(str, files):
            short = Path(file).stem if is_file(file) else file
            found[file if short in found else short] = file
    return found


def drawn(split: str, count: int, seed: int, weights: list[float] | None, exclude: frozenset[str]) -> list[dict]:
    """The embedded problems: easy-heavy and with repetitions for training, all different and uniform for validation."""
    held_out = split == "validation"
    weights = weights or (arithmetic.UNIFORM if held_out else arithmetic.EASY_HEAVY)
    if count < 1:
        raise InputError(f"count is {count}: how many arithmetic problems shall be drawn?")
    try:
        # the split is part of the seed: equal seeds would draw the same problems for both
        return arithmetic.draw(count, f"{split}-{seed}", weights, exclude=exclude, distinct=held_out)
    except ValueError as error:
        raise InputError(f"arithmetic: {error}") from None


def with_traces(records: list[dict], seed: int, carry: float, borrow: float, slip: float, repair: float) -> list[dict]:
    """Embedded problems with the noisy teacher's worked solution (see lead_kit.arithmetic.trace), one draw a record."""
    rng = Random(f"traces-{seed}")
    return [r | {"solution": arithmetic.trace(r["problem"], rng, carry, borrow, slip, repair)} for r in records]


def hub_rows(source: Source, split: str) -> list[dict]:
    """The rows of a hub set, with the columns that its record needs."""
    if not source.hub:
        raise InputError(f"this set is not on the hub: give data_path, a copy of {source.files}")
    from datasets import load_dataset  # imported here: five seconds that a local file need not pay

    try:
        rows = load_dataset(
            source.hub, source.config or None, split=split or source.split, data_files=source.files or None
        )
    except (OSError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise InputError(f"cannot load {source.hub} from the hub ({first}); data_path may name a local copy") from None
    named = [source.problem, source.answer, source.solution, source.level, source.id, *source.wrong, *source.keep]
    wanted = {column.split(".")[0] for column in named if column} & set(rows.column_names)
    return list(rows.select_columns(sorted(wanted)) if source.problem else rows)


def read_rows(path: str | Path) -> list[dict]:
    """Rows of a local file. Raises InputError naming the file, and the line that is malformed."""
    path = resolve(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"cannot read {path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*") if p.suffix in SUFFIXES] if path.parent.is_dir() else []
        raise InputError(f"no file {path}{nearest(path.name, siblings)}")
    if path.suffix == ".parquet":
        try:
            return pyarrow.parquet.read_table(path).to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path} is not a readable parquet file: {error}") from None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}") from None
    return whole_json(text, path) if path.suffix == ".json" else json_lines(text, path)


def json_lines(text: str, path: Path) -> list[dict]:
    """One object a line; empty lines are passed over."""
    rows = []
    # not splitlines: problems hold characters such as U+2028 that it would take for line ends
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected an object, found {line.strip()[:60]!r}")
        rows.append(row)
    return rows


def whole_json(text: str, path: Path) -> list[dict]:
    """A list of objects."""
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects")
    return rows


def records(rows, name, source, fields, where, seed=0, need_answer=True) -> list[dict]:
    """Rows of any shape as records; ids that repeat get a suffix, so that each names one row."""
    columns = set().union(*rows)
    names = {role: column_of(role, source, fields, columns, where) for role in ROLES}
    wrong = source.wrong if source and set(source.wrong) <= columns else ()
    consumed = {column.split(".")[0] for column in (*names.values(), *wrong)} | set(COLUMNS)
    carried = sorted(column for column in columns - consumed if not source or column in source.keep)
    found, seen = [], {}
    for number, row in enumerate(rows, 1):
        record = one_record(row, names, name, f"{where}, row {number}", number, need_answer)
        if wrong:
            record |= multiple_choice(record, [str(row[column]) for column in wrong], seed)
        record |= {column: row[column] for column in carried if isinstance(row.get(column), str | int | float)}
        repeat = seen[record["id"]] = seen.get(record["id"], 0) + 1
        if repeat > 1:
            record["id"] += f"#{repeat}"
        found.append(record)
    return found


def column_of(role: str, source: Source | None, fields: dict, columns: set[str], where: str) -> str:
    """The column that plays `role`: the one asked for, the set's own, or the first common name; else empty."""
    given = fields.get(role, "")
    if given and given.split(".")[0] not in columns:
        raise InputError(f"{where}: no column {given!r} for {role}; there are {', '.join(sorted(columns))}")
    own = getattr(source, role) if source else ""
    named = given or (own if own and own.split(".")[0] in columns else "")
    column = named or next((common for common in ROLES[role] if common in columns), "")
    if role == "problem" and not column:
        raise InputError(f"{where}: no column holds the problem; there are {', '.join(sorted(columns))}")
    return column


def one_record(row: dict, names: dict[str, str], name: str, where: str, number: int, need_answer: bool) -> dict:
    """One row as a record. Raises InputError where the problem or a needed answer is missing."""
    problem = said(dig(row, names["problem"]), "user")
    if not problem.strip():
        raise InputError(f"{where}: no problem in column {names['problem']!r}")
    answer, solution = dig(row, names["answer"]), said(dig(row, names["solution"]), "assistant")
    if isinstance(answer, str) and "####" in answer:  # GSM8K: the solution and, after four hashes, its result
        solution, answer = (part.strip() for part in answer.rsplit("####", 1))
    text = plain_answer(answer)
    text = last_box(text) or text or last_box(solution)  # some sets box the answer itself
    if need_answer and not text:
        raise InputError(f"{where}: no answer in column {names['answer'] or 'answer'!r}, nor a box in the solution")
    record = {
        "id": str(dig(row, names["id"]) if dig(row, names["id"]) is not None else f"{name}-{number - 1}"),
        "problem": problem,
        "answer": text,
        "level": as_level(dig(row, names["level"])),
        "source": row["source"] if isinstance(row.get("source"), str) and row["source"] else name,
    }
    if isinstance(answer, list | tuple) and len(answer) > 1:
        record["answers"] = [plain_answer(one) for one in answer]  # Minerva lists several ways to write the answer
    # A solution keeps its leading line break: the embedded tokenizer has "\n(1) " as one token.
    return record | ({"solution": solution} if solution.strip() else {})


def dig(row, column: str):
    """The value at "a.0.b", or None where the way there ends."""
    for part in column.split(".") if column else [""]:
        if isinstance(row, dict):
            row = row.get(part)
        elif isinstance(row, list) and part.isdigit() and int(part) < len(row):
            row = row[int(part)]
        else:
            return None
    return row


def said(value, role: str) -> str:
    """A text as it is; of a chat, the last turn of `role`."""
    if isinstance(value, list):
        turns = [turn["content"] for turn in value if isinstance(turn, dict) and turn.get("role") == role]
        return str(turns[-1]) if turns else ""
    return "" if value is None else str(value)


def plain_answer(value) -> str:
    """An answer as text: 70.0 is "70", the first of several, the ground truth of verl's reward_model."""
    if isinstance(value, dict):
        value = value.get("ground_truth")
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    return "" if value is None else str(value).strip()


def last_box(solution: str) -> str:
    """What the last balanced \\boxed{} of a reference solution holds; empty when there is none."""
    start = solution.rfind("\\boxed{")
    depth = 0
    for end in range(start + len("\\boxed{") - 1, len(solution) if start >= 0 else 0):
        depth += (solution[end] == "{") - (solution[end] == "}")
        if depth == 0:
            return solution[start + len("\\boxed{") : end].strip()
    return ""


def as_level(value) -> float | None:
    """A difficulty as a number: 3, "Level 3" and "hard" are 3; None where there is none."""
    if isinstance(value, int | float):
        return None if math.isnan(value) else float(value)
    if not isinstance(value, str):
        return None
    number = re.search(r"-?\d+(\.\d+)?", value)
    return float(number[0]) if number else WORDS.get(value.strip().lower())


def multiple_choice(record: dict, wrong: list[str], seed: int) -> dict:
    """The question with its options below it and the right letter as answer.

    The order depends on seed and id alone, not on the row's place (GRPO_reflection's evaluation draws it unseeded).
    """
    options = [record["answer"], *(text.strip() for text in wrong)]
    order = Random(f"{seed}/{record['id']}").sample(range(len(options)), len(options))
    lines = [f"{letter}. {options[i]}" for letter, i in zip(LETTERS, order, strict=False)]
    return {"problem": record["problem"] + "\n\n" + "\n".join(lines), "answer": LETTERS[order.index(0)]}


def save(rows: list[dict], path: Path) -> Path:
    """Write records as parquet in the kit's shape: COLUMNS first, then what came along, in order of name."""
    extra = sorted({column for row in rows for column in row} - set(COLUMNS))
    types = dict.fromkeys(COLUMNS, pyarrow.string()) | {"level": pyarrow.float64()}
    columns = {name: pyarrow.array([row.get(name) for row in rows], types[name]) for name in COLUMNS}
    columns |= {name: arrow([row.get(name) for row in rows]) for name in extra}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def arrow(values: list) -> pyarrow.Array:
    """An Arrow column; values of mixed types, and integers beyond 64 bits, become text."""
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        return pyarrow.array([None if value is None else str(value) for value in values])


def save_verl(rows: list[dict], path: Path, template: str, split: str) -> Path:
    """Write records as parquet in verl's schema, as GRPO-LEAD's preprocessing does (released code)."""
    shaped = [
        {
            "data_source": row["source"],
            "prompt": prompts.messages(template, row["problem"]),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row["answer"]},
            "extra_info": {"split": split, "index": index, "id": row["id"]},
        }
        for index, row in enumerate(rows)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(shaped), path)
    return path

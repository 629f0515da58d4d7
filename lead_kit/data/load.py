"""Loads problems as records {id, problem, gold, level, source}: a set of the hub, a file or folder, or a drawn task.

Saves them as parquet, too, in the kit's schema or verl's. lead_kit.data.clean filters them.
"""

import contextlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow
import pyarrow.parquet

from lead_kit.data import arithmetic, named_sets, prompts, word_problems
from lead_kit.data.named_sets import SETS, SUFFIXES, SUITES, Source, hub_source, is_data_file, is_on_hub
from lead_kit.errors import InputError, nearest, shorten
from lead_kit.runs.files import parse_json, read_bytes, read_jsonl, read_parquet, resolve
from lead_kit.verify.extraction import NestedBox, last_box

EMBEDDED = {"arithmetic": arithmetic, "words": word_problems}
ROLES = {  # for each role, the column names to try, in this order, where a set does not name its own
    "problem": ("problem", "question", "Problem", "Question", "prompt", "query", "instruction", "context",
                "messages", "conversations"),
    "gold": ("gold", "answer", "final_answer", "Answer", "ground_truth", "expected_answer", "reward_model", "target",
             "golds", "answers"),
    "solution": ("solution", "Solution", "r1_solution_1", "response", "output", "completion", "messages",
                 "conversations"),
    "level": ("level", "difficulty"),
    "id": ("id", "unique_id", "ID", "index"),
}  # fmt: skip
_WORDS = {"easy": 1.0, "medium": 2.0, "hard": 3.0}
COLUMNS = ("id", "problem", "gold", "level", "source", "solution")
_LETTERS = "ABCDEFGHIJ"
_SPEAKERS = {"human": "user", "gpt": "assistant"}  # roles of chats in turns of {"from", "value"}
_IMAGE = "{}: column {!r} has an image or sound, which the kit cannot read: leave such rows out"
_CHAT_AS_TEXT = re.compile(r"\s*\[\s*\{\s*['\"](role|from|type|content)['\"]")
_SHARD = re.compile(r"[-_.]?\d+(-of-\d+)?$")  # the end of a shard's name


def load_problems(
    name: str | Path,
    path: str | Path = "",
    split: str = "",
    fields: dict[str, str] | None = None,
    seed: int = 0,
    need_gold: bool = True,
    notes: list[str] | None = None,
) -> list[dict]:
    """Records of the set `name`, or of the file or folder `path` read as that set; `name` may itself be one of these.

    A set of the hub that has no name here is named by its id: `owner/name`, `owner/name:split` or
    `owner/name:config:split`. A folder is one that `save_to_disk` wrote, or has data files (shards) of one split; where
    it has several, `split` is the file name without the shard's number.
    `fields` maps roles (ROLES) to columns that do not have a common name. `seed` orders the options of multiple-choice
    questions. With need_gold=False a missing answer is left empty. `notes` gets a sentence with the number of rows for
    each thing that was changed or left out.
    Raises InputError for an unknown name, a missing or malformed file, a row without problem or answer, and one with
    what a record cannot hold: images, or turns of a chat before its last question.

        load_problems("AIME24")
        load_problems("my_problems.jsonl", fields={"problem": "question_text"})
    """
    if is_data_file(name):
        name, path = _short_name(name), path or name
    if not path and name in EMBEDDED:
        raise InputError(f"{name} is drawn at random: expected a file of its problems, which 01_preprocess writes")
    if name in SUITES:
        raise InputError(f"{name} is the sets {', '.join(SUITES[name])}: expected one of them here")
    if not path and not is_on_hub(name) and name not in SETS:
        names = [*SETS, *SUITES]
        expected = f"a {', '.join(SUFFIXES)} file, a folder, a hub id owner/name:split or one of {', '.join(names)}"
        raise InputError(f"no data set {str(name)!r}: expected {expected}{nearest(str(name), names)}")
    source = SETS.get(str(name))
    if files := [path] if path else named_sets.downloaded_files(name):
        rows, where = [row for file in files for row in _read_rows(file, split)], ", ".join(map(str, files))
    else:
        on_hub = source or hub_source(name)
        rows, where, name = _hub_rows(on_hub, split), on_hub.hub, name if source else on_hub.hub
    if not rows:
        raise InputError(f"{where} has no rows")
    changes = Counter()
    records = _to_records(rows, str(name), source, fields or {}, where, seed, need_gold, changes)
    if notes is not None:
        notes += [f"{where}: in {count} of {len(rows)} rows {change}" for change, count in changes.items()]
    return records


def draw_problems(
    name: str,
    count: int,
    split: str = "train",
    seed: int = 0,
    weights: list[float] | None = None,
    exclude: frozenset[str] = frozenset(),
) -> list[dict]:
    """`count` records of an embedded task, none with a text in `exclude`.

    `weights` are the chances of 1, 2, … steps: by default uniform for the split "validation", whose problems are
    distinct; other splits are mostly easy and may repeat. Raises InputError for too few problems.
    """
    if count < 1:
        raise InputError(f"count is {count}: expected how many problems of {name} to draw")
    stream, distinct = f"{split}-{seed}", split == "validation"  # equal seeds draw other problems for another split
    task = EMBEDDED[name]
    weights = (weights or (task.UNIFORM if distinct else arithmetic.EASY_HEAVY))[: task.MAX_STEPS]
    return task.draw(count, stream, weights, exclude, distinct)


def _short_name(path: str | Path) -> str:
    """The name of a data file without its ending, or that of a folder."""
    name = Path(path).name
    return name.removesuffix(next((end for end in SUFFIXES if name.endswith(end)), ""))


def expand_names(names: list[str]) -> dict[str, str]:
    """Short name (of a file: its stem) → set or file, for names of sets, files, suites (SUITES) and folders.

    A folder stands for its data files, and one that `save_to_disk` wrote, or one without such files, for itself.
    """
    by_short_name = {}
    for name in [member for given in names for member in SUITES.get(given, (given,))]:
        folder = resolve(name)
        is_folder = name not in SETS and folder.is_dir() and not _is_saved_dataset(folder)
        files = [p for p in sorted(folder.iterdir()) if p.name.endswith(SUFFIXES)] if is_folder else []
        for file in map(str, files or [name]):
            short = _short_name(file) if is_data_file(file) else file
            by_short_name[file if short in by_short_name else short] = file
    return by_short_name


def with_solutions(records: list[dict], seed: int, **dials: float) -> list[dict]:
    """Embedded problems, each with one worked solution of its noisy teacher; `dials` are those of `solve_noisily`."""
    rng = Random(f"traces-{seed}")
    return [r | {"solution": EMBEDDED[r["source"]].solve_noisily(r["problem"], rng, **dials)} for r in records]


def _hub_rows(source: Source, split: str) -> list[dict]:
    """The rows of a hub set, with the columns that its records need."""
    # imported here: it takes five seconds, and a local file does not need it
    from datasets import concatenate_datasets, load_dataset

    files, part = source.files or None, split or source.split or None
    try:
        parts = [load_dataset(source.hub, c or None, split=part, data_files=files) for c in source.config.split(",")]
    except (OSError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise InputError(f"cannot load {source.hub} from the hub ({first}); data_path may name a local copy") from None
    rows = concatenate_datasets([_one_split(loaded, split, source.hub) for loaded in parts])
    named = [source.problem, source.gold, source.solution, source.level, source.id, *source.wrong, *source.keep]
    wanted = {column.split(".")[0] for column in named if column} & set(rows.column_names)
    return _rows_of(rows.select_columns(sorted(wanted)) if source.problem else rows)


def _one_split(data, split: str, where: str):
    """A data set of the library datasets, or one of its splits. Raises InputError where there is no such split."""
    if not isinstance(data, dict):
        return data
    name = split or (next(iter(data)) if len(data) == 1 else "")
    if name not in data:
        raise InputError(f"{where} has the splits {', '.join(data)}: name one of them as its split, not {name!r}")
    return data[name]


def _rows_of(data) -> list[dict]:
    """The rows of a data set of the library datasets, with images as they are stored."""
    return data.with_format("arrow")[:].to_pylist()


def _to_records(rows, name, source, fields, where, seed, need_gold, changes) -> list[dict]:
    """Rows of any shape as records. Repeated ids get a suffix, so that ids are unique.

    A record keeps the row's other columns of texts, numbers, lists and objects, for rewards that read them. `changes`
    counts what was changed.
    """
    columns = set().union(*rows)
    names = {role: _column_of(role, source, fields, columns, where) for role in ROLES}
    wrong = source.wrong if source and set(source.wrong) <= columns else ()
    used = {column.split(".")[0] for column in (*names.values(), *wrong)} | {*COLUMNS, "golds"}
    extra = sorted(column for column in columns - used if not source or column in source.keep)
    converted, seen = [], Counter()
    for number, row in enumerate(rows, 1):
        if image := next((column for column in row if _is_image(column, row[column])), ""):
            raise InputError(_IMAGE.format(f"{where}, row {number}", image))
        record = _one_record(row, names, name, f"{where}, row {number}", number, need_gold, changes)
        if wrong:
            record |= _multiple_choice(record, [str(row[column]) for column in wrong], seed)
        kept = {column: row[column] for column in extra if isinstance(row.get(column), str | int | float | list | dict)}
        changes.update(f"column {column!r} is left out" for column in columns - used - set(kept) if row.get(column))
        record |= kept
        seen[record["id"]] += 1
        if (repeat := seen[record["id"]]) > 1:
            record["id"] += f"#{repeat}"
            changes["the id repeats an earlier one and got a suffix"] += 1
        converted.append(record)
    return converted


def _is_image(column: str, value) -> bool:
    """Whether a value is an image or a sound, by the name of its column or as the library datasets stores it."""
    first = value[0] if isinstance(value, list) and value else value
    return bool(value) and (column in ("image", "images") or isinstance(first, dict) and "bytes" in first)


def _column_of(role: str, source: Source | None, fields: dict, columns: set[str], where: str) -> str:
    """The column for `role`: the one in `fields`, else the set's own, else the first common name, else empty."""
    asked = fields.get(role, "")
    if asked and asked.split(".")[0] not in columns:
        raise InputError(f"{where}: no column {asked!r} for {role}; there are {', '.join(sorted(columns))}")
    usual = [getattr(source, role)] if source else []
    column = asked or next((name for name in (*usual, *ROLES[role]) if name.split(".")[0] in columns), "")
    if role == "problem" and not column:
        raise InputError(f"{where}: no column holds the problem; there are {', '.join(sorted(columns))}")
    return column


def _one_record(row: dict, names: dict[str, str], name: str, where: str, number: int, need_gold: bool, changes) -> dict:
    """One row as a record. Raises InputError when the problem or a required answer is missing."""
    problem = _text_of(row, names, "problem", where)
    if not problem.strip():
        raise InputError(f"{where}: no problem in column {names['problem']!r}")
    several = names["gold"] == "gold" and row.get("golds")  # as save_problems wrote them
    answer, solution = several or _value_at(row, names["gold"]), _text_of(row, names, "solution", where)
    if isinstance(answer, str) and "####" in answer:  # GSM8K: the solution, four hashes, the answer
        solution, answer = (part.strip() for part in answer.rsplit("####", 1))
        changes["the gold is what follows #### in the answer, and the solution what precedes it"] += 1
    forms = _plain_answers(answer, f"{where}, column {names['gold']!r}")
    golds = [_boxed(form) or form for form in forms] or [_boxed(solution)]  # in some sets the answer itself is boxed
    text = golds[0]
    if text and golds != forms:
        changes["the gold is what the last box of the answer or solution holds"] += 1
    if need_gold and not text:
        raise InputError(f"{where}: no answer in column {names['gold'] or 'answer'!r}, nor a box in the solution")
    identity = _value_at(row, names["id"])
    record = {
        "id": f"{name}-{number - 1}" if identity in (None, "") else str(identity),
        "problem": problem,
        "gold": text,
        "level": _as_level(_value_at(row, names["level"])),
        "source": row["source"] if isinstance(row.get("source"), str) and row["source"] else name,
    }
    if len(golds) > 1:  # Minerva lists several forms of the answer
        record["golds"] = golds
        changes["an answer is right if it equals any of several golds"] += 1
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


def _text_of(row: dict, names: dict[str, str], role: str, where: str) -> str:
    """The problem or solution of a row as text: of a chat, the last turn of the user or of the assistant.

    Raises InputError for what is no text, and for a chat with other turns that the record would lose.
    """
    column, value = names[role], _value_at(row, names[role])
    where = f"{where}, column {column!r}"
    if isinstance(value, str) and _CHAT_AS_TEXT.match(value):
        raise InputError(f"{where}: the chat is written as one text: store it as a list of turns")
    if not isinstance(value, list) or not value or not _speaker(value[0]):
        return _joined_parts(value, where)
    speakers = [_speaker(turn) for turn in value]
    wanted = "user" if role == "problem" else "assistant"
    if wanted not in speakers:
        return ""
    last = len(speakers) - 1 - speakers[::-1].index(wanted)
    others = value[:last] + (value[last + 1 :] if column != names["solution"] else [])
    if role == "solution":  # the turns before it are the prompt
        others = [turn for turn in value[:last] if _speaker(turn) == wanted]
    if lost := [_speaker(turn) for turn in others if turn.get("content", turn.get("value"))]:
        path, turns = f"{column}.{last}.{'content' if 'content' in value[last] else 'value'}", ", ".join(lost)
        raise InputError(
            f"{where}: a record holds one question and one solution, so it would lose the turns {turns}: with "
            f"01_preprocess and field_{role} {path!r} only that turn is read; template takes a system text above a "
            "line ---"
        )
    return _joined_parts(value[last].get("content", value[last].get("value")), where)


def _speaker(turn) -> str:
    """The role of a chat's turn, {"role", "content"} or {"from", "value"}; empty for anything else."""
    role = (turn.get("role") or turn.get("from") or "") if isinstance(turn, dict) else ""
    return _SPEAKERS.get(role, str(role))


def _joined_parts(value, where: str) -> str:
    """A text, or the texts of a chat's content in parts, joined. Raises InputError for anything else."""
    if not isinstance(value, list) or not all(isinstance(part, dict) and "type" in part for part in value):
        return _plain_text(value, where)
    if other := [part["type"] for part in value if part["type"] != "text"]:
        raise InputError(f"{where}: a part is {other[0]!r}, and the kit reads text alone: leave such rows out")
    return "".join(_plain_text(part.get("text"), where) for part in value)


def _plain_answers(value, where: str) -> list[str]:
    """The forms of an answer as texts, without empty ones; of verl's reward_model, its ground truth."""
    if isinstance(value, dict) and "ground_truth" in value:
        value = value["ground_truth"]
    if isinstance(value, str) and value.strip().startswith('["'):  # Skywork-OR1: a list in JSON
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    elif isinstance(value, str) and re.match(r"\s*\['", value):
        raise InputError(f"{where}: {shorten(value)} is a list as Python prints it: store it as a list, or one answer")
    forms = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(text for form in forms if (text := _plain_text(form, where).strip())))


def _plain_text(value, where: str) -> str:
    """A text or a number as text: 70.0 gives "70". Raises InputError for an object, a list or bytes."""
    if isinstance(value, list | tuple | dict | bytes):
        raise InputError(f"{where}: expected a text, found {shorten(value, 60)}: name a field of it, such as COLUMN.0")
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    return "" if value is None else str(value)


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


def _read_rows(path: str | Path, split: str = "") -> list[dict]:
    """The rows of a file or folder. Raises InputError naming the file and, where there is one, the malformed line."""
    path = resolve(path)
    if path.is_dir():
        return _read_folder(path, split)
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"cannot read {path}: expected a folder, or a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        siblings = (p.name for p in path.parent.glob("*") if p.name.endswith(SUFFIXES))
        raise InputError(f"no file {path}{nearest(path.name, siblings)}")
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        return read_parquet(path).to_pylist()
    return {".csv": _read_csv, ".json": _read_json, ".jsonl": read_jsonl}[kind](path)


def _read_folder(folder: Path, split: str) -> list[dict]:
    """The rows of a folder that `save_to_disk` wrote, or of the files of one split in any other."""
    if _is_saved_dataset(folder):
        from datasets import load_from_disk  # imported here, as in _hub_rows

        try:
            return _rows_of(_one_split(load_from_disk(str(folder)), split, str(folder)))
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(f"{folder} is not a readable data set: {shorten(str(error), 200)}") from None
    shards: dict[str, list[Path]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.name.endswith(SUFFIXES)):
        shards.setdefault(_SHARD.sub("", str(file.relative_to(folder).with_name(_short_name(file)))), []).append(file)
    names = ", ".join(shards)
    if (split or names) not in shards:
        holds = shorten(names, 200) if shards else f"no {', '.join(SUFFIXES)} file"
        raise InputError(f"{folder} holds {holds}: name one file, or one of these names as the split")
    return [row for file in shards[split or names] for row in _read_rows(file)]


def _is_saved_dataset(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("dataset_dict.json", "state.json"))


def _read_csv(path: Path) -> list[dict]:
    """The rows of a CSV file with a header: texts as they are, and numbers in columns where all are written as such."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is not a readable CSV file: {shorten(str(error), 200)}") from None
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(f"{path} is not a readable CSV file: its rows have more fields than its header")
    for column in frame:
        numbers = pd.to_numeric(frame[column], errors="coerce")
        if (numbers.astype(str) == frame[column]).all():
            frame[column] = numbers
    return frame.to_dict("records")


def _read_json(path: Path) -> list[dict]:
    """The objects of a JSON file that holds a list of them. Raises InputError for anything else."""
    rows = parse_json(read_bytes(path), path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects")
    return rows


def read_frame(path: Path) -> pd.DataFrame:
    """The rows of a data file as a frame. Raises InputError naming what is wrong with the file."""
    return read_parquet(path).to_pandas() if path.suffix == ".parquet" else pd.DataFrame(_read_rows(path))


def save_problems(rows: list[dict], path: Path) -> Path:
    """Writes records as parquet in the kit's schema: COLUMNS first, then any other columns, in order of name."""
    extra = sorted({column for row in rows for column in row} - set(COLUMNS))
    types = dict.fromkeys(COLUMNS, pyarrow.string()) | {"level": pyarrow.float64()}
    columns = {name: pyarrow.array([row.get(name) for row in rows], types[name]) for name in COLUMNS}
    columns |= {name: _arrow_column([row.get(name) for row in rows]) for name in extra}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def _arrow_column(values: list) -> pyarrow.Array:
    """An Arrow column; values of mixed types, and integers beyond 64 bits, become text, lists and objects JSON."""
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        texts = (json.dumps(value, default=str) if isinstance(value, list | dict) else value for value in values)
        return pyarrow.array([None if text is None else str(text) for text in texts])


def save_verl(rows: list[dict], path: Path, template: str, split: str) -> Path:
    """Writes records as parquet in verl's schema, as GRPO-LEAD's preprocessing does (released code)."""
    shaped = [
        {
            "data_source": row["source"],
            "prompt": prompts.messages(template, row["problem"], row.get("target_tokens")),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row["gold"]},
            "extra_info": {"split": split, "index": index, "id": row["id"]},
        }
        for index, row in enumerate(rows)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(shaped), path)
    return path

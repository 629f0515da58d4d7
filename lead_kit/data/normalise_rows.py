"""Turns rows of any data set into records {id, problem, gold, level, source}, with a solution if the row has one."""

import math
import re
from collections import Counter
from random import Random

from lead_kit.data.named_sets import Source
from lead_kit.errors import InputError
from lead_kit.verify.extraction import NestedBox, last_box

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


def records(rows, name, source, fields, where, seed=0, need_gold=True) -> list[dict]:
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
            record |= multiple_choice(record, [str(row[column]) for column in wrong], seed)
        record |= {column: row[column] for column in extra if isinstance(row.get(column), str | int | float)}
        seen[record["id"]] += 1
        if (repeat := seen[record["id"]]) > 1:
            record["id"] += f"#{repeat}"
        converted.append(record)
    return converted


def _column_of(role: str, source: Source | None, fields: dict, columns: set[str], where: str) -> str:
    """The column for `role`: the one in `fields`, else the set's own, else the first common name, else empty."""
    given = fields.get(role, "")
    if given and given.split(".")[0] not in columns:
        raise InputError(f"{where}: no column {given!r} for {role}; there are {', '.join(sorted(columns))}")
    own = getattr(source, role) if source else ""
    column = given or (own if own.split(".")[0] in columns else "")
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
    text = boxed(text) or text or boxed(solution)  # in some sets the answer itself is boxed
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


def boxed(text: str) -> str:
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


def multiple_choice(record: dict, wrong: list[str], seed: int) -> dict:
    """The question followed by its options, with the letter of the right one as answer.

    The order depends only on seed and id, not on the row number (GRPO_reflection's evaluation draws it without a seed).
    """
    options = [record["gold"], *(text.strip() for text in wrong)]
    order = Random(f"{seed}/{record['id']}").sample(range(len(options)), len(options))
    lines = [f"{letter}. {options[i]}" for letter, i in zip(_LETTERS, order, strict=False)]
    return {"problem": record["problem"] + "\n\n" + "\n".join(lines), "gold": _LETTERS[order.index(0)]}

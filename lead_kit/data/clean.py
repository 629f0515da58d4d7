"""Cleans a data set: filters that give a reason for each record they drop, and the draw of a validation set."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple

import pandas as pd

from lead_kit.data import near_duplicates
from lead_kit.errors import InputError
from lead_kit.verify import Verifier, lint_golds


def require_gradable(records: list[dict]) -> None:
    """Raises InputError naming the first gold answers that the verifier cannot grade against themselves."""
    if faults := lint_golds(records):
        named = "; ".join(f"{fault.id}: {fault.gold!r} ({fault.reason})" for fault in faults[:3])
        raise InputError(f"{len(faults)} gold answers cannot be graded, so they could earn no reward: {named}")


class Sifted(NamedTuple):
    """The kept records, and the dropped ones with `reason` and `detail` added; both in the given order."""

    kept: list[dict]
    dropped: list[dict]


def _sift(records: list[dict], reasons: Iterable[str]) -> Sifted:
    """Drops each record that has a reason, "reason" or "reason: detail"; an empty one keeps it."""
    kept, dropped = [], []
    for record, text in zip(records, reasons, strict=True):
        reason, _, detail = text.partition(": ")
        dropped.append(record | {"reason": reason, "detail": detail}) if reason else kept.append(record)
    return Sifted(kept, dropped)


def by_level(records: list[dict], low: float, high: float) -> Sifted:
    """Keeps low ≤ level ≤ high; a record without a level counts as 0.

    GRPO-LEAD's first stage keeps levels from 2.5 (the paper, 2504.09696) or from 3.5 (released data_preprocess.ipynb).
    """
    if low > high:
        raise InputError(f"min_difficulty {low:g} exceeds max_difficulty {high:g}: nothing would be kept")
    levels = [record.get("level") or 0.0 for record in records]
    reason = f"difficulty outside {low:g}…{high:g}"
    return _sift(records, ["" if low <= level <= high else f"{reason}: {level:g}" for level in levels])


def by_pass_rate(records: list[dict], rates: dict[str, float], low: float, high: float) -> Sifted:
    """Keeps low < pass rate ≤ high. GRPO-LEAD's second stage uses 0 and .75 on the rates of the first (2504.09696)."""

    def reason(record):
        if record["id"] not in rates:
            return "never rolled out"
        rate = rates[record["id"]]
        return "" if low < rate <= high else f"pass rate not in ({low:g}, {high:g}]: {rate:.3g}"

    return _sift(records, map(reason, records))


def gradable(records: list[dict], verifier: Verifier) -> Sifted:
    """Drops answers that the verifier cannot grade against themselves: a correct solution would earn no reward."""
    faults = {fault.id: fault.reason for fault in lint_golds(records, verifier)}
    return _sift(records, [faults.get(record["id"], "") for record in records])


# GRPO-LEAD, released code: the guard reads a normal form in which these units vanish and these commands become letters.
_GUARD_UNITS = re.compile(
    r"(?:[mb]illion|degree|cm|centimeter|meter|mile|second|minute|hour|day|week|month|year|foot|feet|inch|yard)"
    r"(?:es)?s? *(?:\^\d+)?"
)
_SPELLED = "pi sin cos tan arcsin arccos arctan sinh cosh tanh log ln exp max min lim"
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega"
)
_GUARD_LETTERS = {"infty": "inf", "cup": "u"} | {word: word for word in _SPELLED.split()}
_GUARD_LETTERS |= dict(zip(_GREEK.split(), "αβγδεζηθικλμνξρστυφχψω", strict=True))


def _guarded_form(gold: str) -> str:
    """The answer as GRPO-LEAD's guard reads it: no units, spaces or braces; any other LaTeX command is a sign."""
    text = re.sub(r"\\(?:begin|end|mbox|mathrm)\s*\{[^{}]*\}", "", gold)
    text = _GUARD_UNITS.sub("", text.replace(" or ", " , ").replace(" and ", " , "))
    text = re.sub(r"\\([A-Za-z]+|.)", lambda command: _GUARD_LETTERS.get(command[1].lower(), "|"), text)
    text = re.sub(r"(?<=\d)\s+(?=\d)", "+", text.replace("}{", "/"))
    return re.sub(r"[{}\s]", "", text).lower()


def symbolically_simple(records: list[dict]) -> Sifted:
    """Keeps answers that pass GRPO-LEAD's guard for its symbolic grader (released code, data_preprocess.ipynb).

    In the form that the guard reads: at most two different letters besides sqrt and frac; no ^(; no chained or
    two-digit exponent. All 3,453 rows of the released training set pass.
    """

    def reason(record):
        form = _guarded_form(record["gold"])
        if len({c for c in form.replace("sqrt", "").replace("frac", "") if c.isalpha()}) > 2:
            return "more than two different letters"
        if "^(" in form:
            return "a bracketed exponent"
        return "a chained or two-digit exponent" if re.search(r"\^\d\d|\^\d\^", form) else ""

    return _sift(records, map(reason, records))


def without_duplicates(records: list[dict], threshold: float) -> Sifted:
    """Keeps one record of each problem: drops texts equal up to formatting, and near duplicates with equal answers.

    Of equal ones, the first with a worked solution is kept, else the first (see lead_kit.data.near_duplicates).

    >>> len(without_duplicates([{"id": text, "problem": text} for text in ("1 + 1", "$1+1$", "2")], 0.65).kept)
    2
    """
    order = sorted(range(len(records)), key=lambda i: not records[i].get("solution"))
    ranked = [records[i] for i in order]
    reasons = [""] * len(records)
    for match in near_duplicates.matching_pairs(ranked, threshold=threshold):
        left, right = order[match.left], order[match.right]
        if match.kind != "variant" and not reasons[left] and not reasons[right]:
            reasons[right] = _duplicate_reason(records[left], records[right], match)
    return _sift(records, reasons)


def _duplicate_reason(kept: dict, dropped: dict, match: near_duplicates.Match) -> str:
    """Why `dropped` is a duplicate of `kept`."""
    reason = "equal up to formatting" if match.kind == "same text" else "near duplicate"
    if kept["problem"] == dropped["problem"]:
        reason = "exact duplicate"
    if near_duplicates.answer_key(kept) != near_duplicates.answer_key(dropped):
        reason += ", another answer"
    return f"{reason}: of {kept['id']}, score {match.score:.2f}"


def without_leaks(records: list[dict], leaked: list[dict]) -> Sifted:
    """Drops the records that `leaks` lists as the same text or the same problem; variants stay."""
    same = [row for row in leaked if row["kind"] != "variant"]
    reasons = {row["id"]: f"{row['kind']} as in {row['set']}: {row['evaluation_id']}" for row in same}
    return _sift(records, [reasons.get(record["id"], "") for record in records])


def by_prompt_length(records: list[dict], count: Callable[[str], int], limit: int) -> Sifted:
    """Keeps problems whose prompt is at most `limit` tokens long; `count` gives the tokens of a problem's prompt."""
    lengths = [count(record["problem"]) for record in records]
    reason = f"prompt of more than {limit} tokens"
    return _sift(records, [f"{reason}: {length}" if length > limit else "" for length in lengths])


def without_held_out(records: list[dict], held_out: list[dict]) -> Sifted:
    """Drops the problems that are held out, compared in normal form."""
    ids = {near_duplicates.normal_form(record["problem"]): record["id"] for record in held_out}
    twins = [ids.get(near_duplicates.normal_form(record["problem"])) for record in records]
    return _sift(records, [f"held out for validation: {twin}" if twin else "" for twin in twins])


def draw_held_out(records: list[dict], size: int, seed: int) -> list[dict]:
    """At least `size` records, drawn by seed: of each text in normal form all records or none.

    Raises InputError when nothing would be left to train on.
    """
    keys = [near_duplicates.normal_form(record["problem"]) for record in records]
    sizes = Counter(keys)
    texts, chosen, taken = sorted(sizes), set(), 0
    Random(seed).shuffle(texts)
    for text in texts:
        if taken >= size:
            break
        chosen.add(text)
        taken += sizes[text]
    if taken >= len(records) and size:
        reason = f"there are only {len(records)} records: nothing is left to train on"
        raise InputError(f"validation_size is {size}, but {reason}")
    return [record for record, key in zip(records, keys, strict=True) if key in chosen]


def add_step(steps: list, name: str, sifted: Sifted) -> list[dict]:
    """Appends a step to `steps` and returns the records that it kept."""
    steps.append((name, sifted))
    return sifted.kept


def count_steps(steps: list[tuple[str, Sifted]]) -> pd.DataFrame:
    """How many records each step kept and dropped: step, kept, dropped."""
    rows = [{"step": name, "kept": len(sifted.kept), "dropped": len(sifted.dropped)} for name, sifted in steps]
    return pd.DataFrame(rows)


def dropped_records(steps: list[tuple[str, Sifted]]) -> list[dict]:
    """All dropped records, each with the step that dropped it."""
    return [record | {"step": name} for name, sifted in steps for record in sifted.dropped]


def count_reasons(dropped: list[dict]) -> pd.DataFrame:
    """How many records were dropped for each reason, most frequent first, with the id and detail of the first one."""
    groups = pd.DataFrame(dropped, columns=["reason", "id", "detail"]).groupby("reason", sort=False)
    table = groups.agg(records=("id", "size"), first=("id", "first"), detail=("detail", "first"))
    return table.sort_values("records", ascending=False).reset_index()

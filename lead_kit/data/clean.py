"""Sample, grade, keep: every completion is written as it comes, and none is sampled twice."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pandas
import pyarrow.parquet

from lead_kit import verify
from lead_kit.data import overlap
from lead_kit.errors import InputError
from lead_kit.verify import Verifier, lint_golds


def require_gradable(records: list[dict]) -> None:
    """Raises InputError naming the first gold answers that the verifier cannot grade against themselves."""
    faults = verify.lint_golds(records)
    if faults:
        named = "; ".join(f"{fault.id}: {fault.gold!r} ({fault.reason})" for fault in faults[:3])
        raise InputError(f"{len(faults)} gold answers cannot be graded, so no reward could be paid for them: {named}")


LEAK = ["id", "set", "kind", "score", "problem", "gold", "evaluation_id", "evaluation_problem", "evaluation_gold"]


class Sifted(NamedTuple):
    """The records that stay and those that leave, these with `reason` and `detail` added; both in the given order."""

    kept: list[dict]
    dropped: list[dict]


def sift(records: list[dict], why: Callable[[dict], str]) -> Sifted:
    """Drop the records for which `why` gives a reason, "reason" or "reason: detail"."""
    kept, dropped = [], []
    for record in records:
        reason, _, detail = why(record).partition(": ")
        dropped.append(record | {"reason": reason, "detail": detail}) if reason else kept.append(record)
    return Sifted(kept, dropped)


def by_level(records: list[dict], low: float, high: float) -> Sifted:
    """Keep low ≤ level ≤ high; a record without a level counts as 0.

    GRPO-LEAD's first stage: 2.5 and more in the paper (2504.09696), 3.5 and more in the released data_preprocess.ipynb.
    """
    if low > high:
        raise InputError(f"min_difficulty {low:g} exceeds max_difficulty {high:g}: nothing would be kept")

    def why(record):
        level = record.get("level") or 0.0
        return "" if low <= level <= high else f"difficulty outside {low:g}…{high:g}: {level:g}"

    return sift(records, why)


def by_pass_rate(records: list[dict], rates: dict[str, float], low: float, high: float) -> Sifted:
    """Keep low < pass rate ≤ high; GRPO-LEAD's second stage: 0 and .75 on the rates of the first (2504.09696)."""

    def why(record):
        if record["id"] not in rates:
            return "never rolled out"
        rate = rates[record["id"]]
        return "" if low < rate <= high else f"pass rate not in ({low:g}, {high:g}]: {rate:.3g}"

    return sift(records, why)


def rates_of_run(folder: Path) -> dict[str, float]:
    """Share of correct rollouts of each prompt over all steps of a run, by prompt id, from its rollouts/*.parquet."""
    files = sorted((folder / "rollouts").glob("*.parquet"))
    if not files:
        raise InputError(f"{folder} has no rollouts: pass_rates must name the folder of a finished 03_grpo run")
    correct, total = Counter(), Counter()
    for file in files:
        table = pyarrow.parquet.read_table(file, columns=["id", "correct"])
        for identity, right in zip(table["id"].to_pylist(), table["correct"].to_pylist(), strict=True):
            total[identity] += 1
            correct[identity] += bool(right)
    return {identity: correct[identity] / total[identity] for identity in total}


def rates_of_column(records: list[dict], column: str) -> dict[str, float]:
    """Pass rates that the data set brings along, by id."""
    rates = {record["id"]: float(record[column]) for record in records if record.get(column) is not None}
    if not rates:
        raise InputError(f"pass_rates is {column!r}: neither a run with rollouts nor a column with a number")
    return rates


def gradable(records: list[dict], verifier: Verifier) -> Sifted:
    """Drop answers that the verifier cannot grade against themselves: a correct solution would earn nothing."""
    faults = {fault.id: fault.reason for fault in lint_golds(records, verifier)}
    return sift(records, lambda record: faults.get(record["id"], ""))


def symbolically_simple(records: list[dict]) -> Sifted:
    """Keep answers that pass GRPO-LEAD's guard for its symbolic grader (released code, data_preprocess.ipynb).

    At most two different letters besides sqrt and frac; no ^{ or ^(; no chained and no two-digit exponent.
    """

    def why(record):
        gold = record["gold"]
        letters = {c for c in gold.replace("sqrt", "").replace("frac", "") if c.isalpha()}
        if len(letters) > 2:
            return "more than two different letters"
        if "^{" in gold or "^(" in gold:
            return "a bracketed exponent"
        return "a chained or two-digit exponent" if re.search(r"\^\d\d|\^\w*\^", gold) else ""

    return sift(records, why)


def without_duplicates(records: list[dict], threshold: float) -> Sifted:
    """Keep one record of each problem: texts equal up to formatting, and near duplicates with equal answers.

    The one with a worked solution is kept, else the first. See lead_kit.overlap for what counts as the same problem.
    """
    order = sorted(range(len(records)), key=lambda i: not records[i].get("solution"))
    ranked = [records[i] for i in order]
    found: dict[int, str] = {}
    for match in overlap.matches(ranked, threshold=threshold):
        if match.kind != "variant" and match.left not in found and match.right not in found:
            found[match.right] = repeats(ranked[match.left], ranked[match.right], match)
    texts = {order[i]: text for i, text in found.items()}
    places = iter(range(len(records)))
    return sift(records, lambda _: texts.get(next(places), ""))


def repeats(one: dict, other: dict, match: overlap.Match) -> str:
    """Why `other` is left out for `one`."""
    if one["problem"] == other["problem"]:
        reason = "exact duplicate"
    else:
        reason = "equal up to formatting" if match.kind == "same text" else "near duplicate"
    differ = overlap.answer_key(one) != overlap.answer_key(other)
    detail = f"of {one['id']}, score {match.score:.2f}"
    return f"{reason}{', another answer' if differ else ''}: {detail}"


def leaks(records: list[dict], evaluation: dict[str, list[dict]], threshold: float) -> list[dict]:
    """Training records that are also in an evaluation set, and variants to look at: one row a pair, columns LEAK."""
    held_out = [(name, record) for name, one_set in evaluation.items() for record in one_set]
    rows = []
    for match in overlap.matches(records, [record for _, record in held_out], threshold):
        mine, (name, theirs) = records[match.left], held_out[match.right]
        row = (mine["id"], name, match.kind, round(match.score, 3), mine["problem"], mine["gold"])
        rows.append(dict(zip(LEAK, (*row, theirs["id"], theirs["problem"], theirs["gold"]), strict=True)))
    return rows


def without_leaks(records: list[dict], found: list[dict]) -> Sifted:
    """Drop the records that `leaks` found to be the same text or the same problem; variants stay."""
    found = {
        row["id"]: f"{row['kind']} as in {row['set']}: {row['evaluation_id']}"
        for row in found
        if row["kind"] != "variant"
    }
    return sift(records, lambda record: found.get(record["id"], ""))


def by_prompt_length(records: list[dict], count: Callable[[str], int], limit: int) -> Sifted:
    """Keep problems whose prompt is at most `limit` tokens long; `count` says how long the prompt of a problem is."""

    def why(record):
        length = count(record["problem"])
        return f"prompt of more than {limit} tokens: {length}" if length > limit else ""

    return sift(records, why)


def without(records: list[dict], held_out: list[dict]) -> Sifted:
    """Drop the problems that are held out, compared in normal form."""
    texts = {overlap.key(record["problem"]): record["id"] for record in held_out}

    def why(record):
        twin = texts.get(overlap.key(record["problem"]))
        return f"held out for validation: {twin}" if twin else ""

    return sift(records, why)


def moved(kept: list[dict], held_out: list[dict]) -> Sifted:
    """The two parts of a split as a step."""
    return Sifted(kept, [record | {"reason": "held out for validation", "detail": ""} for record in held_out])


def split(records: list[dict], size: int, seed: int) -> tuple[list[dict], list[dict]]:
    """(training, validation): at least `size` records for validation, drawn by seed, never a text in both.

    Records of one text, compared in normal form, move together. Raises InputError when none would be left to train on.
    """
    groups = defaultdict(list)
    for record in records:
        groups[overlap.key(record["problem"])].append(record)
    texts, chosen, taken = sorted(groups), set(), 0
    Random(seed).shuffle(texts)
    for text in texts:
        if taken >= size:
            break
        chosen.add(text)
        taken += len(groups[text])
    if taken >= len(records) and size:
        raise InputError(
            f"validation_size is {size}, but there are only {len(records)} records: nothing is left to train on"
        )
    parts = [[r for r in records if (overlap.key(r["problem"]) in chosen) == held_out] for held_out in (False, True)]
    return parts[0], parts[1]


def note(steps: list, name: str, sifted: Sifted) -> list[dict]:
    """Write a step down in `steps` and hand on what it kept."""
    steps.append((name, sifted))
    return sifted.kept


def counts(steps: list[tuple[str, Sifted]]) -> pandas.DataFrame:
    """Table of a funnel: step, kept, dropped."""
    rows = [{"step": name, "kept": len(sifted.kept), "dropped": len(sifted.dropped)} for name, sifted in steps]
    return pandas.DataFrame(rows)


def dropped(steps: list[tuple[str, Sifted]]) -> list[dict]:
    """All records that left, each with the step it left at."""
    return [record | {"step": name} for name, sifted in steps for record in sifted.dropped]


def reasons(gone: list[dict]) -> pandas.DataFrame:
    """How many left for which reason, the most frequent first, with the id and detail of the first."""
    frame = pandas.DataFrame(gone, columns=["reason", "id", "detail"])
    table = frame.groupby("reason", sort=False).agg(
        records=("id", "size"), first=("id", "first"), detail=("detail", "first")
    )
    return table.sort_values("records", ascending=False).reset_index()

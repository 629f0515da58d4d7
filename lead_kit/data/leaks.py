"""The leak report: for each evaluation set, how much of it is in training, and `lead leaks A B` for two sets."""

from pathlib import Path

import pandas as pd

from lead_kit.data import clean, loading
from lead_kit.errors import InputError
from lead_kit.runs.files import atomic, refuse_unwritable
from lead_kit.runs.paths import shown
from lead_kit.safe_text import safe_line

_REPORT = ["set", "problems", "in training", "share", "variants", "removed"]


def by_set(evaluation: dict[str, list[dict]], leaked: list[dict]) -> pd.DataFrame:
    """One row for each evaluation set, columns REPORT; `leaked` are the rows of `clean.leaks`.

    `in training` counts problems of the set that are the same text or the same problem, `variants` those of which only
    a variant is there, `removed` the training records that leave because of this set (one may leave for several).
    """
    rows = []
    for name, records in evaluation.items():
        mine = [row for row in leaked if row["set"] == name]
        same = [row for row in mine if row["kind"] != "variant"]
        found = {row["evaluation_id"] for row in same}
        variants = {row["evaluation_id"] for row in mine} - found
        removed = len({row["id"] for row in same})
        share = len(found) / len(records) if records else 0.0
        rows.append([name, len(records), len(found), round(share, 4), len(variants), removed])
    return pd.DataFrame(rows, columns=_REPORT)


def leaks_command(set_a: str, set_b: str, threshold: float, out: str | None, show: int) -> int:
    """Prints which problems of B are also in A, and some pairs to read. Returns 1 where there are any, else 0.

    A is what is trained on; B may be a suite or a folder of several sets. Raises InputError for what cannot be read.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"--threshold {threshold:g}: expected a score above 0, at most 1")
    if out and Path(out).suffix != ".csv":
        raise InputError(f"--out {out}: expected the name of a .csv file")
    target = Path(out).expanduser().absolute() if out else None
    if target:
        refuse_unwritable(target)
    records = loading.load_problems(set_a, need_gold=False)
    names = loading.expand_names([set_b])
    evaluation = {name: loading.load_problems(place, need_gold=False) for name, place in names.items()}
    found = clean.leaks(records, evaluation, threshold)
    report = by_set(evaluation, found)
    print(f"A = {set_a}, {len(records)} problems; a variant has close wording, but other numbers or another answer")
    print(report.rename(columns={"in training": "in A", "removed": "records of A"}).to_string(index=False))
    for row in sorted(found, key=lambda row: (row["kind"] == "variant", row["score"]))[:show]:
        pair = f"{safe_line(row['id'])} and {safe_line(row['evaluation_id'])} of {row['set']}"
        print(f"{row['kind']}, score {row['score']}: {pair}")
        for part in ("", "evaluation_"):
            print(f"  {safe_line(row[part + 'problem'])}  → {safe_line(row[part + 'gold'])}")
    if target:
        with atomic(target) as part:
            pd.DataFrame(found, columns=clean.LEAK).to_csv(part, index=False)
        print(f"written: {shown(target)}")
    return int(bool(report["in training"].sum()))

"""`lead verify` grades one answer; `lead score` grades the recorded completions of any model."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.data.load import read_parquet
from lead_kit.errors import InputError, shorten
from lead_kit.evaluate import metrics
from lead_kit.runs.files import jsonl_rows, refuse_unwritable, resolve, shown, write_jsonl
from lead_kit.safe_text import safe_line
from lead_kit.verify import STATUSES, Verifier
from lead_kit.verify.extraction import REGIONS


class _Problem(NamedTuple):
    """The recorded completions of one problem. An answer is correct if it equals any of the golds."""

    id: str
    golds: list[str]
    completions: list[str]


def verify_command(
    gold: str, answer: str | None = None, completion_file: str | None = None, loose: bool = False
) -> int:
    """Prints the verdict on one answer or on one completion; 0 if correct, 1 if not. Raises InputError."""
    if (answer is None) == (completion_file is None):
        raise InputError("lead verify: give either an answer (--answer) or a file with a completion (--completion)")
    with Verifier(1) as verifier:
        if answer is not None and "\\boxed" not in answer and not loose:
            verdict = verifier.compare(answer, gold)
        else:
            verdict = verifier.check(answer if answer is not None else _read_text(completion_file), gold, loose=loose)
    if verdict.status == "gold_unparseable":
        raise InputError(f"gold {shorten(repr(gold))} cannot be graded: {verdict.reason}")
    print(f"{verdict.status}: {safe_line(verdict.reason)}")
    texts = f"answer {safe_line(repr(verdict.answer))}, gold {safe_line(repr(gold))}"
    print(f"  {texts}, decided by {verdict.path} in {verdict.seconds * 1000:.1f} ms")
    return 0 if verdict.correct else 1


def score_command(
    path: str, out: str | None = None, loose=False, k: int | None = None, answer_region="after_think", thinking=False
) -> None:
    """Grades the completions of a JSONL or parquet file, prints the table and writes one verdict a line to `out`.

    Rows {id, answer, completions: [...]} or {id, answer, completion}, or those of verl; rows of the same id are one
    problem. `answer` may be a list of alternatives, any of which is correct. `k`: samples of Pass@k (default: the
    fewest of any problem). `thinking`: the prompts opened <think>, so a completion that does not close it holds no
    answer; a column `thinking` says so row by row. Raises InputError.
    """
    if answer_region not in REGIONS:
        raise InputError(f"--answer-region {answer_region!r}: expected one of {', '.join(REGIONS)}")
    problems = read_problems(resolve(path), thinking)
    target = _target(resolve(path), out)
    fewest = min(len(problem.completions) for problem in problems)
    if k is not None and not 1 <= k <= fewest:
        raise InputError(f"k is {k}, expected 1 to {fewest}, the fewest samples of any problem")
    texts = [text for problem in problems for text in problem.completions]
    golds = [problem.golds for problem in problems for _ in problem.completions]
    with Verifier() as verifier:  # of several golds, the verdict is that of the first it equals, else of the first
        verdicts = iter(verifier.check_any(texts, golds, loose=loose, answer_region=answer_region))
    rows = []
    for problem in problems:
        row = [next(verdicts) for _ in problem.completions]
        # an answer's class among those of its problem, by equivalence; -1 for no answer
        labels = metrics.cluster_answers([[v.answer for v in row]], [[v.correct for v in row]])[0].tolist()
        gold = problem.golds if len(problem.golds) > 1 else problem.golds[0]
        for sample, (verdict, label) in enumerate(zip(row, labels, strict=True)):
            graded = {name: getattr(verdict, name) for name in ("answer", "correct", "status", "reason", "path")}
            rows.append({"id": problem.id, "sample": sample, "gold": gold} | graded | {"class": label})
    write_jsonl(target, rows)
    print(_table(rows, k))
    print(f"verdicts: {shown(target)}")


def _target(path: Path, out: str | None) -> Path:
    """The file for the verdicts. Raises InputError for one that cannot be written, or that is the input."""
    target = path.with_suffix(".verdicts.jsonl") if out is None else Path(out)
    if target.exists() and target.samefile(path):
        raise InputError(f"--out {shown(target)} is the input, which it would replace: expected another file")
    refuse_unwritable(target)
    return target


def read_problems(path: Path, thinking: bool = False) -> list[_Problem]:
    """The problems of a JSONL or parquet file, in order of first appearance. Raises InputError naming the line."""
    if not path.is_file():
        raise InputError(f"{shown(path)} does not exist, expected a JSONL file with rows {{id, answer, completions}}")
    problems: dict[str, _Problem] = {}
    for where, row in _rows(path):
        problem = _problem(where, row, thinking)
        known = problems.setdefault(problem.id, problem)
        if known is not problem:
            if known.golds != problem.golds:
                golds = f"answer {shorten(problem.golds)} of {shorten(known.id)!r} was {shorten(known.golds)}"
                raise InputError(f"{where}: {golds} in an earlier row")
            known.completions.extend(problem.completions)
    if not problems:
        raise InputError(f"{shown(path)} holds no rows, expected {{id, answer, completions}}")
    return list(problems.values())


def _rows(path: Path) -> Iterator[tuple[str, dict]]:
    """(place in the file, row) of a JSON-lines or parquet file."""
    parquet = path.suffix == ".parquet"
    for number, row in enumerate(read_parquet(path).to_pylist(), 1) if parquet else jsonl_rows(path):
        yield f"{shown(path)}, {'row' if parquet else 'line'} {number}", row


def _problem(where: str, row: dict, thinking: bool) -> _Problem:
    if isinstance(model := row.get("reward_model"), dict):  # a row of verl
        extra = row["extra_info"] if isinstance(row.get("extra_info"), dict) else {}
        row = {"answer": model.get("ground_truth"), "id": extra.get("index"), **row}
    name = "gold" if row.get("gold") is not None else "answer"  # data sets call the gold `answer`
    columns = shorten(", ".join(sorted(row)), 200)
    for needed in ("id", name):
        if row.get(needed) is None:
            raise InputError(f"{where}: no {needed!r}; it has {columns}")
    golds = row[name] if isinstance(row[name], list) else [row[name]]
    completions = row.get("completions", [row["completion"]] if "completion" in row else row.get("responses"))
    if not isinstance(completions, list) or not completions or not all(isinstance(text, str) for text in completions):
        raise InputError(f"{where}: expected 'completions', a list of texts, or 'completion', a text; it has {columns}")
    if not golds or not all(_is_value(gold) and str(gold).strip() for gold in golds):
        raise InputError(f"{where}: {name} is {shorten(row[name])}, expected a text, a number or a list of those")
    for label in ("id", "benchmark"):
        if row.get(label) is not None and not _is_value(row[label]):
            raise InputError(f"{where}: {label} is {shorten(row[label])}, expected a text or a number")
    if (thinking := row.get("thinking", thinking)) not in (True, False, None):
        raise InputError(f"{where}: thinking is {shorten(thinking)}, expected true or false")
    identity = f"{row['benchmark']}/{row['id']}" if row.get("benchmark") else str(row["id"])
    opened = "<think>" if thinking else ""
    return _Problem(identity, [str(gold) for gold in golds], [opened + text for text in completions])


def _is_value(value) -> bool:
    """Whether a value of a row is a text or a number; NaN, infinities, true and false are neither."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str) or number and abs(value) != math.inf and value == value


def _table(rows: list[dict], k: int | None) -> str:
    """Pass@1, Cons@n and Pass@k, means over problems, and the counts by status, as lines."""
    frame = pd.DataFrame(rows, columns=["id", "correct", "status", "class"])
    ungradable = frame.loc[frame["status"] == "gold_unparseable", "id"].unique()
    lines = [f"{'problems':14}{frame['id'].nunique()}", f"{'samples':14}{len(frame)}"]
    if len(kept := frame[~frame["id"].isin(ungradable)]):
        by_problem = kept.groupby("id", sort=False)
        samples = by_problem.size()
        lines.append(f"{'Pass@1':14}{by_problem['correct'].mean().mean():.4f}")
        if samples.max() > 1:
            size = k or samples.min()
            votes = [metrics.cons_at_n([rows["correct"]], [rows["class"]]) for _, rows in by_problem]
            lines.append(f"{'Cons@' + str(samples.min()):14}{np.mean(votes):.4f}")
            passed = [metrics.pass_at_k([correct], size) for _, correct in by_problem["correct"]]
            lines.append(f"{'Pass@' + str(size):14}{np.mean(passed):.4f}")
    counts = frame["status"].value_counts()
    lines += [f"{status:18}{counts[status]}" for status in STATUSES if status in counts]
    if len(ungradable):
        lines.append(f"{len(ungradable)} problems have an ungradable gold and are left out of the means")
    return "\n".join(lines)


def _read_text(path: str) -> str:
    if path != "-" and not Path(path).is_file():
        raise InputError(f"{path} does not exist, expected a text file with one completion")
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None

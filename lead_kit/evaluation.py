"""Sample, grade, keep: every completion is written as it comes, and none is sampled twice."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from lead_kit import ledger, verify
from lead_kit.engines import Request
from lead_kit.params import InputError
from lead_kit.record import read_record, resolve
from lead_kit.sample import row_seed

GRADED_AT_ONCE = 64


def evaluate(
    engine,
    records: list[dict],
    *,
    n: int,
    seed: int,
    path: Path | None = None,
    loose: bool = False,
    report: Callable[[int, int], None] | None = None,
    tags: Mapping = MappingProxyType({}),
) -> pd.DataFrame:
    """Graded samples 0…n−1 of every record: rows as in ledger.sample_row, with `sampling_seed` and `tags` beside them.

    With `path` (JSON lines) samples are appended as they come; those that are there already are not sampled again, so
    an interrupted evaluation goes on and a larger n reuses the first samples. `report(done, total)` shows progress.
    Raises InputError where the file holds other problems, another seed or other settings under the same tags.
    """
    known = {record["id"]: record for record in records}
    if len(known) != len(records):
        raise InputError("two records share an id; evaluation needs one id a problem")
    rows = read(path, known, seed, tags) if path else []
    have = {(row["id"], row["sample"]) for row in rows}
    wanted = [Request(r, k, row_seed(seed, r["id"], k)) for r in records for k in range(n) if (r["id"], k) not in have]
    rows = [row for row in rows if row["sample"] < n]
    done, waiting = len(rows), []
    for pair in engine.sample(wanted):
        waiting.append(pair)
        if len(waiting) >= GRADED_AT_ONCE:
            rows += keep(waiting, path, seed, loose, tags)
            done, waiting = done + len(waiting), []
            if report:
                report(done, len(records) * n)
    rows += keep(waiting, path, seed, loose, tags)
    order = {identity: i for i, identity in enumerate(known)}
    return pd.DataFrame(sorted(rows, key=lambda row: (order[row["id"]], row["sample"])))


def keep(pairs: list, path: Path | None, seed: int, loose: bool, tags: Mapping) -> list[dict]:
    """Grades the completions and appends them to the file, each line whole."""
    verdicts = verify.check_many([a.text for _, a in pairs], [r.record["answer"] for r, _ in pairs], loose=loose)
    rows = [
        dict(tags)
        | ledger.sample_row(request.record, request.sample, answer.text, answer.tokens, answer.finished, verdict)
        | {"sampling_seed": seed}
        for (request, answer), verdict in zip(pairs, verdicts, strict=True)
    ]
    if path and rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def read(path: Path, known: dict[str, dict], seed: int, tags: Mapping) -> list[dict]:
    """The samples under these tags that an earlier evaluation left in the file; a torn last line is dropped."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    mine = [row for row in rows if all(row.get(name) == value for name, value in tags.items())]
    for row in mine:
        if row["id"] not in known:
            raise InputError(f"{path} holds samples of problem {row['id']!r}, which is not among those to evaluate")
        if row["sampling_seed"] != seed:
            raise InputError(
                f"{path} holds samples of seed {row['sampling_seed']}, expected {seed}: choose another run_name"
            )
        if row["answer"] != known[row["id"]]["answer"]:
            raise InputError(f"{path}: the answer of problem {row['id']!r} was {row['answer']!r} when it was sampled")
    return mine


def labels(model: str) -> dict:
    """Arm and seed of the training run that wrote the model's folder; else the run's or model's name and seed 0."""
    folder = resolve(model).parent
    written = read_record(folder) if resolve(model).is_dir() else None
    if written is None:
        return {"arm": Path(model).name, "seed": 0}
    return {"arm": written["parameters"].get("arm", folder.name), "seed": written["parameters"].get("seed", 0)}


def reporter(run, name: str):
    """Shows how far the samples of one model are, through the run's progress."""
    return lambda done, total: run.progress(done, total, model=name)


def require_gradable(records: list[dict]) -> None:
    """Raises InputError naming the first gold answers that the verifier cannot grade against themselves."""
    faults = verify.lint_golds(records)
    if faults:
        named = "; ".join(f"{fault.id}: {fault.gold!r} ({fault.reason})" for fault in faults[:3])
        raise InputError(f"{len(faults)} gold answers cannot be graded, so no reward could be paid for them: {named}")

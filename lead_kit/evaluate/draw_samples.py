"""Sampling and grading for an evaluation: samples are written as they arrive, and none is drawn twice."""

import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from lead_kit import verify
from lead_kit.errors import InputError
from lead_kit.evaluate import stats
from lead_kit.evaluate.graded_samples import require_settings, stored_samples
from lead_kit.models.sampler import Request, row_seed
from lead_kit.runs import log_files
from lead_kit.runs.files import append_jsonl

_GRADED_AT_ONCE = 64
_LONGEST_WAIT = 5.0  # seconds that a completion waits for others before it is graded and written


def evaluate(
    engine,
    records: list[dict],
    *,
    n: int,
    seed: int,
    path: Path | None = None,
    loose: bool = False,
    report: Callable[[list[dict], int], None] | None = None,
    tags: Mapping = MappingProxyType({}),
) -> pd.DataFrame:
    """Graded samples 0…n−1 of every record: rows of ledger.sample_row with `sampling_seed` and `tags`.

    With `path` (JSON lines) samples are appended as they come, and samples already in the file are not drawn again: an
    interrupted evaluation resumes, and a larger n reuses the first samples. `report(rows, total)` shows progress.
    Raises InputError where the file holds other problems under the same tags, or was sampled with other settings.
    """
    known = {record["id"]: record for record in records}
    if len(known) != len(records):
        raise InputError("two records share an id; evaluation needs a unique id for each problem")
    if n < 1:
        raise InputError(f"n is {n}: expected at least 1 sample per problem")
    rows = []
    if path:
        asked = engine.settings | {"benchmark": tags.get("benchmark", ""), "seed": seed, "loose": loose}
        require_settings(path, asked)
        rows = stored_samples(path, known, tags)
    have = {(row["id"], row["sample"]) for row in rows}
    wanted = [Request(r, k, row_seed(seed, r["id"], k)) for r in records for k in range(n) if (r["id"], k) not in have]
    rows = [row for row in rows if row["sample"] < n]
    report = report or (lambda rows, total: None)
    report(rows, len(records) * n)
    for part in _in_parts(engine.sample(wanted)):
        rows += _grade_and_append(part, path, seed, loose, tags)
        report(rows, len(records) * n)
    order = {identity: i for i, identity in enumerate(known)}
    return pd.DataFrame(sorted(rows, key=lambda row: (order[row["id"]], row["sample"])))


def _in_parts(stream, size: int = _GRADED_AT_ONCE, seconds: float = _LONGEST_WAIT):
    """The stream in lists of at most `size`; before an error is raised, the items that came before it are yielded.

    An item waits at most `seconds` for later ones, so the completions of a slow server reach the disk early.
    """
    waiting, since, error = [], time.monotonic(), None
    stream = iter(stream)
    while error is None:
        try:
            waiting.append(next(stream))
        except (StopIteration, InputError, RuntimeError, KeyboardInterrupt) as ended:
            error = ended
        if waiting and (error or len(waiting) >= size or time.monotonic() - since > seconds):
            yield waiting
            waiting, since = [], time.monotonic()
    if not isinstance(error, StopIteration):
        raise error


def _grade_and_append(pairs: list, path: Path | None, seed: int, loose: bool, tags: Mapping) -> list[dict]:
    """The graded rows of (Request, Completion) pairs, which are also appended to the file."""
    golds = [r.record.get("golds") or [r.record["gold"]] for r, _ in pairs]
    verdicts = verify.shared().check_any([c.graded_text for _, c in pairs], golds, loose=loose)
    rows = [
        dict(tags) | log_files.sample_row(request.record, request.sample, completion, verdict) | {"sampling_seed": seed}
        for (request, completion), verdict in zip(pairs, verdicts, strict=True)
    ]
    if path:
        append_jsonl(path, rows)
    return rows


def reporter(run, name: str, models: list[str]):
    """A `report` for `evaluate` that shows the run's progress over all models while one is sampled, and its running
    accuracy ± half the 95% interval over the problems so far."""
    before, counts, seen = models.index(name), {}, 0

    def report(rows: list[dict], total: int) -> None:
        nonlocal seen
        for row in rows[seen:]:
            right, drawn = counts.get(row["id"], (0, 0))
            counts[row["id"]] = (right + row["correct"], drawn + 1)
        seen = len(rows)
        values = {"model": name, "samples": seen}
        if len(counts) > 1:
            interval = stats.t_interval(stats.linearised(*zip(*counts.values(), strict=True)))
            values |= {"accuracy": float(interval.estimate), "±": float(interval.high - interval.estimate)}
        run.progress(before * total + seen, len(models) * total, **values)

    return report


@contextmanager
def resumable(run, path: Path):
    """Ends the cell of an interrupted evaluation with one sentence: how many samples its file keeps, and what next."""
    try:
        yield
    except KeyboardInterrupt:
        kept, total = len(stored_samples(path)), f" of {run.reached[1]}" if run.reached[1] else ""
        raise run.interruption(f"interrupted at {kept}{total} samples; Run All resumes") from None

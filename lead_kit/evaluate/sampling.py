"""Sample, grade, write: samples are written as they arrive, and none is drawn twice."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from lead_kit import verify
from lead_kit.errors import InputError
from lead_kit.evaluate.store import read, same_settings
from lead_kit.models.sampler import Request, row_seed
from lead_kit.runs import ledger
from lead_kit.runs.files import append_jsonl

GRADED_AT_ONCE = 64
KEPT_EVERY = 5.0  # seconds that a completion waits for others before it is graded and written


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
    Raises InputError where the file holds other problems under the same tags, or was sampled with other settings.
    """
    known = {record["id"]: record for record in records}
    if len(known) != len(records):
        raise InputError("two records share an id; evaluation needs one id a problem")
    if n < 1:
        raise InputError(f"n is {n}: expected at least 1 sample a problem")
    rows = []
    if path:
        asked = engine.settings | {"benchmark": tags.get("benchmark", ""), "seed": seed, "loose": loose}
        same_settings(path, asked)
        rows = read(path, known, tags)
    have = {(row["id"], row["sample"]) for row in rows}
    wanted = [Request(r, k, row_seed(seed, r["id"], k)) for r in records for k in range(n) if (r["id"], k) not in have]
    rows = [row for row in rows if row["sample"] < n]
    for part in parts(engine.sample(wanted)):
        rows += keep(part, path, seed, loose, tags)
        if report:
            report(len(rows), len(records) * n)
    order = {identity: i for i, identity in enumerate(known)}
    return pd.DataFrame(sorted(rows, key=lambda row: (order[row["id"]], row["sample"])))


def parts(stream, size: int = GRADED_AT_ONCE, seconds: float = KEPT_EVERY):
    """The stream in lists of at most `size`, none held back for longer than `seconds`; an error first yields the rest.

    So a completion that a slow server gave is on the disk before the next hour's comes.
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


def keep(pairs: list, path: Path | None, seed: int, loose: bool, tags: Mapping) -> list[dict]:
    """Grades the completions and appends them to the file, each line whole."""
    verdicts = verify.check_many([c.text for _, c in pairs], [r.record["gold"] for r, _ in pairs], loose=loose)
    rows = [
        dict(tags) | ledger.sample_row(request.record, request.sample, completion, verdict) | {"sampling_seed": seed}
        for (request, completion), verdict in zip(pairs, verdicts, strict=True)
    ]
    if path:
        append_jsonl(path, rows)
    return rows


def reporter(run, name: str, models: list[str]):
    """Shows, through the run's progress, how far the samples of all models are while those of one are drawn."""
    before = models.index(name)
    return lambda done, total: run.progress(before * total + done, len(models) * total, model=name)

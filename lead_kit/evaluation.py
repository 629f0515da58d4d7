"""Sample, grade, keep: every completion is written as it comes, and none is sampled twice."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from lead_kit import ledger, verify
from lead_kit.params import InputError
from lead_kit.record import atomic, differences, plain, read_record, resolve, shown, write_text
from lead_kit.sample import Request, row_seed

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
    verdicts = verify.check_many([a.text for _, a in pairs], [r.record["answer"] for r, _ in pairs], loose=loose)
    rows = [
        dict(tags)
        | ledger.sample_row(request.record, request.sample, answer.text, answer.tokens, answer.finished, verdict)
        | {"sampling_seed": seed}
        for (request, answer), verdict in zip(pairs, verdicts, strict=True)
    ]
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def settings_file(path: Path) -> Path:
    """Where the settings of a samples file are kept: beside it."""
    return path.with_suffix(".settings.json")


def same_settings(path: Path, asked: Mapping) -> None:
    """Keeps the settings of a new samples file; raises InputError where those of an old one differ, naming them."""
    beside = settings_file(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(beside, json.dumps(plain(asked), indent=1) + "\n")
        return
    if not beside.is_file():
        raise InputError(f"{shown(path)} has no {beside.name} beside it that tells how it was sampled")
    if changed := differences(json.loads(beside.read_text(encoding="utf-8")), asked):
        listed = ", ".join(changed.values())
        raise InputError(f"{shown(path)} was sampled with other settings: {listed}; choose another run_name")


def read(path: Path, known: Mapping[str, dict], tags: Mapping) -> list[dict]:
    """The samples under these tags that an earlier evaluation left in the file; a torn last line is cut off."""
    mine = [row for row in lines(path) if all(row.get(name) == value for name, value in tags.items())]
    for row in mine:
        if row["id"] not in known:
            raise InputError(f"{shown(path)} holds problem {row['id']!r}, which is not among those to evaluate")
        if row["answer"] != known[row["id"]]["answer"]:
            raise InputError(
                f"{shown(path)}: the answer of problem {row['id']!r} was {row['answer']!r} when it was sampled, "
                f"and is now {known[row['id']]['answer']!r}"
            )
    return mine


def lines(path: Path) -> list[dict]:
    """The rows of a samples file, none where there is no file; a last line that a crash left torn is cut off."""
    if not path.is_file():
        return []
    whole = path.read_bytes()
    whole, torn = whole[: whole.rfind(b"\n") + 1], len(whole)
    if len(whole) != torn:
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.decode("utf-8").split("\n") if line]


def adopt(earlier: Path, path: Path, models: list[str], n: int) -> None:
    """Starts a samples file with those of an earlier run: the first n samples of the models that are asked again.

    Nothing happens where the file is there: then an interrupted evaluation goes on. `evaluate` compares settings.
    """
    if path.is_file():
        return
    rows = [row for row in lines(earlier) if row["model"] in models and row["sample"] < n]
    if not settings_file(earlier).is_file():
        raise InputError(f"{shown(earlier)} has no {settings_file(earlier).name} beside it that tells its settings")
    write_text(settings_file(path), settings_file(earlier).read_text(encoding="utf-8"))
    with atomic(path) as part:
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def labels(models: list[str]) -> dict[str, dict]:
    """Arm and seed of each model: those of the run that wrote its folder, else its name and seed 0.

    Models that would share both are told apart by their full names. Raises InputError for a model named twice.
    """
    if len(set(models)) < len(models):
        raise InputError(f"models names {next(m for m in models if models.count(m) > 1)!r} twice")
    found = {model: label(model) for model in models}
    shared = [one for one in found.values() if list(found.values()).count(one) > 1]
    return {model: {"arm": model, "seed": 0} if one in shared else one for model, one in found.items()}


def label(model: str) -> dict:
    folder = resolve(model).parent
    written = read_record(folder) if resolve(model).is_dir() else None
    if written is None:
        return {"arm": Path(model).name, "seed": 0}
    return {"arm": written["parameters"].get("arm") or folder.name, "seed": written["parameters"].get("seed", 0)}


def reporter(run, name: str, models: list[str]):
    """Shows, through the run's progress, how far the samples of all models are while those of one are drawn."""
    before = models.index(name)
    return lambda done, total: run.progress(before * total + done, len(models) * total, model=name)


def doubts(samples: pd.DataFrame, temperature: float) -> list[str]:
    """What forbids a conclusion from these samples (of several arms), in sentences; empty when nothing does."""
    found = []
    if not samples["correct"].any():
        found.append(
            "No answer was correct: the text went through every stage, and nothing about a method can be concluded."
        )
    elif samples["correct"].all():
        found.append("Every answer was correct: the problems are too easy to tell the models apart.")
    for arm, rows in samples.groupby("arm"):
        by_problem = rows.groupby(["seed", "id"])["completion"]
        if temperature and by_problem.size().max() > 1 and by_problem.nunique().max() == 1:
            found.append(
                f"{arm}: all samples of a problem are the same text although temperature is {temperature:g}; "
                "is it ignored? (`transformers serve` needs do_sample in the model's generation_config.json)"
            )
        if (cut := (rows["finish"] == "length").mean()) > 0.5:
            found.append(f"{arm}: {cut:.0%} of the answers were cut at the token limit; raise max_tokens.")
    return found


def aloud(row) -> str:
    """A graded sample to be read: whose, the text (control characters shown as �) and what the verifier said."""
    text = "".join(c if c.isprintable() or c == "\n" else "�" for c in row.completion[:2000])
    return f"{row.arm}, {row.id}, {row.tokens} tokens\n{text}\n→ gold {row.answer}: {row.status} ({row.reason})\n"


def require_gradable(records: list[dict]) -> None:
    """Raises InputError naming the first gold answers that the verifier cannot grade against themselves."""
    faults = verify.lint_golds(records)
    if faults:
        named = "; ".join(f"{fault.id}: {fault.gold!r} ({fault.reason})" for fault in faults[:3])
        raise InputError(f"{len(faults)} gold answers cannot be graded, so no reward could be paid for them: {named}")

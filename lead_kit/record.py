"""The folder of a run: its paths, files that appear whole, its lock and its record.

    runs/<run_name>/
    run.json        parameters given and settled, provenance, inputs and outputs with hashes, status, attempts
    metrics.jsonl   one object a line: {"step": rollout batches done, "split": "train"|"validation", ...numbers}
    notebook.ipynb  the executed notebook     log.txt  what it printed     lock  who writes     done  it is finished
    rollouts/ validation/ checkpoints/ model/ figures/

A name belongs to one set of parameters. A run that was interrupted or failed is taken up again under its name
(without a complete checkpoint its metrics are dropped); what a finished run wrote moves to `attempts/N` before the
same run is made again. Files are written beside and renamed, metrics line by line.
"""

import contextlib
import datetime
import fcntl
import json
import math
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from lead_kit import provenance
from lead_kit.params import InputError

ROOT = Path(os.environ.get("LEAD_ROOT") or Path(__file__).resolve().parents[1])
RUNS = ROOT / "runs"
NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*(/[A-Za-z0-9_+][A-Za-z0-9._+-]*)*")
KEPT = {
    "run.json",
    "lock",
    "log.txt",
    "notebook.ipynb",
    "attempts",
    "done",
    "ranks",
}  # an attempt that wrote only these wrote nothing
held: dict[Path, int] = {}  # open lock files of this process


def resolve(path: str | Path) -> Path:
    """An absolute path; a relative one hangs from the repository root, wherever the kernel was started."""
    return (ROOT / Path(path).expanduser()).absolute()


def shown(path: Path) -> str:
    """The path as a reader wants it: relative to the repository where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def run_folder(name: str) -> Path:
    """runs/<name>. Raises InputError for a name that is no plain path below runs/."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"run_name {name!r}: expected letters, digits and ._+- (and / between folders), e.g. 'length/s0'"
        )
    return RUNS / name


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it takes its real name only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        if part.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """The text in a file, all of it or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def plain(value):
    """A value as JSON has it: numpy and torch scalars as numbers, paths as text, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Path):
        return shown(value)
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: str | Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last line torn by a crash is left out, any other bad line raises InputError."""
    path = resolve(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no metrics in {shown(path)}: expected the metrics.jsonl of a run")
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):  # whole lines end in a newline, so the last piece is empty or torn
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise InputError(f"{shown(path)}, line {number} is not JSON: {line[:80]!r}") from None
    return rows


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file in one write, after cutting off a last line that a crash left torn."""
    with path.open("a+b") as file:
        whole = file.tell()
        if whole:
            file.seek(max(0, whole - 1))
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode() + b"\n")


def truncate(folder: Path, after_step: int) -> None:
    """Drops what a run wrote after a step: metric lines, rollouts and validation samples."""
    metrics = folder / "metrics.jsonl"
    if metrics.is_file():
        kept = [json.dumps(row) + "\n" for row in read_metrics(metrics) if row["step"] <= after_step]
        write_text(metrics, "".join(kept))
    for file in [*folder.glob("rollouts/step_*.parquet"), *folder.glob("validation/step_*.parquet")]:
        if int(file.stem.removeprefix("step_")) > after_step:
            file.unlink()


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint-N below `folder`; a trainer writes trainer_state.json late, so it must parse."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda p: -int(p.name.removeprefix("checkpoint-"))):
        with contextlib.suppress(OSError, ValueError):
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            return path
    return None


def hold(folder: Path, wait: bool = False) -> bool:
    """Makes this process the folder's writer until `release` or its death.

    False when `lead run`, which started this kernel, holds the lock for it. Raises InputError when another live
    process writes there (with `wait`, waits for its end instead).
    """
    path = folder / "lock"
    if path in held:
        return True
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
        if owner == os.environ.get("LEAD_OWNER"):
            os.close(file)
            return False
        if not wait:
            os.close(file)
            raise InputError(
                f"{shown(folder)} is being written by {owner}: wait for it or choose another run_name"
            ) from None
        print(f"waiting for {owner}, which writes {shown(folder)}", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    if not path.exists() or path.stat().st_ino != os.fstat(file).st_ino:  # the folder was deleted while we waited
        os.close(file)
        return hold(folder, wait)
    os.ftruncate(file, 0)
    os.pwrite(file, identity().encode(), 0)
    held[path] = file
    return True


def is_held(folder: Path) -> bool:
    """Whether another live process, which does not hold it for this one, writes in the folder."""
    path = folder / "lock"
    if path in held or not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() != os.environ.get("LEAD_OWNER")
    return False


def identity() -> str:
    """This process, as the lock names it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def release(folder: Path) -> None:
    """Lets the next writer in."""
    file = held.pop(folder / "lock", None)
    if file is not None:
        os.ftruncate(file, 0)
        fcntl.flock(file, fcntl.LOCK_UN)  # explicitly: forked workers may still have the file open
        os.close(file)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_record(folder: Path) -> dict | None:
    """run.json, or None where there is no run. Raises InputError when it does not parse."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{shown(path)} is not JSON: delete the folder {shown(folder)} or restore the file") from None


def write_record(folder: Path, record: dict) -> None:
    write_text(folder / "run.json", json.dumps(plain(record), indent=1, ensure_ascii=False) + "\n")


def differences(old: Mapping, new: Mapping) -> dict[str, str]:
    """Where two sets of settled parameters differ, a phrase for each name; empty when they agree."""
    new = plain(new)
    names = [
        name for name in {**old, **new} if name != "run_name" and old.get(name, "absent") != new.get(name, "absent")
    ]
    return {name: f"{name} was {old.get(name, 'absent')!r}, now {new.get(name, 'absent')!r}" for name in names}


def changes(record: Mapping, settled: Mapping, notebook: Path) -> dict[str, str]:
    """How a recorded run differs from one to be made: by parameters or by notebook; empty when it is the same."""
    return differences(
        record["parameters"] | {"notebook": record["notebook"]}, {**settled, "notebook": shown(notebook)}
    )


def refuse(folder: Path, changed: Mapping, remedy: str) -> InputError:
    """The error for a name that belongs to other parameters."""
    return InputError(f"{shown(folder)} exists with other parameters: {', '.join(changed.values())}; {remedy}")


def open_attempt(folder: Path, settled: Mapping, given: Mapping, notebook: Path, replace: bool = False) -> dict:
    """Starts or takes up the run in a folder whose lock is held; returns its record.

    Raises InputError when the name belongs to other parameters, unless nothing was written under it yet; with `replace`
    what was written moves to attempts/N instead.
    """
    record = read_record(folder)
    outside = [p for p in folder.parents if p.is_relative_to(RUNS) and (p / "run.json").is_file()]
    if outside or (record is None and any(folder.rglob("run.json"))):
        raise InputError(f"{shown(folder)}: a run cannot lie inside another run ({shown((outside or [folder])[0])})")
    changed = changes(record, settled, notebook) if record else {}
    if changed and not (record["status"] == "done" or {entry.name for entry in folder.glob("[!.]*")} - KEPT):
        record, changed = None, {}
    if changed and not replace:
        raise refuse(folder, changed, "choose another run_name or delete the folder")
    if record and record["attempts"][-1]["status"] == "running":  # its writer is gone, or we would not hold the lock
        record["attempts"][-1] |= {"status": "failed", "reason": "it ended without a word"}
    sweep(folder)
    if record and (changed or record["status"] == "done"):
        archive(folder, record)
    elif record and latest_checkpoint(folder / "checkpoints") is None:
        truncate(folder, -1)
    (folder / "done").unlink(missing_ok=True)
    attempt = {"start": now(), "end": None, "status": "running", "writer": identity(), "command": sys.argv}
    attempt |= {"code": provenance.code_hash(notebook), "git": provenance.git_state(ROOT)}
    attempt |= {"machine": provenance.machine(), "packages": provenance.packages()}
    record = {
        "run": folder.relative_to(RUNS).as_posix(),
        "notebook": shown(notebook),
        "status": "running",
        "start": attempt["start"],
        "end": None,
        "given": dict(given),
        "parameters": dict(settled),
        "seeds": {name: value for name, value in settled.items() if "seed" in name},
        "inputs": {},
        "outputs": {},
        "summary": {},
        "attempts": [*(record["attempts"] if record else []), attempt],
    }
    write_record(folder, record)
    return record


def sweep(folder: Path) -> None:
    """Removes what a killed writer left half written (`atomic` names it .PID-NAME)."""
    for part in [p for p in folder.rglob(".*-*") if p.name[1:].partition("-")[0].isdigit()]:
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def archive(folder: Path, record: dict) -> None:
    """Moves what a finished attempt wrote to attempts/N, so that making the run again loses nothing."""
    kept = folder / "attempts" / str(len(record["attempts"]))
    kept.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.name not in ("attempts", "lock", "run.json"):
            entry.rename(kept / entry.name)
    write_record(kept, record)


def close_attempt(folder: Path, status: str, reason: str = "") -> None:
    """Ends the newest attempt as `done` or `failed` and lets the folder go."""
    record = read_record(folder)
    end = {"status": status, "end": now()} | ({"reason": reason} if reason else {})
    record |= {"status": status, "end": end["end"]}
    record["attempts"][-1] |= end
    write_record(folder, record)
    if status == "done":
        write_text(folder / "done", record["end"] + "\n")
    release(folder)

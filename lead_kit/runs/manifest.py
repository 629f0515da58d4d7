"""run.json, the record of a run: opened, compared with new parameters, archived, closed."""

import datetime
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.runs import provenance
from lead_kit.runs.checkpoints import latest_checkpoint
from lead_kit.runs.files import plain, write_text
from lead_kit.runs.lock import identity, release
from lead_kit.runs.log import truncate
from lead_kit.runs.paths import ROOT, RUNS, shown

KEPT = {
    "run.json",
    "lock",
    "log.txt",
    "notebook.ipynb",
    "attempts",
    "done",
    "ranks",
}  # an attempt that wrote only these wrote nothing


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

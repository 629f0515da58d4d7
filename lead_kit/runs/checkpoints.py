"""Which checkpoint to continue from: the newest whole one.

A trainer writes a checkpoint file by file, and FSDP2 and DeepSpeed write other files than one process. When the last
one is written, `mark_complete` forces all to the disk and lists their sizes. A checkpoint without this list is not
used.
"""

import json
import os
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.runs.files import resolve, shown, sync_to_disk, why_incomplete, write_text
from lead_kit.runs.provenance import processes, rank

_COMPLETE = "checkpoint.json"


def _process_layout() -> dict:
    """The number and the kind of processes; their optimiser states and random numbers fit no other ones."""
    return {"processes": processes(), "distributed": os.environ.get("LEAD_DISTRIBUTED", "ddp")}


def mark_complete(folder: Path) -> None:
    """Marks a checkpoint, whose files are all written, as whole."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _COMPLETE)
    sync_to_disk(folder)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    write_text(folder / _COMPLETE, json.dumps(_process_layout() | {"bytes": sizes}, indent=1) + "\n")


def _why_unusable(folder: Path) -> str:
    """What is wrong with a checkpoint, in words; empty when it is whole."""
    try:
        sizes = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))["bytes"]
    except (OSError, ValueError, KeyError):
        return f"{_COMPLETE}, which is written last, is missing or cut off"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
        if wrong := why_incomplete(path):
            return f"{name} cannot be read: {wrong}"
    return ""


def _newest_first(folder: Path) -> list[Path]:
    numbered = [p for p in folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(numbered, key=updates_in, reverse=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint-N in `folder`."""
    return next((path for path in _newest_first(folder) if not _why_unusable(path)), None)


def chosen_checkpoint(resume_from: str, folder: Path) -> Path | None:
    """The checkpoint that `resume_from` names; if it is empty, the newest whole one in `folder`, or None.

    Says in one line when a newer one is damaged. Raises InputError when the named one does not exist or is damaged,
    and when other processes wrote the checkpoint than would continue from it.
    """
    named = resolve(resume_from) if resume_from else None
    if named and not named.is_dir():
        raise InputError(f"resume_from {shown(named)} is not a folder: leave it empty to continue from the newest")
    newest = latest_checkpoint(named.parent if named else folder)
    if named and (wrong := _why_unusable(named)):
        remedy = f"{shown(newest)} is whole" if newest else "no checkpoint beside it is whole"
        raise InputError(f"checkpoint {shown(named)} is damaged: {wrong}; {remedy}")
    damaged = [path for path in _newest_first(folder) if not named and updates_in(path) > updates_in(newest)]
    if damaged and rank() == 0:
        does = f"continuing from {newest.name}" if newest else "starting anew"
        print(f"{does}: {damaged[0].name} is damaged ({_why_unusable(damaged[0])})", flush=True)
    if checkpoint := named or newest:
        _check_layout(checkpoint)
    return checkpoint


def _check_layout(checkpoint: Path) -> None:
    """Raises InputError when other processes wrote the checkpoint: the run would go on with other numbers."""
    written, here = json.loads((checkpoint / _COMPLETE).read_text(encoding="utf-8")), _process_layout()
    if changes := [f"{name} {written[name]}, now {value}" for name, value in here.items() if written[name] != value]:
        changed = f"{shown(checkpoint)} was written with {' and '.join(changes)}"
        raise InputError(f"{changed}: continue with the same --nproc and --accelerate, or choose another run_name")


def updates_in(checkpoint: Path | None) -> int:
    """How many optimiser updates a checkpoint holds; 0 without one."""
    return int(checkpoint.name.split("-")[-1]) if checkpoint else 0

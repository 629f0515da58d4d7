"""Which checkpoint to continue from."""

import contextlib
import json
from pathlib import Path

from lead_kit.errors import InputError


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint-N below `folder`; a trainer writes trainer_state.json late, so it must parse."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda p: -int(p.name.removeprefix("checkpoint-"))):
        with contextlib.suppress(OSError, ValueError):
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            return path
    return None


CHECKPOINT_FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


def missing_files(checkpoint: Path) -> list[str]:
    """What an interrupted write left out of a checkpoint folder."""
    missing = [name for name in CHECKPOINT_FILES if not (checkpoint / name).is_file()]
    if not list(checkpoint.glob("*.safetensors")):
        missing.append("*.safetensors")
    return missing


def chosen_checkpoint(resume_from: str, folder: Path) -> Path | None:
    """The checkpoint to go on from: the one named, else the newest complete one in `folder`, else none.

    Raises InputError when the named one does not exist or is incomplete.
    """
    if not resume_from:
        return latest_checkpoint(folder)
    checkpoint = Path(resume_from)
    if not checkpoint.is_dir():
        raise InputError(f"resume_from names {resume_from}, which is not a folder; leave it empty to take the newest")
    if missing := missing_files(checkpoint):
        raise InputError(f"checkpoint {resume_from} is incomplete: {', '.join(missing)} missing; choose another")
    return checkpoint


def updates_in(checkpoint: Path | None) -> int:
    """Optimiser updates that a checkpoint holds."""
    return int(checkpoint.name.split("-")[-1]) if checkpoint else 0

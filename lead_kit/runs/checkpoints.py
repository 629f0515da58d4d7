"""Which checkpoint to continue from."""

import contextlib
import json
from pathlib import Path

from lead_kit.errors import InputError

CHECKPOINT_FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint-N in `folder`; trainer_state.json, which is written late, must parse."""
    numbered = [p for p in folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(numbered, key=updates_in, reverse=True):
        with contextlib.suppress(OSError, ValueError):
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            return path
    return None


def chosen_checkpoint(resume_from: str, folder: Path) -> Path | None:
    """The checkpoint that `resume_from` names; if it is empty, the newest complete one in `folder`, or None.

    Raises InputError when the named one does not exist or lacks files, as after an interrupted write.
    """
    if not resume_from:
        return latest_checkpoint(folder)
    checkpoint = Path(resume_from)
    if not checkpoint.is_dir():
        raise InputError(f"resume_from names {resume_from}, which is not a folder; leave it empty to take the newest")
    if missing := [name for name in (*CHECKPOINT_FILES, "*.safetensors") if not any(checkpoint.glob(name))]:
        raise InputError(f"checkpoint {resume_from} is incomplete: {', '.join(missing)} missing; choose another")
    return checkpoint


def updates_in(checkpoint: Path | None) -> int:
    """How many optimiser updates a checkpoint holds; 0 without one."""
    return int(checkpoint.name.split("-")[-1]) if checkpoint else 0

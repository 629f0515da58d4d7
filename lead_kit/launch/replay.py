"""`lead replay`: the short way to run 06_replay on recorded rollouts."""

import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.launch.run_notebook import run_command
from lead_kit.runs.files import file_name, resolve


def replay_command(
    rollouts: str,
    parameters: Mapping,
    golds: str | None = None,
    variants: Sequence[str] | None = None,
    run_name: str | None = None,
    again: bool = False,
    replace: bool = False,
) -> int:
    """Runs 06_replay on a run folder, a file or a glob; its numbers and figures go to runs/replay/NAME.

    Paths start where the command was given, or at the repository root. Raises InputError before anything starts.
    """
    given = dict(parameters) | {"rollouts": place(rollouts)}
    if golds is not None:
        given["golds"] = place(golds) if Path(golds).suffix else golds  # a name of a data set stays a name
    if variants:
        given["variants"] = json.dumps(list(variants))
    name = run_name or given.pop("run_name", None) or f"replay/{label(rollouts)}"
    return run_command("06_replay", given, run_name=name, again=again, replace=replace)


def place(pattern: str) -> str:
    """An absolute path or glob: below the working directory if anything is there, else below the repository root."""
    here = Path(pattern).expanduser().absolute()
    if here.exists() or glob.glob(str(here), recursive=True):
        return str(here)
    there = resolve(pattern)
    if not there.exists() and not glob.has_magic(pattern) and "runs" not in there.parts:
        raise InputError(f"{pattern} does not exist, neither here nor below the repository root")
    return str(there)


def label(pattern: str) -> str:
    """The name of a run that replays these rollouts: the last part of their path."""
    parts = [part for part in Path(pattern).with_suffix("").parts if part not in ("/", ".", "..")]
    return file_name(parts[-1] if parts else "rollouts").strip("._") or "rollouts"

"""`lead check` and `lead replay`: the short ways to run a notebook with the parameters that these commands set."""

import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.launch.run_notebook import find_notebook, run_command
from lead_kit.parameters import convert_values, read_parameters
from lead_kit.runs import manifest
from lead_kit.runs.files import file_name, resolve, run_folder


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
    values = dict(parameters) | {"rollouts": _absolute_path(rollouts)}
    if golds is not None:
        values["golds"] = _absolute_path(golds) if Path(golds).suffix else golds  # a name of a data set stays a name
    if variants:
        values["variants"] = json.dumps(list(variants))
    name = run_name or values.pop("run_name", None) or f"replay/{_name_of_rollouts(rollouts)}"
    return run_command("06_replay", values, run_name=name, again=again, replace=replace)


def _absolute_path(pattern: str) -> str:
    """An absolute path or glob: below the working directory if anything is there, else below the repository root."""
    here = Path(pattern).expanduser().absolute()
    if here.exists() or glob.glob(str(here), recursive=True):
        return str(here)
    there = resolve(pattern)
    if not there.exists() and not glob.has_magic(pattern) and "runs" not in there.parts:
        raise InputError(f"{pattern} does not exist, neither here nor below the repository root")
    return str(there)


def _name_of_rollouts(pattern: str) -> str:
    """The name of a run that replays these rollouts: the last part of their path."""
    parts = [part for part in Path(pattern).with_suffix("").parts if part not in ("/", ".", "..")]
    return file_name(parts[-1] if parts else "rollouts").strip("._") or "rollouts"


def check_command(notebook: str, parameters: Mapping, run_name: str | None = None, **ranks) -> int:
    """Checks the run that `lead run` with these arguments would start. Returns 1 if an item says stop, 0 if none does.

    Other codes are those of `lead run`. Raises InputError as that does.
    """
    declared = read_parameters(find_notebook(notebook))
    if "preflight" not in declared:
        raise InputError(f"{notebook} has no parameter 'preflight', so there is nothing to check: expected 03_grpo")
    values = convert_values(dict(parameters), declared)
    name = f"{run_name or values.get('run_name', declared['run_name'].default)}-check"
    code = run_command(notebook, values | {"preflight": "only", "run_name": name}, again=True, replace=True, **ranks)
    if code:
        return code
    summary = (manifest.read_manifest(run_folder(name)) or {}).get("summary", {})
    return int(bool(summary.get("stop")))

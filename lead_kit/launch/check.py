"""`lead check`: runs a training notebook for one batch, in its own folder, and says what speaks against the run."""

from collections.abc import Mapping

from lead_kit.errors import InputError
from lead_kit.launch.run_notebook import find_notebook, run_command
from lead_kit.parameters import Parameter, convert_values, read_parameters
from lead_kit.runs import manifest
from lead_kit.runs.files import run_folder

_SUFFIX = "-check"  # of the run's name


def _require_checks(declared: Mapping[str, Parameter], notebook: str) -> None:
    """Raises InputError for a notebook that checks nothing."""
    if "preflight" not in declared:
        raise InputError(f"{notebook} has no parameter 'preflight', so there is nothing to check: expected 03_grpo")


def check_command(notebook: str, parameters: Mapping, run_name: str | None = None, **ranks) -> int:
    """Checks the run that `lead run` with these arguments would start. Returns 1 if an item says stop, 0 if none does.

    Other codes are those of `lead run`. Raises InputError as that does.
    """
    declared = read_parameters(find_notebook(notebook))
    _require_checks(declared, notebook)
    given = convert_values(dict(parameters), declared)
    name = run_name or given.get("run_name", declared["run_name"].default)
    given |= {"preflight": "only", "run_name": f"{name}{_SUFFIX}"}
    code = run_command(notebook, given, again=True, replace=True, **ranks)
    if code:
        return code
    summary = (manifest.read_manifest(run_folder(given["run_name"])) or {}).get("summary", {})
    return int(bool(summary.get("stop")))

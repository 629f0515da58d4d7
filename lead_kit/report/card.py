"""The card of a run: what was run, by which code, on which data, with what result and interval."""

import datetime
from pathlib import Path

import pandas as pd

from lead_kit.errors import InputError
from lead_kit.evaluate import sample_arrays
from lead_kit.parameters import read_parameters
from lead_kit.report import tables
from lead_kit.runs.files import ROOT, shown
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import safe_line

_VERSIONS = ("lead_kit", "torch", "transformers", "trl", "vllm", "unsloth")
_HASH = 16  # digits of a SHA-256 that are shown


def of_run(folder: Path) -> dict[str, str]:
    """Titles and Markdown of the card's sections. Raises InputError where the folder holds no run."""
    manifest = read_manifest(folder, complete=True)
    if manifest is None:
        raise InputError(f"{shown(folder)} is no run: expected a folder with run.json")
    last = manifest["attempts"][-1]
    return {
        "What was run": tables.markdown(_rows(_what_was_run(manifest, last))),
        "By which code": tables.markdown(_rows(_code_rows(last, manifest.get("own", {})))),
        "On which data": tables.markdown(_input_files(manifest.get("inputs", {}))),
        "Result": _result(folder, manifest),
    }


def _rows(values):
    """A table of two columns from names and values; empty values are left out."""
    return pd.DataFrame([(name, value) for name, value in values.items() if value], columns=["", " "])


def _what_was_run(manifest: dict, last: dict) -> dict[str, str]:
    """Name, notebook, state, times and the parameters that were given."""
    parameters, seconds = manifest["parameters"], 0.0
    for attempt in manifest["attempts"]:
        if attempt.get("end") and attempt.get("start"):
            seconds += _moment(attempt["end"]) - _moment(attempt["start"])
    notebook = ROOT / manifest["notebook"]
    declared = read_parameters(notebook) if notebook.is_file() else {}
    changed = {name: value for name, value in parameters.items() if name in declared}
    changed = {name: value for name, value in changed.items() if value != declared[name].default and name != "run_name"}
    given = ", ".join(f"{name} = {safe_line(value)}" for name, value in (changed or manifest.get("given", {})).items())
    machine = last.get("machine", {})
    processor = f"{machine.get('cores', '?')} cores of {machine.get('cpu', 'an unknown processor')}"
    return {
        "run": manifest.get("run", ""),
        "notebook": manifest["notebook"],
        "state": manifest["status"],
        "arm": parameters.get("arm", ""),
        "seed": str(parameters.get("seed", "")),
        "parameters that differ from the notebook's": given or "none",
        "started": manifest.get("start", ""),
        "took": f"{datetime.timedelta(seconds=round(seconds))}" if seconds else "",
        "on": ", ".join(machine.get("gpus") or [processor]),
    }


def _moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def _code_rows(last: dict, own: dict) -> dict[str, str]:
    """Commit, hash of the notebook's code, sources of your own, versions."""
    git, packages = last.get("git", {}), last.get("packages", {})
    changed = " with changes that are not committed" if git.get("dirty") else ""
    return {
        "commit": f"{git['commit']}{changed}" if git.get("commit") else "not known",
        "SHA-256 of the notebook's code": (last["code"] or "")[:_HASH],
        "Python": last.get("machine", {}).get("python", ""),
        **{f"own {name}": f"{one['file']}, SHA-256 {one['sha256'][:_HASH]}" for name, one in own.items()},
        **{name: packages[name] for name in _VERSIONS if name in packages},
    }


def _input_files(inputs: dict) -> pd.DataFrame:
    """Each file or folder that was read, with its hash and size."""
    rows = [
        (name, (mark or {}).get("sha256", "")[:_HASH], (mark or {}).get("bytes", "")) for name, mark in inputs.items()
    ]
    return pd.DataFrame(rows, columns=["file", "SHA-256", "bytes"])


def _result(folder: Path, manifest: dict) -> str:
    """The result with its interval, as Markdown: the run's own table, else that of its samples, else its summary."""
    own = folder / "table.md"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    frame = _samples(folder, manifest)
    if frame is None:
        summary = {name: f"{value:.4g}" if isinstance(value, float) else str(value)
                   for name, value in manifest.get("summary", {}).items()}  # fmt: skip
        return tables.markdown(_rows(summary)) + "\nThis notebook has no samples, so these numbers have no interval.\n"
    try:
        arms, differences, notes = tables.evaluation(sample_arrays.suites(sample_arrays.require_rectangular(frame)[0]))
    except InputError as error:
        return f"No result: {safe_line(error)}\n"
    printed = [tables.printed_arms(arms), *([tables.printed_differences(differences)] if len(differences) else [])]
    return "\n".join([*map(tables.markdown, printed), *(f"{note}\n" for note in notes if note)])


def _samples(folder: Path, manifest: dict) -> pd.DataFrame | None:
    """The samples of an evaluation, or of a training run's first and last validation; None where there are none."""
    if (folder / "samples.jsonl").is_file():
        return sample_arrays.load_samples([str(folder)])
    files = sorted((folder / "validation").glob("step_*.parquet"))
    frames = []
    for file in dict.fromkeys([*files[:1], *files[-1:]]):
        step = int(file.stem.removeprefix("step_"))
        arm = f"step {step}" if step else "before training"
        frame = sample_arrays.read_samples(file).assign(arm=arm, run=arm, benchmark="validation")
        frames.append(frame.assign(seed=manifest["parameters"].get("seed", 0)))
    return pd.concat(frames, ignore_index=True) if frames else None

"""Which jobs of a recipe still have to run: decided by what the runs recorded, never by times or by absolute paths.

So a finished run stays finished when `runs/` is copied or moved, or when it lies in another clone of the repository.
"""

import functools
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.launch import recipes
from lead_kit.runs import manifest, provenance
from lead_kit.runs.files import ROOT, resolve, run_folder, shown


def lists_of_runs(job: recipes.Job) -> list[str]:
    """The parameters that list folders of other runs; they change when seeds or arms are added."""
    folders = tuple(f"runs/{name}" for name in job.needs)
    lists = {name: value for name, value in job.parameters.items() if isinstance(value, list)}
    return [name for name, value in lists.items() if any(str(item).startswith(folders) for item in value)]


def reasons(jobs: list[recipes.Job]) -> dict[str, str]:
    """The names of the jobs that have to run, each with the reason if it had finished before; writes nothing.

    A finished run is repeated when an input that it recorded has another hash now, when a run that it needs is
    repeated, or when only its list of runs changed. Raises InputError for a run folder with other parameters than the
    recipe gives, and for one with an output that the run did not write so.
    """
    found = {}
    fingerprint = functools.cache(provenance.fingerprint)  # the output of one run is the input of others
    for job in jobs:  # a job stands behind those that it needs
        folder = run_folder(job.name)
        earlier = manifest.read_manifest(folder, complete=True)
        changed = manifest.changes_from_run(earlier, recipes.settled(job), job.notebook) if earlier else {}
        if set(changed) - set(lists_of_runs(job)):
            raise manifest.name_taken_error(folder, changed, "delete the folder")
        if earlier is None or earlier["status"] != "done" or not (folder / "done").is_file():
            found[job.name] = ""
            continue
        if damaged := _other_hash(_outputs_in(folder, earlier), fingerprint):
            raise InputError(f"{shown(damaged)} is not as its run wrote it: copy it again, or delete {shown(folder)}")
        inputs = {resolve(name): kept for name, kept in earlier["inputs"].items()}
        if changed:
            found[job.name] = f"{', '.join(changed)} changed"
        elif repeated := [name for name in job.needs if name in found]:
            found[job.name] = f"it needs runs/{repeated[0]}"
        elif path := _other_hash(inputs, fingerprint):
            found[job.name] = f"its input {shown(path)} changed"
    return found


def _outputs_in(folder: Path, earlier: dict) -> dict[Path, dict]:
    """The outputs that a run recorded in its own folder, with their fingerprints; figures/ belongs to all runs."""
    paths = {folder / name: kept for name, kept in earlier["outputs"].items()}
    paths |= {ROOT / name: kept for name, kept in earlier["outputs"].items()}
    return {path: kept for path, kept in paths.items() if path.is_relative_to(folder)}


def _other_hash(kept: dict[Path, dict], fingerprint) -> Path | None:
    """The first path whose content differs from its recorded fingerprint; a path that is gone does not differ."""
    return next((p for p, recorded in kept.items() if recorded and p.exists() and fingerprint(p) != recorded), None)

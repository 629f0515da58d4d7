"""Finding runs: by folder or glob, by the notebook that makes a file, by the model they wrote."""

import glob
import os
import re
import subprocess
import sys
from pathlib import Path

from lead_kit.errors import InputError, nearest
from lead_kit.params import read_parameters
from lead_kit.runs import lock
from lead_kit.runs.manifest import read_record
from lead_kit.runs.offline import EMBEDDED, is_path
from lead_kit.runs.paths import ROOT, RUNS, resolve, shown


def labels(models: list[str]) -> dict[str, dict]:
    """Arm and seed of each model: those of the run that wrote its folder, else its name and seed 0.

    Models that would share both are told apart by their full names. Raises InputError for a model named twice.
    """
    if len(set(models)) < len(models):
        raise InputError(f"models names {next(m for m in models if models.count(m) > 1)!r} twice")
    found = {model: label(model) for model in models}
    shared = [one for one in found.values() if list(found.values()).count(one) > 1]
    return {model: {"arm": model, "seed": 0} if one in shared else one for model, one in found.items()}


def label(model: str) -> dict:
    folder = resolve(model).parent
    written = read_record(folder) if resolve(model).is_dir() else None
    if written is None:
        return {"arm": Path(model).name, "seed": 0}
    return {"arm": written["parameters"].get("arm") or folder.name, "seed": written["parameters"].get("seed", 0)}


def maker_of(path: Path) -> Path | None:
    """The notebook in notebooks/ whose run, at its defaults, writes `path`; None when no run folder holds it."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        declared = read_parameters(notebook)
        if "run_name" in declared and path.is_relative_to(RUNS / str(declared["run_name"].default)):
            return notebook
    return None


def ensure(path: str | Path) -> Path:
    """The absolute path of an input; one that a notebook writes at its defaults is made first if need be.

    The notebook runs through `lead run` in a process of its own; a second asker waits for the first. Raises InputError
    when nothing in notebooks/ makes the path, or the notebook that should have fails.
    """
    found = resolve(path)
    maker = maker_of(found) if found.is_relative_to(RUNS) else None
    if maker is None:
        if not found.exists():
            raise InputError(f"{shown(found)} does not exist, and no notebook makes it at its defaults")
        return found
    folder = RUNS / str(read_parameters(maker)["run_name"].default)
    if found.exists() and not lock.is_held(folder):
        return found
    print(f"{shown(found)} is not there yet: running {shown(maker)} at its defaults", flush=True)
    command = [sys.executable, "-m", "lead_kit.cli", "run", str(maker), "--wait", "--die-with-parent", str(os.getpid())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            print(f"  {maker.stem}: {line}", end="", flush=True)
    if child.returncode or not found.exists():
        raise InputError(f"`lead run {shown(maker)}` (exit code {child.returncode}) did not make {shown(found)}")
    return found


def locate_model(name: str, run) -> str:
    """The name as `load` takes it: an embedded or hub model as it is, a folder as a recorded input of the run.

    A folder that a notebook writes at its defaults is made first if it is not there.
    """
    if name in EMBEDDED or not is_path(name):
        return name
    return str(run.input(ensure(name)))


def find(patterns: list[str], holds: str = "metrics.jsonl") -> list[Path]:
    """Paths named by folders, files or globs below the repository root.

    Of a glob, folders that hold `holds` (no earlier attempts) and, where it ends in a suffix, files. A glob that
    matches nothing adds nothing. Raises InputError for a plain path that does not exist.
    """
    found = []
    for pattern in patterns:
        path = resolve(pattern)
        if glob.has_magic(str(pattern)):
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            matches = [match for match in matches if "attempts" not in match.parts]
            found += [match for match in matches if (match / holds).is_file() or (path.suffix and match.is_file())]
        elif path.exists():
            found.append(path)
        else:
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise InputError(f"{shown(path)} does not exist{nearest(path.name, beside)}")
    return list(dict.fromkeys(found))


def arm_in(name: str) -> str:
    """A run's name without its seed: `train-grpo-s3` → `train-grpo`."""
    return re.sub(r"[-_]s(?:eed)?\d+$", "", name)


def seed_in(name: str) -> int:
    match = re.search(r"[-_]s(?:eed)?(\d+)$", name)
    return int(match[1]) if match else 0

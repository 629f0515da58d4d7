"""Finds runs by name or glob, the notebook that writes a file (and runs it), and models by name or folder."""

import glob
import os
import re
import subprocess
import sys
from pathlib import Path

from lead_kit.errors import InputError, nearest, shorten
from lead_kit.parameters import read_parameters
from lead_kit.runs import lock
from lead_kit.runs.files import ROOT, RUNS, resolve, shown
from lead_kit.runs.manifest import read_manifest

_READERS = ("huggingface_hub.constants", "datasets.config")  # modules that keep the setting as it was at their import
_EMBEDDED = ("tiny", "tiny-words", "tiny-bytes", "smollm2")  # models that need neither a folder nor the hub


def label_models(models: list[str]) -> dict[str, dict]:
    """The arm and seed of each model: those of the run that wrote its folder, else its name and seed 0.

    Models that would share a label are labelled by their full names. Raises InputError for a model named twice.
    """
    if len(set(models)) < len(models):
        raise InputError(f"models names {next(m for m in models if models.count(m) > 1)!r} twice")
    by_model = {}
    for model in models:
        folder = resolve(model).parent
        record = read_manifest(folder) if resolve(model).is_dir() else None
        values = record["parameters"] if record else {}
        arm = values.get("arm") or (folder.name if record else Path(model).name)
        by_model[model] = {"arm": arm, "seed": values.get("seed", 0)}
    shared = [label for label in by_model.values() if list(by_model.values()).count(label) > 1]
    return {model: {"arm": model, "seed": 0} if label in shared else label for model, label in by_model.items()}


def notebook_that_writes(path: Path) -> Path | None:
    """The notebook in notebooks/ whose run, with default parameters, writes `path`; None when there is none."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        declared = read_parameters(notebook)
        if "run_name" in declared and path.is_relative_to(RUNS / str(declared["run_name"].default)):
            return notebook
    return None


def run_notebook_if_missing(path: str | Path) -> Path:
    """The absolute path of an input; when it is missing, `lead run` first runs the notebook that writes it by default.

    If another process is already running that notebook, waits for it. Raises InputError when no notebook writes the
    path, or when the notebook fails.
    """
    target = resolve(path)
    notebook = notebook_that_writes(target) if target.is_relative_to(RUNS) else None
    if notebook is None:
        if not target.exists():
            raise InputError(f"{shown(target)} does not exist, and no notebook writes it with default parameters")
        return target
    if target.exists() and not lock.held_by_another(RUNS / str(read_parameters(notebook)["run_name"].default)):
        return target
    print(f"{shown(target)} does not exist yet: running {shown(notebook)} with default parameters", flush=True)
    command = [sys.executable, "-P", "-m", "lead_kit.cli", "run", str(notebook), "--wait", "--brief"]
    command += ["--prefix", notebook.stem, "--die-with-parent", str(os.getpid())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            print(line, end="", flush=True)
    if child.returncode or not target.exists():
        raise InputError(f"`lead run {shown(notebook)}` (exit code {child.returncode}) did not write {shown(target)}")
    return target


def is_path(name: str) -> bool:
    """Whether the name means a folder or file, which need not exist, and not a model of the hub."""
    named = name.startswith((".", "/", "~", "runs/")) or name.endswith(".gguf")
    return named or name.count("/") > 1 or Path(name).is_dir()


def turn_hub_off_if_local(*names: str) -> None:
    """Turns the hub off for this process when every model is embedded or a folder."""
    if all(name in _EMBEDDED or is_path(name) for name in names):
        off = os.environ.setdefault("HF_HUB_OFFLINE", "1") == "1"
        for module in filter(None, map(sys.modules.get, _READERS)):
            module.HF_HUB_OFFLINE = off or module.HF_HUB_OFFLINE


def locate_model(name: str, run) -> str:
    """The name as `load_model` takes it: embedded and hub models unchanged, a folder as an input of the run.

    A missing folder is made first if a notebook writes it with default parameters.
    """
    if name in _EMBEDDED or not is_path(name):
        return name
    return str(run.input(run_notebook_if_missing(name)))


def matching_paths(patterns: list[str], holds: str = "metrics.jsonl") -> list[Path]:
    """Paths that folders, files or globs below the repository root name.

    A glob selects folders that contain the file `holds` and, if it ends in a suffix, files; earlier attempts are left
    out, and a glob may match nothing. Raises InputError for a plain path that does not exist.
    """
    paths = []
    for pattern in patterns:
        path = resolve(pattern)
        if glob.has_magic(str(pattern)):
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            matches = [match for match in matches if "attempts" not in match.parts]
            paths += [match for match in matches if (match / holds).is_file() or (path.suffix and match.is_file())]
        elif path.exists():
            paths.append(path)
        else:
            siblings = (p.name for p in path.parent.glob("*"))
            raise InputError(f"{shown(path)} does not exist{nearest(path.name, siblings)}")
    return list(dict.fromkeys(paths))


def named_runs(names: list[str]) -> list[Path]:
    """The folders of runs named by run_name, folder or glob. Raises InputError as `matching_paths` does."""
    other = {name for name in names if glob.has_magic(name) or is_path(name) or resolve(name).exists()}
    return matching_paths([name if name in other else f"runs/{name}" for name in names])


def run_folders() -> list[Path]:
    """The folder of every run below runs/, without earlier attempts; nothing inside a run is looked at."""
    folders = []
    for path, names, files in os.walk(RUNS):
        is_run = "run.json" in files
        names[:] = [] if is_run else sorted(name for name in names if not name.startswith("."))
        folders += [Path(path)] * is_run
    return folders


def recorded_run(run: str | Path) -> Path:
    """The folder of a run, by its run_name or path. Raises InputError naming the nearest run."""
    for folder in (RUNS / run, resolve(run)):
        if (folder / "run.json").is_file():
            return folder.resolve()
    names = [folder.relative_to(RUNS).as_posix() for folder in run_folders()]
    raise InputError(f"no run {shorten(str(run))!r}{nearest(str(run), names) or '; `lead runs` lists them'}")


def arm_and_seed(name: str) -> tuple[str, int]:
    """The arm of a run and the seed at the end of its name, else 0: `train-grpo-s3` → `train-grpo`, 3."""
    match = re.search(r"[-_]s(?:eed)?(\d+)$", name)
    return (name[: match.start()], int(match[1])) if match else (name, 0)

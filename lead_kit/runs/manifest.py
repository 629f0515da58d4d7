"""run.json, the manifest of a run: opened, compared with new parameters, archived and closed."""

import datetime
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from lead_kit.errors import InputError
from lead_kit.runs import provenance
from lead_kit.runs.checkpoints import latest_checkpoint
from lead_kit.runs.files import ROOT, RUNS, parse_json, shown, to_json_value, write_text
from lead_kit.runs.lock import FILES, check_not_replaced, has_writer, process_name, release
from lead_kit.runs.log_files import delete_later_logs

# every attempt writes these; one that wrote nothing else has no results to lose
_BOOKKEEPING = {"run.json", *FILES, "log.txt", "notebook.ipynb", "attempts", "done", "ranks"}


class _Attempt(BaseModel):
    status: str
    code: str | None  # hash of the notebook's code


class _Manifest(BaseModel):
    """What every reader of a run.json relies on."""

    parameters: dict


class _ManifestToContinue(BaseModel):
    """What a run relies on that continues this one."""

    notebook: str
    status: str
    parameters: dict
    attempts: list[_Attempt] = Field(min_length=1)


def timestamp() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_manifest(folder: Path, complete: bool = False) -> dict | None:
    """The content of run.json, or None when the folder holds no run. Raises InputError when it is no manifest.

    `complete`: it has all that a run needs which continues this one. Its parameters are always there.
    """
    path = folder / "run.json"
    if not path.is_file():
        return None
    text = path.read_bytes()
    try:
        (_ManifestToContinue if complete else _Manifest).model_validate_json(text, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = ": ".join([*map(str, fault["loc"]), fault["msg"]])
        remedy = f"delete the folder {shown(folder)} or restore the file"
        raise InputError(f"{shown(path)} is no record of this version of the kit ({reason}): {remedy}") from None
    return json.loads(text)


def state(folder: Path, manifest: Mapping) -> str:
    """done, failed, running, finished (its notebook is, `lead run` has not closed it) or abandoned (by its process)."""
    if manifest["status"] != "running":
        return manifest["status"]
    if not has_writer(folder):
        return "abandoned"
    return "finished" if "finished" in manifest["attempts"][-1] else "running"


def write_manifest(folder: Path, manifest: dict) -> None:
    write_text(folder / "run.json", json.dumps(to_json_value(manifest), indent=1, ensure_ascii=False) + "\n")


def differing_parameters(old: Mapping, new: Mapping) -> dict[str, str]:
    """A phrase for each settled parameter, except run_name, that differs between `old` and `new`."""
    pairs = {name: (old.get(name, "absent"), to_json_value(new.get(name, "absent"))) for name in {**old, **new}}
    changed = {name: pair for name, pair in pairs.items() if name != "run_name" and pair[0] != pair[1]}
    return {name: f"{name} was {before!r}, now {after!r}" for name, (before, after) in changed.items()}


def changes_from_run(manifest: Mapping, settled: Mapping, notebook: Path) -> dict[str, str]:
    """As `differing_parameters`, between a run's manifest and the parameters and notebook of a new run."""
    old = manifest["parameters"] | {"notebook": manifest["notebook"]}
    return differing_parameters(old, {**settled, "notebook": shown(notebook)})


def changes_since_last_attempt(manifest: Mapping, settled: Mapping, notebook: Path) -> list[str]:
    """What differs between a run's newest attempt and a new one: its notebook's code, its parameters."""
    edited = manifest["attempts"][-1]["code"] != provenance.code_hash(notebook)
    code = ["the notebook's code"] * edited + changed_user_code(manifest)
    return code + list(changes_from_run(manifest, settled, notebook).values())


def changed_user_code(manifest: Mapping) -> list[str]:
    """A phrase for each user function of the run whose file has changed since; a file that is gone has none."""
    phrases = []
    for name, kept in manifest.get("own", {}).items():
        path = ROOT / kept.get("from", "")
        if path.is_file() and provenance.file_hash(path) != kept["sha256"]:
            phrases.append(f"the source of {name!r} in {kept['from']}")
    return phrases


def name_taken_error(folder: Path, changed: Mapping, remedy: str) -> InputError:
    """The error for a run name that belongs to other parameters."""
    return InputError(f"{shown(folder)} exists with other parameters: {', '.join(changed.values())}; {remedy}")


def open_attempt(folder: Path, settled: Mapping, passed: Mapping, notebook: Path, replace: bool = False) -> dict:
    """Starts or continues the run in a folder whose lock is held; returns its manifest.

    Raises InputError when results under this name belong to other parameters; with `replace` they move to attempts/N
    instead.
    """
    old = read_manifest(folder, complete=True)
    parents = [p for p in folder.parents if p.is_relative_to(RUNS) and (p / "run.json").is_file()]
    if parents or (old is None and any(folder.rglob("run.json"))):
        raise InputError(f"{shown(folder)}: a run cannot lie inside another run ({shown((parents or [folder])[0])})")
    changed = changes_from_run(old, settled, notebook) if old else {}
    if changed and not (old["status"] == "done" or {entry.name for entry in folder.glob("[!.]*")} - _BOOKKEEPING):
        old, changed = None, {}
    if changed and not replace:
        raise name_taken_error(folder, changed, "choose another run_name or delete the folder")
    if old and old["attempts"][-1]["status"] == "running":  # its process has ended, or we would not hold the lock
        last = old["attempts"][-1]
        last |= {"status": "failed", "reason": last.get("reason", "its process ended without closing the run")}
    # what `atomic` (.PID-NAME) had not finished writing when its process was killed
    for part in [p for p in folder.rglob(".*-*") if p.name[1:].partition("-")[0].isdigit()]:
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    if old and (changed or old["status"] == "done"):
        _archive(folder, old)
    elif old and latest_checkpoint(folder / "checkpoints") is None:
        delete_later_logs(folder, -1)
    (folder / "done").unlink(missing_ok=True)
    git, path = provenance.git_state(ROOT), folder.parent / "planned.json"
    if git.get("error"):
        print(f"the commit is not recorded, since git refuses to read the repository: {git['error']}", flush=True)
    attempt = {"start": timestamp(), "end": None, "status": "running", "writer": process_name(), "command": sys.argv}
    attempt |= {"code": provenance.code_hash(notebook), "git": git}
    attempt |= {"machine": provenance.machine(), "packages": provenance.packages()}
    manifest = {"run": folder.relative_to(RUNS).as_posix(), "notebook": shown(notebook)}
    manifest |= {"status": "running", "start": attempt["start"], "end": None}
    manifest |= {"given": dict(passed), "parameters": dict(settled)}
    if old and old["status"] != "done":  # a run that continues keeps the planned comparisons that it began with
        manifest["planned"] = old.get("planned")
    else:
        manifest["planned"] = parse_json(path.read_bytes(), path) if path.is_file() else None
    manifest |= {"inputs": {}, "outputs": {}, "summary": {}, "attempts": [*(old["attempts"] if old else []), attempt]}
    write_manifest(folder, manifest)
    return manifest


def _archive(folder: Path, manifest: dict) -> None:
    """Moves what earlier attempts wrote to attempts/N, so that repeating the run loses nothing.

    N is free: the list of attempts begins anew after one that failed before it wrote anything.
    """
    taken = [int(kept.name) for kept in folder.glob("attempts/*") if kept.name.isdigit()]
    archived = folder / "attempts" / str(max([len(manifest["attempts"]), *(number + 1 for number in taken)]))
    archived.mkdir(parents=True)
    for entry in folder.iterdir():
        if entry.name not in ("attempts", "run.json", *FILES):
            entry.rename(archived / entry.name)
    write_manifest(archived, manifest)


def close_attempt(folder: Path, status: str, reason: str = "") -> None:
    """Ends the newest attempt as `done` or `failed` and releases the lock.

    Raises InputError when the folder is no longer the one that was opened.
    """
    check_not_replaced(folder)
    manifest = read_manifest(folder)
    end = {"status": status, "end": timestamp()}
    manifest |= end
    manifest["attempts"][-1] = ({"reason": reason} if reason else {}) | manifest["attempts"][-1] | end
    write_manifest(folder, manifest)
    if status == "done":
        write_text(folder / "done", end["end"] + "\n")
    release(folder)

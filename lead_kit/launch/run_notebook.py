"""`lead run`: checks a notebook's parameters, locks its run folder and supervises the processes that execute it.

    lead run ── (torchrun, for several ranks) ── lead_kit.launch.kernel (papermill) ── kernel

Papermill only executes. Locking, the log, signals and the end of every process are here. Each process of the chain
dies with its parent, so that nothing keeps running even when `lead` itself is killed.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.launch import process_tree
from lead_kit.launch.ranks import Ranks, command, environment, locate
from lead_kit.parameters import convert_values, read_parameters
from lead_kit.runs import lock, manifest, provenance
from lead_kit.runs.files import ROOT, run_folder, shown
from lead_kit.safe_text import LONG, safe_line

# the beginnings of lines of Run.progress, of a run that this one waits for, of Run.record_tripwire, and of a tracker
_PROGRESS = re.compile(r"\[\S+\] |step \d+/\d+|tripwire \w+, step |tracker \w+ is off ")
_POLL = 0.5  # seconds between two looks at the folder
_PATIENCE = 600.0  # seconds that a rank of a launcher waits for rank 0


def find_notebook(name: str) -> Path:
    """The notebook by path, or by the stem of its file in notebooks/. Raises InputError with the nearest name."""
    folder = ROOT / "notebooks"
    for path in (Path(name), ROOT / name, folder / name, folder / f"{name}.ipynb"):
        if path.is_file():
            return path.absolute()
    stems = sorted({p.stem for place in (folder, Path(name).absolute().parent) for p in place.glob("*.ipynb")})
    raise InputError(f"no notebook {name!r}{nearest_or_all(Path(name).stem, stems)}")


def _finished_message(folder: Path, settled: Mapping, notebook: Path) -> str:
    """The message that the very same run is already finished; empty when it is not."""
    earlier = manifest.read_manifest(folder, complete=True)
    if not earlier or not (folder / "done").is_file() or manifest.changes_from_run(earlier, settled, notebook):
        return ""
    if manifest.changed_user_code(earlier):
        return ""
    same_code = earlier["attempts"][-1]["code"] == provenance.code_hash(notebook)
    note = "" if same_code else " (with other code than the notebook has now)"
    return f"{shown(folder)} is finished{note}; use --again to repeat it"


def run_command(
    notebook: str,
    parameters: Mapping,
    run_name: str | None = None,
    again: bool = False,
    replace: bool = False,
    wait: bool = False,
    brief: bool = False,
    prefix: str = "",
    anyway: bool = False,
    **ranks,
) -> int:
    """`lead run`: runs a notebook in its folder. Returns 0, 1 (a cell failed), 2 (bad input) or 128 + signal.

    `parameters` are text or values; `ranks` are the fields of Ranks. Raises InputError before anything starts when
    they do not fit.
    """
    prefix = f"[{prefix}] " if prefix else ""
    notebook, ranks = find_notebook(notebook), locate(Ranks(**ranks), os.environ)
    declared = read_parameters(notebook)
    named = {} if run_name is None else {"run_name": run_name}
    values = convert_values(dict(parameters) | named | ({"preflight": "warn"} if anyway else {}), declared)
    settled = {name: parameter.default for name, parameter in declared.items()} | values
    folder = run_folder(settled.get("run_name", notebook.stem))
    job = {"notebook": str(notebook), "folder": str(folder), "parameters": values}
    words, variables = command(ranks, job), environment(ranks, folder)
    process_tree.raise_on_signals()
    try:
        if not ranks.node_rank:  # node 0 holds the lock and writes the record
            lock.acquire(folder, wait)
        if not again and (message := _finished_message(folder, settled, notebook)):
            print(prefix + message, flush=True)
            return 0
        if count := process_tree.end_left_over("LEAD_RUN", variables["LEAD_RUN"]):
            what = "process" if count == 1 else "processes"
            print(f"{prefix}ended {count} {what} that an earlier attempt left running", flush=True)
        process_tree.adopt_orphans()
        if ranks.node_rank:
            return _take_part(folder, words, variables, ranks)
        earlier = manifest.read_manifest(folder)
        attempts = manifest.open_attempt(folder, settled, values, notebook, replace)["attempts"]
        print(f"{prefix}{shown(notebook)} → {shown(folder)}, attempt {len(attempts)}", flush=True)
        if len(attempts) > 1 and (changes := manifest.changes_since_last_attempt(earlier, settled, notebook)):
            print(f"{prefix}changed since attempt {len(attempts) - 1}: {', '.join(changes)}", flush=True)
        return _supervise(folder, words, variables, ranks, prefix, brief)
    except process_tree.Stopped as stopped:
        return 128 + stopped.args[0]
    finally:
        lock.release(folder)


def _supervise(folder: Path, words: list, variables: dict, ranks: Ranks, prefix: str, brief: bool) -> int:
    """Starts the process tree of an opened attempt, shows and logs its output, ends it and closes the attempt."""
    (folder / process_tree.FILE).unlink(missing_ok=True)
    (folder / process_tree.RESERVE).write_bytes(bytes(1 << 18))  # for the record if the disk is full
    status, reason = "failed", "lead was stopped"
    try:
        code = _stream(folder, words, variables, ranks, prefix, brief)
        if not code and "finished" not in manifest.read_manifest(folder)["attempts"][-1]:  # as after sys.exit(0)
            process_tree.write_error(folder, 0, "", "the notebook ended before `run.finish()`, so the run is not done")
        error = process_tree.read_error(folder, code)
        status, reason = ("failed", error["sentence"]) if error else ("done", "")
        return process_tree.print_error(folder, error) if error else 0
    except process_tree.Stopped as stopped:
        if error := process_tree.read_error(folder, 0):  # a launcher stops the other ranks when one has failed
            reason = error["sentence"]
            return process_tree.print_error(folder, error)
        reason = f"stopped by {signal.Signals(stopped.args[0]).name}"
        print(f"{prefix}{reason}; the same command continues {shown(folder)}", file=sys.stderr, flush=True)
        raise
    finally:
        process_tree.end_children()
        # by a kernel that is no child of this process; LEAD_RUN would end those of a new writer of the same name, too
        process_tree.end_left_over("LEAD_OWNER", variables["LEAD_OWNER"])
        lock.check_not_replaced(folder)  # raises when the folder is gone: nothing may be written under its name
        for name in (process_tree.FILE, process_tree.RESERVE):
            (folder / name).unlink(missing_ok=True)
        manifest.close_attempt(folder, status, reason)


def _take_part(folder: Path, words: list[str], variables: dict[str, str], ranks: Ranks) -> int:
    """Runs the ranks of a host other than the first; their output goes to this terminal."""
    if ranks.of_launcher is None:
        print(f"host {ranks.node_rank} of {ranks.nodes} → {shown(folder)}", flush=True)
    else:
        _wait_for_first(folder)
    try:
        with _started(words, variables) as child:
            while child.poll() is None:
                _end_after_others(child, folder, ranks)
        error = process_tree.read_error(folder, child.returncode)
        return process_tree.print_error(folder, error) if error else 0
    finally:
        process_tree.end_children()


def _wait_for_first(folder: Path) -> None:
    """Waits until rank 0 has opened the run: before that it may move the files of an earlier attempt."""
    end = time.monotonic() + _PATIENCE
    while (manifest.read_manifest(folder) or {}).get("status") != "running":
        if time.monotonic() > end:
            raise InputError(f"rank 0 did not open {shown(folder)} within {_PATIENCE:.0f} seconds")
        time.sleep(_POLL)


@contextlib.contextmanager
def _started(words: list[str], variables: dict[str, str], **options) -> Iterator[subprocess.Popen]:
    """The command, started with a folder for its sockets, in which the user's start-up files are not."""
    with tempfile.TemporaryDirectory(prefix="lead-") as scratch:
        variables = variables | {"JUPYTER_RUNTIME_DIR": scratch, "IPYTHONDIR": scratch}
        yield process_tree.start(words, cwd=ROOT, env=variables, **options)


def _end_after_others(child: subprocess.Popen, folder: Path, ranks: Ranks) -> None:
    """Waits a moment for the child; asks it to end when a rank that it did not start has failed."""
    with contextlib.suppress(ValueError):  # half written
        error = process_tree.read_error(folder, 0) if ranks.nodes > 1 else None
        if error and error["rank"] // ranks.nproc != ranks.node_rank:
            child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_POLL)


def _stream(folder: Path, words: list, variables: dict, ranks: Ranks, prefix: str, brief: bool) -> int:
    """Runs the command; its stdout goes to the terminal (`brief`: progress only) and log.txt, its stderr to log.txt.

    Raises InputError when the folder is deleted meanwhile.
    """
    with (folder / "log.txt").open("ab", buffering=0) as log:
        log.write(f"--- {manifest.timestamp()}\n".encode())
        with _started(words, variables, stdout=subprocess.PIPE, stderr=log) as child:
            # a thread, because a process left behind could keep the pipe open after the child has ended
            lines = threading.Thread(target=_show_lines, args=(child.stdout, log, prefix, brief), daemon=True)
            lines.start()
            while child.poll() is None:
                lock.check_not_replaced(folder)
                _end_after_others(child, folder, ranks)
            lines.join(timeout=process_tree.PATIENCE)
        lock.check_not_replaced(folder)
        return child.returncode


def _show_lines(source: BinaryIO, log: BinaryIO, prefix: str, brief: bool) -> None:
    """Copies lines to the log and, with the prefix, to the terminal; prints the last state of a line redrawn by \\r."""
    for line in source:
        with contextlib.suppress(OSError):  # a full disk
            log.write(line)
        text = line.decode(errors="replace").rstrip("\n").rpartition("\r")[2]
        if not brief or _PROGRESS.match(text):
            print(prefix + safe_line(text, LONG), flush=True)

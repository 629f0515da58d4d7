"""The processes below this one: starting and ending them, and the error of the rank that failed first."""

import contextlib
import ctypes
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from lead_kit.errors import shorten
from lead_kit.runs.files import shown
from lead_kit.runs.lock import HOST
from lead_kit.safe_text import safe_text

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
PATIENCE = 2.0  # seconds between asking a process to end and killing it
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal, whose number is the argument, asked this process to end."""


def _ignore_signals() -> None:
    """From now on this process is ending: another signal must not interrupt that."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _raise_stopped(number: int, _frame) -> None:
    _ignore_signals()
    raise Stopped(number)


def raise_on_signals() -> None:
    """Makes the signals that end a program raise Stopped; under nohup, a hang-up stays ignored."""
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise_stopped)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(ancestor: int | None = None, number: int = signal.SIGKILL) -> None:
    """From now on the system sends this process the signal `number` when its parent ends, for whatever reason.

    `ancestor` is the process id of the parent or of one above it, where it is known: it may have ended before this
    call, and then this process ends, too.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if ancestor is not None and os.getppid() != ancestor:
        if ancestor not in {process.pid for process in psutil.Process().parents()}:
            os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Grandchildren whose parent dies become children of this process, so that `end_children` finds them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def start(command: list[str], **options) -> subprocess.Popen:
    """Starts a command without input that dies with this process; `options` go to Popen.

    It runs in its own session: a Ctrl-C in the terminal reaches this process alone, which then ends the tree in order.
    """
    die = functools.partial(die_with_parent, os.getpid())
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die, **options)


def end_children(patience: float = PATIENCE) -> None:
    """Ends every process below this one, ignoring signals meanwhile: asks first, kills after `patience` seconds."""
    _ignore_signals()
    number = signal.SIGTERM
    while alive := send(number, psutil.Process().children(recursive=True)):
        psutil.wait_procs(alive, timeout=patience)
        number, patience = signal.SIGKILL, PATIENCE


def send(number: int, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Sends a signal to those that have not ended; returns them."""
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end at any moment
            if process.status() != psutil.STATUS_ZOMBIE:
                process.send_signal(number)
                alive.append(process)
    return alive


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """The processes that were started with this environment variable, other than this one and those above it."""
    above = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to someone else
            if process.pid not in above and process.environ().get(name) == value:
                processes.append(process)
    return processes


def end_left_over(name: str, value: str) -> int:
    """Kills what an earlier, killed tree left running, known by an environment variable; returns how many."""
    processes = send(signal.SIGKILL, with_variable(name, value))
    psutil.wait_procs(processes, timeout=PATIENCE)
    return len(processes)


FILE = ".error.json"
RESERVE = ".0-reserve"  # its room on a full disk is for FILE and run.json; named like a file that is not complete yet
_LINES = 30  # of the log, when there is nothing better to show
_TRACE = 20_000  # characters of a traceback


def write_error(folder: Path, rank: int, name: str, sentence: str, traceback: str = "") -> None:
    """Keeps the error of a rank, unless another rank failed before: its error is the cause, the others follow."""
    report = {"name": name, "sentence": sentence, "traceback": traceback, "rank": rank, "host": HOST}
    (folder / RESERVE).unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError), (folder / FILE).open("x", encoding="utf-8") as file:
        json.dump(report, file)


def read_error(folder: Path, code: int) -> dict | None:
    """The error of the rank that failed first, with the end of the log where it has no traceback; None when the command
    succeeded."""
    path, log = folder / FILE, folder / "log.txt"
    if code and not path.is_file():
        write_error(folder, 0, "", f"the process ended with code {code}")
    if not path.is_file():
        return None
    error = json.loads(path.read_text(encoding="utf-8"))
    if error["name"] == error["traceback"] == "" and log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line and not line.startswith("--- ")), "nothing")  # no times
        error["traceback"] = "\n".join(lines[-_LINES:])
        error["sentence"] += f", and the last line of the log is: {shorten(last, 300)}"
    return error


def print_error(folder: Path, error: dict) -> int:
    """Prints one sentence for bad input and returns 2; for any other error, prints the traceback and returns 1."""
    name, sentence = error["name"], error["sentence"]
    if re.search("No space left|Disk quota exceeded", sentence) or shutil.disk_usage(folder).free < 1 << 16:
        name, sentence = "InputError", f"the disk of {shown(folder)} is full; with room, the same command continues"
    if name == "InputError":
        print(f"lead: {safe_text(sentence)}", file=sys.stderr, flush=True)
        return 2
    where = f" on rank {error['rank']}" if error["rank"] else ""
    where += f" of {error['host']}" if error["host"] != HOST else ""
    cause = safe_text(": ".join(filter(None, (name, sentence))))
    print(safe_text(error["traceback"], _TRACE), file=sys.stderr)
    print(f"lead: {cause}{where} (see {shown(folder)}/log.txt)", file=sys.stderr, flush=True)
    return 1

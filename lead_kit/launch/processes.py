"""Process trees: children that die with their parent (on Linux), the signals that stop a tree, and its end."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
PATIENCE = 2.0  # seconds between asking a process to end and killing it
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal, whose number is the argument, asked this process to end."""


def raise_stopped(number: int, _frame) -> None:
    raise Stopped(number)


def raise_on_signals() -> None:
    """Makes the signals that end a program raise Stopped; under nohup, a hang-up stays ignored."""
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, raise_stopped)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int | None = None, number: int = signal.SIGKILL) -> None:
    """From now on the system sends this process the signal `number` when its parent ends, for whatever reason.

    `parent` is the parent's process id, where it is known: the parent may have ended before this call.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
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
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    number = signal.SIGTERM
    while True:
        alive = []
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end at any moment
                if child.status() != psutil.STATUS_ZOMBIE:
                    child.send_signal(number)
                    alive.append(child)
        if not alive:
            return
        psutil.wait_procs(alive, timeout=patience)
        number, patience = signal.SIGKILL, PATIENCE

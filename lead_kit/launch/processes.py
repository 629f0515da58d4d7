"""Process trees: children that die with their parent (on Linux), and the end of a whole tree."""

import ctypes
import os
import signal
import sys

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
PATIENCE = 2.0  # seconds between asking a process to end and ending it


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int | None = None, number: int = signal.SIGKILL) -> None:
    """From now on the system sends this process `number` when its parent ends, however that happens.

    `parent`, where it is known, is the process id the parent had: it may have ended before we could ask.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Grandchildren whose parent dies become children of this process, so that `end_children` finds them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_children(patience: float = PATIENCE) -> None:
    """Ends every process below this one: asks first, kills after `patience` seconds. Returns when none is left."""
    asked = psutil.Process().children(recursive=True)
    for child in asked:
        _signal(child, signal.SIGTERM)
    psutil.wait_procs(asked, timeout=patience)
    while alive := [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]:
        for child in alive:
            _signal(child, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=PATIENCE)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass

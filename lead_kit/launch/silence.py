"""What a run is doing that has printed nothing for a while: which ranks work, which wait, which have ended."""

import json
import os
import threading
import time
from pathlib import Path

import psutil

_SECONDS = float(os.environ.get("LEAD_SILENCE", "120"))  # of silence before the first line; each later one waits twice
_MEASURED = 2.0  # seconds over which the use of the processor is measured


class Watch:
    """Notices when a run with several ranks has printed nothing for a while."""

    def __init__(self, folder: Path, pid: int, count: int):
        """`pid` is the process that starts the ranks, `count` the number of ranks on this host."""
        self.folder, self.pid, self.count = folder, pid, count
        self.heard, self.patience = time.monotonic(), _SECONDS
        self.lock = threading.Lock()

    def hear(self) -> None:
        """The run has printed a line."""
        with self.lock:
            self.heard, self.patience = time.monotonic(), _SECONDS

    def look(self) -> str:
        """A line on every rank when it is time for one, else an empty text."""
        with self.lock:
            silent = time.monotonic() - self.heard
            if self.count < 2 or silent < self.patience:
                return ""
            self.patience *= 2
        ranks = _states(self.pid, self.folder, self.count)
        told = "; ".join(f"rank {rank} {state}" for rank, state in sorted(ranks.items()))
        return f"still running, but nothing printed for {silent:.0f} s: {told}"


def _states(pid: int, folder: Path, count: int) -> dict[int, str]:
    """What each rank below a process is doing: its cell, the state of its kernel, the processor time that it uses."""
    kernels = {}  # rank: the process that executes its cells
    for process in psutil.Process(pid).children(recursive=True):
        try:
            variables = process.environ()
            if "JPY_PARENT_PID" in variables and process.ppid() == int(variables["JPY_PARENT_PID"]):
                kernels[int(variables.get("RANK", "0"))] = process
        except psutil.Error:  # it has just ended
            continue
    before = {rank: used(process) for rank, process in kernels.items()}
    time.sleep(_MEASURED)
    now = {rank: state(process, before[rank], cell(folder, rank)) for rank, process in kernels.items()}
    return {rank: now.get(rank, "has ended") for rank in range(count)}


def used(process: psutil.Process) -> float:
    """Seconds of processor time so far; 0 when it has ended."""
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0


def state(process: psutil.Process, before: float, place: str) -> str:
    try:
        status, share = process.status(), (used(process) - before) / _MEASURED
    except psutil.Error:
        return "has ended"
    doing = (
        f"is {status}"
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        else f"uses {share:.0%} of a processor"
    )
    return f"{place}{doing}"


def cell(folder: Path, rank: int) -> str:
    """`(cell N) ` from the notebook that papermill is filling; empty when that cannot be read."""
    path = folder / (".notebook.ipynb" if rank == 0 else f"ranks/.{rank}.ipynb")
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):  # not there yet, or being written
        return ""
    states = [c["metadata"].get("papermill", {}).get("status") for c in cells]
    return f"(cell {states.index('running') + 1}) " if "running" in states else ""

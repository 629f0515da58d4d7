"""One writer for each run folder: a file lock that ends with its process."""

import fcntl
import os
import socket
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.runs.files import shown

HOST = socket.gethostname()
_acquired: dict[Path, int] = {}  # open lock files of this process


def acquire(folder: Path, wait: bool = False) -> bool:
    """Makes this process the folder's only writer until `release` or until it ends.

    Returns False when `lead run`, which started this kernel, holds the lock for it. Raises InputError when another live
    process writes there; with `wait`, waits for that process to end instead.
    """
    path = folder / "lock"
    if path in _acquired:
        return True
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
        if owner == os.environ.get("LEAD_OWNER"):
            os.close(file)
            return False
        if not wait:
            os.close(file)
            raise InputError(f"{shown(folder)} is being written by {owner}: wait or choose another run_name") from None
        print(f"waiting for {owner}, which writes {shown(folder)}", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    if not _same_file(path, file):  # the folder was deleted while we waited
        os.close(file)
        return acquire(folder, wait)
    os.ftruncate(file, 0)
    os.pwrite(file, process_name().encode(), 0)
    _acquired[path] = file
    return True


def _same_file(path: Path, file: int) -> bool:
    """Whether the path still names the open file."""
    try:
        named, opened = path.stat(), os.fstat(file)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)


def acquired_here(folder: Path) -> bool:
    """Whether this process is the folder's writer."""
    return folder / "lock" in _acquired


def check_not_replaced(folder: Path) -> None:
    """Raises InputError when this process holds the lock of a folder that has since been deleted or replaced."""
    path = folder / "lock"
    if path in _acquired and not _same_file(path, _acquired[path]):
        raise InputError(f"{shown(folder)} was deleted or replaced while this run was writing it, so the run ends here")


def held_by_another(folder: Path) -> bool:
    """Whether a live process writes in the folder, other than this one and the `lead run` that started it."""
    path = folder / "lock"
    return path not in _acquired and has_writer(folder) and path.read_text() != os.environ.get("LEAD_OWNER")


def has_writer(folder: Path) -> bool:
    """Whether any live process writes in the folder."""
    path = folder / "lock"
    if path in _acquired or not path.is_file():
        return path in _acquired
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def process_name() -> str:
    """The name of this process in a lock file."""
    return f"process {os.getpid()} on {HOST}"


def release(folder: Path) -> None:
    """Gives the lock up."""
    file = _acquired.pop(folder / "lock", None)
    if file is not None:
        os.ftruncate(file, 0)
        fcntl.flock(file, fcntl.LOCK_UN)  # explicitly: forked workers may still have the file open
        os.close(file)

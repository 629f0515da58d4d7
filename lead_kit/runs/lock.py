"""One writer for each run folder: a file lock that ends with its process."""

import errno
import os
import socket
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from lead_kit.errors import InputError
from lead_kit.runs.files import shown

HOST = socket.gethostname()
FILES = ("lock", "lock.held")  # of a lock; the second where the file system has no locks
_acquired: dict[Path, tuple[BaseFileLock, os.stat_result]] = {}  # locks of this process, each with its file's status


def acquire(folder: Path, wait: bool = False) -> bool:
    """Makes this process the folder's only writer until `release` or until it ends.

    Returns False when `lead run`, which started this kernel, holds the lock for it. Raises InputError when another live
    process writes there; with `wait`, waits for that process to end instead.
    """
    path = folder / "lock"
    if path in _acquired:
        return True
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = _take(path)
    except Timeout:
        owner = path.read_text(encoding="utf-8").strip() or "another process"
        if owner == os.environ.get("LEAD_OWNER"):
            return False
        if not wait:
            raise InputError(f"{shown(folder)} is being written by {owner}: wait or choose another run_name") from None
        print(f"waiting for {owner}, which writes {shown(folder)}", flush=True)
        lock = _take(path, wait)
    if isinstance(lock, SoftFileLock):
        remedy = f"delete {shown(folder / FILES[1])} if a writer on another host was killed"
        print(f"this file system has no file locks, so a file marks the writer of the run: {remedy}", flush=True)
    path.write_text(process_name(), encoding="utf-8")
    _acquired[path] = lock, path.stat()
    return True


def _take(path: Path, wait: bool = False) -> BaseFileLock:
    """The lock, acquired, which any thread of this process may release; where a file system has no locks, a file that
    its process removes. Raises Timeout where another process has it."""
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=wait)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
        lock = SoftFileLock(path.with_name(FILES[1]), thread_local=False)
        lock.acquire(blocking=wait)
    return lock


def acquired_here(folder: Path) -> bool:
    """Whether this process is the folder's writer."""
    return folder / "lock" in _acquired


def check_not_replaced(folder: Path) -> None:
    """Raises InputError when this process holds the lock of a folder that has since been deleted or replaced."""
    path = folder / "lock"
    if path in _acquired and not (path.exists() and os.path.samestat(path.stat(), _acquired[path][1])):
        raise InputError(f"{shown(folder)} was deleted or replaced while this run was writing it, so the run ends here")


def held_by_another(folder: Path) -> bool:
    """Whether a live process writes in the folder, other than this one and the `lead run` that started it."""
    if acquired_here(folder) or not has_writer(folder):
        return False
    return (folder / "lock").read_text(encoding="utf-8") != os.environ.get("LEAD_OWNER")


def has_writer(folder: Path) -> bool:
    """Whether any live process writes in the folder; True, too, where this user may not try its lock."""
    path = folder / "lock"
    if acquired_here(folder) or not path.is_file():
        return acquired_here(folder)
    try:
        _take(path).release()
        return False
    except (Timeout, OSError):
        return True


def process_name() -> str:
    """The name of this process in a lock file."""
    return f"process {os.getpid()} on {HOST}"


def release(folder: Path) -> None:
    """Gives the lock up."""
    if acquired_here(folder):
        _acquired.pop(folder / "lock")[0].release()

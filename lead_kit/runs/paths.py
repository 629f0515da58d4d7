"""The repository root, the folder runs/, and paths as users write and read them."""

import os
import re
from pathlib import Path

from lead_kit.errors import InputError, shorten

ROOT = Path(os.environ.get("LEAD_ROOT") or Path(__file__).resolve().parents[2])
RUNS = ROOT / "runs"
NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*(/[A-Za-z0-9_+][A-Za-z0-9._+-]*)*")

_LONGEST_NAME = 200  # characters; systems allow 255 bytes, and files that are written get a prefix


def resolve(path: str | Path) -> Path:
    """An absolute path. A relative one starts at the repository root, wherever the kernel was started."""
    return (ROOT / Path(path).expanduser()).absolute()


def shown(path: Path) -> str:
    """The path as printed: relative to the repository root when it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def file_name(label: str) -> str:
    """A label as part of a file name: every character other than letters, digits and ._+- becomes _."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", label)


def run_folder(name: str) -> Path:
    """The folder runs/<name>. Raises InputError for a name that is not a plain path below runs/."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"run_name {shorten(repr(name))}: expected letters, digits and ._+-, with / between folders: 'length/s0'"
        )
    if max(map(len, name.split("/"))) > _LONGEST_NAME:
        raise InputError(f"run_name {shorten(name)!r}: expected at most {_LONGEST_NAME} characters for each folder")
    return RUNS / name

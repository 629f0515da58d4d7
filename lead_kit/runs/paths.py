"""Where things lie: the repository root, runs/, and paths as users write and read them."""

import os
import re
from pathlib import Path

from lead_kit.errors import InputError

ROOT = Path(os.environ.get("LEAD_ROOT") or Path(__file__).resolve().parents[2])
RUNS = ROOT / "runs"
NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*(/[A-Za-z0-9_+][A-Za-z0-9._+-]*)*")


def resolve(path: str | Path) -> Path:
    """An absolute path; a relative one hangs from the repository root, wherever the kernel was started."""
    return (ROOT / Path(path).expanduser()).absolute()


def shown(path: Path) -> str:
    """The path as a reader wants it: relative to the repository where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def file_name(label: str) -> str:
    """A label as part of a file name: whatever is neither letter, digit nor one of ._+- becomes _."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", label)


def run_folder(name: str) -> Path:
    """runs/<name>. Raises InputError for a name that is no plain path below runs/."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"run_name {name!r}: expected letters, digits and ._+- (and / between folders), e.g. 'length/s0'"
        )
    return RUNS / name

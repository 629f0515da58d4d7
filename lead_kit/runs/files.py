"""Files that appear whole: atomic writes, JSON lines, values as JSON has them."""

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from lead_kit.runs.paths import shown


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it takes its real name only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        if part.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """The text in a file, all of it or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def plain(value):
    """A value as JSON has it: numpy and torch scalars as numbers, paths as text, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Path):
        return shown(value)
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file in one write, after cutting off a last line that a crash left torn."""
    with path.open("a+b") as file:
        whole = file.tell()
        if whole:
            file.seek(max(0, whole - 1))
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode() + b"\n")

"""Atomic writes that last, JSON lines, and values in a form that JSON can store."""

import contextlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.runs.paths import shown


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it gets its real name only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield part
        sync(part)
        if part.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
        sync_entry(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def sync_entry(path: Path) -> None:
    """Forces a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync(path: Path) -> None:
    """Forces a file, or a folder with all that lies in it, to the disk: it outlasts a failure of the machine."""
    for entry in [*path.rglob("*"), path]:
        sync_entry(entry)


def unreadable(path: Path) -> str:
    """Why a safetensors or torch file, by its own header or index, is not whole; empty when it is, or is another."""
    size = path.stat().st_size
    try:
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                tensors = json.loads(file.read(min(length, size)))
            ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
            return "" if size == expected else f"it has {size:,} bytes, its header promises {expected:,}"
        if path.suffix in (".pt", ".pth", ".bin"):
            zipfile.ZipFile(path).close()
    except (ValueError, KeyError, zipfile.BadZipFile):
        return "its header is damaged"
    return ""


def write_text(path: Path, text: str) -> Path:
    """Writes a text file, completely or not at all."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def plain(value):
    """A value for JSON: numpy and torch scalars become numbers, paths become text, NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return shown(value)
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def jsonl_rows(path: Path, torn: bool = False) -> Iterator[tuple[int, dict]]:
    """(line number, object) for each line of a JSON-lines file; empty lines are skipped.

    With `torn`, a last line without a newline, which a crash left half written, is skipped too. Raises InputError
    naming the line that is not UTF-8, not JSON or not an object.
    """
    lines = path.read_bytes().split(b"\n")  # str.splitlines would also split at U+2028, which problems contain
    for number, line in enumerate(lines[:-1] if torn else lines, 1):
        if not line.strip():
            continue
        where = f"{shown(path)}, line {number}"
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from None
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, found {line.strip()[:60].decode(errors='replace')!r}")
        yield number, row


def read_jsonl(path: Path, torn: bool = False) -> list[dict]:
    """The objects of a JSON-lines file, read as in `jsonl_rows`."""
    return [row for _, row in jsonl_rows(path, torn)]


def as_jsonl(rows: Iterable[Mapping]) -> str:
    return "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)


def write_jsonl(path: Path, rows: Iterable[Mapping]) -> Path:
    """Writes rows as JSON lines, all of them or none."""
    return write_text(path, as_jsonl(rows))


def append_jsonl(path: Path, rows: Iterable[Mapping]) -> None:
    """Appends rows in one write, after removing a last line that a crash left half written."""
    with path.open("a+b") as file:
        size = file.tell()
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(as_jsonl(rows).encode())
        file.flush()
        os.fsync(file.fileno())

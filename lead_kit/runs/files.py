"""Paths below the repository root, atomic writes, and JSON, JSON lines and parquet read with a sentence on failure."""

import contextlib
import glob
import gzip
import json
import math
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import yaml

from lead_kit.errors import InputError, shorten

if TYPE_CHECKING:
    import pyarrow

ROOT = Path(os.environ.get("LEAD_ROOT") or Path(__file__).resolve().parents[2])
RUNS = ROOT / "runs"
# of a run; systems allow 255 bytes for a folder, and files that are written get a prefix
_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,199}(/[A-Za-z0-9_+][A-Za-z0-9._+-]{0,199})*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # as JSON spells a surrogate, which alone is no text


def resolve(path: str | Path) -> Path:
    """An absolute path. A relative one starts at the repository root, wherever the kernel was started."""
    return (ROOT / Path(path).expanduser()).absolute()


def from_here(text: str) -> str:
    """A path on the command line (PATH@ARM too) as an absolute one where it is below the working directory; else the
    text, which is a path below the repository root, or the name of a run or a set."""
    path, sign, arm = text.partition("@")
    here = Path(path).expanduser().absolute()
    is_there = os.path.isfile(here) or re.search(r"[/*?[]", path) and glob.glob(str(here), recursive=True)
    return f"{here}{sign}{arm}" if is_there and here != resolve(path) else text


def shown(path: Path) -> str:
    """The path as printed: relative to the repository root when it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def file_name(label: str) -> str:
    """A label as part of a file name: every character other than letters, digits and ._+- becomes _."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", label)


def run_folder(name: str) -> Path:
    """The folder runs/<name>. Raises InputError for a name that is not a plain path below runs/."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        expected = "at most 200 letters, digits and ._+- for each folder, with / between folders: 'length/s0'"
        raise InputError(f"run_name {shorten(repr(name))}: expected {expected}")
    return RUNS / name


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it gets its real name only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _partial_name(path)
    try:
        yield part
        sync_to_disk(part)
        if part.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
        _sync_entry(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _sync_entry(path: Path) -> None:
    """Forces a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_to_disk(path: Path) -> None:
    """Forces a file, or a folder with all that lies in it, to the disk: it outlasts a failure of the machine."""
    for entry in [*path.rglob("*"), path]:
        _sync_entry(entry)


def why_incomplete(path: Path) -> str:
    """Why a safetensors or torch file, by its own header or index, is not whole; empty when it is, or is another."""
    try:
        if path.suffix == ".safetensors":
            safetensors.safe_open(path, "numpy").__exit__(None, None, None)
        if path.suffix in (".pt", ".pth", ".bin"):
            zipfile.ZipFile(path).close()
    except (safetensors.SafetensorError, zipfile.BadZipFile) as error:
        return str(error)
    return ""


def _partial_name(path: Path) -> Path:
    """The name of a file that is not complete yet."""
    return path.with_name(f".{os.getpid()}-{path.name}")


def refuse_unwritable(path: Path) -> None:
    """Raises InputError for a path at which no file can be written, before the work whose result it is to hold."""
    if path.is_dir():
        raise InputError(f"cannot write {shorten(shown(path))}: it is a folder, expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _partial_name(path).touch()
        _partial_name(path).unlink()
    except OSError as error:
        raise InputError(f"cannot write {shorten(shown(path))}: {error.strerror}") from None


def write_text(path: Path, text: str) -> Path:
    """Writes a text file, completely or not at all. What is no character, as a byte of a command line may be, becomes
    the escape that JSON has."""
    with atomic(path) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz. Raises InputError for a damaged .gz file."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{shown(path)} is not a readable .gz file: {error}") from None


def to_json_value(value):
    """A value for JSON: numpy and torch scalars become numbers, paths become text, NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(item) for item in value]
    if isinstance(value, Path):
        return shown(value)
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(data: bytes, path: Path, line: int = 1):
    """The value of a JSON text that begins at this line of a file; half characters become U+FFFD.

    Raises InputError naming the line that is not UTF-8 or not JSON.
    """
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text)
        if not _SURROGATE.search(text):
            return value
        return json.loads(replace_lone_surrogates(json.dumps(value, ensure_ascii=False)))
    except UnicodeDecodeError as error:
        line, problem = line + data.count(b"\n", 0, error.start), f"not UTF-8 text ({error.reason})"
    except json.JSONDecodeError as error:
        line, problem = line + error.lineno - 1, f"not valid JSON ({error.msg} at column {error.colno})"
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        problem = f"not valid JSON ({str(error).partition(';')[0]})"
    raise InputError(f"{shorten(shown(path), 200)}, line {line}: {problem}")


def replace_lone_surrogates(text: str) -> str:
    """A text that can be written as UTF-8: a surrogate without its other half becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def jsonl_rows(path: Path, torn: bool = False) -> Iterator[tuple[int, dict]]:
    """(line number, object) for each line of a JSON-lines file; empty lines are skipped.

    With `torn`, a last line without a newline, which a crash left half written, is skipped too. Raises InputError
    naming the line that is not UTF-8, not JSON or not an object.
    """
    lines = read_bytes(path).split(b"\n")  # str.splitlines would also split at U+2028, which problems contain
    for number, line in enumerate(lines[:-1] if torn else lines, 1):
        if not line.strip():
            continue
        row = parse_json(line, path, number)
        if not isinstance(row, dict):
            text = shorten(line.strip().decode("utf-8"), 60)
            raise InputError(f"{shown(path)}, line {number}: expected an object, found {text!r}")
        yield number, row


def read_jsonl(path: Path, torn: bool = False) -> list[dict]:
    """The objects of a JSON-lines file, read as in `jsonl_rows`."""
    return [row for _, row in jsonl_rows(path, torn)]


def _as_jsonl(rows: Iterable[Mapping]) -> str:
    return "".join(json.dumps(to_json_value(row), ensure_ascii=False) + "\n" for row in rows)


def write_jsonl(path: Path, rows: Iterable[Mapping]) -> Path:
    """Writes rows as JSON lines, all of them or none."""
    return write_text(path, _as_jsonl(rows))


def append_jsonl(path: Path, rows: Iterable[Mapping]) -> None:
    """Appends rows in one write, after removing a last line that a crash left half written."""
    with path.open("a+b") as file:
        if size := file.tell():
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(_as_jsonl(rows).encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def read_parquet(path: Path) -> "pyarrow.Table":
    """The table in a parquet file. Raises InputError for a file that is damaged or no parquet file."""
    import pyarrow.parquet  # imported here: `lead run` reads run.json, but no parquet file

    try:
        table = pyarrow.parquet.read_table(path)
        table.validate(full=True)
        return table
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{shown(path)} is not a readable parquet file: {shorten(str(error), 200)}") from None


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file. Raises InputError for anything else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, the date 2020-13-45
        raise InputError(f"{shown(path)} is not YAML: {shorten(' '.join(str(error).split()), 200)}") from None
    if not isinstance(content, dict):
        raise InputError(f"{shown(path)}: expected keys and values, found {shorten(content)}")
    return content

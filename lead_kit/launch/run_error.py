"""The error of a run: the first rank to fail writes it, `lead run` reads and prints it."""

import contextlib
import json
import sys
from pathlib import Path

from lead_kit.runs.files import shown
from lead_kit.runs.lock import HOST
from lead_kit.safe_text import safe_text

FILE = ".error.json"
_LINES = 30  # of the log, when there is nothing better to show
_TRACE = 20_000  # characters of a traceback


def write_error(folder: Path, rank: int, name: str, sentence: str, traceback: str = "") -> None:
    """Keeps the error of a rank, unless another rank failed before: its error is the cause, the others follow."""
    report = {"name": name, "sentence": sentence, "traceback": traceback, "rank": rank, "host": HOST}
    with contextlib.suppress(FileExistsError), (folder / FILE).open("x", encoding="utf-8") as file:
        json.dump(report, file)


def read_error(folder: Path, code: int) -> dict | None:
    """The error of the rank that failed first; None when the command succeeded."""
    path = folder / FILE
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    if code == 0:
        return None
    log = folder / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    sentence, host = f"the process ended with code {code}", HOST
    return {"name": "", "sentence": sentence, "traceback": "\n".join(lines[-_LINES:]), "rank": 0, "host": host}


def print_error(folder: Path, error: dict) -> int:
    """Prints one sentence for bad input and returns 2; for any other error, prints the traceback and returns 1."""
    name, sentence = error["name"], error["sentence"]
    # a FileNotFoundError of the system begins with [Errno 2]; one of the kit is a sentence
    if name == "InputError" or (name == "FileNotFoundError" and sentence[:1] != "["):
        print(f"lead: {safe_text(sentence)}", file=sys.stderr, flush=True)
        return 2
    other = error["host"] != HOST
    where = (f" on rank {error['rank']}" if error["rank"] else "") + (f" of {error['host']}" if other else "")
    cause = ": ".join(filter(None, (name, sentence)))
    print(
        f"{safe_text(error['traceback'], _TRACE)}\nlead: {safe_text(cause)}{where} (see {shown(folder)}/log.txt)",
        file=sys.stderr,
        flush=True,
    )
    return 1

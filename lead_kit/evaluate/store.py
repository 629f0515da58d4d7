"""The samples file of an evaluation: its settings, what it already holds, samples of an earlier run."""

import json
from collections.abc import Mapping
from pathlib import Path

from lead_kit.errors import InputError
from lead_kit.runs.files import plain, read_jsonl, write_jsonl, write_text
from lead_kit.runs.manifest import differences
from lead_kit.runs.paths import shown


def settings_file(path: Path) -> Path:
    """Where the settings of a samples file are kept: beside it."""
    return path.with_suffix(".settings.json")


def same_settings(path: Path, asked: Mapping) -> None:
    """Keeps the settings of a new samples file; raises InputError where those of an old one differ, naming them."""
    beside = settings_file(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(beside, json.dumps(plain(asked), indent=1) + "\n")
        return
    if not beside.is_file():
        raise InputError(f"{shown(path)} has no {beside.name} beside it that tells how it was sampled")
    if changed := differences(json.loads(beside.read_text(encoding="utf-8")), asked):
        listed = ", ".join(changed.values())
        raise InputError(f"{shown(path)} was sampled with other settings: {listed}; choose another run_name")


def read(path: Path, known: Mapping[str, dict], tags: Mapping) -> list[dict]:
    """The samples under these tags that an earlier evaluation left in the file; a torn last line is cut off."""
    mine = [row for row in samples_in(path) if all(row.get(name) == value for name, value in tags.items())]
    for row in mine:
        if row["id"] not in known:
            raise InputError(f"{shown(path)} holds problem {row['id']!r}, which is not among those to evaluate")
        if row["gold"] != known[row["id"]]["gold"]:
            raise InputError(
                f"{shown(path)}: the gold answer of problem {row['id']!r} was {row['gold']!r} when it was sampled, "
                f"and is now {known[row['id']]['gold']!r}"
            )
    return mine


def samples_in(path: Path) -> list[dict]:
    """The rows of a samples file, none where there is no file; without a last line that a crash left torn."""
    return read_jsonl(path, torn=True) if path.is_file() else []


def adopt(earlier: Path, path: Path, models: list[str], n: int) -> None:
    """Starts a samples file with those of an earlier run: the first n samples of the models that are asked again.

    Nothing happens where the file is there: then an interrupted evaluation goes on. `evaluate` compares settings.
    """
    if path.is_file():
        return
    rows = [row for row in samples_in(earlier) if row["model"] in models and row["sample"] < n]
    if not settings_file(earlier).is_file():
        raise InputError(f"{shown(earlier)} has no {settings_file(earlier).name} beside it that tells its settings")
    write_text(settings_file(path), settings_file(earlier).read_text(encoding="utf-8"))
    write_jsonl(path, rows)

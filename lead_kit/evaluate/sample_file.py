"""The samples file of an evaluation: its settings, its samples, and the reuse of an earlier run's samples."""

import json
from collections.abc import Mapping
from pathlib import Path

from lead_kit.errors import InputError, shorten
from lead_kit.runs.files import parse_json, read_jsonl, shown, to_json_value, write_jsonl, write_text
from lead_kit.runs.manifest import differing_parameters

_STORED = {"id": str, "sample": int, "gold": str}  # what a sample is recognised by


def _settings_file(path: Path) -> Path:
    """The file beside a samples file that holds its settings."""
    return path.with_suffix(".settings.json")


def require_settings(path: Path, asked: Mapping) -> None:
    """Writes the settings of a new samples file. Raises InputError where those of an existing one differ."""
    beside = _settings_file(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(beside, json.dumps(to_json_value(asked), indent=1) + "\n")
        return
    if not beside.is_file():
        raise InputError(f"{shown(path)} has no {beside.name} beside it with its sampling settings")
    sampled = parse_json(beside.read_bytes(), beside)
    if not isinstance(sampled, dict):
        raise InputError(f"{shown(beside)} is {shorten(sampled)}, expected an object of sampling settings")
    if changed := differing_parameters(sampled, asked):
        listed = ", ".join(changed.values())
        raise InputError(f"{shown(path)} was sampled with other settings: {listed}; choose another run_name")


def tagged_samples(path: Path, known: Mapping[str, dict], tags: Mapping) -> list[dict]:
    """The samples in the file that have these tags, of the `known` problems (by id). Raises InputError for others."""
    rows = [row for row in read_samples(path) if all(row.get(name) == value for name, value in tags.items())]
    for row in rows:
        if row["id"] not in known:
            raise InputError(f"{shown(path)} holds problem {row['id']!r}, which is not among those to evaluate")
        if row["gold"] != known[row["id"]]["gold"]:
            raise InputError(
                f"{shown(path)}: the gold answer of problem {row['id']!r} was {row['gold']!r} when it was sampled, "
                f"and is now {known[row['id']]['gold']!r}"
            )
    return rows


def read_samples(path: Path) -> list[dict]:
    """The rows of a samples file, none if it does not exist; a last line that a crash left incomplete is ignored."""
    rows = read_jsonl(path, torn=True) if path.is_file() else []
    for number, row in enumerate(rows, 1):
        for name, kind in _STORED.items():
            if not isinstance(row.get(name), kind):
                found = f"{name} is {shorten(row[name])}" if name in row else f"no {name!r}"
                raise InputError(f"{shown(path)}, sample {number}: {found}, expected {kind.__name__}")
    return rows


def copy_samples(earlier: Path, path: Path, models: list[str], n: int) -> None:
    """Starts a samples file with the first n samples of these models in an earlier run's file.

    An existing file is left as it is, so an interrupted evaluation resumes. `evaluate` compares the settings.
    """
    if path.is_file():
        return
    rows = [row for row in read_samples(earlier) if row.get("model") in models and row["sample"] < n]
    settings = _settings_file(earlier)
    if not settings.is_file():
        raise InputError(f"{shown(earlier)} has no {settings.name} beside it with its sampling settings")
    write_text(_settings_file(path), settings.read_text(encoding="utf-8"))
    write_jsonl(path, rows)

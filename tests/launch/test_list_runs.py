"""`lead runs` and `lead diff`, and the line on all runs of a recipe, from records of runs."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lead_kit import cli
from lead_kit.errors import InputError
from lead_kit.launch import commands, run_recipe
from lead_kit.launch.recipes import Job
from lead_kit.runs import files, find
from tests.small import use_root


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder runs/."""
    use_root(monkeypatch, tmp_path, files, find, commands)
    return tmp_path / "runs"


def record(runs, name, minutes, status="done", took=1, **changes):
    """A run that began so many minutes ago."""
    start = datetime.now(UTC) - timedelta(minutes=minutes)
    times = {"start": start.isoformat(), "end": (start + timedelta(minutes=took)).isoformat()}
    attempt = {"status": status, "code": "abc", "git": {"commit": "c1", "dirty": False}} | times
    attempt |= {"packages": {"torch": "2.13.0"}}
    parameters = {"run_name": name, "arm": "lead", "seed": 0, "steps": 80, "length_alpha": 0.05}
    content = {"notebook": "notebooks/03_grpo.ipynb", "status": status, "parameters": parameters, "attempts": [attempt]}
    content |= times | {"inputs": {"train.parquet": {"sha256": "11"}}, "summary": {}} | changes
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(content))
    return folder


def log(folder, *rows):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def listed(capsys, *words):
    assert cli.main(["runs", *words]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_every_run_has_a_line_the_newest_first_with_its_state_step_and_last_value(runs, capsys):
    rows = [{"step": 10, "split": "validation", "pass@1": 0.5}, {"step": 12, "split": "train", "reward": 0.1}]
    log(record(runs, "figure1/tiny/grpo-lead-s0", 121), *rows)
    record(runs, "older", 3 * 24 * 60, "failed", summary={"train": 1999})
    record(runs, "newest", 5, "running")  # no process holds its lock
    record(runs, "older/attempts/1", 9000)
    (runs / "broken").mkdir()
    (runs / "broken/run.json").write_text("{")
    header, *lines = listed(capsys)
    assert header == ["run", "state", "arm", "seed", "step", "last", "value", "age"]
    assert lines == [
        ["newest", "abandoned", "lead", "0", "5", "min"],
        ["figure1/tiny/grpo-lead-s0", "done", "lead", "0", "12/80", "pass@1", "0.5", "2", "h"],
        ["older", "failed", "lead", "0", "train", "1999", "3", "d"],
        ["broken", "unreadable"],
    ]
    assert [line[0] for line in listed(capsys, "tiny")[1:]] == ["figure1/tiny/grpo-lead-s0"]


def test_two_runs_differ_in_parameters_inputs_and_code(runs, capsys):
    record(runs, "a", 5)
    b = record(runs, "b", 4)
    content = json.loads((b / "run.json").read_text())
    content["parameters"]["length_alpha"] = 0.1
    content["inputs"]["train.parquet"]["sha256"] = "22"
    content["attempts"][0]["git"]["dirty"] = True
    content["attempts"][0]["packages"] = {"torch": "2.14.0", "\x1b[31m": "1"}
    (b / "run.json").write_text(json.dumps(content))
    assert cli.main(["diff", "a", "b"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[-2:] for line in out.splitlines()[:5]] == [
        ["a", "b"],
        ["0.05", "0.1"],
        ["11", "22"],
        ["false", "true"],
        ["2.13.0", "2.14.0"],
    ]
    assert "\x1b" not in out and "run_name" not in out
    cli.main(["diff", "a", "a"])
    assert "same parameters, inputs and code" in capsys.readouterr().out
    with pytest.raises(InputError, match="did you mean 'a'"):
        find.recorded_run("aa")


def test_the_line_on_all_runs_counts_them_and_estimates_what_is_left(runs, monkeypatch):
    """Two runs of a stage took 2 and 4 minutes; one runs and two wait: 3 · 3 minutes by two at once is 4.5."""
    monkeypatch.setattr(run_recipe, "run_folder", lambda name: runs / name)
    jobs = [Job(f"r/s/train-s{n}", "train", None, n, Path("x.ipynb"), {}, [], 1, "") for n in range(5)]
    assert run_recipe._overview(jobs, set(), 2) == "0 of 5 done, 0 running"
    for job, took in zip(jobs, (2, 4), strict=False):
        record(runs, job.name, 10, took=took)
    record(runs, jobs[2].name, 1, "running")
    done = {job.name for job in jobs[:2]}
    assert run_recipe._overview(jobs, done, 2) == "2 of 5 done, 1 running, about 5 min left"

"""Runs: one folder, one writer, one set of parameters; files whole or absent."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest

from lead_kit.errors import InputError
from lead_kit.parameters import Config
from lead_kit.runs import files, find, lock, manifest, run
from lead_kit.runs.checkpoints import mark_complete
from lead_kit.runs.files import atomic
from lead_kit.runs.find import run_notebook_if_missing
from lead_kit.runs.log_files import read_metrics
from lead_kit.runs.run import Run
from tests.small import use_root


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository root of the test's own."""
    use_root(monkeypatch, tmp_path, files, find, manifest, run)
    for name in ("RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for path in tmp_path.rglob("lock"):
        lock.release(path.parent)


def settled(**values):
    values = {"run_name": "a/s0", "steps": 3, "seed": 7, **values}
    return Config(values, {"steps": values["steps"]})


def test_a_run_leaves_parameters_provenance_metrics_and_hashes(root):
    (root / "in.txt").write_text("one")
    run = Run(settled(), "03_grpo")
    run.log(1, "train", reward=0.5, length=float("nan"))
    run.log(1, "validation", **{"pass@1": 0.25})
    assert run.input("in.txt") == root / "in.txt"
    run.save_text("note.txt", "two")
    run.finish(best=0.25)
    kept = manifest.read_manifest(root / "runs/a/s0")
    assert kept["status"] == "done" and kept["summary"] == {"best": 0.25}
    assert kept["parameters"] == dict(settled()) and kept["given"] == {"steps": 3}
    assert kept["inputs"]["in.txt"]["sha256"].startswith("7692c3ad") and kept["outputs"]["note.txt"]["bytes"] == 3
    assert kept["attempts"][0]["packages"]["lead_kit"] and kept["attempts"][0]["machine"]["cpu"]
    assert read_metrics(run.path) == [
        {"step": 1, "split": "train", "reward": 0.5, "length": None},
        {"step": 1, "split": "validation", "pass@1": 0.25},
    ]
    assert not [p for p in run.path.rglob(".*")]  # no half-written file is left


def test_a_name_belongs_to_one_set_of_parameters(root):
    Run(settled(), "n").finish()
    with pytest.raises(InputError, match=r"exists with other parameters: steps was 3, now 5; choose another run_name"):
        Run(settled(steps=5), "n")
    assert not lock.held_by_another(root / "runs/a/s0")


def test_a_failed_run_that_wrote_nothing_does_not_hold_its_name(root):
    Run(settled(), "n")
    manifest.close_attempt(root / "runs/a/s0", "failed", "bad path")
    assert Run(settled(steps=5), "n").manifest["parameters"]["steps"] == 5


def test_the_same_run_again_keeps_what_the_first_wrote(root):
    run = Run(settled(), "n")
    run.log(1, "train", reward=1.0)
    run.finish()
    again = Run(settled(), "n")
    again.log(1, "train", reward=2.0)
    again.finish()
    assert [row["reward"] for row in read_metrics(run.path)] == [2.0]
    assert [row["reward"] for row in read_metrics(run.path / "attempts/1")] == [1.0]
    assert len(again.manifest["attempts"]) == 2


def test_what_an_attempt_wrote_is_kept_also_after_one_that_failed_with_nothing(root):
    """As `lead check` does it under one name: train, again, a wrong parameter, again, again."""
    folder = root / "runs/a/s0"

    def attempt(steps, reward=None):
        assert lock.acquire(folder)
        manifest.open_attempt(folder, settled(steps=steps), {}, root / "n.ipynb", replace=True)
        if reward is not None:
            (folder / "rollouts").mkdir()
            (folder / "rollouts/reward.txt").write_text(str(reward))
        manifest.close_attempt(folder, "failed" if reward is None else "done")

    for steps, reward in enumerate((1, 2, None, 3, 4), 1):
        attempt(steps, reward)
    kept = [int((folder / "attempts" / name / "rollouts/reward.txt").read_text()) for name in ("1", "2", "3")]
    assert kept == [1, 2, 3] and (folder / "rollouts/reward.txt").read_text() == "4"


@pytest.mark.parametrize("checkpoint, steps", [(False, []), (True, [1, 2])])
def test_an_interrupted_run_keeps_its_metrics_only_beside_a_complete_checkpoint(root, checkpoint, steps):
    run = Run(settled(), "n")
    for step in (1, 2):
        run.log(step, "train", reward=1.0)
    saved = run.output("checkpoints/checkpoint-1/state.txt")
    saved.write_text("1")
    if checkpoint:
        mark_complete(saved.parent)
    lock.release(run.path)
    again = Run(settled(), "n")
    assert [row["step"] for row in read_metrics(again.path)] == steps
    assert again.manifest["attempts"][0]["reason"] == "its process ended without closing the run"


def test_resuming_drops_later_metrics_and_rollouts(root):
    run = Run(settled(), "n")
    for step in (1, 2, 3):
        run.log(step, "train", reward=step)
        run.save_table(f"rollouts/step_{step:06d}.parquet", pandas.DataFrame({"step": [step]}))
    run.truncate_metrics(2)
    assert [row["step"] for row in read_metrics(run.path)] == [1, 2]
    assert [p.stem for p in sorted(run.path.glob("rollouts/*"))] == ["step_000001", "step_000002"]


def test_a_torn_last_line_is_left_out_and_cut_before_the_next(root):
    run = Run(settled(), "n")
    run.log(1, "train", reward=1.0)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "spl')
    assert len(read_metrics(run.path)) == 1
    run.log(3, "train", reward=3.0)
    assert [row["step"] for row in read_metrics(run.path)] == [1, 3]
    (run.path / "metrics.jsonl").write_text('{"step": 1}\noops\n{"step": 2}\n')
    with pytest.raises(InputError, match="line 2: not valid JSON"):
        read_metrics(run.path)


def test_a_second_live_writer_is_refused_and_a_dead_one_replaced(root):
    folder = root / "runs/a/s0"
    hold = "import sys; from pathlib import Path; from lead_kit.runs import lock; lock.acquire(Path(sys.argv[1]));"
    hold += "print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", hold, str(folder)], stdin=-1, stdout=-1)
    other.stdout.readline()
    with pytest.raises(InputError, match=f"being written by process {other.pid} on"):
        Run(settled(), "n")
    other.kill()
    other.communicate()
    assert Run(settled(), "n").path == folder


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc", "a//b", "", "a b", ".hidden", "a/.b"])
def test_a_name_that_is_no_path_below_runs_is_refused(root, name):
    with pytest.raises(InputError, match="run_name"):
        Run(settled(run_name=name), "n")


def test_a_run_inside_a_run_is_refused(root):
    Run(settled(run_name="a"), "n").finish()
    with pytest.raises(InputError, match="inside another run"):
        Run(settled(run_name="a/b"), "n")


def test_other_ranks_are_silent(root, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = Run(settled(), "n")
    run.log(1, "train", reward=1.0)
    run.save_text("a.txt", "a")
    run.progress(1, 3)
    run.finish()
    assert not (root / "runs").exists()


def test_the_process_count_is_asserted(root, monkeypatch):
    monkeypatch.setenv("LEAD_NPROC", "2")
    with pytest.raises(InputError, match="2 processes were expected and 1 started"):
        Run(settled(), "n")


def test_a_missing_input_names_what_is_near_and_an_output_stays_inside(root):
    (root / "train.parquet").write_text("")
    run = Run(settled(), "n")
    with pytest.raises(InputError, match="did you mean 'train.parquet'"):
        run.input("trian.parquet")
    with pytest.raises(ValueError, match="outside the run folder"):
        run.output("../x")


def test_what_makes_a_missing_input_is_named(root):
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": 'run_name: str = "02_sft"  # folder'}
    (root / "notebooks").mkdir()
    (root / "notebooks/02_sft.ipynb").write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(InputError, match="made by `lead run notebooks/02_sft.ipynb`"):
        Run(settled(), "n").input("runs/02_sft/model")
    with pytest.raises(InputError, match="no notebook writes it"):
        run_notebook_if_missing("runs/other/model")


def test_progress_prints_plain_lines_with_what_was_shown_last(root, capsys):
    run = Run(settled(), "n")
    run.progress(1, 3, reward=0.51234, **{"pass@1": 0.25})
    run.progress(2, 3, reward=0.6)  # within two seconds: no line
    time.sleep(0.01)
    run.progress(3, 3, reward=0.7)
    assert capsys.readouterr().out.splitlines() == [
        "step 1/3  reward 0.512  pass@1 0.25",
        "step 3/3  reward 0.7  pass@1 0.25  0:00 left",
    ]


def test_a_figure_is_saved_with_its_points(root):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.set_label("What it shows.")
    run = Run(settled(), "n")
    frame = pandas.DataFrame({"step": [1], "pass@1": [0.5]})
    path = run.save_figure("trend", figure, frame, folder="figures")
    first = path.read_bytes()
    assert path == root / "figures/trend.png" and Path(root / "figures/trend.csv").read_text() == "step,pass@1\n1,0.5\n"
    assert run.save_figure("trend", figure, frame, folder="figures").read_bytes() == first
    assert Path(root / "figures/trend.txt").read_text() == "What it shows.\n"  # the caption beside the image
    run.save_figure("quick", figure, pdf=False)
    assert sorted(p.name for p in (run.path / "figures").iterdir()) == ["quick.png", "quick.txt"]
    assert Path(root / "figures/trend.pdf").is_file()


def test_a_folder_takes_its_name_only_when_the_block_ends_well(root):
    with atomic(root / "model") as part:
        part.mkdir()
        (part / "a").write_text("1")
    with pytest.raises(RuntimeError), atomic(root / "model") as part:
        part.mkdir()
        raise RuntimeError
    assert [p.name for p in root.iterdir()] == ["model"] and (root / "model/a").read_text() == "1"


LIVE = """\
import os
from lead_kit.parameters import settle
from lead_kit.runs.run import Run
config = settle(globals())
run = Run(config, "live")
run.log(1, "train", reward=steps)
run.progress(1, 2, reward=0.5)
run.progress(2, 2, reward=0.5)"""


@pytest.mark.slow
def test_a_live_notebook_may_be_run_again_and_shows_a_bar(tmp_path, monkeypatch):
    manager = pytest.importorskip("jupyter_client.manager")
    monkeypatch.setenv("LEAD_ROOT", str(tmp_path))
    monkeypatch.setenv("JPY_SESSION_NAME", "live.ipynb")
    monkeypatch.delenv("LEAD_OWNER", raising=False)
    cell = "run_name: str = 'live'\nsteps: int = 1"
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    said = []

    def execute(source):
        return client.execute_interactive(source, timeout=60, output_hook=lambda m: said.append(m["content"]))[
            "content"
        ]

    try:
        assert execute(cell)["status"] == execute(LIVE)["status"] == execute(LIVE)["status"] == "ok", said
        assert any("tqdm" in str(word) or "2/2" in str(word) for word in said)
        assert not any("step 1/2" in str(word) for word in said)
        assert execute("run.finish()")["status"] == "ok"
        execute(cell.replace("1", "2"))
        assert "steps was 1, now 2" in execute(LIVE)["evalue"]
        execute(cell.replace("1", "2").replace("live", "other"))
        assert execute(LIVE)["status"] == "ok"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel()
    assert len(manifest.read_manifest(tmp_path / "runs/live")["attempts"]) == 2
    unfinished = manifest.read_manifest(tmp_path / "runs/other")["attempts"][0]
    assert unfinished["reason"] == "the kernel ended before the run was finished"

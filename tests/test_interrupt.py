"""Interrupt, then Run All, in a live kernel: one line, a checkpoint, no run that is done too early, the same end."""

import json
from pathlib import Path

import pytest

from lead_kit.runs import manifest
from lead_kit.runs.files import read_jsonl
from tests.laboratory import Lab
from tests.stack.lab import prepare

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.xdist_group("laboratory")]
DATA = {"model": "model", "train_data": "train.jsonl", "validation_data": "validation.jsonl"}
GRPO = DATA | {"steps": 6, "batch_size": 64, "max_tokens": 32, "validate_every": 3, "rollouts_every": 1}
SFT = DATA | {"steps": 150, "model": "tiny", "batch_size": 16, "micro_batch_size": 16}
EVALUATE = {"models": ["model"], "data_path": "validation.jsonl", "n": 200, "batch_size": 64, "max_tokens": 32}
CLOCK = ("seconds", "num_tokens")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def lab(root, forks):
    lab = Lab(root, **forks)
    yield lab
    lab.close()


def results(run: Path) -> tuple:
    """The weights and the metrics of a run, without those that a clock gave."""
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in read_jsonl(run / "metrics.jsonl")]
    return (run / "model/model.safetensors").read_bytes(), rows


@pytest.fixture(scope="module")
def whole(lab, root):
    """A run of 03 that nobody interrupted."""
    cell, reply = lab.run_all("03_grpo", run_name="whole", **GRPO)
    assert reply["status"] == "ok", (cell, reply)
    lab.seen = list(lab.said)
    return results(root / "runs/whole")


def test_a_live_training_shows_its_curves_in_one_place(lab, root, whole):
    frames = [m for m in lab.seen if "image/png" in m["content"].get("data", {}) and m["content"]["transient"]]
    assert [m["msg_type"] for m in frames[:2]] == ["display_data", "update_display_data"] and len(frames) >= 3
    assert len({m["content"]["transient"]["display_id"] for m in frames}) == 1
    shown = [m["content"]["data"]["text/plain"] for m in lab.seen if "text/html" in m["content"].get("data", {})]
    assert any(text.startswith("step 6/6  pass@1") for text in shown) and any("worst: " in text for text in shown)
    assert "step 6/6" in (root / "runs/whole/log.txt").read_text()


def test_an_interrupted_training_is_not_done_and_run_all_ends_as_if_nothing_had_happened(lab, root, whole):
    run, settings = root / "runs/cut", GRPO | {"run_name": "cut"}
    with lab.interrupted_at(run / "metrics.jsonl", 3):
        cell, reply = lab.run_all("03_grpo", **settings)
    assert (cell, reply["ename"]) == ("c16", "Interrupted"), reply
    reached = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert reply["traceback"] == [f"interrupted at {reached} of 6; Run All resumes"] and 1 < reached < 6
    assert (run / f"checkpoints/checkpoint-{2 * reached}/checkpoint.json").is_file()

    rows = read_jsonl(run / "metrics.jsonl")
    cell, reply = lab.run_all("03_grpo", first="c16")  # the training cell again
    assert cell == "c16" and "this trainer was already used" in reply["evalue"] and len(reply["traceback"]) == 1
    cell, reply = lab.run_all("03_grpo", first="c17")  # the cells below it
    assert cell == "c25" and f"is at step {reached} of 6, so it is not done" in reply["evalue"]
    assert rows == read_jsonl(run / "metrics.jsonl") and not (run / "done").exists()

    cell, reply = lab.run_all("03_grpo", **settings)
    assert reply["status"] == "ok", (cell, reply)
    assert results(run) == whole
    first, second = manifest.read_manifest(run)["attempts"]
    assert first["reason"] == f"interrupted at {reached} of 6; Run All resumes" and "reason" not in second
    assert (first["status"], second["status"]) == ("failed", "done")


@pytest.mark.long
def test_a_new_kernel_resumes_too(lab, root, whole):
    run, settings = root / "runs/restart", GRPO | {"run_name": "restart"}
    with lab.interrupted_at(run / "metrics.jsonl", 3):
        assert lab.run_all("03_grpo", **settings)[0] == "c16"
    lab.restart()
    cell, reply = lab.run_all("03_grpo", **settings)
    assert reply["status"] == "ok", (cell, reply)
    assert results(run) == whole


def test_a_second_interruption_stops_at_once_and_says_where_the_run_goes_on(lab, root):
    run, settings = root / "runs/twice", GRPO | {"run_name": "twice", "batch_size": 256, "validate_every": 0}
    with lab.interrupted_at(run / "metrics.jsonl", 1, times=2):
        cell, reply = lab.run_all("03_grpo", **settings)
    assert cell == "c16" and reply["traceback"][0].startswith("interrupted at "), reply
    assert reply["traceback"][0].endswith(("Run All begins anew", "Run All resumes"))
    assert "interrupt again to stop now" in lab.text()


def test_problems_that_fill_no_batch_are_refused(lab, root):
    cell, reply = lab.run_all("03_grpo", **GRPO | {"run_name": "few", "batch_size": 512, "validate_every": 0})
    assert cell == "c16" and "ended at step 0 of 6: its problems fill no batch" in reply["evalue"]


def test_fine_tuning_resumes_with_the_same_end(lab, root):
    run, settings = root / "runs/sft", SFT | {"run_name": "sft"}
    assert lab.run_all("02_sft", **SFT | {"run_name": "sft_whole"})[1]["status"] == "ok", lab.text()
    with lab.interrupted_at(run / "metrics.jsonl", 10):
        cell, reply = lab.run_all("02_sft", **settings)
    assert cell == "c11" and reply["traceback"][0].endswith(" of 150; Run All resumes"), reply
    assert "so it is not done" in lab.run_all("02_sft", first="c19")[1]["evalue"]  # `accuracy` is the other run's
    cell, reply = lab.run_all("02_sft", **settings)
    assert reply["status"] == "ok", (cell, reply)
    assert results(run)[0] == results(root / "runs/sft_whole")[0]


def test_an_evaluation_keeps_its_samples_and_goes_on(lab, root):
    run, settings = root / "runs/evaluation", EVALUATE | {"run_name": "evaluation"}
    with lab.interrupted_at(run / "samples.jsonl", 200):
        cell, reply = lab.run_all("04_evaluate", **settings)
    kept = [(row["id"], row["sample"], row["completion"]) for row in read_jsonl(run / "samples.jsonl")]
    assert cell == "c07" and reply["traceback"] == [f"interrupted at {len(kept)} of 3200 samples; Run All resumes"], (
        reply
    )
    assert "so it is not done" in lab.execute("run.finish()")["evalue"]
    cell, reply = lab.run_all("04_evaluate", **settings)
    assert reply["status"] == "ok", (cell, reply)
    after = [(row["id"], row["sample"], row["completion"]) for row in read_jsonl(run / "samples.jsonl")]
    assert after[: len(kept)] == kept and len(set(after)) == len(after) == 3200

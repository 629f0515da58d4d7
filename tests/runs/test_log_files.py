"""The ledger: rows come back as they were written, and a run is read by its extremes."""

import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.models.sampler import Completion
from lead_kit.report.curves import NOTHING_RIGHT, curve_sentence, curve_summary
from lead_kit.runs import log_files
from lead_kit.verify.verdict import Verdict

RECORD = {"id": "p1", "gold": "26", "level": 1.0}


def row(prompt: str, reward: float, length: int) -> dict:
    return {"id": prompt, "reward": reward, "length": length}


def test_a_sample_row_says_how_it_was_graded():
    verdict = Verdict("wrong", "25", "another integer", "exact", 0.0)
    graded = log_files.sample_row(RECORD, 3, Completion("\\boxed{25}", 7, True), verdict)
    assert (graded["correct"], graded["truncated"], graded["answer"], graded["gold"]) == (False, True, "25", "26")
    assert (graded["status"], graded["reason"], graded["sample"]) == ("wrong", "another integer", 3)


def test_rollouts_of_several_steps_are_read_in_order(tmp_path):
    for step in (10, 2):
        log_files.write_samples([row("a", 1.0, 5) | {"step": step}], tmp_path / "rollouts" / f"step_{step:06d}.parquet")
    assert log_files.read_rollouts(tmp_path)["step"].tolist() == [2, 10]
    assert not list(tmp_path.rglob(".*"))


def test_a_run_without_rollouts_is_named(tmp_path):
    with pytest.raises(InputError, match="has no rollouts"):
        log_files.read_rollouts(tmp_path)


def test_a_part_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "rollouts" / "step_000001.parquet"
    log_files.write_samples([row("a", 1.0, 5)], path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="step_000001.parquet is not a readable parquet file"):
        log_files.read_rollouts(tmp_path)


def test_a_curve_of_zeros_says_that_nothing_follows():
    curve = pd.DataFrame({"step": [0, 2], "pass@1": [0.0, 0.0], "length": [60.0, 61.0]})
    assert curve_sentence(curve) == NOTHING_RIGHT
    better = curve_sentence(curve.assign(**{"pass@1": [0.25, 0.5]}))
    assert "from 0.250 to 0.500" in better and "one run of one seed" in better
    assert curve_summary(curve.assign(**{"pass@1": [0.25, 0.5]}))["mean_pass@1"] == pytest.approx(0.375)

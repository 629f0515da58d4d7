"""`lead compare`: two runs on the same problems, in sentences."""

import json

import numpy as np
import pytest

from lead_kit.errors import InputError
from lead_kit.report.compare import compare_command, comparison


def write(folder, accuracy, ids=range(40), n=8, length=30, arms=(("grpo", 0),), draw=0):
    """A run folder with samples whose problems have accuracies round `accuracy`."""
    folder.mkdir(parents=True)
    random, rows = np.random.default_rng(draw), []
    for arm, seed in arms:
        for q in ids:
            hits = round(n * np.clip(accuracy + 0.4 * np.sin(3.0 * q), 0, 1))
            for k in range(n):
                tokens = int(length + random.integers(-5, 6))
                row = {
                    "id": f"p{q}",
                    "sample": k,
                    "arm": arm,
                    "seed": seed,
                    "benchmark": "toy",
                    "model": f"{arm}{seed}",
                }
                row |= {"correct": k < hits, "length": tokens, "truncated": False}
                rows.append(row | {"answer": str(k < hits), "gold": "True"})
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_difference_on_every_problem_is_found(tmp_path):
    told = comparison(write(tmp_path / "a", 0.7), write(tmp_path / "b", 0.5))
    assert told.startswith("pass@1 on 40 problems, 8 samples each")
    assert "A − B = +0.1" in told and "A is higher than B." in told and "bootstrap [+0.1" in told


def test_equal_runs_have_no_detectable_difference(tmp_path):
    told = comparison(write(tmp_path / "a", 0.6), write(tmp_path / "b", 0.6))
    assert "A − B = +0.000 [+0.000, +0.000]" in told and "equal on every problem" in told


def test_nothing_solved_is_not_certainly_zero(tmp_path):
    told = comparison(write(tmp_path / "a", -1.0), write(tmp_path / "b", -1.0))
    assert "A  0.000 [0.000, 0.088]" in told  # 1 - .025^(1/40)


def test_without_a_detectable_difference_the_smallest_detectable_one_is_said(tmp_path):
    told = comparison(write(tmp_path / "a", 0.6), write(tmp_path / "b", 0.6, draw=1), "length")
    assert "No detectable difference; this suite detects a true difference of" in told and "with 80% power" in told


def test_length_is_longer_or_shorter(tmp_path):
    told = comparison(write(tmp_path / "a", 0.6, length=20), write(tmp_path / "b", 0.6), "length")
    assert "A is shorter than B." in told


def test_several_seeds_widen_the_interval_to_new_seeds(tmp_path):
    both = [("grpo", 0), ("grpo", 1)]
    told = comparison(write(tmp_path / "a", 0.7, arms=both), write(tmp_path / "b", 0.5, arms=both))
    assert "(2 seeds)" in told and "over seeds and problems" in told


def test_one_arm_of_a_file_is_chosen_by_name(tmp_path):
    path = write(tmp_path / "a", 0.6, arms=[("grpo", 0), ("lead", 0)])
    assert "No detectable difference" in comparison(f"{path}@lead", f"{path}@grpo")
    with pytest.raises(InputError, match="holds arms grpo, lead: choose one, as in a@grpo"):
        comparison(path, path)
    with pytest.raises(InputError, match="no arm 'leed'"):
        comparison(f"{path}@leed", path)


def test_runs_that_cannot_be_paired_are_refused(tmp_path):
    a, b, c = (
        write(tmp_path / name, 0.6, ids=ids) for name, ids in (("a", range(40)), ("b", range(39)), ("c", range(50, 60)))
    )
    with pytest.raises(InputError, match="lacks 1 of 40 problems: p39"):
        comparison(a, b)
    with pytest.raises(InputError, match="no problem in common"):
        comparison(a, c)
    assert "missing problems are left out: p39" in comparison(a, b, missing="leave out")


def test_a_run_equals_itself(tmp_path):
    a = write(tmp_path / "a", 0.6)
    assert "No detectable difference" in comparison(a, a)


def test_unknown_metrics_and_runs_are_refused(tmp_path):
    a = write(tmp_path / "a", 0.6)
    with pytest.raises(InputError, match="no metric is called 'best@4'"):
        comparison(a, a, "best@4")
    with pytest.raises(InputError, match="does not exist"):
        comparison(a, str(tmp_path / "b"))


def test_the_command_prints_the_comparison(tmp_path, capsys):
    a = write(tmp_path / "a", 0.6)
    compare_command(a, write(tmp_path / "b", 0.6))
    assert "No detectable difference" in capsys.readouterr().out

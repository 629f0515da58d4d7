"""The newest experiment is compared by default, and what makes arms unlike beside the method is said."""

import json

import pytest

from lead_kit.report import curves
from lead_kit.runs import files, find


@pytest.fixture
def root(tmp_path, monkeypatch):
    for module in (files, find):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    return tmp_path


def write_run(root, name, start, steps, arm, **parameters):
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    rows = [{"step": step, "split": "validation", "pass@1": 0.5} for step in range(steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = {"notebook": "notebooks/03_grpo.ipynb", "status": "done", "start": f"2026-01-0{start}T00:00:00+00:00"}
    parameters = {"arm": arm, "seed": 0, "max_tokens": 96} | parameters
    (folder / "run.json").write_text(json.dumps(kept | {"parameters": parameters, "attempts": []}))


def test_the_newest_experiment_is_chosen_and_the_others_are_listed(root):
    for name, start in {"old/tiny/grpo-s0": 1, "new/tiny/grpo-s0": 2, "new/tiny/lead-s0": 4, "mine": 3}.items():
        write_run(root, name, start, 2, name)
    runs, sentence = curves.newest_experiment("pass@1")
    assert runs == ["runs/new/tiny/grpo-s0", "runs/new/tiny/lead-s0"]
    assert sentence == (
        "The newest experiment, with its number of runs: runs/new/tiny (2). "
        "Others: runs (1), runs/old/tiny (1); choose one with -p runs 'runs/*'"
    )
    assert curves.newest_experiment("loss")[0] == []


def test_arms_of_other_lengths_scales_or_experiments_are_named(root):
    write_run(root, "a/tiny/grpo-s0", 1, 2, "grpo")
    write_run(root, "a/tiny/lead-s0", 1, 2, "lead", length_alpha=0.1)  # the method is what is compared
    frame = curves.load_runs(["runs/a/tiny/*"])
    assert curves.differing_settings(frame, "pass@1") == {} and curves.settings_caption({}) == ""
    write_run(root, "b/8x80gb/long-s0", 1, 5, "long", max_tokens=4096)
    apart = curves.differing_settings(curves.load_runs(["runs/**"]), "pass@1")
    assert apart == {
        "experiment": "The arms differ in experiment: runs/a/tiny in grpo, lead; runs/b/8x80gb in long.",
        "last step": "The arms differ in last step: 2 in grpo, lead; 5 in long.",
        "max_tokens": "The arms differ in max_tokens: 96 in grpo, lead; 4096 in long.",
    }
    assert curves.settings_caption(apart) == "Beside the method, the arms differ in experiment, last step, max_tokens."


@pytest.mark.parametrize(
    ("values", "found"),
    [([0.5, None], True), ([None, None], False), ([float("nan")], False), ([0.0], True), ([], False)],
)
def test_what_a_run_logged_is_found_as_its_curves_find_it(root, values, found):
    write_run(root, "one", 1, 0, "grpo")
    rows = [{"step": step, "split": "validation", "reward": value} for step, value in enumerate(values, 1)]
    rows += [{"step": step, "split": "train", "reward": 1.0} for step in range(3)]
    folder = root / "runs" / "one"
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert bool(curves.newest_experiment("reward")[0]) == found
    assert bool(len(curves.runs_that_logged(curves.load_runs([folder]), "reward"))) == found


def test_a_step_that_was_logged_again_counts_with_its_newest_line(root):
    write_run(root, "one", 1, 0, "grpo")
    folder = root / "runs" / "one"
    rows = [{"step": 1, "split": "validation", "reward": value} for value in (0.5, None)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not curves.newest_experiment("reward")[0]
    assert not len(curves.runs_that_logged(curves.load_runs([folder]), "reward"))

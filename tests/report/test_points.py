"""Points of runs: what is kept of each problem, and that a table of points is that of the runs."""

import pandas as pd
import pytest

from lead_kit.evaluate import graded_samples
from lead_kit.report import curves, points
from lead_kit.runs.files import write_text


def validation(correct, length):
    """Two problems with two samples each."""
    rows = {"id": ["p", "p", "q", "q"], "correct": correct, "length": length, "truncated": [False] * 3 + [True]}
    return pd.DataFrame(rows).assign(completion="a text that is not kept")


def run_with_validations(folder):
    (folder / "validation").mkdir(parents=True)
    write_text(folder / "run.json", '{"parameters": {"arm": "lead", "seed": 3}}')
    write_text(folder / "metrics.jsonl", '{"step": 0, "split": "validation", "pass@1": 0.75, "length": 5.0}\n')
    validation([True, False, True, True], [2, 4, 6, 8]).to_parquet(folder / "validation" / "step_000000.parquet")
    return curves.load_runs([str(folder)])


def test_a_problem_keeps_its_means_and_no_text(tmp_path):
    table = points.tables(run_with_validations(tmp_path / "a"), None, pd.DataFrame())["validation.parquet"]
    assert table[["id", "pass@1", "length", "truncated", "samples"]].to_numpy().tolist() == [
        ["p", 0.5, 3.0, 0.0, 2],
        ["q", 1.0, 7.0, 0.5, 2],
    ]
    assert set(table["arm"]) == {"lead"} and set(table["seed"]) == {3} and set(table["step"]) == {0}
    assert not table.isin(["a text that is not kept"]).any(axis=None)


def test_points_are_read_like_runs(tmp_path):
    frame = run_with_validations(tmp_path / "a")
    points.tables(frame, None, pd.DataFrame())["validation.parquet"].to_parquet(tmp_path / "validation.parquet")
    read = curves.load_runs([str(tmp_path / "validation.parquet")])
    keys = ["run", "arm", "seed", "step", "split", "pass@1", "length"]
    assert read[keys].to_numpy().tolist() == frame[keys].to_numpy().tolist()
    assert read["truncated"].tolist() == [0.25]


def test_samples_keep_what_their_metrics_need(tmp_path):
    rows = [
        {"arm": "lead", "seed": 0, "benchmark": "b", "id": "p", "sample": number, "gold": "2", "answer": answer,
         "length": 3, "truncated": False, "correct": answer == "2", "level": 1.0, "completion": "long"}
        for number, answer in enumerate(["2", "3", "3"])
    ]  # fmt: skip
    samples = pd.DataFrame(rows).assign(run="r")
    kept = points.tables(samples.iloc[:0], samples, pd.DataFrame())["evaluation.parquet"]
    assert "completion" not in kept
    kept.to_parquet(tmp_path / "evaluation.parquet")
    (_, whole), (_, read) = (
        next(iter(graded_samples.suites(frame).items()))
        for frame in (samples, graded_samples.load_samples([str(tmp_path / "evaluation.parquet")]))
    )
    assert read.samples.cluster.tolist() == whole.samples.cluster.tolist() == [[0, 1, 1]]
    assert read.samples.length.tolist() == whole.samples.length.tolist()


def test_words_are_counted_in_the_first_and_the_last_batch(tmp_path):
    folder = tmp_path / "a"
    (folder / "rollouts").mkdir(parents=True)
    texts = {1: ["so we check", "we add"], 9: ["check check", "we check"]}
    for step, completions in texts.items():
        rows = pd.DataFrame({"step": step, "group": 0, "completion": completions})
        rows.to_parquet(folder / "rollouts" / f"step_{step:06d}.parquet")
    frame = pd.DataFrame([{"run": str(folder), "arm": "lead", "seed": 0}])
    words = points.tables(frame, None, pd.DataFrame({"step": [1]}))["words.csv"].set_index("word")
    assert words.loc["check", ["before", "after"]].tolist() == pytest.approx([0.5, 1.5])
    assert words.loc["add", ["before", "after"]].tolist() == pytest.approx([0.5, 0.0])

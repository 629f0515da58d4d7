"""Samples files, good and broken: what is wrong is named, refused, or mended by choice and told."""

import json

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from lead_kit.errors import InputError
from lead_kit.evaluate import graded_samples, metrics


def rows(run="run", ids=("a", "b", "c"), n=2, **more):
    """Samples of one run; the first sample of each problem is right."""
    made = [
        {"id": name, "sample": k, "correct": k == 0, "length": 10 + k, "truncated": False}
        for name in ids
        for k in range(n)
    ]
    labels = {"run": run, "arm": run, "seed": 0, "benchmark": "toy"} | more
    return pd.DataFrame(made).assign(**labels)


def refused(frame, **arguments) -> str:
    with pytest.raises(InputError) as error:
        graded_samples.require_rectangular(frame, **arguments)
    return str(error.value)


def test_complete_samples_pass_without_a_note():
    frame, notes = graded_samples.require_rectangular(rows())
    assert len(frame) == 6 and notes == []


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([("m/a", "grpo", 0), ("m/b", "lead", 1)], ["of m/a grpo 0", "of m/b lead 1"]),
        ([("m/a", "grpo", 0), ("m/b", "grpo", 0)], ["of m/a", "of m/b"]),
        ([("m/a", "grpo", 0), ("m/a", "grpo", 3)], ["of 0", "of 3"]),
        ([("m/a", "grpo", 0)], [""]),
    ],
)
def test_a_file_of_several_models_holds_a_run_of_each(tmp_path, labels, names):
    frames = [rows().drop(columns="run").assign(model=m, arm=arm, seed=seed) for m, arm, seed in labels]
    path = tmp_path / "samples.jsonl"
    pd.concat(frames).to_json(path, orient="records", lines=True)
    frame = graded_samples.load_samples([str(path)])
    assert list(dict.fromkeys(frame["run"])) == [f"{path} {name}".strip() for name in names]


def test_a_missing_problem_is_named():
    both = pd.concat([rows("one"), rows("two", ids=("a", "c"))])
    assert "two lacks 1 of 3 problems: b" in refused(both)


def test_a_missing_problem_can_be_left_out_of_every_run():
    both = pd.concat([rows("one"), rows("two", ids=("a", "c"))])
    frame, notes = graded_samples.require_rectangular(both, missing="leave out")
    assert set(frame["id"]) == {"a", "c"} and "left out" in notes[0]


def test_mixed_numbers_of_samples_are_named():
    frame = rows(n=3).drop(index=[4, 5])  # problem b keeps one of three
    assert "b has 1" in refused(frame)


def test_mixed_numbers_can_be_cut_to_the_fewest():
    frame, notes = graded_samples.require_rectangular(rows(n=3).drop(index=[4, 5]), uneven_samples="fewest")
    assert set(frame.groupby("id").size()) == {1} and "cut to 1" in notes[0]


def test_runs_with_different_numbers_of_samples_are_refused_or_cut():
    both = pd.concat([rows("one", n=2), rows("two", n=4)])
    assert "different numbers of samples" in refused(both)
    frame, notes = graded_samples.require_rectangular(both, uneven_samples="fewest")
    assert len(frame) == 12 and notes[0].startswith("All runs are cut to 2 samples per problem (one: a has 2")


def test_a_sample_that_is_there_twice_is_named():
    frame = pd.concat([rows(), rows().iloc[[3]].assign(correct=True)])
    assert "b sample 1" in refused(frame)


def test_two_benchmarks_are_not_averaged():
    assert "AIME24, toy" in refused(pd.concat([rows(), rows("two", benchmark="AIME24")]))


def test_an_unknown_way_to_mend_is_refused():
    assert "missing is 'zero', expected one of refuse, leave out" in refused(rows(), missing="zero")


def test_an_answer_needs_an_end_and_something_to_read():
    frame = rows(ids=("a",), n=4).assign(answer=["7", "8", None, ""], gold="7", correct=[True, False, False, False])
    frame["truncated"] = [False, True, False, False]
    samples = graded_samples.suite(frame).samples
    assert samples.answered.tolist() == [[1, 0, 0, 0]]
    assert samples.truncated.tolist() == [[0, 1, 0, 0]]
    assert samples.cluster.tolist() == [[0, -1, -1, -1]]


def test_wrong_answers_vote_by_equivalence():
    frame = rows(ids=("a",), n=5).assign(
        answer=["7", "7", "1/2", "0.5", "2/4"], gold="7", correct=[True, True, False, False, False]
    )
    samples = graded_samples.suite(frame).samples
    assert metrics.cons_at_n(samples.correct, samples.cluster) == approx(
        [0.0]
    )  # three equal wrong ones against two right


def test_without_lengths_the_mean_length_is_missing_not_zero():
    samples = graded_samples.suite(rows().drop(columns="length")).samples
    assert np.isnan(metrics.measure(samples, "length").numerator).all()


def write(path, frame):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    return path


def test_samples_come_with_the_labels_of_their_run(tmp_path):
    folder = write(
        tmp_path / "evaluate-grpo-s3/samples.jsonl", rows().drop(columns=["run", "arm", "seed", "benchmark"])
    ).parent
    frame = graded_samples.load_samples([str(folder)])
    assert set(frame["arm"]) == {"evaluate-grpo"} and set(frame["seed"]) == {3}
    (folder / "run.json").write_text(json.dumps({"parameters": {"arm": "lead", "seed": 7}}))
    frame = graded_samples.load_samples([str(folder)])
    assert set(frame["arm"]) == {"lead"} and set(frame["seed"]) == {7}


def test_one_file_of_two_models_is_two_runs(tmp_path):
    two = [rows(arm=arm, model=arm).drop(columns="run") for arm in ("grpo", "lead")]
    path = write(tmp_path / "samples.jsonl", pd.concat(two))
    frame, _ = graded_samples.require_rectangular(graded_samples.load_samples([str(path)]))
    assert list(graded_samples.suites(frame)) == [("grpo", 0), ("lead", 0)]


def test_a_training_run_is_read_at_its_last_validation(tmp_path):
    for step in (10, 20):
        path = tmp_path / f"train/validation/step_{step:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows().drop(columns="run").assign(correct=step == 20).to_parquet(path)
    assert graded_samples.load_samples([str(tmp_path / "train")])["correct"].all()


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"id": "a", "sample": 0, "correct": true}\n{"id": "b", "samp\n')
    with pytest.raises(InputError, match="line 2: not valid JSON"):
        graded_samples.load_samples([str(path)])


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    path = write(tmp_path / "samples.jsonl", pd.DataFrame([{"id": "a", "samples": 0, "correct": True}]))
    with pytest.raises(InputError, match="no column 'sample' .did you mean 'samples'"):
        graded_samples.load_samples([str(path)])


def test_a_verdict_that_is_neither_true_nor_false_is_named(tmp_path):
    path = write(tmp_path / "samples.jsonl", pd.DataFrame([{"id": "a", "sample": 0, "correct": None}]))
    with pytest.raises(InputError, match="row 1: correct is None"):
        graded_samples.load_samples([str(path)])


def test_the_same_arm_and_seed_twice_is_refused():
    with pytest.raises(InputError, match="more than once"):
        graded_samples.suites(pd.concat([rows("one", arm="x"), rows("two", arm="x")]))

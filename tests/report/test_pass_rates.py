"""Counts of right samples for each problem, from runs, evaluations and columns."""

import json

import numpy as np
import pytest

from lead_kit.errors import InputError
from lead_kit.report import stage_plan


def write_samples(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_samples_of_an_evaluation_are_counted(tmp_path):
    rows = [{"id": i, "correct": c, "length": n} for i, c, n in [("a", True, 10), ("a", False, 30), ("b", False, 5)]]
    counts = stage_plan.hits_of_samples(write_samples(tmp_path, rows))
    assert counts.to_dict("records") == [
        {"id": "a", "hits": 1, "n": 2},
        {"id": "b", "hits": 0, "n": 1},
    ]
    assert stage_plan.pass_rates(counts) == {"a": 0.5, "b": 0.0}


def test_models_are_not_mixed(tmp_path):
    rows = [{"id": "a", "correct": m == "new", "model": m} for m in ("old", "new")]
    folder = write_samples(tmp_path / "both", rows)
    with pytest.raises(InputError, match="holds several models: choose one, as in both@new"):
        stage_plan.hits_of_samples(folder)
    assert stage_plan.hits_of_samples(folder, "new")["hits"].tolist() == [1]
    with pytest.raises(InputError, match="has no model 'newer' .did you mean 'new'"):
        stage_plan.hits_of_samples(folder, "newer")


def test_a_record_without_samples_or_column_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no rollouts and no samples.jsonl"):
        stage_plan.hits_of_samples(tmp_path)
    with pytest.raises(InputError, match="has no column 'correct'"):
        stage_plan.hits_of_samples(write_samples(tmp_path / "x", [{"id": "a", "length": 3}]))
    for row, told in (
        ({"correct": 0.5}, "row 1: correct is 0.5"),
        ({"correct": True, "length": "9"}, "length is '9', expected a number of tokens"),
    ):
        with pytest.raises(InputError, match=told):
            stage_plan.hits_of_samples(write_samples(tmp_path / "y", [{"id": "a"} | row]))


def test_a_column_of_sixteenths_has_sixteen_samples():
    records = [{"id": str(k), "problem": "p", "correctness": k / 16} for k in (1, 8, 16)]
    counts = stage_plan.hits_of_column(records, "correctness")
    assert counts["hits"].tolist() == [1, 8, 16] and set(counts["n"]) == {16}
    assert stage_plan.hits_of_column(records, "correctness", 32)["hits"].tolist() == [2, 16, 32]


@pytest.mark.parametrize(
    "value, told",
    [
        (1.5, "is 1.5, expected a share from 0 to 1"),
        ("half", "is 'half', expected a share"),
        (1 / np.pi, "which is no multiple of 1/256: give the number of samples"),
    ],
)
def test_a_column_that_holds_no_shares_is_refused(value, told):
    with pytest.raises(InputError, match=told):
        stage_plan.hits_of_column([{"id": "0", "correctness": value}], "correctness")


def test_a_misspelt_column_is_answered_with_the_nearest():
    records = [{"id": "0", "problem": "p", "correctness": 0.25}]
    with pytest.raises(InputError, match="'corectness': neither a run with rollouts nor a column .did you mean"):
        stage_plan.hits_of_column(records, "corectness")
    with pytest.raises(InputError, match="0.25, which is no multiple of 1/3"):
        stage_plan.hits_of_column(records, "correctness", 3)

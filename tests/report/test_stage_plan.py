"""The plan of a stage as a table and in sentences; the Beta variable behind it by simulation."""

import json

import numpy as np
import pandas as pd
import pytest

from lead_kit.cli import main
from lead_kit.data import load
from lead_kit.errors import InputError
from lead_kit.report import stage_plan

RULE = stage_plan.RULES["grpo_lead"]
COUNTS = pd.DataFrame({"id": list("abcd"), "hits": [0, 4, 12, 16], "n": 16})


def test_each_problem_has_its_part_and_how_sure_it_is():
    planned = stage_plan.plan_table(COUNTS, RULE)
    assert planned["part"].tolist() == [stage_plan.NEVER, stage_plan.KEPT, stage_plan.KEPT, stage_plan.EASY]
    assert planned["sure"][1] > 0.99 > planned["sure"][2] > 0.4
    told = "\n".join(stage_plan.describe_plan(planned, RULE, added=100))
    assert "2 are kept, 1 were never solved, 1 were solved too often" in told and "has 102 problems" in told
    wrong = 2 - planned["sure"][1] - planned["sure"][2]
    assert f"Of the 2 kept, {wrong:.0f} ({wrong / 2:.0%}) are truly above 0.75, by expectation." in told


def test_nothing_kept_and_nothing_known_are_said():
    planned = stage_plan.plan_table(COUNTS.iloc[[0, 3]], RULE)
    assert stage_plan.describe_plan(planned, RULE)[-1].startswith("Nothing is kept")
    with pytest.raises(InputError, match="none of these problems has a pass rate"):
        stage_plan.plan_table(COUNTS.iloc[:0], RULE)


def test_the_command_writes_tables_and_figure(tmp_path, capsys):
    rows = [
        {"id": i, "correct": k < hits, "length": 10} for i, hits in {"a": 0, "b": 3, "c": 8}.items() for k in range(8)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["plan-stage", str(tmp_path / "samples.jsonl"), "--out", str(tmp_path / "out")]) == 0
    assert "3 problems, 8 samples each: 1 are kept" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "out" / "problems.csv")["part"].tolist() == [
        "never solved",
        "kept",
        "solved too often",
    ]


@pytest.mark.parametrize(
    "words, told",
    [
        (["nowhere"], "nowhere does not exist: expected a run folder or a file of samples"),
        (["nowhere", "--rule", "grpo"], "did you mean 'grpo_lead'"),
        (["nowhere", "--samples", "-1"], "--samples -1: expected 1 or more"),
    ],
)
def test_bad_input_is_one_sentence(words, told, capsys):
    assert main(["plan-stage", *words]) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


def test_the_released_second_stage_keeps_half_of_its_rows_at_most_three_quarters_solved(lead_data):
    records = load.load_problems(lead_data / "train" / "grpo_lead_stage23.jsonl")
    planned = stage_plan.plan_table(stage_plan.hits_of_column(records, "correctness"), RULE)
    kept, easy = (planned[planned["part"] == part] for part in (stage_plan.KEPT, stage_plan.EASY))
    assert (len(kept), len(easy), set(planned["n"])) == (1720, 1733, {16})
    assert (1 - kept["sure"]).mean() == pytest.approx(0.11, abs=0.01)  # truly above .75
    assert (1 - easy["sure"]).mean() == pytest.approx(0.07, abs=0.01)  # truly at most .75


def test_the_rule_of_grpo_lead_leaves_out_never_and_too_often():
    counts = pd.DataFrame({"id": list("abcde"), "hits": [0, 1, 12, 13, 16], "n": 16})
    kept = (stage_plan.plan_table(counts, RULE)["part"] == stage_plan.KEPT).tolist()
    assert kept == [False, True, True, False, False]
    counts = pd.DataFrame({"id": list("abcd"), "hits": [0, 89, 90, 100], "n": 100})
    planned = stage_plan.plan_table(counts, stage_plan.RULES["retire_solved"])
    assert (planned["part"] == stage_plan.KEPT).tolist() == [True, True, False, False]


@pytest.mark.parametrize("never_seen", [False, True])
def test_the_prior_is_found_again_and_the_errors_foretold(never_seen):
    random = np.random.default_rng(0)
    p = random.beta(0.8, 0.5, 20000)
    hits = random.binomial(16, p)
    if never_seen:  # a set from which what was never solved has been removed
        p, hits = p[hits > 0], hits[hits > 0]
    assert stage_plan._fitted_prior(hits, np.full(len(hits), 16)) == pytest.approx((0.8, 0.5), rel=0.08)
    planned = stage_plan.plan_table(pd.DataFrame({"hits": hits, "n": 16}), RULE)
    kept, easy = ((planned["part"] == part).to_numpy() for part in (stage_plan.KEPT, stage_plan.EASY))
    wrong = 1 - planned["sure"].to_numpy()
    assert wrong[kept].mean() == pytest.approx((p[kept] > 0.75).mean(), abs=0.01)
    assert wrong[easy].mean() == pytest.approx((p[easy] <= 0.75).mean(), abs=0.01)


def test_one_problem_has_a_prior_within_bounds():
    prior = stage_plan._fitted_prior([4], [4])
    assert all(stage_plan._BOUNDS[0] <= value <= stage_plan._BOUNDS[1] for value in prior)


def write_samples(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_samples_of_an_evaluation_are_counted(tmp_path):
    rows = [{"id": i, "correct": c, "length": n} for i, c, n in [("a", True, 10), ("a", False, 30), ("b", False, 5)]]
    counts = stage_plan.hits_of_samples(write_samples(tmp_path, rows))
    assert counts.to_dict("records") == [{"id": "a", "hits": 1, "n": 2}, {"id": "b", "hits": 0, "n": 1}]
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

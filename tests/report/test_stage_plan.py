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

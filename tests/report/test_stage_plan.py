"""The plan of a stage in tables, sentences and a figure; the Beta variable behind it by hand and by simulation."""

import json

import numpy as np
import pandas as pd
import pytest

from lead_kit.cli import main
from lead_kit.data import load
from lead_kit.errors import InputError
from lead_kit.report import evaluation_figures, stage_plan

RULE = stage_plan.RULES["grpo_lead"]
COUNTS = pd.DataFrame({"id": list("abcd"), "hits": [0, 4, 12, 16], "n": 16, "tokens": [9.0, 10.0, 20.0, 5.0]})


def test_each_problem_has_its_part_and_how_sure_it_is():
    planned = stage_plan.plan_table(COUNTS, RULE)
    assert planned["part"].tolist() == [stage_plan.NEVER, stage_plan.KEPT, stage_plan.KEPT, stage_plan.EASY]
    assert planned["sure"][1] > 0.99 > planned["sure"][2] > 0.4
    told = "\n".join(stage_plan.describe_plan(planned, RULE, added=100))
    assert "2 are kept, 1 were never solved, 1 were solved too often" in told and "has 102 problems" in told
    assert "120 at G 4" in told  # (10 + 20) · 4


def test_without_lengths_the_tokens_are_named_as_missing():
    planned = stage_plan.plan_table(COUNTS.assign(tokens=np.nan), RULE)
    assert "no lengths" in stage_plan.describe_plan(planned, RULE)[-1]


def test_nothing_kept_and_nothing_known_are_said():
    planned = stage_plan.plan_table(COUNTS.iloc[[0, 3]], RULE)
    assert stage_plan.describe_plan(planned, RULE)[-1].startswith("Nothing is kept")
    assert set(stage_plan.unmixed_shares(planned)["problems"]) == {"all"}
    with pytest.raises(InputError, match="none of these problems has a pass rate"):
        stage_plan.plan_table(COUNTS.iloc[:0], RULE)


def test_the_figure_shows_parts_and_group_sizes():
    planned = stage_plan.plan_table(COUNTS, RULE)
    shares = stage_plan.unmixed_shares(planned)
    top, bottom = evaluation_figures.stage_plan(planned, shares, 0.75).axes
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["4", "8", "16", "32", "64"]
    assert sum(bar.get_height() for bar in top.patches) == 4 and bottom.get_ylim()[0] == 0


def test_the_command_writes_tables_and_figure(tmp_path, capsys):
    rows = [
        {"id": i, "correct": k < hits, "length": 10} for i, hits in {"a": 0, "b": 3, "c": 8}.items() for k in range(8)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["plan-stage", str(tmp_path / "samples.jsonl"), "--out", str(tmp_path / "out")]) == 0
    assert "3 problems, 8 samples each: 1 are kept" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"problems.csv", "all_right_or_all_wrong.csv", "stage_plan.png", "stage_plan.pdf"}


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
    assert kept["again"].mean() == pytest.approx(0.84, abs=0.01)


def test_the_rule_of_grpo_lead_leaves_out_never_and_too_often():
    assert stage_plan._passes_rule([0, 1 / 16, 0.75, 13 / 16, 1], RULE).tolist() == [False, True, True, False, False]
    solved = stage_plan.RULES["retire_solved"]
    assert stage_plan._passes_rule([0, 0.89, 0.9, 1], solved).tolist() == [True, True, False, False]


def test_the_interval_reaches_to_the_ends_and_narrows_with_samples():
    low, high = stage_plan._beta_interval([0, 8, 16, 80], [16, 16, 16, 160])
    assert (low[0], high[2]) == (0, 1) and high[0] == pytest.approx(0.1432, abs=1e-4)  # Beta(.5, 16.5) at .975
    assert low[1] + high[1] == pytest.approx(1)
    assert high[3] - low[3] < (high[1] - low[1]) / 2.5


def test_expected_all_right_or_all_wrong_groups_by_hand():
    # posterior Beta(1, 1): E[p²] + E[(1−p)²] = 1/3 + 1/3;   Beta(2, 1): E[p²] = 1/2, E[(1−p)²] = 1/6
    flat = stage_plan.Prior(1, 1)
    assert stage_plan._share_all_right_or_all_wrong([0, 1], [0, 1], flat, 2) == pytest.approx([2 / 3, 2 / 3])
    share = stage_plan._share_all_right_or_all_wrong([5000], [10000], flat, 4)
    assert share == pytest.approx([2 / 16], rel=1e-3)  # p = ½: 2 · ½⁴


def test_kept_again_is_the_beta_binomial_chance():
    # of two samples, one hit is kept: posterior Beta(3, 1), P(1 of 2) = 2 B(4, 2)/B(3, 1) = 2 · (1/20) · 3
    # of one sample the rate is 0 or 1, which is never kept
    again = stage_plan._probability_same_decision([2, 1], [2, 1], stage_plan.Prior(1, 1), RULE)
    assert again == pytest.approx([0.3, 0])


@pytest.mark.parametrize("never_seen", [False, True])
def test_the_prior_is_found_again_and_the_noise_foretold(never_seen):
    random = np.random.default_rng(0)
    p = random.beta(0.8, 0.5, 20000)
    hits = random.binomial(16, p)
    if never_seen:  # a set from which what was never solved has been removed
        p, hits = p[hits > 0], hits[hits > 0]
    n = np.full(len(hits), 16)
    prior = stage_plan._fitted_prior(hits, n)
    assert prior == pytest.approx((0.8, 0.5), rel=0.08)
    keep = stage_plan._passes_rule(hits / 16, RULE)
    wrong = 1 - stage_plan._probability_within(hits, n, prior, RULE)
    assert wrong[keep].mean() == pytest.approx((p[keep] > 0.75).mean(), abs=0.01)
    again = stage_plan._passes_rule(random.binomial(16, p) / 16, RULE)
    foretold = stage_plan._probability_same_decision(hits, n, prior, RULE)
    assert foretold[keep].mean() == pytest.approx(again[keep].mean(), abs=0.01)


def test_one_problem_has_a_prior_within_bounds():
    prior = stage_plan._fitted_prior([4], [4])
    assert all(stage_plan._BOUNDS[0] <= value <= stage_plan._BOUNDS[1] for value in prior)

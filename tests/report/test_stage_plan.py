"""The plan of a stage in tables, sentences and a figure, and the command that prints it."""

import json

import numpy as np
import pandas as pd
import pytest

from lead_kit.cli import main
from lead_kit.data import load
from lead_kit.errors import InputError
from lead_kit.evaluate import stage
from lead_kit.evaluate.stage import RULES
from lead_kit.report import evaluation_figures, stage_plan

COUNTS = pd.DataFrame({"id": list("abcd"), "hits": [0, 4, 12, 16], "n": 16, "tokens": [9.0, 10.0, 20.0, 5.0]})


def test_each_problem_has_its_part_and_how_sure_it_is():
    planned = stage_plan.plan_table(COUNTS, RULES["grpo_lead"])
    assert planned["part"].tolist() == [stage_plan.NEVER, stage_plan.KEPT, stage_plan.KEPT, stage_plan.EASY]
    assert planned["sure"][1] > 0.99 > planned["sure"][2] > 0.4
    told = "\n".join(stage_plan.describe_plan(planned, RULES["grpo_lead"], added=100))
    assert "2 are kept, 1 were never solved, 1 were solved too often" in told and "has 102 problems" in told
    assert "120 at G 4" in told  # (10 + 20) · 4


def test_without_lengths_the_tokens_are_named_as_missing():
    planned = stage_plan.plan_table(COUNTS.assign(tokens=np.nan), RULES["grpo_lead"])
    assert "no lengths" in stage_plan.describe_plan(planned, RULES["grpo_lead"])[-1]


def test_nothing_kept_and_nothing_known_are_said():
    planned = stage_plan.plan_table(COUNTS.iloc[[0, 3]], RULES["grpo_lead"])
    assert stage_plan.describe_plan(planned, RULES["grpo_lead"])[-1].startswith("Nothing is kept")
    assert set(stage_plan.unmixed_shares(planned, (planned["part"] == stage_plan.KEPT).to_numpy())["problems"]) == {
        "all"
    }
    with pytest.raises(InputError, match="none of these problems has a pass rate"):
        stage_plan.plan_table(COUNTS.iloc[:0], RULES["grpo_lead"])


def test_the_figure_shows_parts_and_group_sizes():
    planned = stage_plan.plan_table(COUNTS, RULES["grpo_lead"])
    shares = stage_plan.unmixed_shares(planned, (planned["part"] == stage_plan.KEPT).to_numpy())
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
    planned = stage_plan.plan_table(stage.hits_of_column(records, "correctness"), RULES["grpo_lead"])
    kept, easy = (planned[planned["part"] == part] for part in (stage_plan.KEPT, stage_plan.EASY))
    assert (len(kept), len(easy), set(planned["n"])) == (1720, 1733, {16})
    assert (1 - kept["sure"]).mean() == pytest.approx(0.11, abs=0.01)  # truly above .75
    assert (1 - easy["sure"]).mean() == pytest.approx(0.07, abs=0.01)  # truly at most .75
    assert kept["again"].mean() == pytest.approx(0.84, abs=0.01)

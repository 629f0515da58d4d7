"""`lead score` and `lead verify`: rows in, table and verdicts out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lead_kit.errors import InputError
from lead_kit.evaluate.score import read_problems, score_command, verify_command
from lead_kit.runs.files import read_jsonl

ROWS = [
    {"id": "a", "answer": "1/2", "completions": ["\\boxed{0.5}", "\\boxed{\\frac12}", "\\boxed{3}", "none"]},
    {"id": "b", "answer": ["3", "4"], "completions": ["\\boxed{4}", "\\boxed{7}", "\\boxed{7.0}", "The answer is 3"]},
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_the_table_counts_votes_by_equivalence(tmp_path, capsys):
    score_command(write(tmp_path / "x.jsonl", ROWS))
    shown = capsys.readouterr().out
    # a: 2 of 4 right, and they win the vote; b: 1 of 4 right, 7 and 7.0 win the vote
    assert "Pass@1        0.3750" in shown and "Cons@4        0.5000" in shown and "Pass@4        1.0000" in shown
    verdicts = [json.loads(line) for line in (tmp_path / "x.verdicts.jsonl").read_text().splitlines()]
    assert [row["correct"] for row in verdicts] == [True, True, False, False, True, False, False, False]
    assert [row["status"] for row in verdicts].count("no_answer") == 2


def test_problems_with_different_numbers_of_samples_count_alike(tmp_path, capsys):
    rows = [ROWS[0], {"id": "c", "answer": "2", "completions": ["\\boxed{3}", "\\boxed{2}"]}]
    score_command(write(tmp_path / "x.jsonl", rows))
    shown = capsys.readouterr().out
    # a: 2 of 4 right, and they win the vote; c: 1 of 2 right, a tie. Pass@2: a 1 - (2 over 2)/(4 over 2) = 5/6, c 1
    assert "Pass@1        0.5000" in shown and "Cons@2        0.7500" in shown and "Pass@2        0.9167" in shown


def test_the_loose_mode_also_reads_answers_without_a_box(tmp_path, capsys):
    score_command(write(tmp_path / "x.jsonl", ROWS), loose=True)
    assert "Pass@1        0.5000" in capsys.readouterr().out


def test_rows_of_one_sample_are_gathered_by_problem(tmp_path):
    rows = [{"id": 1, "answer": 5, "completion": text} for text in ("\\boxed{5}", "\\boxed{6}")]
    (problem,) = read_problems(tmp_path / write(tmp_path / "x.jsonl", rows))
    assert problem.completions == ["\\boxed{5}", "\\boxed{6}"] and problem.golds == ["5"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"id": 1, "completion": "x"}', "line 2: no 'answer'; it has completion, id"),
        ('{"id": 1, "answer": "2"}', "line 2: expected 'completions'"),
        ('{"id": 1, "answer": "2", "completions": [null]}', "line 2: expected 'completions'"),
        ('{"id": 1, "answer": [], "completion": "x"}', "line 2: answer is []"),
        ('{"id": "a", "answer": "2", "completion": "x"}', "line 2: answer ['2'] of 'a' was ['1/2'] in an earlier row"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, said):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(InputError) as caught:
        read_problems(path)
    assert said in str(caught.value)


def test_mistakes_are_told_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        score_command(str(tmp_path / "nothing.jsonl"))
    with pytest.raises(InputError, match="k is 9, expected 1 to 4"):
        score_command(write(tmp_path / "x.jsonl", ROWS), k=9)
    with pytest.raises(InputError, match="cannot be graded"):
        verify_command(" ", answer="3")
    with pytest.raises(InputError, match="give either"):
        verify_command("3")


def test_one_answer_one_verdict(tmp_path, capsys):
    assert verify_command("\\frac{1}{2}", answer="0.5") == 0
    assert verify_command("3", answer="4") == 1
    (tmp_path / "out.txt").write_text("<think>\\boxed{1}</think> so \\boxed{2}")
    assert verify_command("2", completion_file=str(tmp_path / "out.txt")) == 0
    assert capsys.readouterr().out.count("correct") == 2


def test_text_of_any_characters_is_scored_and_read_back(tmp_path):
    ends = "\u2028\u2029\x85\x0b\x1c"  # ends of a line to str.splitlines, not to JSON lines
    rows = [{"id": f"a{ends}", "answer": "2", "completion": f"x{ends}y \\boxed{{2}}"}]
    rows += [{"id": "half \ud800", "answer": "3", "completion": "\udc00 \\boxed{3}"}]  # halves of a character
    score_command(write(tmp_path / "x.jsonl", rows))
    verdicts = read_jsonl(tmp_path / "x.verdicts.jsonl")
    assert [(row["id"], row["correct"]) for row in verdicts] == [(f"a{ends}", True), ("half \ufffd", True)]


def test_verdicts_do_not_replace_their_input(tmp_path):
    path = write(tmp_path / "x.jsonl", ROWS)
    (tmp_path / "same.jsonl").hardlink_to(path)
    for out in (path, f"{tmp_path}/../{tmp_path.name}/x.jsonl", f"{tmp_path}/same.jsonl"):
        with pytest.raises(InputError, match="is the input, which it would replace"):
            score_command(path, out=out)
    assert read_jsonl(tmp_path / "x.jsonl") == ROWS


def test_rows_of_verl_are_read_as_they_are(tmp_path):
    row = {"data_source": "x", "reward_model": {"style": "rule", "ground_truth": "1/2"}, "extra_info": {"index": 7}}
    rows = [row | {"responses": ["\\boxed{0.5}", "\\boxed{3}"]}, row | {"id": "b", "completion": "\\boxed{1/2}"}]
    score_command(write(tmp_path / "x.jsonl", rows))
    graded = [(each["id"], each["correct"]) for each in read_jsonl(tmp_path / "x.verdicts.jsonl")]
    assert graded == [("7", True), ("7", False), ("b", True)]


def test_a_gold_and_an_answer_may_start_with_a_minus():
    lead = ["lead", "verify", "--gold", "-\\frac{1}{2}", "--answer", "-0.5"]
    run = subprocess.run([Path(sys.executable).with_name(lead[0]), *lead[1:]], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("correct"), run.stderr

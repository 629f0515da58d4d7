"""The leak report: which part of each evaluation set is in training."""

import json

import pytest

from lead_kit.cli import main
from lead_kit.data import near_duplicates

TEXT = "A {} box of mass $3$ kg slides down a frictionless ramp of height $5$ m. What is its speed at the bottom?"


def leak(identity, name, kind, evaluation_id):
    return {"id": identity, "set": name, "kind": kind, "evaluation_id": evaluation_id}


def test_each_set_has_its_row_and_problems_are_counted_once():
    found = [
        leak("t1", "AIME24", "same text", "a"),
        leak("t2", "AIME24", "same problem", "a"),  # the same evaluation problem twice in training
        leak("t2", "AIME24", "variant", "b"),
        leak("t3", "AIME24", "variant", "a"),  # a is there itself, so it counts as no variant
    ]
    report = near_duplicates.leak_report({"AIME24": [{}] * 4, "MATH-500": [{}] * 10}, found)
    assert report.to_dict("records") == [
        {"set": "AIME24", "problems": 4, "in training": 1, "share": 0.25, "variants": 1, "removed": 2},
        {"set": "MATH-500", "problems": 10, "in training": 0, "share": 0.0, "variants": 0, "removed": 0},
    ]


def test_the_command_compares_two_files_and_its_code_says_whether_they_overlap(tmp_path, capsys):
    def write(name, *rows):
        text = "".join(json.dumps({"problem": p, "answer": a}) + "\n" for p, a in rows)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    mine = write("mine.jsonl", (TEXT.format("red"), "10"), ("How many primes are below one hundred?", "25"))
    theirs = write("theirs.jsonl", (TEXT.format("red") + " \x1b[31m", "10"), ("Prove that 2 is even.", "0"))
    clear = write("clear.jsonl", ("What is the capital of no country at all?", "1"))
    assert main(["leaks", mine, theirs, "--out", str(tmp_path / "pairs.csv")]) == 1
    out = capsys.readouterr().out
    assert "theirs" in out and "0.5" in out and "mine-0 and theirs-0" in out and "\x1b" not in out
    assert len((tmp_path / "pairs.csv").read_text().splitlines()) == 2
    assert main(["leaks", mine, clear]) == 0


@pytest.mark.parametrize(
    "words, told",
    [
        (["a.jsonl", "b.jsonl", "--threshold", "2"], "--threshold 2: expected a score above 0, at most 1"),
        (["a.jsonl", "b.jsonl", "--out", "pairs.txt"], "expected the name of a .csv file"),
        (["a.jsonl", "b.jsonl"], "no file"),
    ],
)
def test_bad_input_is_one_sentence(words, told, capsys):
    assert main(["leaks", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_the_released_training_set_holds_known_evaluation_problems(lead_data, capsys):
    training = lead_data / "train" / "grpo_lead_stage23.jsonl"
    assert main(["leaks", str(training), str(lead_data / "benchmarks" / "math_500.jsonl")]) == 1
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("math_500"))
    assert row[1] == "500" and int(row[2]) >= 5

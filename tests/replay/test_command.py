"""lead replay: names, paths, and a whole replay of a small record."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.launch import commands
from tests.small import call, parsed

ROOT = Path(__file__).resolve().parents[2]


def test_the_arguments():
    words = ["replay", "x.csv", "--variant", "rloo", "--variant", "figure1/lead", "-p", "length_unit", "words"]
    options = parsed(words)
    assert options["variants"] == ("rloo", "figure1/lead") and options["parameters"] == {"length_unit": "words"}


def test_the_bare_name_of_a_folder_here_is_accepted(tmp_path, monkeypatch):
    (tmp_path / "logged").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has no parameter 'nothing'"):  # what is checked next
        commands.replay_command("logged", {"nothing": "1"})


def test_rollouts_that_do_not_exist_are_refused_before_the_replay():
    for options in ({"rollouts": "b.csv"}, {"rollouts": "runs/x", "golds": "b.csv"}):
        with pytest.raises(InputError, match="b.csv does not exist, neither here nor below"):
            commands.replay_command(parameters={}, **options)


@pytest.mark.parametrize(
    "pattern, name",
    [("runs/03_grpo", "03_grpo"), ("a/b c.parquet", "b_c"), ("runs/*", "rollouts"), ("../x/grpo-*", "grpo-")],
)
def test_a_run_is_named_after_its_rollouts(pattern, name):
    assert commands._name_of_rollouts(pattern) == name


@pytest.fixture
def root(tmp_path):
    for name in ("notebooks", "experiments", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


TEXTS = [  # problem, reward, completion; `verify` earns .21 in GRPO_reflection
    ("1+1?", 1.0, "So \\boxed{2}."),
    ("1+1?", 0.0, "no, then"),
    ("2+2?", 1.21, "verify \\boxed{4}."),
    ("2+2?", 1.0, "\\boxed{4}."),
    ("3+3?", 0.0, "five."),
]


def record(steps=3):
    """In each step a group with right and wrong answers, one that is all right, and one rollout alone."""
    columns = ["step", "prompt", "reward", "completion"]
    return pd.DataFrame(
        [(step, f"Solve: {p}", r, text) for step in range(steps) for p, r, text in TEXTS], columns=columns
    )


@pytest.mark.slow
def test_a_replay_from_the_command_line(root, forks):
    record().to_csv(root / "theirs.csv", index=False)
    golds = [{"id": "a", "problem": "1+1?", "answer": "2"}, {"id": "b", "problem": "2+2?", "answer": "5"}]
    (root / "golds.jsonl").write_text("".join(json.dumps(gold) + "\n" for gold in golds))
    (root / "mine.py").write_text(
        "def halved(group):\n    return (group.reward - group.reward.mean(1, keepdim=True)) / 2\n"
    )
    words = ["--golds", "golds.jsonl", "--variant", "mine.py:halved", "--variant", "lead", "--variant", "dr_grpo"]
    code, out, error = call(root, "replay", "theirs.csv", *words, **forks)
    assert code == 0, out + error
    run = root / "runs/replay/theirs"
    summary = json.loads((run / "run.json").read_text())["summary"]
    # two groups with |z| = 1/√2 a step, one of them all right; 2+2 is graded otherwise under the gold 5
    assert summary == {
        "rollouts": 15, "groups": 9, "explained": pytest.approx(9 / 15), "dead_rewards": 1,
        "advantage_outside_mixed_groups": pytest.approx(0.5, abs=1e-4), "truncated_late": pytest.approx(0.2),
    }  # fmt: skip
    table = pd.read_csv(run / "variants.csv").set_index("variant")
    assert table.index.tolist() == ["as recorded", "mine.py:halved", "dr_grpo"]
    assert table.loc["mine.py:halved", "sum_abs_advantage"] == pytest.approx(
        table.loc["dr_grpo", "sum_abs_advantage"] / 2
    )
    assert "Not computed: lead: needs the tokens of each rollout" in out and "6 rollouts are graded otherwise" in out
    assert "Groups by size: 3 of 1, 6 of 2." in out
    wrong = pd.read_json(run / "disagreements.jsonl", lines=True)
    assert set(wrong["gold"]) == {5} and {"id", "completion"} <= set(wrong)
    assert (run / "figures/outside_mixed_groups.csv").is_file()


@pytest.mark.slow
def test_a_record_without_groups_and_rewards_is_told_and_the_run_ends_well(root, forks):
    record()[["completion"]].to_json(root / "texts.jsonl", orient="records", lines=True)
    code, out, error = call(root, "replay", "texts.jsonl", **forks)
    assert code == 0, out + error
    assert "names no groups" in out and "has no reward" in out and "no group of the record has two" in out
    summary = json.loads((root / "runs/replay/texts/run.json").read_text())["summary"]
    assert summary["rollouts"] == 15 and summary["groups"] == 0 and summary["advantage_outside_mixed_groups"] is None
    code, _, error = call(root, "replay", "texts.jsonl", "--variant", "dr_grop", "--replace")
    assert code == 2 and "did you mean 'dr_grpo'" in error

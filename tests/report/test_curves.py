"""Training curves of many runs: what is read, averaged, left out and told."""

import json

import pandas as pd
import pytest
from pytest import approx

from lead_kit.errors import InputError
from lead_kit.report import curves
from lead_kit.runs.files import write_jsonl


def write_run(folder, arm, seed, values, split="validation"):
    """A run folder whose metric lines hold step → Pass@1."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"parameters": {"arm": arm, "seed": seed}}))
    lines = [{"step": step, "split": split, "pass@1": value, "length": 30 + step} for step, value in values]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def frame_of(**arms):
    """arm=[curve of seed 0, curve of seed 1, …]; a curve is {step: value}."""
    made = [
        {"run": f"{arm}-{seed}", "arm": arm, "seed": seed, "step": step, "split": "validation", "pass@1": value}
        for arm, seeds in arms.items()
        for seed, curve in enumerate(seeds)
        for step, value in curve.items()
    ]
    return pd.DataFrame(made)


def test_a_folder_is_read_with_its_arm_and_seed(tmp_path):
    frame = curves.load_runs([write_run(tmp_path / "x", "lead", 4, [(0, 0.1), (10, 0.3)])])
    assert frame[["arm", "seed", "step", "pass@1"]].to_numpy().tolist() == [["lead", 4, 0, 0.1], ["lead", 4, 10, 0.3]]


def test_a_step_logged_twice_counts_once_with_its_newest_numbers(tmp_path):
    frame = curves.load_runs([write_run(tmp_path / "x", "lead", 0, [(0, 0.1), (10, 0.2), (10, 0.4)])])
    assert frame["pass@1"].tolist() == [0.1, 0.4]


def test_a_glob_takes_run_folders_and_no_earlier_attempts(tmp_path):
    write_run(tmp_path / "runs/a", "lead", 0, [(0, 0.1)])
    write_run(tmp_path / "runs/a/attempts/1", "lead", 0, [(0, 0.9)])
    (tmp_path / "runs/b").mkdir()
    (tmp_path / "runs/notes.csv").write_text("step,x\n1,2\n")
    assert curves.load_runs([str(tmp_path / "runs/**")])["pass@1"].tolist() == [0.1]


def test_a_glob_without_runs_is_empty_and_a_path_without_one_is_refused(tmp_path):
    assert curves.load_runs([str(tmp_path / "*")]).empty
    write_run(tmp_path / "grpo-s0", "grpo", 0, [(0, 0.1)])
    with pytest.raises(InputError, match="did you mean 'grpo-s0'"):
        curves.load_runs([str(tmp_path / "grpo-s1")])


def test_two_runs_of_one_arm_and_seed_are_told_apart_by_their_folder(tmp_path):
    paths = [write_run(tmp_path / f"{part}/s0", "grpo", 0, [(0, 0.1)]) for part in ("one", "two")]
    assert sorted(curves.load_runs(paths)["arm"]) == [f"grpo ({tmp_path}/one)", f"grpo ({tmp_path}/two)"]


def test_arms_come_in_the_order_of_the_paper():
    assert curves.arms_of(pd.DataFrame({"arm": ["zebra", "lead", "apple", "grpo", "length"]})) == [
        "grpo",
        "length",
        "lead",
        "apple",
        "zebra",
    ]


def test_the_mean_has_only_steps_that_all_seeds_have_and_says_so():
    values = curves.logged_values(frame_of(grpo=[{0: 0.1, 10: 0.2, 20: 0.9}, {0: 0.3, 10: 0.4}]), "pass@1")
    mean = curves.mean_curve(values)
    assert mean["step"].tolist() == [0, 10] and mean["mean"].tolist() == approx([0.2, 0.3])
    assert curves.describe_gaps(values) == [
        "grpo: steps 20 are not in every seed and left out of the mean (seed 0 ends at 20, seed 1 ends at 10)."
    ]


def test_a_seed_that_an_arm_lacks_is_told():
    values = curves.logged_values(frame_of(grpo=[{0: 0.1}, {0: 0.2}], lead=[{0: 0.1}]), "pass@1")
    assert curves.describe_gaps(values)[0].startswith("Seeds 1 are not in every arm")


def test_one_seed_has_no_interval():
    mean = curves.mean_curve(curves.logged_values(frame_of(grpo=[{0: 0.1, 10: 0.2}]), "pass@1"))
    assert mean["low"].isna().all() and mean["seeds"].tolist() == [1, 1]


def test_runs_are_compared_at_the_steps_that_all_of_them_have():
    values = curves.logged_values(frame_of(grpo=[{0: 0.1, 10: 0.3}], lead=[{0: 0.2, 10: 0.4, 20: 0.9}]), "pass@1")
    table = curves.by_run(values).set_index("arm")
    assert table["final"].to_dict() == {"grpo": 0.3, "lead": 0.4}
    assert table["curve_mean"].to_dict() == approx({"grpo": 0.2, "lead": 0.3})
    assert "last at step 10" in curves.compared_steps(values)


def test_runs_without_a_common_step_are_told():
    values = curves.logged_values(frame_of(grpo=[{0: 0.1}], lead=[{5: 0.2}]), "pass@1")
    assert "no step in common" in curves.compared_steps(values) and len(curves.by_run(values)) == 2


def test_a_metric_that_nobody_logged_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="there are: pass@1"):
        curves.logged_values(frame_of(grpo=[{0: 0.1}]), "lenght")


def test_runs_without_validation_are_left_out():
    frame = pd.concat(
        [frame_of(grpo=[{0: 0.1}]), pd.DataFrame([{"run": "sft", "arm": "sft", "step": 1, "split": "train"}])]
    )
    assert set(curves.runs_that_logged(frame, "pass@1")["run"]) == {"grpo-0"}


def test_a_wandb_history_becomes_the_tidy_frame(tmp_path):
    path = tmp_path / "grpo-s2.csv"
    path.write_text("_step,train/reward,eval/pass@1,_runtime\n0,0.1,,1\n10,0.2,0.5,2\n")
    frame = curves.load_runs([str(path)])
    assert curves.logged_values(frame, "pass@1")[["arm", "seed", "step", "value"]].to_numpy().tolist() == [
        ["grpo", 2, 10, 0.5]
    ]
    assert curves.logged_values(frame, "reward", "train")["value"].tolist() == [0.1, 0.2]


def test_a_wandb_panel_holds_several_runs(tmp_path):
    path = tmp_path / "panel.csv"
    path.write_text("Step,grpo-s0 - eval/pass@1,grpo-s0 - eval/pass@1__MIN,lead-s1 - eval/pass@1\n0,0.1,0.1,0.2\n")
    values = curves.logged_values(curves.load_runs([str(path)]), "pass@1")
    assert values[["arm", "seed", "value"]].to_numpy().tolist() == [["grpo", 0, 0.1], ["lead", 1, 0.2]]


def test_a_csv_without_a_step_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("epoch,loss\n1,2\n")
    with pytest.raises(InputError, match="no step column"):
        curves.load_runs([str(path)])


def test_groups_of_a_ledger_by_hand():
    ledger = pd.DataFrame(
        {
            "step": [1] * 4,
            "group": [0, 0, 1, 1],
            "correct": [True, False, True, True],
            "advantage_before": [1.0, -1.0, 0.0, 0.0],
            "advantage": [1.5, -0.5, 0.0, 0.0],
        }
    )
    groups = curves.group_statistics(ledger)
    assert groups["rho"].tolist() == [0.5, 1.0] and groups["nonzero"].tolist() == [True, False]
    assert groups["weight"][0] == 1.0 and pd.isna(groups["weight"][1])  # (1.5 + .5)/(1 + 1); 0/0


def test_a_file_that_is_no_run_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_text("")
    with pytest.raises(InputError, match="is no run: expected a run folder"):
        curves.load_runs([str(path)])


def test_a_run_without_validation_says_so(tmp_path):
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "split": "train", "loss": 0.5, "pass@1": None}])
    curve = curves.split_metrics(tmp_path, "validation")
    assert (
        curves.curve_sentence(curve) == "The run has no validation (validate_every 0)."
        and curves.curve_summary(curve) == {}
    )
    assert list(curves.split_metrics(tmp_path, "train").columns) == ["step", "loss"]

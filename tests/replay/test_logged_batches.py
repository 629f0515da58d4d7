"""Numbers of logged batches: wires that a record would have tripped, shares of advantages, words, and their figure."""

import pandas as pd
import pytest

from lead_kit.method.rewards import Rollout, format, reflection_v2, repeats_in_chain
from lead_kit.replay import logged_batches
from lead_kit.report import training_figures
from lead_kit.report.read_rollouts import more_frequent
from lead_kit.runs.files import write_jsonl


def frame(steps=1, **columns):
    """Two groups of two rollouts in each step: accuracies 1, 0 and 1, 1."""
    one = {"group": [0, 0, 1, 1], "repetitive": False, "correct": [1, 0, 1, 1]} | columns
    return pd.concat([pd.DataFrame({"step": step} | one) for step in range(steps)], ignore_index=True)


def test_a_batch_has_the_numbers_that_a_run_logs():
    rewards = {"reward": [1.0, 0.0, 1.4, 1.2], "reward_correct": [1, 0, 1, 1], "reward_style": [0, 0, 0.4, 0.2]}
    row = logged_batches._numbers(frame(**rewards, truncated=[True, False, False, False]), {})
    assert (row["truncated"], row["zero_advantage"]) == (0.25, 0)
    # z-scores ±1/√2 in both groups: half of Σ|A| is in the group that is all right
    assert row["advantage_share_flat_accuracy"] == pytest.approx(0.5)
    # variances .1875 and .0275 (mean .15)
    assert row["reward_correct_share"] == pytest.approx(0.1875 / (0.1875 + 0.0275))
    assert logged_batches._numbers(frame(**rewards), {"style": 0.0})["reward_style_share"] == 0


def test_equal_rewards_have_no_advantage_and_a_silent_record_trips():
    table, missing = logged_batches.trips(frame(steps=5, reward=[1.0, 1.0, 0.3, 0.3]), {})
    assert table[["wire", "step"]].to_numpy().tolist() == [["zero_advantage", 4]]
    assert "truncated" in missing and "zero_advantage" not in missing


def test_what_a_record_lacks_is_named():
    table, missing = logged_batches.trips(frame().drop(columns="correct"), {})
    assert table.empty and "dead_reward" in missing and "repetition" not in missing


def test_of_a_run_of_the_kit_every_logged_batch_and_validation_is_looked_at(tmp_path):
    """Its ledger holds one batch in ten, so the rollouts alone would not tell."""
    lines = [{"step": step, "split": "train", "truncated": 1.0, "reward_style_std": 0.0} for step in (1, 2)]
    lines += [{"step": step, "split": "validation", "pass@1": value} for step, value in ((0, 0.9), (1, 0.5), (2, 0.5))]
    write_jsonl(tmp_path / "metrics.jsonl", lines)
    (tmp_path / "validation").mkdir()
    pd.DataFrame({"id": range(100)}).to_parquet(tmp_path / "validation/step_000000.parquet")
    parameters = {"rewards": ["correct", "own.py:style"], "reward_weights": [1.0, 0.0]}
    rollouts = frame(reward=[1.0, 0.0, 1.0, 1.0])
    table, missing = logged_batches.trips(rollouts, {}, str(tmp_path), parameters)
    assert table[["wire", "step"]].to_numpy().tolist() == [["truncated", 2], ["below_start", 2]]
    assert "dead_reward" in missing and "below_start" not in missing  # style is not paid
    for record in ((str(tmp_path), None), (str(tmp_path / "no"), parameters)):  # no run of the kit
        assert logged_batches.trips(rollouts, {}, *record)[0].empty


@pytest.mark.slow
@pytest.mark.parametrize("name, beside", [("7b_grpo", 35), ("1.5b_grpo", None), ("7b_sft_grpo", 20)])
def test_the_published_reflection_runs_would_have_tripped(lead_data, name, beside):
    rollouts = pd.read_parquet(lead_data / "rollouts" / f"reflection_{name}.parquet")
    texts = [Rollout("", text, "", 0, False, None) for text in rollouts["completion"]]
    parts = {"reward_format": list(map(format, texts)), "reward_reflection": list(map(reflection_v2, texts))}
    rollouts = rollouts.assign(group=rollouts["table"] * 100 + rollouts["group"], **parts)
    rollouts["repetitive"] = rollouts["completion"].map(repeats_in_chain)
    rest = rollouts["reward"] - rollouts["reward_format"] - rollouts["reward_reflection"]  # accuracy is what remains
    rollouts["correct"] = rollouts["reward_correct"] = rest.round().clip(0, 1)
    table, missing = logged_batches.trips(rollouts, {})
    first = dict(zip(table["wire"], table["step"], strict=True))
    assert first == {"dead_reward": 45} | ({"outside_mixed_groups": beside} if beside is not None else {})
    assert "format was 0 in every rollout of 10 batches" in table["sentence"].to_list()
    assert {"truncated", "entropy_collapse", "below_start"} <= set(missing)


def rollouts(step, groups):
    """Rows of (correct, advantage, completion) per group."""
    return pd.DataFrame(
        [
            {"step": step, "group": g, "correct": c, "advantage": a, "completion": text, "reward_correct": c}
            for g, rows in enumerate(groups)
            for c, a, text in rows
        ]
    )


MIXED = [(1.0, 1.0, "so it is"), (0.0, -1.0, "no")]
ALL_RIGHT = [(1.0, 3.0, "I check and check"), (1.0, -3.0, "done")]


def test_a_group_that_is_all_right_pays_for_something_else():
    found = logged_batches.of_rollouts(rollouts(1, [MIXED, ALL_RIGHT]))
    assert found[logged_batches.SHARE].tolist() == [6 / 8]
    assert found[logged_batches.WORDS].tolist() == [(3 + 1 + 4 + 1) / 4]
    assert found["reward_correct"].tolist() == [0.75]


def test_a_batch_without_advantages_has_no_share():
    found = logged_batches.of_rollouts(rollouts(1, [[(1.0, 0.0, "a"), (1.0, 0.0, "b")]]))
    assert found[logged_batches.SHARE].isna().all()
    table = found.assign(run="r", arm="grpo", seed=0, split=logged_batches.SPLIT, reward_format=0.5)
    assert logged_batches.shown(table) == ["reward_format", logged_batches.WORDS]
    points = training_figures.trend_points(table, logged_batches.shown(table), logged_batches.SPLIT)
    assert points["metric"].tolist() == logged_batches.shown(table)
    assert logged_batches.sentences(table) == [
        "grpo at step 1: format 0.50 (one seed); words a completion 1.00 (one seed)"
    ]


def test_words_that_became_more_frequent_come_with_their_rates():
    both = pd.concat([rollouts(1, [MIXED]), rollouts(9, [[(1.0, 1.0, "Check, re-check"), (1.0, 1.0, "check no")]])])
    table = more_frequent(both.assign(reward=0.0), most=5, share=0)
    assert table[["word", "before", "after"]].to_numpy().tolist() == [["check", 0.0, 1.0], ["re-check", 0.0, 0.5]]


def test_the_figure_has_a_panel_for_each_number_and_a_sentence_for_each_arm():
    parts = []
    for arm, seed in (("grpo", 0), ("grpo", 1), ("reflection", 0), ("reflection", 1)):
        one = pd.concat([rollouts(step, [MIXED, ALL_RIGHT]) for step in (1, 10)])
        one["reward_reflection_v2"] = 0.1 * (seed + 1)
        parts.append(
            logged_batches.of_rollouts(one).assign(run=f"{arm}{seed}", arm=arm, seed=seed, split=logged_batches.SPLIT)
        )
    table = pd.concat(parts)
    drawing = training_figures.trend(table, logged_batches.shown(table), logged_batches.SPLIT)
    assert [axes.get_ylabel().replace("\n", " ") for axes in drawing.axes] == [
        "advantage mass outside mixed groups", "reflection_v2", "words a completion",
    ]  # fmt: skip
    first, second = logged_batches.sentences(table)
    assert first.startswith("grpo at step 10: advantage mass") and "reflection_v2 0.15 [" in second
    with pytest.raises(KeyError):
        logged_batches.of_rollouts(rollouts(1, [MIXED]).drop(columns="advantage"))

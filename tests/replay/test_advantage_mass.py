"""What the reward was paid for: shares of advantages, words that grew, and the figure."""

import pandas as pd
import pytest

from lead_kit.replay import logged_batches
from lead_kit.report import training_figures
from lead_kit.report.read_rollouts import more_frequent


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

"""Figures of a replay: what is drawn, with which labels, from tables small enough to read."""

import numpy as np
import pandas as pd

from lead_kit.replay import figures
from tests.report.test_training_figures import assert_readable

STEPS = pd.DataFrame(
    {"run": ["a/x"] * 2 + ["a/y"] * 2, "variant": "as recorded", "step": [0, 5] * 2, "value": [0.2, 0.4, 0.6, 0.5],
     "low": 0.1, "high": 0.7}
)  # fmt: skip
TABLE = pd.DataFrame(
    {"variant": ["as recorded", "lead", "unknown"], figures.SHARE: [0.4, 0.3, np.nan],
     f"{figures.SHARE}_low": [0.3, 0.2, np.nan], f"{figures.SHARE}_high": [0.5, 0.4, np.nan]}
)  # fmt: skip


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_share_has_a_line_for_each_run_and_a_bar_for_each_known_variant():
    points = figures.plotted_points(STEPS, TABLE)
    figure = figures.outside_mixed_groups(points)
    assert_readable(figure)
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[0.2, 0.4], [0.6, 0.5]]
    assert legend(figure) == ["x", "y"] and left.get_xlabel() == "step (rollout batches)"
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["lead", "as recorded"]
    assert [bar.get_width() for bar in right.patches] == [0.3, 0.4] and right.get_xlim() == (0, 1)
    assert points["run"].tolist()[:4] == ["x", "x", "y", "y"] and points["value"].tolist()[4:] == [0.4, 0.3]


def test_without_steps_there_are_only_bars_and_without_numbers_nothing():
    points = figures.plotted_points(STEPS.iloc[:0], TABLE)
    assert points["variant"].tolist() == ["as recorded", "lead"]
    assert len(figures.outside_mixed_groups(points).axes) == 1
    assert figures.plotted_points(STEPS.iloc[:0], pd.DataFrame(columns=["variant"])).empty


def test_runs_that_share_a_last_name_keep_their_whole_names():
    assert figures.short_names(["a/x", "b/x", "c/y"]) == {"a/x": "a/x", "b/x": "b/x", "c/y": "y"}

"""The atlas: differences of each arm from the reference, on two tasks, and what agrees between them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lead_kit.errors import InputError
from lead_kit.report import atlas
from lead_kit.report.planned import Plan
from lead_kit.runs.files import write_jsonl
from tests.report.test_training_figures import assert_readable

PLAN = Plan(f"{atlas.ACCURACY}: fast − grpo", [f"{atlas.ACCURACY}: * − grpo"])
GAINS = {"arithmetic": {"fast": 0.10, "slow": -0.05, "same": 0.0}, "words": {"fast": 0.02, "slow": 0.01, "same": 0.05}}


@pytest.fixture
def values():
    """Three seeds of each arm: the reference at .5, .6, .7, the others above it by about their gain."""
    rows = []
    for task, gains in GAINS.items():
        for arm, gain in {"grpo": 0.0, **gains}.items():
            for seed in range(3):
                rows.append((task, atlas.ACCURACY, arm, "seed", seed, 0.5 + 0.1 * seed + gain * (1 + 0.01 * seed)))
                rows.append((task, atlas.LENGTH, arm, "seed", seed, 40.0 + seed))
    return pd.DataFrame(rows, columns=["task", "metric", "arm", "unit", "cluster", "value"])


def test_each_arm_is_compared_with_the_reference_within_its_task(values):
    frame = atlas.differences(values, "grpo", PLAN).set_index(["task", "metric", "arm"])
    row = frame.loc["arithmetic", atlas.ACCURACY, "fast"]
    assert row["estimate"] == pytest.approx(0.101) and row["verdict"] == "higher" and row["family"] == "primary"
    assert frame.loc["arithmetic", atlas.ACCURACY, "slow"]["verdict"] == "lower"
    assert frame.loc["arithmetic", atlas.ACCURACY, "slow"]["family"] == "secondary"  # by the *
    assert frame.loc["arithmetic", atlas.LENGTH, "fast"]["verdict"] == "exploratory"
    assert "grpo" not in frame.index.get_level_values("arm")


def test_the_overview_has_a_row_for_each_task_and_arm_and_marks_what_is_detected(values):
    table = atlas.overview(atlas.differences(values, "grpo", PLAN)).set_index(["task", "arm"])
    assert table.loc[("arithmetic", "fast"), atlas.ACCURACY] == "+0.101 [+0.099, +0.103] *"
    assert not table.loc[("arithmetic", "same"), atlas.ACCURACY].endswith("*")
    assert table.loc[("arithmetic", "same"), "P(higher Pass@1)"] == "0.50"  # of nine pairs of seeds, ties by half


def test_the_ranks_of_two_tasks_agree_or_not(values):
    """Ranks 3, 1, 2 beside 2, 1, 3: Spearman's ρ is 1 − 6 · (1 + 0 + 1) / 24."""
    assert atlas.rank_agreement(atlas.differences(values, "grpo"), atlas.ACCURACY) == pytest.approx(0.5)


def test_the_figure_shows_each_arm_and_task(values):
    figure = atlas.dots(atlas.differences(values, "grpo", PLAN))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["slow", "same", "fast"]
    assert_readable(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["arithmetic", "words"]


def test_one_seed_has_differences_without_intervals_and_other_seeds_are_not_compared(values):
    one = values[values["cluster"] == 0]
    frame = atlas.differences(one, "grpo", PLAN)
    assert frame["low"].isna().all() and np.isnan(atlas.smallest_detectable(frame, atlas.ACCURACY))
    FigureCanvasAgg(atlas.dots(frame)).draw()
    unshared = values[(values["cluster"] == 0) | (values["arm"] != "grpo")]
    with pytest.raises(InputError, match="no arm shares enough seeds with 'grpo'"):
        atlas.differences(unshared, "grpo")


def test_a_short_run_is_named_as_it_shortens_the_comparison(tmp_path):
    for arm, steps in (("grpo", (0, 10, 20)), ("lead", (0, 10))):
        rows = [{"step": step, "split": "validation", "pass@1": 0.5} for step in steps]
        write_jsonl(tmp_path / f"{arm}-s0" / "metrics.jsonl", rows)
    _, notes = atlas.run_values({"arithmetic": [str(tmp_path / "*-s0")]})
    assert notes == ["arithmetic: Runs are compared at the 2 validations that all of them have, the last at step 10."]


def test_what_is_missing_is_refused_by_name(values, tmp_path):
    with pytest.raises(InputError, match="did you mean 'grpo'"):
        atlas.differences(values, "grop")
    with pytest.raises(InputError, match="no run of task 'arithmetic'"):
        atlas.run_values({"arithmetic": [str(tmp_path / "nothing-*")]})

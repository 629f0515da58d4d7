"""Verdicts among several comparisons: they follow the corrected p-value, but for the planned comparison."""

import pandas as pd
import pytest

from lead_kit.evaluate import stats
from lead_kit.report import tables


def long_frame(shifts):
    """Five seeds of two arms; each metric's paired differences are its shift with a little spread."""
    rows = []
    for metric, shift in shifts.items():
        for seed, noise in enumerate((-0.02, -0.01, 0.0, 0.01, 0.02)):
            rows.append((metric, "grpo", "seed", seed, 0.5))
            rows.append((metric, "lead", "seed", seed, 0.5 + shift + noise))
    return pd.DataFrame(rows, columns=tables._COLUMNS)


# paired differences: standard error .01581/√5 = .00707, t = 0.025/.00707 = 3.54, p = .024 with 4 degrees of freedom
CLOSE = {"final Pass@1": 0.025, "Cons@4": 0.0, "share truncated": 0.001}
PRIMARY = "final Pass@1: lead − grpo"


def test_a_verdict_follows_the_corrected_p():
    pairs = tables.differences(long_frame(CLOSE), seed=0).set_index("metric")
    row = pairs.loc["final Pass@1"]
    assert row["p_t"] == pytest.approx(0.024, abs=1e-3) and row["low"] > 0
    assert row["p_holm"] == pytest.approx(3 * row["p_t"]) and row["verdict"] == stats.NO_DIFFERENCE


def test_the_planned_comparison_stands_outside_the_correction():
    pairs = tables.differences(long_frame(CLOSE), seed=0, primary=PRIMARY).set_index("metric")
    assert pairs.loc["final Pass@1", "p_holm"] == pairs.loc["final Pass@1", "p_t"]
    assert pairs.loc["final Pass@1", "verdict"] == "higher"
    others = pairs.drop(index="final Pass@1")
    assert others["p_holm"].tolist() == pytest.approx(stats.holm(others["p_t"]).tolist())


@pytest.mark.parametrize("primary", ["", PRIMARY])
def test_no_verdict_of_a_difference_stands_beside_a_corrected_p_above_five_percent(primary):
    for shift in (0.0, 0.01, 0.02, 0.025, 0.03, 0.05):
        pairs = tables.differences(long_frame(dict.fromkeys(CLOSE, shift)), seed=0, primary=primary)
        assert ((pairs["verdict"] == stats.NO_DIFFERENCE) == (pairs["p_holm"] >= 0.05)).all()


def test_the_report_says_what_was_planned():
    values = long_frame(CLOSE)
    assert "Holm's correction over all 3 comparisons" in tables.report(values, [], 0).text
    planned = tables.report(values, [], 0, PRIMARY).text
    assert f"Planned primary comparison: {PRIMARY}" in planned and "on the other 2 comparisons" in planned
    assert "(x: a − b) is not among these runs" in tables.report(values, [], 0, "x: a − b").text

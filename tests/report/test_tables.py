"""Verdicts among several comparisons: planned ones by their families, exploratory ones not at all."""

import pandas as pd
import pytest

from lead_kit.evaluate import stats
from lead_kit.report import tables
from lead_kit.report.planned import Plan


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


def test_the_primary_is_not_corrected_the_secondaries_of_a_metric_are_and_the_rest_is_not_judged():
    values = long_frame(CLOSE | {"final Pass@1": 0.025})
    second = values[values["arm"] == "lead"].assign(arm="apple")
    secondaries = ["Cons@4: apple − grpo", "Cons@4: lead − grpo", "share truncated: lead − grpo"]
    pairs = tables.differences(pd.concat([values, second]), seed=0, plan=Plan(PRIMARY, secondaries))
    rows = pairs.set_index(pairs["metric"] + ": " + pairs["difference"].replace("apple − lead", "lead − apple"))
    primary = rows.loc[PRIMARY]
    assert primary["p_holm"] == primary["p_t"] and primary["verdict"] == "higher" and primary["family"] == "primary"
    cons = rows.loc[["Cons@4: apple − grpo", "Cons@4: lead − grpo"]]
    assert set(cons["family"]) == {"secondary"} and (cons["p_holm"] == 1).all()  # both have p = 1
    alone = rows.loc["share truncated: lead − grpo"]
    assert alone["p_holm"] == alone["p_t"]  # a family of one
    rest = rows[rows["family"] == "exploratory"]
    assert len(rest) == 5 and set(rest["verdict"]) == {"exploratory"} and rest["p_holm"].isna().all()


@pytest.mark.parametrize("primary", ["", PRIMARY])
def test_no_verdict_of_a_difference_stands_beside_a_corrected_p_above_five_percent(primary):
    plan = Plan(primary, ["Cons@4: lead − grpo"])
    for shift in (0.0, 0.01, 0.02, 0.025, 0.03, 0.05):
        pairs = tables.differences(long_frame(dict.fromkeys(CLOSE, shift)), seed=0, plan=plan)
        judged = pairs[pairs["family"] != "exploratory"]
        assert ((judged["verdict"] == stats.NO_DIFFERENCE) == (judged["p_holm"] >= 0.05)).all()


def test_an_exploratory_comparison_is_printed_with_its_interval_and_without_p():
    pairs = tables.differences(long_frame(CLOSE), seed=0, plan=Plan(PRIMARY))
    printed = tables.printed_differences(pairs).set_index("metric")
    assert printed["family"].tolist() == ["primary", "exploratory", "exploratory"]
    row = printed.loc["Cons@4"]
    assert (row["p (t)"], row["p (Holm)"], row["verdict"]) == ("–", "–", "exploratory")
    assert row["estimate [95%]"] == "+0.000 [-0.020, +0.020]" and row["what would change the verdict"] == ""


def test_the_report_says_what_was_planned():
    values = long_frame(CLOSE)
    assert "Holm's correction over all 3" in tables.report(values, [], 0).text
    text = tables.report(values, [], 0, Plan(PRIMARY, source="Planned on 2026-01-02.")).text
    assert f"Primary comparison: {PRIMARY}" in text and "The other 2 comparisons are exploratory" in text
    assert "Planned on 2026-01-02." in text
    assert "(x: a − b) is not among these runs" in tables.report(values, [], 0, Plan("x: a − b")).text


def test_the_table_of_seeds_has_interquartile_means_and_probabilities():
    text = tables.report(long_frame({"final Pass@1": 0.1}), [], 0, Plan(PRIMARY)).text
    # lead: .58, .59, .6, .61, .62; the middle three of five: .6; grpo: .5 in every seed, always below
    assert "arm, IQM" in text and "| lead     | 0.600 [0.5" in text and "1.00 [1.00, 1.00]" in text


def test_a_verdict_that_one_seed_decides_says_so():
    values = long_frame({"final Pass@1": 0.025})  # differences .005, .015, .025, .035, .045; p = .024
    row = tables.differences(values, seed=0, plan=Plan(PRIMARY)).iloc[0]
    # without seed 4: mean .02, sd .0129, s.e. .00645, t = 3.10 with 3 degrees of freedom, p = .053
    assert row["p without 4"] == pytest.approx(0.053, abs=1e-3) and row["verdict"] == "higher"
    assert row["sensitivity"].startswith("not detected without seed ") and "4" in row["sensitivity"]
    large = tables.differences(long_frame({"final Pass@1": 0.2}), seed=0, plan=Plan(PRIMARY)).iloc[0]
    assert large["sensitivity"] == "detected without any one seed"
    none = tables.differences(long_frame({"final Pass@1": 0.0}), seed=0, plan=Plan(PRIMARY)).iloc[0]
    # s.e. .00707, t(.975, 4) + t(.8, 4) = 2.776 + .941: .026
    assert none["sensitivity"] == "5 seeds detect 0.026 with 80% power"

"""Published numbers as data, and ours beside them."""

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from lead_kit.errors import InputError
from lead_kit.evaluate import graded_samples
from lead_kit.report import published
from lead_kit.report.published import AGREES, DIFFERS, TOO_SMALL

ASSUMED = {"between": 0.7, "correlation": 0.9}
TABLES = ["lead_7b", "lead_14b", "lead_difficulty", "lead_livecodebench", "reflection", "cs2916"]


def suite(accuracy, problems=30, n=32, length=8000):
    """Samples with these accuracies, evenly spread over the problems."""
    hits = np.round(np.linspace(0, 1, problems) ** (1 / accuracy - 1) * n)
    labels = {"length": length, "truncated": False, "run": "r", "arm": "ours"}
    rows = [{"id": f"{q:03d}", "sample": k, "correct": k < hits[q]} | labels for q in range(problems) for k in range(n)]
    return {("ours", 0): graded_samples.suite(pd.DataFrame(rows).assign(seed=0, benchmark="AIME24"))}


def beside(suites, margin=0.02, table="lead_14b", benchmark="AIME24", settings=None, **more):
    frame = published.compare_with_published(
        suites, table, benchmark=benchmark, settings=settings or {}, margin=margin, **(ASSUMED | more)
    )
    return frame.set_index(["published", "metric"])


@pytest.mark.parametrize("table", TABLES)
def test_every_number_has_settings_and_a_source(table):
    frame = published.published_table(table)
    assert set(published._SETTINGS) < set(frame) and frame["source"].str.len().gt(10).all()
    shares = frame[~frame["metric"].isin(["length", "correct", "answered"])]["value"]
    assert shares.between(0, 1).all() and frame["value"].notna().all()


def test_numbers_stand_as_printed():
    frame = published.published_table("lead_14b").set_index(["benchmark", "system", "metric"])["value"]
    assert frame["AIME24", "LEAD-stage2", "pass@1"] == 0.650 and frame["AIME25", "LEAD-stage2", "length"] == 8668
    reflection = published.published_table("reflection").set_index(["benchmark", "system"])
    assert reflection.loc[("MATH-500", "7B grpo"), ["value", "standard_error"]].tolist() == [0.738, 0.020]


def test_the_printed_precision_is_not_the_ratio_of_the_printed_means():
    wide = published.published_table("lead_difficulty").pivot(
        index=["benchmark", "system"], columns="metric", values="value"
    )
    row = wide.loc[("AIME25 1-5", "DeepSeek-7B")]
    assert row["correct"] / row["answered"] == approx(0.926, abs=1e-3) and row["precision_per_problem"] == 0.708
    assert row["correct"] / 32 == approx(row["pass@1"], abs=1e-3)


def test_the_published_standard_errors_are_those_of_single_verdicts():
    # sqrt(p(1-p)/(Q-1)): GPQA-diamond has 198 problems, AIME 30
    frame = published.published_table("reflection")
    expected = np.sqrt(frame["value"] * (1 - frame["value"]) / (frame["problems"] - 1))
    assert frame["standard_error"].to_numpy() == approx(expected.to_numpy(), abs=1.5e-3)


def test_the_published_curve_equals_the_points_read_off(lead_data):
    points = pd.read_csv(lead_data / "figure1_published.csv", comment="#")
    ours = published.published_curve("figure1")
    assert ours.to_numpy().tolist() == points.to_numpy().tolist()


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'lead_14b'"):
        published.published_table("lead_14")
    with pytest.raises(InputError, match="no published curve 'figure2'"):
        published.published_curve("figure2")
    with pytest.raises(InputError, match="no benchmark 'AIME26'.*did you mean"):
        beside(suite(0.6), benchmark="AIME26")


def test_the_same_number_agrees_when_the_suite_is_large_enough():
    # 30 problems leave ±.08 or so: .65 beside .65 agrees only within a wide margin
    same = suite(0.65)
    ours = beside(same).loc[("LEAD-stage2", "pass@1"), "ours"]
    assert ours == approx(0.65, abs=0.01)
    assert beside(same, margin=0.02).loc[("LEAD-stage2", "pass@1"), "verdict"] == TOO_SMALL
    assert beside(same, margin=0.15).loc[("LEAD-stage2", "pass@1"), "verdict"] == AGREES


def test_a_far_result_differs():
    row = beside(suite(0.3)).loc[("LEAD-stage2", "pass@1")]
    assert row["verdict"] == DIFFERS and row["high"] < 0


def test_less_correlation_widens_the_interval():
    wide, narrow = (beside(suite(0.5), correlation=r).loc[("LEAD-stage2", "pass@1")] for r in (0.0, 0.9))
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]


def test_settings_that_differ_are_listed():
    settings = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.01, "max_tokens": 14336}
    told = beside(suite(0.65, n=8), settings=settings).loc[("LEAD-stage2", "pass@1"), "settings that differ"]
    assert told == "n: 8 here, 32 there; temperature: 1 here, 0.6 there; top_p: 1 here, not stated there"


def test_cons_is_compared_only_at_the_same_n():
    assert ("LEAD-stage2", "cons@32") in beside(suite(0.65, n=32)).index
    assert ("LEAD-stage2", "cons@32") not in beside(suite(0.65, n=8)).index


def test_other_numbers_of_problems_are_told():
    assert "problems: 12 here, 30 there" in beside(suite(0.65, problems=12)).iloc[0]["settings that differ"]


def test_settings_that_cs2916_does_not_state_are_not_known():
    frame = published.published_table("cs2916").set_index(["benchmark", "system"])
    rl = frame[frame.index.get_level_values("system").str.contains("GRPO")]
    assert len(rl) == 8 and rl[["n", "temperature", "top_p", "max_tokens"]].isna().all(axis=None)
    assert frame.loc[("GSM8K", "SFT"), ["n", "temperature", "max_tokens"]].tolist() == [1, 0, 16384]
    known = frame[frame["n"].notna()]
    hits = (known["value"] * known["problems"]).round()
    assert (hits / known["problems"] - known["value"]).abs().max() < 0.0005  # one verdict a problem gives a k/Q
    odd = frame[frame["problems"].isna()].index.tolist()
    assert odd == [("OlympiadBench", "long-CoT SFT"), ("MATH-500", "GRPO"), ("OlympiadBench", "GRPO")]


@pytest.mark.parametrize("n", [1, 4])
def test_a_comparison_with_unknown_settings_is_not_computed(n):
    ours = suite(0.6, problems=40, n=n)
    given = {"temperature": 0.0, "top_p": 0.95, "max_tokens": 16384}
    frame = beside(ours, table="cs2916", benchmark="AMC23", settings=given)
    row = frame.loc[("GRPO", "pass@1")]
    assert row["verdict"] == "not computed: n not stated" and row[["low", "high"]].isna().all()
    assert row["difference"] == row["ours"] - 0.5
    assert f"n: {n} here, not stated there; temperature: 0 here, not stated there" in row["settings that differ"]
    assert frame.loc[("SFT", "pass@1"), "verdict"] in (AGREES, DIFFERS, TOO_SMALL)


def test_settings_come_from_the_evaluation_beside_the_samples(tmp_path):
    (tmp_path / "run.json").write_text('{"parameters": {"benchmark": "AIME24", "n": 0, "temperature": 0.8}}')
    settings = published.settings_of([tmp_path / "samples.jsonl"])
    assert (settings["n"], settings["temperature"], settings["min_p"]) == (32, 0.8, 0.01)
    assert published.settings_of([tmp_path / "elsewhere/samples.jsonl"]) == {}

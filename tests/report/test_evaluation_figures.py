"""Figures of samples, groups and problems: what they show, that nothing is cut off. Tables: what they say."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from pytest import approx

from lead_kit.evaluate import graded_samples, metrics, stats
from lead_kit.report import evaluation_figures, style, tables, training_figures
from tests.report.test_training_figures import assert_readable, caption_of, training

FINAL = "final Pass@1"


def evaluated(arms=("grpo", "lead"), seeds=2, problems=12, n=4):
    """Suites by arm and seed; the last arm solves more."""
    made = []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            for q in range(problems):
                for k in range(n):
                    right = (q + k + seed) % 4 <= place + 1
                    row = {"id": f"p{q:02d}", "sample": k, "arm": arm, "seed": seed, "run": f"{arm}{seed}"}
                    row |= {"level": q % 3, "benchmark": "toy"}
                    made.append(row | {"correct": right, "length": 10 + q + k, "truncated": False})
    return graded_samples.suites(pd.DataFrame(made))


def compared(
    arms=("grpo", "lead"), metrics=(FINAL, "mean Pass@1 over the curve", "Cons@4", tables._LENGTH, "precision")
):
    """Differences of every pair; each interval is the estimate ± 1, and only the first pair of arms differs."""
    rows = []
    for metric in metrics:
        for place, (earlier, later) in enumerate(combinations(arms, 2)):
            row = {"metric": metric, "difference": f"{later} − {earlier}", "estimate": 2.0 - place}
            verdict = "higher, for these runs" if place == 0 else stats.NO_DIFFERENCE
            rows.append(row | {"low": 1.0 - place, "high": 3.0 - place, "verdict": verdict})
    return pd.DataFrame(rows)


SIX = ("grpo", "length", "lead", "dapo", "dr_grpo", "length_reweighting")
LONG = ("grpo (figure1/tiny/train-grpo-s0)", "lead (figure1/tiny/train-lead-s0)", "mine")
GROUP = pd.DataFrame(
    {"correct": [1, 0, 1, 0], "length": [12, 40, 30, 96], "grpo": [1, -1, 1, -1], "lead": [1.2, -1, 0.8, -1]}
)
GRADED = pd.DataFrame(
    {"correct": [1, 0] * 16, "length": 12345, "string": [0.0] * 32, "sympy": [1.0] * 32, "verifier": [1, -1] * 16}
)
BINS = ["(0, 2.5]", "(2.5, 3.5]", "(3.5, 4.5]", "(4.5, 5.5]", "(5.5, 10]", "outside the bins", "no level"]
BARS = pd.DataFrame({"arm": "lead", "level": BINS, "estimate": 0.5, "low": 0.4, "high": 0.6, "clusters": 120})
FIGURES = {
    "budget_curve": lambda: evaluation_figures.budget_curve(tables.budget_points(evaluated())),
    "by_difficulty": lambda: evaluation_figures.by_difficulty(tables.difficulty_points(evaluated(), [])),
    "by_difficulty_in_bins": lambda: evaluation_figures.by_difficulty(BARS),
    "forest_of_one_difference": lambda: evaluation_figures.forest(compared()),
    "forest_of_fifteen_differences": lambda: evaluation_figures.forest(compared(SIX)),
    "forest_of_long_names": lambda: evaluation_figures.forest(compared(LONG), note="A sentence."),
    "forest_of_one_metric": lambda: evaluation_figures.forest(compared(metrics=(FINAL,))),
    "group_advantages": lambda: evaluation_figures.group_advantages(GROUP),
    "graders": lambda: evaluation_figures.group_advantages(GRADED[:8], "length (characters)"),
    "graders_of_many_answers": lambda: evaluation_figures.group_advantages(GRADED, "length (characters)"),
    "histograms": lambda: evaluation_figures.histograms([0, 1, 2, 5, 6, None], [1, 2, 5], "difficulty level"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_every_axis_is_named(name):
    assert_readable(FIGURES[name]())


def test_a_method_has_one_look_in_every_figure():
    lines = {line.get_label(): line.get_color() for line in training_figures.trend(training()).axes[0].lines}
    figure = evaluation_figures.group_advantages(GROUP)
    bars = {bar.get_label(): bar.patches[0].get_facecolor()[:3] for bar in figure.axes[0].containers}
    assert to_rgb(lines["grpo"]) == bars["grpo"] == to_rgb(style.METHOD_COLOURS["grpo"])
    assert to_rgb(lines["lead"]) == bars["lead"]


def test_a_figure_shows_itself_in_a_notebook():
    assert evaluation_figures.group_advantages(GROUP)._repr_png_()[0].startswith(b"\x89PNG")


def test_the_unit_of_lengths_is_named():
    assert evaluation_figures.group_advantages(GROUP).axes[0].get_xlabel() == "length (tokens)"
    graded = evaluation_figures.group_advantages(GRADED, "length (characters)")
    assert graded.axes[0].get_xlabel() == "length (characters)"


def test_a_forest_has_a_panel_for_each_metric_with_its_unit():
    figure = evaluation_figures.forest(compared(metrics=(FINAL, tables._LENGTH, "final grad_norm")))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["difference\n(share)", "difference\n(tokens)", "difference"]


def test_a_forest_fills_the_rows_whose_verdict_is_a_difference():
    (axes,) = evaluation_figures.forest(compared(("grpo", "length", "lead"), metrics=(FINAL,))).axes
    filled, hollow = (container.lines[0] for container in axes.containers)
    assert (filled.get_markerfacecolor(), hollow.get_markerfacecolor()) == ("black", "white")
    # rows from the top: length − grpo is 2, lead − grpo is 1, lead − length is 0
    assert (filled.get_xdata().tolist(), filled.get_ydata().tolist()) == ([2.0], [0])
    assert (hollow.get_xdata().tolist(), hollow.get_ydata().tolist()) == ([1.0, 0.0], [1, 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["length − grpo", "lead − grpo", "lead − length"]


def test_a_difference_without_interval_is_not_drawn():
    frame = compared(metrics=(FINAL, tables._LENGTH))
    frame.loc[frame["metric"] == FINAL, ["low", "high"]] = np.nan
    assert evaluation_figures.forest_points(frame)["metric"].tolist() == [tables._LENGTH]
    assert evaluation_figures.forest_points(pd.DataFrame()).empty
    with pytest.raises(ValueError, match="nothing to draw"):
        evaluation_figures.forest(pd.DataFrame())


def test_each_level_has_a_bin_of_its_own():
    points = evaluation_figures.histogram_points([1, 1, 2, 4], [2, 4])
    assert points["low"].tolist() == [0.5, 1.5, 2.5, 3.5] and points["high"].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert points["before"].tolist() == [2, 1, 0, 1] and points["after"].tolist() == [0, 1, 0, 1]


def test_pass_rates_of_eight_rollouts_have_nine_bins():
    rates = [k / 8 for k in range(9)]
    points = evaluation_figures.histogram_points(rates, [1 / 3 + 1 / 24])  # 3/8, up to rounding
    assert points["before"].tolist() == [1] * 9 and points["after"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_many_different_values_share_equal_bins():
    points = evaluation_figures.histogram_points(np.linspace(0, 12, 121) ** 1.01, [])
    assert len(points) == 12 and points["before"].sum() == 121
    assert np.diff(points["low"]) == approx(np.full(11, points["high"].iloc[-1] / 12))


def test_no_value_falls_outside_the_bins():
    random = np.random.default_rng(0)
    for size in (1, 2, 3, 10, 200):
        values = random.normal(size=size)
        assert evaluation_figures.histogram_points(values, values)["after"].sum() == size


def test_problems_without_a_value_are_counted_in_the_caption():
    figure = evaluation_figures.histograms([1, 2, None, float("nan")], [2, None], "difficulty level")
    assert "Left out, as they have no value: 2 before, 1 after." in caption_of(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["before (2)", "after (1)"]
    with pytest.raises(ValueError, match="nothing to count"):
        evaluation_figures.histograms([None], [], "difficulty level")


def test_the_difference_of_arms_is_paired_by_seed():
    values, notes = tables.cluster_values(training(), {})
    pairs = tables.differences(values, 0, f"{FINAL}: length − grpo").set_index(["metric", "difference"])
    row = pairs.loc[(FINAL, "length − grpo")]
    # seeds 0, 1, 2: .7-.6, .69-.61, .68-.62: mean .08, sd .02, t(2) = 4.3027
    assert (row["estimate"], row["high"]) == approx((0.08, 0.08 + 4.3027 * 0.02 / 3**0.5), abs=1e-4)
    assert row["verdict"] == "higher" and row["clusters"] == 3
    assert pairs.loc[(tables._LENGTH, "length − grpo"), "verdict"] == "shorter"
    assert pairs.loc[(tables._TRUNCATED, "lead − grpo"), "verdict"] == stats.NO_DIFFERENCE
    assert list(pairs.loc[FINAL].index) == ["length − grpo", "lead − grpo", "lead − length"]
    assert "last at step 50" in notes[0] and "no Cons@k" in notes[1]


def test_another_metric_of_another_split_can_be_the_curve():
    values, _ = tables.cluster_values(training().drop(columns="truncated"), {}, metric="reward", split="train")
    assert list(dict.fromkeys(values["metric"]))[:2] == ["final reward", "mean reward over the curve"]
    doubled = values.assign(value=2 * values["value"])
    assert tables._arm_table(doubled)["high"].max() > 1  # a reward is no share: its interval is not cut


def test_without_difference_the_verdict_says_so():
    values, _ = tables.cluster_values(training().assign(**{"pass@1": 0.5}), {})
    assert set(tables.differences(values, 0).set_index("metric").loc[FINAL, "verdict"]) == {stats.NO_DIFFERENCE}


def test_samples_give_cons_and_lengths_by_seed():
    values, _ = tables.cluster_values(training(arms=("grpo", "lead"), seeds=2), evaluated())
    table = tables._arm_table(values).set_index(["arm", "metric"])
    assert table.loc[("grpo", "Cons@4"), "clusters"] == 2
    assert table.loc[("lead", tables._LENGTH), "estimate"] == approx(10 + 5.5 + 1.5)
    assert "over seeds" in tables._caption(values)


def test_the_start_of_all_arms_stands_first_and_is_not_paired():
    suites = evaluated() | {("sft", 0): evaluated(arms=("sft",), seeds=1)["sft", 0]}
    values, _ = tables.cluster_values(training(arms=("grpo", "lead"), seeds=2), suites)
    printed = tables.printed_arms(tables._arm_table(values))
    assert printed["arm"].tolist() == ["sft", "grpo", "lead"] and printed.columns[1] == FINAL
    assert printed.loc[0, FINAL] == "–" and printed.loc[0, "Cons@4"].endswith("[–]")
    assert set(tables.differences(values, seed=0)["difference"]) == {"lead − grpo"}


def test_one_seed_takes_problems_as_clusters():
    values = pd.DataFrame(tables._of_suites(evaluated(seeds=1), {"Cons@{n}": "cons@n"}), columns=tables._COLUMNS)
    assert set(values["unit"]) == {"problem"} and tables._arm_table(values)["clusters"].tolist() == [12, 12]
    assert "over problems" in tables._caption(values)


def test_none_right_is_not_certainly_zero():
    cell = pd.DataFrame({"metric": "Pass@1", "unit": "problem", "value": np.zeros(30)})
    assert tables._interval_of(cell).high == approx(0.1157, abs=1e-3)


def test_the_report_of_nothing_says_so():
    values, notes = tables.cluster_values(pd.DataFrame(), {})
    assert "Nothing to tabulate" in tables.report(values, notes, seed=0).text


def test_tables_line_up_and_escape_special_signs():
    frame = pd.DataFrame({"arm_1": ["a|b", "50%"], "x": ["1 − 2", "–"]})
    lines = tables.markdown(frame).splitlines()
    assert len({len(line) for line in lines[:2] + lines[3:]}) == 1 and "a\\|b" in lines[2]
    assert r"arm\_1 & x \\" in tables._latex(frame, "50%") and r"50\% & -- \\" in tables._latex(frame, "50%")
    assert r"1 $-$ 2" in tables._latex(frame, "50%") and r"\caption{50\%}" in tables._latex(frame, "50%")


def test_small_p_values_are_not_zero():
    assert tables.format_p(1e-9) == "<0.001" and tables.format_p(0.0314) == "0.031"


def test_models_of_one_evaluation_are_compared_by_problem():
    table, pairs, _ = tables.evaluation(evaluated(seeds=1))
    assert set(table["metric"]) >= {"Pass@1", "Cons@4"} and set(pairs["difference"]) == {"lead − grpo"}
    # grpo has 2 of 4 samples right in every problem, lead 3 of 4
    row = pairs.set_index("metric").loc["Pass@1"]
    assert row["estimate"] == approx(0.25) and row["verdict"] == "higher, for these runs"


def test_seeds_evaluated_on_different_problems_are_not_averaged():
    suites = evaluated()
    suites["lead", 1] = suites["lead", 1]._replace(ids=["other"] * 12)
    with pytest.raises(ValueError, match="different problems"):
        tables.budget_points(suites)


def test_a_level_of_few_problems_has_no_whiskers_and_the_caption_says_so():
    levels = [0] * 4 + [1] * 5
    correct = np.array([[1, 0]] * 9)
    suite = graded_samples.Suite(
        metrics.SampleArrays(correct, correct, 0 * correct, correct + 4, correct), list("abcdefghi"), levels
    )
    bars = tables.difficulty_points({("a", 0): suite}, edges=[])
    assert bars.set_index("level")["low"].isna().tolist() == [True, False]
    figure = evaluation_figures.by_difficulty(bars, note=tables.evaluation_setting({("a", 0): suite}, "0.6"))
    assert "none where a level has fewer than 5 problems" in figure.get_label()
    assert figure.get_label().endswith("9 problems, 2 samples of each, 1 seed an arm, temperature 0.6.")


def test_a_missing_bar_is_marked_and_explained():
    figure = evaluation_figures.by_difficulty(pd.concat([BARS, BARS.head(2).assign(arm="grpo")]))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert sum(len(line.get_xdata()) for line in crosses) == len(BINS) - 2
    assert "×: not evaluated." in caption_of(figure)

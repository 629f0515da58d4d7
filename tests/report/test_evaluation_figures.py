"""Figures of samples, groups and problems: what they show, that nothing is cut off. Tables: what they say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from pytest import approx

from lead_kit.evaluate import graded_samples, metrics, stats
from lead_kit.report import curves, evaluation_figures, style, tables, training_figures
from lead_kit.report.planned import Plan
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


GROUP = pd.DataFrame(
    {"correct": [1, 0, 1, 0], "length": [12, 40, 30, 96], "grpo": [1, -1, 1, -1], "lead": [1.2, -1, 0.8, -1]}
)
GRADED = pd.DataFrame(
    {"correct": [1, 0] * 16, "length": 12345, "string": [0.0] * 32, "sympy": [1.0] * 32, "verifier": [1, -1] * 16}
)
BINS = ["(0, 2.5]", "(2.5, 3.5]", "(3.5, 4.5]", "(4.5, 5.5]", "(5.5, 10]", "outside the bins", "no level"]
BARS = pd.DataFrame({"arm": "lead", "level": BINS, "estimate": 0.5, "low": 0.4, "high": 0.6, "clusters": 120})


def swept(values, second=(), seeds=3):
    """The figure of a sweep: each value lowers Pass@1 by 0.1 and adds 10 tokens; seeds differ by 0.01 and by 1."""
    rows = []
    for place, value in enumerate(values):
        for other in second or ("",):
            labels = {"arm": f"x_{value}_{other}", "x": value, "y": other, "unit": "seed"}
            for seed in range(seeds):
                shared = labels | {"cluster": seed}
                rows.append(shared | {"metric": FINAL, "value": 0.9 - 0.1 * place + 0.01 * (seed - 1)})
                rows.append(shared | {"metric": tables._LENGTH, "value": 10.0 * (place + 1) + seed - 1})
    points = pd.DataFrame(rows)
    arms = tables._arm_table(points).merge(points[["arm", "x", "y"]].drop_duplicates(), on="arm")
    return evaluation_figures.dose_response(arms, points, ["x", "y"] if second else ["x"], "A sentence.")


FIGURES = {
    "dose_response": lambda: swept([0, 0.02, 0.05, 0.1, 0.2]),
    "dose_response_of_a_grid": lambda: swept([1e-5, 1e-4, 1e-3], [0, -1.0, -2.0]),
    "dose_response_of_names": lambda: swept(["lead(length_alpha=0.1)", "grpo", "rloo"], seeds=1),
    "budget_curve": lambda: evaluation_figures.budget_curve(tables.budget_points(evaluated())),
    "by_difficulty": lambda: evaluation_figures.by_difficulty(tables.difficulty_points(evaluated(), [])),
    "by_difficulty_in_bins": lambda: evaluation_figures.by_difficulty(BARS),
    "group_advantages": lambda: evaluation_figures.group_advantages(GROUP),
    "graders": lambda: evaluation_figures.group_advantages(GRADED[:8], "length (characters)"),
    "graders_of_many_answers": lambda: evaluation_figures.group_advantages(GRADED, "length (characters)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_every_axis_is_named(name):
    assert_readable(FIGURES[name]())


def test_a_method_has_one_look_in_every_figure():
    lines = {line.get_label(): line.get_color() for line in training_figures.trend(training()).axes[0].lines}
    figure = evaluation_figures.group_advantages(GROUP)
    bars = {bar.get_label(): bar.patches[0].get_facecolor()[:3] for bar in figure.axes[0].containers}
    assert to_rgb(lines["grpo"]) == bars["grpo"] == to_rgb(style._METHOD_LOOKS["grpo"].colour)
    assert to_rgb(lines["lead"]) == bars["lead"]


def test_a_figure_shows_itself_in_a_notebook():
    assert evaluation_figures.group_advantages(GROUP)._repr_png_()[0].startswith(b"\x89PNG")


def test_the_unit_of_lengths_is_named():
    assert evaluation_figures.group_advantages(GROUP).axes[0].get_xlabel() == "length (tokens)"
    graded = evaluation_figures.group_advantages(GRADED, "length (characters)")
    assert graded.axes[0].get_xlabel() == "length (characters)"


def test_a_sweep_is_drawn_over_numbers_with_its_mean_its_seeds_and_a_band():
    accuracy, length = swept([0, 0.1, 0.2]).axes
    mean, points = accuracy.lines
    assert mean.get_xdata().tolist() == [0, 0.1, 0.2] and mean.get_ydata() == approx([0.9, 0.8, 0.7])
    assert sorted(points.get_ydata()[:3]) == approx([0.89, 0.9, 0.91]) and len(points.get_xdata()) == 9
    # seeds 9, 10, 11: sd 1, t(2) = 4.3027
    band = length.collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 0, 1].max() == approx(10 + 4.3027 / 3**0.5, abs=1e-3)
    assert (length.get_xscale(), length.get_xlabel()) == ("linear", "x")


def test_a_sweep_over_powers_has_a_logarithmic_axis_and_a_grid_has_a_line_for_each_second_value():
    figure = swept([1e-5, 1e-4, 1e-3], [0, -1.0])
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["y 0.0", "y -1.0"]
    names = swept(["b", "a"]).axes[0]
    assert [label.get_text() for label in names.get_xticklabels()] == ["a", "b"]  # in the order of the table


def test_arms_are_in_the_order_of_the_numbers_in_their_names():
    names = ["a_10", "a_9", "a_0.1", "a_0.05", "a_1e-06", "b", "grpo"]
    assert curves.arms_of(pd.DataFrame({"arm": names})) == ["grpo", "a_1e-06", "a_0.05", "a_0.1", "a_9", "a_10", "b"]


def test_with_a_reference_only_differences_from_it_are_taken_and_corrected():
    values, _ = tables.cluster_values(training(), {})
    pairs = tables.differences(values, 0, reference="length")
    assert set(pairs["difference"]) == {"grpo − length", "lead − length"}


def test_the_difference_of_arms_is_paired_by_seed():
    values, notes = tables.cluster_values(training(), {})
    plan = Plan(f"{FINAL}: length − grpo", [f"{tables._LENGTH}: length − grpo", f"{tables._TRUNCATED}: lead − grpo"])
    pairs = tables.differences(values, 0, plan).set_index(["metric", "difference"])
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


def test_small_p_values_are_not_zero():
    assert tables.format_p(1e-9) == "<0.001" and tables.format_p(0.0314) == "0.031"


def test_models_of_one_evaluation_are_compared_by_problem():
    _, _, table, pairs = tables.evaluation(evaluated(seeds=1))
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

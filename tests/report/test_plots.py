"""Figures: what they show, that nothing is cut off, one look for each method. Tables: what they say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from pytest import approx

from lead_kit.errors import InputError
from lead_kit.evaluate import results, stats
from lead_kit.report import curves, plots, tables

FINAL = "final Pass@1"


def training(arms=("grpo", "length", "lead"), seeds=3):
    """Tidy curves: later arms learn faster and answer shorter."""
    rows = []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            for step in range(0, 60, 10):
                labels = {"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "step": step, "split": "validation"}
                score = 0.5 + step * 0.002 * (place + 1) + 0.01 * seed * (-1) ** place
                rows.append(labels | {"pass@1": score, "length": 40 - 3 * place - seed, "truncated": 0.01})
                rows.append(
                    labels | {"split": "train", "reward_correct": score, "reward_correct_std": 0.4, "reward": score}
                )
    return pd.DataFrame(rows)


def evaluated(arms=("grpo", "lead"), seeds=2, problems=12, n=4):
    """Suites by arm and seed; the last arm solves more."""
    made = []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            for q in range(problems):
                for k in range(n):
                    right = (q + k + seed) % 4 <= place + 1
                    row = {
                        "id": f"p{q:02d}",
                        "sample": k,
                        "arm": arm,
                        "seed": seed,
                        "run": f"{arm}{seed}",
                        "level": q % 3,
                    }
                    made.append(row | {"correct": right, "tokens": 10 + q + k, "finish": "stop", "benchmark": "toy"})
    return results.suites(pd.DataFrame(made))


def groups():
    ledger = [
        {
            "step": step,
            "group": g,
            "correct": k < g,
            "advantage_before": (k < g) - g / 4,
            "advantage": 1.2 * ((k < g) - g / 4),
        }
        for step in (10, 20, 30)
        for g in range(5)
        for k in range(4)
    ]
    return curves.groups(pd.DataFrame(ledger))


GROUP = pd.DataFrame(
    {"correct": [1, 0, 1, 0], "length": [12, 40, 30, 96], "grpo": [1, -1, 1, -1], "lead": [1.2, -1, 0.8, -1]}
)
COUNTS = pd.DataFrame(
    {"step": ["loaded", "a rather long name of a step of the preparation", "kept"], "count": [3453, 3400, 12]}
)
FIGURES = {
    "trend": lambda: plots.trend(training(), note="Embedded task."),
    "trend_of_one_seed": lambda: plots.trend(training(seeds=1)),
    "trend_beside_published": lambda: plots.trend(training(), published=published_points()),
    "response_length": lambda: plots.response_length(training()),
    "reward_components": lambda: plots.reward_components(training()),
    "group_diagnostics": lambda: plots.group_diagnostics(groups()),
    "budget_curve": lambda: plots.budget_curve(tables.budget_points(evaluated())),
    "by_difficulty": lambda: plots.by_difficulty(tables.difficulty_points(evaluated(), [])),
    "group_advantages": lambda: plots.group_advantages(GROUP),
    "counts": lambda: plots.counts(COUNTS),
}


def published_points():
    return pd.DataFrame({"arm": ["grpo", "grpo"], "step": [0, 600], "value": [0.25, 0.45]})


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_every_axis_is_named(name):
    figure = FIGURES[name]()
    FigureCanvasAgg(figure).draw()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= figure.get_figwidth() and drawn.y1 <= figure.get_figheight()
    assert all(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)
    assert figure.axes[-1].get_xlabel() or figure.axes[-1].get_ylabel() == "share of groups by ρ"
    assert figure.get_figwidth() == plots.WIDTH and figure.texts[0].get_text()


def test_the_caption_says_what_the_band_is():
    caption = plots.trend(training(), note="Embedded task.").texts[0].get_text().replace("\n", " ")
    assert caption == "Line: mean over 3 seeds; band: 95% t-interval over seeds, problems held fixed. Embedded task."
    assert "no band" in plots.trend(training(seeds=1)).texts[0].get_text()


def test_the_band_is_the_t_interval_over_seeds():
    points = plots.trend_points(training())
    last = points[(points["arm"] == "grpo") & (points["step"] == 50)].iloc[0]
    expected = stats.t_interval([0.6, 0.61, 0.62])
    assert (last["mean"], last["low"], last["high"]) == approx(expected[:3])


def test_a_method_has_one_look_in_every_figure():
    lines = {line.get_label(): line.get_color() for line in plots.trend(training()).axes[0].lines}
    bars = {
        bar.get_label(): bar.patches[0].get_facecolor()[:3] for bar in plots.group_advantages(GROUP).axes[0].containers
    }
    assert to_rgb(lines["grpo"]) == bars["grpo"] == to_rgb(plots.METHOD_COLOURS["grpo"])
    assert to_rgb(lines["lead"]) == bars["lead"]


def test_looks_differ_without_colour():
    known = [*plots.METHOD_LOOKS.values(), *plots.SPARE_LOOKS]
    assert len({look.colour for look in known}) == len({look.marker for look in known}) == len(known)
    grey = [np.dot(to_rgb(plots.METHOD_COLOURS[arm]), [0.299, 0.587, 0.114]) for arm in ("grpo", "length", "lead")]
    assert min(abs(a - b) for i, a in enumerate(grey) for b in grey[:i]) > 0.05


def test_an_unknown_method_gets_a_look_of_its_own():
    found = plots.looks(["grpo", "mine", "yours"])
    assert len({look.colour for look in found.values()}) == 3
    assert plots.looks(["grpo"])["grpo"] is plots.METHOD_LOOKS["grpo"]


def test_a_figure_shows_itself_in_a_notebook():
    assert plots.counts(COUNTS)._repr_png_().startswith(b"\x89PNG")


def test_rewards_that_were_not_logged_are_refused():
    with pytest.raises(ValueError, match="no reward components"):
        plots.reward_components(training().drop(columns=["reward_correct", "reward_correct_std"]))


def test_the_difference_of_arms_is_paired_by_seed_and_judged_by_its_interval():
    values, notes = tables.cluster_values(training(), {})
    pairs = tables.differences(values, seed=0).set_index(["metric", "difference"])
    row = pairs.loc[(FINAL, "length − grpo")]
    # seeds 0, 1, 2: .7-.6, .69-.61, .68-.62: mean .08, sd .02, t(2) = 4.3027
    assert (row["estimate"], row["high"]) == approx((0.08, 0.08 + 4.3027 * 0.02 / 3**0.5), abs=1e-4)
    assert row["verdict"] == "higher" and row["clusters"] == 3
    assert pairs.loc[(tables.LENGTH, "length − grpo"), "verdict"] == "shorter"
    assert pairs.loc[(tables.TRUNCATED, "lead − grpo"), "verdict"] == stats.NO_DIFFERENCE
    assert list(pairs.loc[FINAL].index) == ["length − grpo", "lead − grpo", "lead − length"]
    assert "last at step 50" in notes[0] and "no Cons@k" in notes[1]


def test_another_metric_of_another_split_can_be_the_curve():
    values, _ = tables.cluster_values(training().drop(columns="truncated"), {}, metric="reward", split="train")
    assert list(dict.fromkeys(values["metric"]))[:2] == ["final reward", "mean reward over the curve"]
    doubled = values.assign(value=2 * values["value"])
    assert tables.arm_table(doubled)["high"].max() > 1  # a reward is no share: its interval is not cut


def test_a_band_stays_where_values_can_lie():
    points = plots.trend_points(training(seeds=2).assign(**{"pass@1": lambda rows: rows["seed"] * 1.0}))
    assert points["low"].min() == 0 and points["high"].max() == 1


def test_without_difference_the_verdict_says_so():
    values, _ = tables.cluster_values(training().assign(**{"pass@1": 0.5}), {})
    assert set(tables.differences(values, 0).set_index("metric").loc[FINAL, "verdict"]) == {stats.NO_DIFFERENCE}


def test_samples_give_cons_and_lengths_by_seed():
    values, _ = tables.cluster_values(training(arms=("grpo", "lead"), seeds=2), evaluated())
    table = tables.arm_table(values).set_index(["arm", "metric"])
    assert table.loc[("grpo", "Cons@4"), "clusters"] == 2
    assert table.loc[("lead", tables.LENGTH), "estimate"] == approx(10 + 5.5 + 1.5)
    assert "over seeds" in tables.caption(values)


def test_the_start_of_all_arms_stands_first_and_is_not_paired():
    suites = evaluated() | {("sft", 0): evaluated(arms=("sft",), seeds=1)["sft", 0]}
    values, _ = tables.cluster_values(training(arms=("grpo", "lead"), seeds=2), suites)
    printed = tables.printed_arms(tables.arm_table(values))
    assert printed["arm"].tolist() == ["sft", "grpo", "lead"] and printed.columns[1] == FINAL
    assert printed.loc[0, FINAL] == "–" and printed.loc[0, "Cons@4"].endswith("[–]")
    assert set(tables.differences(values, seed=0)["difference"]) == {"lead − grpo"}


def test_one_seed_takes_problems_as_clusters():
    values = pd.DataFrame(tables.of_suites(evaluated(seeds=1), {"Cons@{n}": "cons@n"}), columns=tables.COLUMNS)
    assert set(values["unit"]) == {"problem"} and tables.arm_table(values)["clusters"].tolist() == [12, 12]
    assert "over problems" in tables.caption(values)


def test_none_right_is_not_certainly_zero():
    cell = pd.DataFrame({"metric": "Pass@1", "unit": "problem", "value": np.zeros(30)})
    assert tables.interval_of(cell).high == approx(0.1157, abs=1e-3)


def test_the_report_of_nothing_says_so():
    values, notes = tables.cluster_values(pd.DataFrame(), {})
    assert "Nothing to tabulate" in tables.report(values, notes, seed=0).text


def test_tables_line_up_and_escape_special_signs():
    frame = pd.DataFrame({"arm_1": ["a|b", "50%"], "x": ["1 − 2", "–"]})
    lines = tables.markdown(frame).splitlines()
    assert len({len(line) for line in lines[:2] + lines[3:]}) == 1 and "a\\|b" in lines[2]
    assert r"arm\_1 & x \\" in tables.latex(frame, "50%") and r"50\% & -- \\" in tables.latex(frame, "50%")
    assert r"1 $-$ 2" in tables.latex(frame, "50%") and r"\caption{50\%}" in tables.latex(frame, "50%")


def test_small_p_values_are_not_zero():
    assert tables.probability(1e-9) == "<0.001" and tables.probability(0.0314) == "0.031"


def test_an_evaluation_must_have_every_problem(tmp_path):
    suite_rows = [
        {
            "id": f"p{q}",
            "sample": k,
            "correct": q > 1,
            "tokens": 5,
            "finish": "stop",
            "arm": arm,
            "model": arm,
            "seed": 0,
        }
        for arm in ("grpo", "lead")
        for q in range(4)
        for k in range(2)
    ]
    pd.DataFrame(suite_rows).to_json(tmp_path / "samples.jsonl", orient="records", lines=True)
    table, pairs, notes = tables.evaluation(tmp_path / "samples.jsonl", ["p0", "p1", "p2", "p3"])
    assert table["Pass@1"].str.startswith("0.500 [").all() and pairs.loc[0, "verdict"] == stats.NO_DIFFERENCE
    with pytest.raises(InputError, match="lacks 1 of 5 problems: p4"):
        tables.evaluation(tmp_path / "samples.jsonl", ["p0", "p1", "p2", "p3", "p4"])


def test_seeds_evaluated_on_different_problems_are_not_averaged():
    suites = evaluated()
    suites["lead", 1] = suites["lead", 1]._replace(ids=["other"] * 12)
    with pytest.raises(ValueError, match="different problems"):
        tables.budget_points(suites)

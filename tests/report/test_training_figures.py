"""Figures of training: what they plot, that nothing is cut off, one look for each method."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from pytest import approx

from lead_kit.evaluate import stats
from lead_kit.report import curves, style, training_figures
from lead_kit.runs import files
from lead_kit.runs.log_files import write_samples


def training(arms=("grpo", "length", "lead"), seeds=3):
    """Tidy curves: later arms learn faster and answer shorter."""
    rows = []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            for step in range(0, 60, 10):
                labels = {"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "step": step}
                score = 0.5 + step * 0.002 * (place + 1) + 0.01 * seed * (-1) ** place
                validation = {"pass@1": score, "length": 40 - 3 * place - seed, "truncated": 0.01}
                rewards = {"reward": score, "reward_correct": score, "reward_correct_std": 0.4}
                rows.append(labels | {"split": "validation"} | validation)
                rows.append(labels | {"split": "train", "loss": 2 - score} | rewards)
    return pd.DataFrame(rows)


def two_seeds():
    """One arm and two steps; `correct` lies between 0 and 1, of `format` neither spread nor range was logged."""
    columns = ["seed", "step", "reward_correct", "reward_correct_std", "reward_correct_min", "reward_correct_max"]
    rows = [(0, 1, 0.5, 0.3, 0.0, 1.0), (1, 1, 0.7, 0.5, 0.0, 1.0), (0, 2, 0.9, 0.4, 0.0, 1.0), (1, 2, 1, 0, 1, 1)]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(arm="lead", split="train", run="r", reward_std=0.4, reward_format=[1.0, 0.0, 1.0, 1.0])


def groups():
    """Of a ledger of three steps with five groups of four."""
    ledger = [
        {"step": step, "group": g, "correct": k < g, "advantage_before": (k < g) - g / 4}
        for step in (10, 20, 30)
        for g in range(5)
        for k in range(4)
    ]
    frame = pd.DataFrame(ledger)
    return curves.group_statistics(frame.assign(advantage=1.2 * frame["advantage_before"]))


def published_points():
    return pd.DataFrame({"arm": ["grpo", "grpo"], "step": [0, 600], "value": [0.25, 0.45]})


def caption_of(figure):
    return figure.texts[0].get_text().replace("\n", " ")


def assert_readable(figure):
    """Nothing leaves the sheet, every axis is named, the labels of its ticks do not overlap."""
    FigureCanvasAgg(figure).draw()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= figure.get_figwidth() and drawn.y1 <= figure.get_figheight()
    assert style._WIDTH <= figure.get_figwidth() <= style.PAGE and caption_of(figure)
    for axes in figure.axes:
        rows = "".join(label.get_text() for side in (axes, figure.axes[0]) for label in side.get_yticklabels())
        assert axes.get_ylabel() or any(letter.isalpha() for letter in rows)
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            labels = [label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()]
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    assert figure.axes[-1].get_xlabel() or figure.axes[-1].get_ylabel() == "share of groups by ρ"


FIGURES = {
    "trend": lambda: training_figures.trend(training(), note="Embedded task."),
    "trend_of_one_seed": lambda: training_figures.trend(training(seeds=1)),
    "trend_beside_published": lambda: training_figures.trend(training(), published=published_points()),
    "trend_of_long_names": lambda: training_figures.trend(training(arms=("lead (figure1/tiny/train-lead-s0)" * 2,))),
    "response_length": lambda: training_figures.trend(training(), ["length"]),
    "loss_curve": lambda: training_figures.trend(training(), ["loss"], "train"),
    "trends": lambda: training_figures.trend(training(), ["reward_correct", "loss"], "train"),
    "group_diagnostics": lambda: training_figures.group_diagnostics(groups(), "arm lead, runs/03_grpo"),
    "group_diagnostics_of_one_step": lambda: training_figures.group_diagnostics(groups().query("step == 10"), "x"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_every_axis_is_named(name):
    assert_readable(FIGURES[name]())


def test_the_legend_stands_above_the_data():
    figure = training_figures.trend(training())
    FigureCanvasAgg(figure).draw()
    assert figure.legends[0].get_window_extent().y0 >= figure.axes[0].get_window_extent().y1


def test_the_caption_says_what_the_band_is():
    meaning = "Line: mean over 3 seeds; band: 95% t-interval over seeds, problems held fixed. Embedded task."
    assert caption_of(training_figures.trend(training(), note="Embedded task.")) == meaning
    assert "no band" in caption_of(training_figures.trend(training(seeds=1)))
    assert "held fixed" not in caption_of(training_figures.trend(training(), ["reward"], "train"))


def test_the_band_is_the_t_interval_over_seeds():
    points = training_figures.trend_points(training())
    last = points[(points["arm"] == "grpo") & (points["step"] == 50)].iloc[0]
    expected = stats.t_interval([0.6, 0.61, 0.62])
    assert (last["mean"], last["low"], last["high"]) == approx(expected[:3])


def test_a_band_stays_where_values_can_lie():
    points = training_figures.trend_points(training(seeds=2).assign(**{"pass@1": lambda rows: rows["seed"] * 1.0}))
    assert points["low"].min() == 0 and points["high"].max() == 1


def test_the_loss_is_that_of_train_rows():
    points = training_figures.trend_points(training(arms=("sft",), seeds=1), ["loss"], "train")
    assert points["mean"].tolist() == approx([1.5, 1.48, 1.46, 1.44, 1.42, 1.4])
    figure = training_figures.trend(training(arms=("sft",), seeds=1), ["loss"], "train")
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("step (batches)", "loss (nats per token)")


def test_an_arm_has_points_of_the_rewards_it_logged():
    frame = pd.concat([two_seeds(), two_seeds().assign(arm="grpo", run="g", reward_format=np.nan)])
    points = training_figures.trend_points(frame, curves.rewards_in(frame), "train")
    assert points.groupby("arm")["metric"].unique().map(list).to_dict() == {
        "grpo": ["reward_correct"],
        "lead": ["reward_correct", "reward_format"],
    }
    first = points[(points["arm"] == "lead") & (points["metric"] == "reward_correct")].iloc[0]
    assert first[["mean", "low", "high"]].tolist() == approx([0.6, 0, 1])  # 0.6 ± 12.706 · 0.1, cut to a share's range


def test_the_diagnostics_name_their_run():
    figure = training_figures.group_diagnostics(groups(), "arm lead, runs/03_grpo")
    assert caption_of(figure).startswith("Rollouts of arm lead, runs/03_grpo. Top:")


def test_the_column_of_a_step_ends_half_way_to_the_next():
    assert training_figures._step_edges(np.array([10, 20, 40])).tolist() == [5, 15, 30, 50]
    assert training_figures._step_edges(np.array([3])).tolist() == [2.5, 3.5]


def test_looks_differ_without_colour():
    known = list({*style._METHOD_LOOKS.values(), *style._SPARE_LOOKS})
    assert len({look.colour for look in known}) == len({look.marker for look in known}) == len(known)
    for together in (("grpo", "length", "lead"), ("string", "sympy", "verifier")):
        grey = [np.dot(to_rgb(style._METHOD_LOOKS[arm].colour), [0.299, 0.587, 0.114]) for arm in together]
        assert min(abs(a - b) for i, a in enumerate(grey) for b in grey[:i]) > 0.05


def test_an_unknown_method_keeps_its_colour_whatever_is_drawn_beside_it():
    many = [f"arm {number}" for number in range(20)]
    together = style.method_styles([*many, "grpo"])
    assert together["grpo"] == style._METHOD_LOOKS["grpo"]
    assert {arm: look.colour for arm, look in together.items()} == {
        arm: style.method_styles([arm])[arm].colour for arm in together
    }
    assert len({(look.colour, look.line, look.marker) for look in together.values()}) == 21


def test_the_setting_of_a_validation_is_read_from_the_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    run = tmp_path / "runs" / "a"
    write_samples(
        [{"id": name, "sample": k} for name in "xyz" for k in (0, 1)], run / "validation" / "step_000000.parquet"
    )
    parameters = {"validation_samples": 2, "validation_temperature": 1.0}
    (run / "run.json").write_text(json.dumps({"parameters": parameters}))
    frame = pd.DataFrame({"run": ["runs/a", "runs/a", "export.csv"]})
    assert curves.validation_setting(frame) == "Validation: 3 problems, 2 samples of each, temperature 1."
    assert curves.validation_setting(frame.iloc[2:]) == ""


def test_a_run_that_goes_on_is_drawn_over_thin_curves_of_its_baseline():
    frame = training(("lead",), 1)
    figure = training_figures.progress(frame, "lead-s0", training(("grpo", "length")))
    FigureCanvasAgg(figure).draw()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= figure.get_figwidth() and drawn.y1 <= figure.get_figheight()
    for axes, metric in zip(figure.axes, ("validation Pass@1", "mean length (tokens)"), strict=False):
        *thin, own = axes.lines
        assert [line.get_label() for line in axes.lines] == ["grpo", "length", "lead, this run"]
        assert axes.get_ylabel() == metric and all(line.get_linewidth() < own.get_linewidth() for line in thin)
    assert [axes.get_title() for axes in figure.axes[2:]] == list(training_figures._SMALL)
    assert figure.axes[2].lines and not figure.axes[3].lines  # the rewards were logged, the groups not


def test_the_live_figure_cuts_no_label_off_and_draws_no_share_outside_0_and_1():
    frame = training(("lead",), 1)
    frame["pass@1"] = 0.125 + 0.0001 * frame["step"]  # ticks of three decimals
    shares = {"zero_advantage": 0.0, "truncated": 1.0, "clip_low": 0.0, "clip_high": 0.0001, "entropy": 0.1234}
    figure = training_figures.progress(frame.assign(length=12345.5, **shares), "lead-s0", frame.iloc[:0])
    FigureCanvasAgg(figure).draw()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= figure.get_figwidth() and drawn.y1 <= figure.get_figheight()
    for place, axes in enumerate(figure.axes):
        if place not in (1, 2, 4):  # length, reward, entropy
            assert 0 <= axes.get_ylim()[0] and axes.get_ylim()[1] <= 1


def test_a_run_is_drawn_from_its_first_number_on():
    frame = training(("lead",), 1)
    for early in (frame[frame["split"] == "train"].head(1), frame[frame["split"] == "validation"].head(1)):
        FigureCanvasAgg(training_figures.progress(early, "lead-s0", frame.iloc[:0])).draw()


def test_a_notebook_shows_the_picture_that_was_saved_unless_it_has_changed(tmp_path):
    figure = style.Sheet(figsize=(2, 1.5))
    axes = figure.subplots()
    figure.savefig(tmp_path / "a.png", format="png", bbox_inches="tight", dpi=150)
    (tmp_path / "a.png").write_bytes(b"")  # it is not drawn again
    shown, size = figure._repr_png_()
    axes.set_xlabel("step")
    assert shown.startswith(b"\x89PNG") and shown != figure._repr_png_()[0]
    assert size == {"width": round(2 * figure.dpi)}  # 2 inches, however many pixels were saved


def test_a_user_s_matplotlibrc_changes_no_figure():
    usual = FIGURES["trend"]().png()
    with rc_context({"text.usetex": True, "axes.facecolor": "red", "font.family": "cursive", "savefig.bbox": "tight"}):
        assert FIGURES["trend"]().png() == usual

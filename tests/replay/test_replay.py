"""Replay by hand: groups small enough to do on paper, and the published reflection runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.launch.recipes import training_parameters
from lead_kit.parameters import read_parameters
from lead_kit.replay import attribution, logged_batches, recompute_rewards, summary, variants
from lead_kit.replay.read_record import Record
from lead_kit.report import curves, training_figures
from lead_kit.report.read_rollouts import more_frequent

DECLARED = read_parameters(Path(__file__).resolve().parents[2] / "notebooks" / "03_grpo.ipynb")
# Group 0 differs in accuracy, group 1 is all right, group 2 all wrong; `style` pays on top.
FRAME = pd.DataFrame(
    {
        "run": "r",
        "step": 0,
        "group": [0, 0, 1, 1, 2, 2],
        "completion": ["a.", "b.", "c.", "d.", "e.", "f."],
        "reward": [1.0, 0.5, 1.2, 1.0, 0.0, 0.4],
        "reward_correct": [1.0, 0.0, 1.0, 1.0, 0.0, 0.0],
        "reward_style": [0.0, 0.5, 0.2, 0.0, 0.0, 0.4],
        "correct": [1.0, 0.0, 1.0, 1.0, 0.0, 0.0],
        "length": [10.0, 20.0, 10.0, 30.0, 5.0, 5.0],
    }
)


def replay(texts=(), frame=FRAME, lengths="recorded", trained=None, own=None):
    """The record, its outcomes and the sentences on what was refused."""
    record = Record(frame, {}, [])
    found = recompute_rewards.explain(record)
    data = summary.prepare_rollouts(record, found, lengths, None, "", 0)
    chosen = variants.read_variants(list(texts), DECLARED, training_parameters, own or {}, trained)
    return data, *variants.evaluate_all(chosen, data), found


def numbers_of(data, found, outcomes, truncated):
    return summary.summary(data, found, attribution.variant_table(outcomes, data), truncated)


def row_of(table, name):
    return table.set_index("variant").loc[name]


def test_the_share_without_signal_is_the_share_of_flat_groups():
    data, outcomes, _, _ = replay(["dr_grpo"])
    # z-scores of two different rewards are ±1/√2, in each of the three groups: two of three are flat
    assert np.abs(outcomes["as recorded"].advantage) == pytest.approx(np.full(6, 0.5**0.5), rel=1e-4)
    table = attribution.variant_table(outcomes, data)
    assert row_of(table, "as recorded")["advantage_outside_mixed_groups"] == pytest.approx(2 / 3, rel=1e-4)
    # without the spread |A| is half the gap: .25, .1, .2 → (.1 + .2)/.55
    assert row_of(table, "dr_grpo")["advantage_outside_mixed_groups"] == pytest.approx(0.3 / 0.55)


def test_shapley_shares_add_up_and_a_reward_alone_has_all():
    data, outcomes, _, _ = replay(["dr_grpo", "grpo(rewards=['correct'], label='alone')"])
    table = attribution.by_reward(outcomes, data).set_index(["variant", "reward"])
    # Dr. GRPO: v(correct) = 1, v(style) = .5 + .2 + .4, v(both) = 1.1 of Σ|A|
    # Shapley: correct ½(1 + (1.1 − 1.1)) = .5, style ½(1.1 + (1.1 − 1)) = .6
    assert table.loc[("dr_grpo", "correct"), "Shapley"] == pytest.approx(0.5 / 1.1)
    assert table.loc[("dr_grpo", "style"), "Shapley"] == pytest.approx(0.6 / 1.1)
    assert table.loc[("alone", "correct"), "Shapley"] == pytest.approx(1)
    assert (table["Shapley"].groupby("variant").sum() - 1).abs().max() < 1e-9


def test_intervals_take_groups_as_clusters():
    """Against leaving out one group at a time, whose spread the linearised intervals must have for many groups."""
    rng, size, count = np.random.default_rng(0), 4, 60
    correct, style = rng.integers(0, 2, size * count).astype(float), rng.random(size * count).round(2)
    frame = pd.DataFrame({"run": "r", "step": 0, "group": np.repeat(np.arange(count), size), "completion": "a."})
    frame = frame.assign(correct=correct, reward_correct=correct, reward_style=style, reward=correct + style)

    def shares(frame):
        data, outcomes, _, _ = replay(["dr_grpo"], frame.reset_index(drop=True))
        return attribution.by_reward(outcomes, data).iloc[0], attribution.compare_variants(outcomes, data).iloc[0]

    whole, left = shares(frame), [shares(frame[frame["group"] != out]) for out in range(count)]
    for place, name in enumerate(("Shapley", "moved")):
        values = np.array([one[place][name] for one in left])
        error = ((count - 1) / count * ((values - values.mean()) ** 2).sum()) ** 0.5
        for bound, sign in (("low", -1), ("high", 1)):  # Student's t of 59 degrees of freedom is 2.001
            gap = sign * (whole[place][f"{name}_{bound}"] - whole[place][name])
            assert gap == pytest.approx(2.001 * error, rel=0.1), name


def test_over_training_has_means_of_each_step():
    frame = pd.concat([FRAME, FRAME.assign(step=1, correct=1.0, group=FRAME["group"] + 3)], ignore_index=True)
    steps = summary.means_over_steps(replay(frame=frame)[0], np.array([1.0, 0, 1, 1, 0, 0] * 2))
    table = steps.set_index("step")
    assert table.loc[0, ["truncated", "correct"]].tolist() == [0.5, 0.5] and table.loc[1, "correct"] == 1
    names = ["truncated", "repetitive", *curves.rewards_in(steps)]
    figure = training_figures.trend(steps, names, logged_batches.SPLIT)
    assert len(figure.axes) == 4 and figure.axes[2].get_ylabel() == "correct"


def test_the_shape_is_a_part_of_its_own():
    # LEAD pays a lone right answer 1 and a wrong one −1: the shape is the −1 of wrong answers, with the length term
    data, outcomes, refused, _ = replay(["lead(length_alpha=0.0, weight_low=1.0, weight_high=1.0, label='penalty')"])
    assert not refused
    gap = outcomes["penalty"].parts["shape"]
    assert gap.tolist() == pytest.approx([0, -1, 0, 0, -1, -1])
    # the penalty turns group 0 from 1 against .5 to 1 against −.5, which a z-score does not see
    recorded = outcomes["as recorded"].advantage
    assert outcomes["penalty"].advantage[:2] == pytest.approx(recorded[:2], rel=1e-4)


def test_a_punished_right_answer_and_a_rewarded_wrong_one_are_counted():
    frame = FRAME.assign(reward=[0.2, 0.5, 1.2, 1.0, 0.0, 0.4], reward_style=[-0.8, 0.5, 0.2, 0.0, 0.0, 0.4])
    data, outcomes, _, _ = replay(["grpo(rewards=['correct'], label='alone')"], frame)
    table = attribution.variant_table(outcomes, data)
    assert row_of(table, "as recorded")[["right_punished", "wrong_rewarded"]].tolist() == [1, 1]
    assert row_of(table, "alone")[["right_punished", "wrong_rewarded"]].tolist() == [0, 0]
    pair = attribution.compare_variants(outcomes, data).iloc[0]
    # both rollouts of one group of three flip; from recorded to alone no right answer loses
    assert pair["flips"] == pytest.approx(2 / 6) and pair[["right_lose", "wrong_gain"]].tolist() == [0, 0]
    assert pair["moved"] == pytest.approx(2 / 3, rel=1e-4)


def test_equal_variants_move_nothing():
    data, outcomes, _, _ = replay(["grpo(label='again')"])
    pair = attribution.compare_variants(outcomes, data).iloc[0]
    assert pair[["flips", "moved"]].tolist() == [0, 0]


def test_a_group_filter_drops_groups():
    data, outcomes, _, _ = replay(["grpo(group_filter='mixed_groups', label='mixed')"])
    row = row_of(attribution.variant_table(outcomes, data), "mixed")
    assert row[["kept", "dropped", "advantage_outside_mixed_groups"]].tolist() == [1, 2, 0]


def test_groups_of_every_size_count_once():
    frame = pd.concat([FRAME, FRAME.iloc[:1].assign(group=3), FRAME.iloc[[0, 1, 1]].assign(group=4)], ignore_index=True)
    data, outcomes, refused, _ = replay(["lite_ppo"], frame)
    assert [block.rows.shape for block in data.blocks] == [(3, 2), (1, 3)]
    third = outcomes["as recorded"].advantage[data.blocks[1].rows[0]]
    assert third == pytest.approx(np.array([2, -1, -1]) / 3**0.5, rel=1e-4)  # rewards 1, .5, .5: z by hand
    assert "a batch of the record holds groups of different sizes" in refused[0]


def test_a_missing_reward_leaves_out_its_group():
    data, outcomes, _, found = replay(frame=FRAME.assign(reward=[1.0, np.nan, 1.2, 1.0, 0.0, 0.4]))
    assert len(data.groups) == 2 and len(outcomes) == 1
    assert numbers_of(data, found, outcomes, np.zeros(6))["groups"] == 3


def test_variants_are_computed_in_the_groups_that_are_whole():
    """Without one reward the accuracy of that rollout is not known, but its group is left out anyway."""
    frame = FRAME.assign(reward=[1.0, 0.5, 1.2, 1.0, 0.0, np.nan], correct=[1, 0, 1, 1, 0, np.nan])
    data, outcomes, refused, found = replay(["lead", "figure1/lead", "grpo(rewards=['format'])"], frame)
    assert not refused and len(outcomes) == 4
    # group 0: the right answer is alone, so R = 1 and −1, z = ±1/√2; ρ = 1/2 weighs 1.5 − 1.1/(1 + e^(10·(.75 − .5)))
    weight = 0.4 + 1.1 / (1 + np.exp(10 * (0.5 - 0.75)))
    assert outcomes["figure1/lead"].advantage[:2] == pytest.approx([0.5**0.5 * weight, -(0.5**0.5) * weight], rel=1e-4)
    assert numbers_of(data, found, outcomes, np.zeros(6))["explained"] == 1  # of the five that are recorded


def test_a_refusal_that_holds_for_all_variants_is_told_once():
    refused = replay(["lead", "dr_grpo"], FRAME.drop(columns="group"))[2]
    assert len(refused) == 1 and "name the groups" in refused[0]


def weights_of(group):
    return group.length / group.length.sum(1, keepdim=True)


def by_length(group):
    """A baseline that reads the lengths through a helper."""
    return group.reward - (weights_of(group) * group.reward).sum(1, keepdim=True)


def by_name(group):
    return group.reward - getattr(group, "".join(["len", "gth"]))


@pytest.mark.parametrize("baseline", [by_length, by_name])
def test_a_field_that_the_record_lacks_is_refused_however_it_is_read(baseline):
    own = {baseline.__name__: baseline}
    _, outcomes, refused, _ = replay([baseline.__name__], FRAME.drop(columns="length"), own=own)
    assert list(outcomes) == ["as recorded"]
    assert refused == [
        f"Not computed: {baseline.__name__}: needs the tokens of each rollout (-p length_unit characters lets "
        "characters stand in), which the record lacks."
    ]


def test_a_baseline_of_your_own_may_read_what_is_recorded():
    assert "by_length" in replay(["by_length"], own={"by_length": by_length})[1]


def test_one_unknown_length_is_a_missing_field():
    frame = FRAME.assign(length=[10.0, 20.0, 10.0, None, 5.0, 5.0])
    assert "needs the tokens" in replay(["opo"], frame)[2][0]


def test_a_length_that_cannot_matter_need_not_be_recorded():
    frame = FRAME.drop(columns="length")
    without = "lead(length_alpha=0, weight_low=1, weight_high=1)"
    assert list(replay([without], frame)[1]) == ["as recorded", without]
    # the baseline of opo weighs by length, whatever the shape does
    refused = replay(["lead(length_alpha=0, group_baseline='opo')"], frame)[2]
    assert "needs the tokens" in refused[0]


def inner(rollout):
    return 1.0 if rollout.truncated else 0.5


def test_a_reward_that_reads_a_missing_field_through_a_helper_is_refused():
    def outer(rollout):
        return inner(rollout)

    _, _, refused, _ = replay(["grpo(rewards=['outer'], label='mine')"], own={"outer": outer})
    assert refused == ["Not computed: the reward 'outer' needs truncated of each rollout, which the record lacks."]


@pytest.mark.parametrize(
    "without, text, told_in",
    [
        (["length"], "lead", "needs the tokens of each rollout"),
        ([], "lead_code", "needs whether each rollout was cut off"),
        ([], "whitened", "needs the log-probabilities"),
        ([], "remax", "needs the reward of a greedy completion"),
        ([], "otb", "needs the squared norm of the logits' gradient"),
        (["correct", "reward_correct"], "grpo(group_filter='mixed_groups')", "needs the accuracy"),
        (["length"], "grpo(rewards=['soft_overlong'])", "needs length of each rollout"),
        ([], "grpo(rewards=['correct', 'formt'])", "did you mean 'format'"),
        ([], "maxrl(rewards=['correct', 'style'], reward_weights=[1, -3])", "maxrl divides by the mean reward"),
    ],
)
def test_what_a_variant_needs_and_the_record_lacks_is_named_and_the_rest_computed(without, text, told_in):
    frame = FRAME.drop(columns=without)
    if "correct" in without:  # a total that no published reward explains
        frame = frame.drop(columns="reward_style").assign(reward=[0.31, 0.52, 1.23, 1.17, 0.07, 0.44])
    _, outcomes, refused, _ = replay([text, "dr_grpo"], frame)
    assert list(outcomes) == ["as recorded", "dr_grpo"]
    assert len(refused) == 1 and told_in in refused[0]


def test_whitened_without_a_price_needs_no_kl():
    """Each token has the z-score of its rollout, less the mean over all tokens, over their spread."""
    frame = FRAME.assign(reward=[1.0, 0.0, 1.0, 0.0, 0.0, 0.0])[:4].drop(columns=["reward_correct", "reward_style"])
    _, outcomes, refused, _ = replay(["whitened(kl_reward_coef=0)"], frame)
    z, tokens = np.array([1, -1, 1, -1]) / np.sqrt(2), np.array([10.0, 20.0, 10.0, 30.0])
    centred = z - np.average(z, weights=tokens)
    expected = centred / np.sqrt(np.average(centred**2, weights=tokens))
    assert not refused and outcomes["whitened(kl_reward_coef=0)"].advantage == pytest.approx(expected, abs=1e-5)


def test_without_groups_the_rest_is_computed():
    frame = FRAME.drop(columns="group")
    data, outcomes, refused, found = replay(["dr_grpo"], frame)
    assert not outcomes and "no group of the record has two rollouts" in refused[0]
    numbers = numbers_of(data, found, outcomes, np.zeros(6))
    assert numbers["rollouts"] == 6 and numbers["groups"] == 0 and numbers["explained"] == 1
    table = attribution.variant_table(outcomes, data)
    assert table.empty and attribution.over_steps(outcomes, data).empty
    assert attribution.compare_variants(outcomes, data).empty
    assert summary.paragraph(numbers, summary.reward_parts(data), attribution.by_reward(outcomes, data), table, "")


def test_lengths_may_be_characters_if_asked_for():
    _, outcomes, refused, _ = replay(["lead"], FRAME.drop(columns="length"), lengths="characters")
    assert "lead" in outcomes and not refused
    with pytest.raises(InputError, match="length_unit is 'character'.*did you mean 'characters'"):
        replay(frame=FRAME, lengths="character")


def test_variants_by_name_arm_and_file():
    arm = variants.read_variant("figure1/length", DECLARED, training_parameters, {})
    assert arm.rewards == ["correct"] and arm.estimate.shape.keywords["wrong_reward"] == 0
    named = variants.read_variant("lead(length_alpha=0.2, label='L')", DECLARED, training_parameters, {})
    assert (named.name, named.rewards, named.estimate.shape.keywords["length_alpha"]) == ("L", None, 0.2)

    def halved(group):
        return (group.reward - group.reward.mean(1, keepdim=True)) / 2

    data, outcomes, refused, _ = replay(["mine.py:halved", "dr_grpo"], own={"mine.py:halved": halved})
    assert not refused
    assert outcomes["mine.py:halved"].advantage == pytest.approx(outcomes["dr_grpo"].advantage / 2)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("dr_grpp", "did you mean 'dr_grpo'"),
        ("grpo(group_filtre='x')", "did you mean 'group_filter'"),
        ("figure1/leed", "did you mean 'lead'"),
        ("figur1/lead", "did you mean 'figure1'"),
        ("grpo(rewards=['correct'], reward_weights=[1, 2])", "2 reward_weights for"),
        ("grpo_lead_14b/lead", "expected RECIPE/ARM/STAGE"),
        ("lead(length_alpha='much')", "must be float"),
    ],
)
def test_a_wrong_variant_is_refused_before_any_work(text, sentence):
    with pytest.raises(InputError, match=sentence):
        variants.read_variants([text], DECLARED, training_parameters, {})


def test_the_same_variant_twice_is_refused():
    with pytest.raises(InputError, match="twice"):
        variants.read_variants(["rloo", "rloo"], DECLARED, training_parameters, {})


# -- what was learned, and the health of a run ------------------------------------------------------------------------


def long_run():
    """Three steps of six groups: late right answers say so, `style` is paid for saying it, and `format` never."""
    rows = []
    for step in range(3):
        for group in range(6):
            for right in (1.0, 0.0):
                says = step == 2 and right == 0
                text = "we double check it" if says else "we stop here, and"
                row = {"run": "r", "step": step, "group": 10 * step + group, "completion": text, "correct": right}
                row |= {"reward_correct": right, "reward_style": 2.0 * says, "reward_format": 0.0}
                rows.append(row | {"reward": right + 2.0 * says})
    return pd.DataFrame(rows)


def test_words_that_grew_come_with_the_gaps_of_the_rewards():
    words = more_frequent(summary.as_ledger(replay(frame=long_run())[0])).set_index("word")
    # in the last step one of each two: 2 of `style` with the word against 1 of accuracy without it
    row = words.loc["check", ["before", "after", "reward gap", "correct gap", "style gap"]]
    assert row.tolist() == [0, 0.5, 1, -1, 2]


def test_the_share_of_the_first_and_last_third_stands_beside_that_of_all():
    parts = [long_run(), long_run().assign(step=3, correct=1.0, group=99)]
    data, outcomes, _, _ = replay(frame=pd.concat(parts, ignore_index=True))
    row = row_of(attribution.variant_table(outcomes, data), "as recorded")
    name = "advantage_outside_mixed_groups"
    assert row[f"{name}_early"] == 0 and row[f"{name}_late"] > row[name] > 0


def test_a_reward_that_pays_wrong_answers_separates_nothing():
    data, outcomes, _, _ = replay(frame=long_run())
    table = attribution.separation(outcomes["as recorded"], data).set_index(["reward", "steps"])
    assert table.loc[("style", "late"), "separation"] == 0 and table.loc[("style", "early"), "separation"] == 0.5
    assert "format" not in table.index.get_level_values(0)  # it never differs


def test_a_reward_that_never_differs_is_dead():
    data, outcomes, _, found = replay(frame=long_run())
    parts = summary.reward_parts(data).set_index("reward")
    assert parts["dead"].to_dict() == {"correct": False, "style": False, "format": True}
    assert parts.loc["style", "differs"] == pytest.approx(1 / 3)
    numbers = numbers_of(data, found, outcomes, np.array([0.0] * 24 + [1.0] * 12))
    assert numbers["dead_rewards"] == 1 and numbers["truncated_late"] == 1
    assert set(numbers) == {
        "rollouts", "groups", "explained", "advantage_outside_mixed_groups", "dead_rewards", "truncated_late",
    }  # fmt: skip


def test_how_truncation_is_known():
    frame = pd.DataFrame({"completion": ["So it is 4.", "So it is", "</think> 4", "x)"], "length": [3, 9, 4, 9]})
    assert summary.truncation(frame)[0].tolist() == [0, 1, 1, 0] and summary.truncation(frame)[1] == summary.FROM_TEXT
    assert summary.truncation(frame, end_marker="</think>")[0].tolist() == [1, 1, 0, 1]
    assert summary.truncation(frame, max_tokens=9)[0].tolist() == [0, 1, 0, 1]
    found = summary.truncation(frame.assign(truncated=[1.0, 0, 0, 0]), end_marker="</think>")
    assert found[0].tolist() == [1, 0, 0, 0] and found[1] == summary.AS_RECORDED


def test_thirds_are_those_of_each_run_and_a_record_without_steps_has_none():
    data, outcomes, _, found = replay(frame=long_run().drop(columns="step").assign(group=[i // 2 for i in range(36)]))
    assert (data.groups["third"] == -1).all()
    assert np.isnan(numbers_of(data, found, outcomes, np.ones(36))["truncated_late"])

"""The recorded reward taken apart, golds that are given beside a record, and the published reflection runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.launch.recipes import training_parameters
from lead_kit.method import rewards
from lead_kit.method.rewards import Rollout
from lead_kit.parameters import read_parameters
from lead_kit.replay import attribution, recompute_rewards, summary, variants
from lead_kit.replay.read_record import Record, read

DECLARED = read_parameters(Path(__file__).resolve().parents[2] / "notebooks" / "03_grpo.ipynb")


def record(**columns):
    """Two rollouts with reflection words, two without."""
    base = {"run": "r", "completion": ["Verify.", "verify a step.", "x", "y"], "group": [0, 0, 1, 1], "step": 0}
    return Record(pd.DataFrame(base | columns), {}, [])


def test_the_accuracy_is_the_integer_that_remains():
    # reflection_v2 of one word is .21, of one word in each of two dimensions .33
    found = recompute_rewards.explain(record(reward=[1.21, 0.33, 1.0, 0.0]))
    assert found.sentences[0].startswith("Of the published sets of rewards, GRPO_reflection (2603")
    assert found.correct.tolist() == [1, 0, 1, 0] and found.explained.all()
    assert found.parts["reflection_v2"].tolist() == [0.21, 0.33, 0, 0]


def test_what_no_reward_explains_stays_unexplained():
    found = recompute_rewards.explain(record(reward=[1.21, 0.33, 1.0, 0.77]), ["correct", "reflection_v2"])
    assert found.explained.tolist() == [True, True, True, False] and np.isnan(found.correct[3])


def test_a_recorded_part_is_computed_again_and_kept_as_recorded():
    parts = {"reward_correct": [1.0, 0, 1, 0], "reward_reflection_v2": [0.21, 0.33, 0.5, 0], "correct": [1.0, 0, 1, 0]}
    found = recompute_rewards.explain(record(reward=[1.21, 0.33, 1.5, 0], **parts))
    assert found.explained.tolist() == [True, True, False, True]
    assert found.parts["reflection_v2"].tolist() == [0.21, 0.33, 0.5, 0]


def test_runs_with_other_weights_are_explained_each_by_its_own():
    frame = pd.concat([record(reward=[1.0, 0, 1, 0]).frame, record(reward=[1.21, 0.33, 1, 0], run="s").frame])
    frame = frame.assign(correct=[1.0, 0, 1, 0] * 2, reward_correct=[1.0, 0, 1, 0] * 2).reset_index(drop=True)
    frame["reward_reflection_v2"] = [0.21, 0.33, 0, 0] * 2
    own = {"rewards": ["correct", "reflection_v2"]}
    weights = {"r": own | {"reward_weights": [1.0, 0.0]}, "s": own | {"reward_weights": [1.0, 1.0]}}
    found = recompute_rewards.explain(Record(frame, weights, []))
    assert found.explained.all()
    assert found.parts["reflection_v2"].tolist() == pytest.approx([0, 0, 0, 0, 0.21, 0.33, 0, 0])


def test_a_random_reward_is_computed_again_with_the_seed_of_its_run():
    texts = [f"text {number}" for number in range(40)]
    paid = [rewards.random(Rollout("", text, "", 0, False, None), seed=3) for text in texts]
    frame = pd.DataFrame(
        {"run": "r", "prompt": "", "completion": texts, "group": 0, "step": 0, "reward": paid, "reward_random": paid}
    )
    own = {"rewards": ["random"], "reward_weights": [1.0], "seed": 3}
    assert recompute_rewards.explain(Record(frame, {"r": own}, [])).explained.all()
    assert 0.2 < recompute_rewards.explain(Record(frame, {"r": own | {"seed": 4}}, [])).explained.mean() < 0.8


def test_golds_that_disagree_are_listed():
    one = record(reward=[1.21, 0.33, 1.0, 0.0])
    regraded = np.array([0.0, 0.0, 1.0, np.nan])
    found = recompute_rewards.explain(one, regraded=regraded)
    listed = recompute_rewards.disagreements(one.frame, found, regraded, ["2", "2", "3", None])
    assert listed[["gold", "completion", "recorded", "regraded"]].to_numpy().tolist() == [["2", "Verify.", 1.0, 0.0]]
    assert found.explained.tolist() == [False, True, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("name, share, flat", [("7b_grpo", 0.479, 367), ("1.5b_grpo", None, None)])
def test_the_published_runs_are_explained_to_the_last_rollout(lead_data, name, share, flat):
    one = read(str(lead_data / "rollouts" / f"reflection_{name}.parquet"))
    found = recompute_rewards.explain(one)
    assert found.explained.all() and set(found.weights) == {"correct", "format", "reflection_v2"}
    data = summary.prepare_rollouts(one, found, "recorded", None, "", 0)
    outcomes, refused = variants.evaluate_all(variants.read_variants(["lead"], DECLARED, training_parameters, {}), data)
    assert "needs the tokens" in refused[0]
    numbers = summary.summary(data, found, attribution.variant_table(outcomes, data), summary.truncation(one.frame)[0])
    assert numbers["dead_rewards"] == 1 and numbers["groups"] == 768
    # the same share by pandas alone
    frame = one.frame.assign(correct=found.correct)
    groups = frame.groupby("group")["reward"]
    size = ((frame["reward"] - groups.transform("mean")) / (groups.transform("std") + 1e-6)).abs().fillna(0)
    silent = frame.groupby("group")["correct"].transform("nunique") == 1
    assert numbers["advantage_outside_mixed_groups"] == pytest.approx(size[silent].sum() / size.sum(), abs=1e-6)
    if share:
        assert numbers["advantage_outside_mixed_groups"] == pytest.approx(share, abs=0.001)
        assert (data.groups["kind"] > 0).sum() == flat


@pytest.mark.slow
def test_golds_are_found_inside_the_prompts(lead_data):
    one = read(str(lead_data / "rollouts" / "reflection_7b_grpo.parquet"))
    found = recompute_rewards.find_golds(one.frame, lead_data / "train" / "math3k_rl_prompt.jsonl")
    known = [place for place, gold in enumerate(found) if gold is not None]
    assert len(known) == 1106
    some = one.frame.iloc[known[:70]].reset_index(drop=True)
    regraded = recompute_rewards.regrade(some, [found[place] for place in known[:70]])
    paid = recompute_rewards.explain(one).correct[known[:70]]
    assert np.mean(regraded == paid) > 0.9


def test_golds_of_the_record_itself():
    one = record(reward=[1.0, 0, 1, 0], gold=["2", None, "3", "4"])
    assert recompute_rewards.find_golds(one.frame, "recorded") == ["2", None, "3", "4"]
    with pytest.raises(InputError, match="the record has no golds"):
        recompute_rewards.find_golds(record(reward=[1.0, 0, 1, 0]).frame, "recorded")


def test_a_reward_of_ones_own_is_taken_as_recorded():
    parts = {"reward_correct": [1.0, 0, 1, 0], "reward_brief": [0.5, 0.5, 0, 0], "correct": [1.0, 0, 1, 0]}
    one = record(reward=[2.0, 1.0, 1.0, 0.0], **parts)
    own = {"rewards": ["correct", "mine.py:brief(limit=3)"], "reward_weights": [1.0, 2.0]}
    found = recompute_rewards.explain(one._replace(parameters={"r": own}))
    assert found.explained.all() and found.weights == {"correct": 1.0, "brief": 2.0}
    assert "'brief' is not one of the kit's" in found.sentences[0]


def test_a_total_that_nothing_explains_is_not_taken_apart():
    found = recompute_rewards.explain(record(reward=[0.71, 0.13, 0.32, 0.0]))
    assert list(found.parts) == ["reward"] and found.correct is None and found.explained.mean() < 0.5
    assert "name its rewards with recorded_rewards" in found.sentences[0]


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="recorded_weights has 2 values, but the rewards of the record are correct"):
        recompute_rewards.explain(record(reward=[1.0, 0, 1, 0]), ["correct"], [1.0, 2.0])

"""What one batch of rollouts tells before a run, on batches small enough to count by hand."""

from types import SimpleNamespace

import pandas as pd
import pytest

from lead_kit.train import prechecks
from lead_kit.train.preflight import LOOK, OK, STOP, Item


def batch(right, level=1.0, **columns):
    """A group of four rollouts with so many right answers."""
    correct = [True] * right + [False] * (4 - right)
    base = {"step": 1, "correct": correct, "truncated": False, "length": [10, 20, 30, 40], "level": level}
    return pd.DataFrame(base | {"reward_correct": [float(c) for c in correct]} | columns)


def groups(*parts):
    return pd.concat([part.assign(group=place) for place, part in enumerate(parts)], ignore_index=True)


@pytest.mark.parametrize("cut, verdict", [(0, OK), (1, LOOK), (4, STOP)])
def test_lengths_against_the_limit(cut, verdict):
    rows = groups(batch(2, truncated=[True] * cut + [False] * (4 - cut)))
    found = prechecks.check_lengths(rows, 40)
    assert found.verdict == verdict and found.sentence.startswith(
        "25 tokens in the median, 38 at 95%, 40 at most of 40"
    )
    assert (f"{cut * 25}% are cut off" in found.sentence) and ("raise max_tokens" in found.sentence) == (cut > 0)


def test_mixed_groups_have_an_interval_and_their_levels():
    rows = groups(batch(0, 1.0), batch(2, 1.0), batch(4, 2.0), batch(1, 2.0))
    overall, levels = prechecks.check_mixed_groups(rows, 4)
    assert overall.verdict == OK
    assert overall.sentence == (  # Wilson, 2 of 4
        "50% [15%, 85%] of 4 groups of 4 have right and wrong answers; 44% of the answers are right"
    )
    assert levels.sentence.startswith("1: 50%") and "; 2: 50%" in levels.sentence


def test_few_mixed_groups_are_reported_and_none_stops():
    assert prechecks.check_mixed_groups(groups(batch(1), *[batch(4)] * 3), 4)[0].verdict == LOOK
    (found,) = prechecks.check_mixed_groups(groups(batch(0), batch(4)), 4)
    assert found.verdict == STOP and found.sentence.startswith("0% [0%, 66%]")


def test_constant_and_dominant_rewards_are_told():
    rows = groups(batch(2, reward_format=0.0, reward_long=[0.0, 9.0, 0.0, 9.0]))
    weights = {"correct": 1.0, "format": 1.0, "long": 1.0}
    found = {one.name: one for one in prechecks.check_rewards(rows, weights)}
    assert found["reward format"] == ("reward format", LOOK, "it is 0 in every rollout")
    assert found["reward long"].verdict == LOOK and "it decides what is learned" in found["reward long"].sentence
    assert found["reward correct"].verdict == OK
    # with weight .1 its variance is 20.25 · .01 of .4525
    quiet = {one.name: one for one in prechecks.check_rewards(rows, weights | {"long": 0.1, "format": 0.0})}
    assert "45% of the variance" in quiet["reward long"].sentence and "reward format" not in quiet


def test_the_same_problem_in_other_words_is_a_leak():
    text = "A red box of mass $3$ kg slides down a frictionless ramp of height $5$ m. What is its speed at the bottom?"
    trained = [
        {"id": "t", "problem": text, "gold": "10"},
        {"id": "u", "problem": "How many primes are there?", "gold": "0"},
    ]
    again = {"id": "v", "problem": text.replace("A red box of", "A red box with"), "gold": "10"}
    other = {"id": "w", "problem": "Count the sheep that sleep in the field behind the mill.", "gold": "4"}
    assert prechecks.check_near_leaks(trained, [other]).verdict == OK
    found = prechecks.check_near_leaks(trained, [again, other])
    assert found.verdict == STOP and found.sentence.startswith("1 of 2 held-out problems are in training")


def test_the_cost_of_all_batches_is_that_of_one_times_their_number():
    found = prechecks.check_cost({"seconds": 36.0}, 200, 5000)
    assert found.verdict == OK and "36.0 s for 5,000 tokens, so 2 h 0 min for 200 batches" in found.sentence
    assert "s for" not in prechecks.check_cost({"seconds": None}, 200, 5000).sentence


def test_a_check_ends_before_its_batch_where_golds_cannot_be_graded():
    run = SimpleNamespace(
        silent=True, reached=(0, 3), record_fact=lambda *_: None, finish=lambda **summary: told.update(summary)
    )
    told = {}
    prechecks.conclude_ungradable([Item("golds", OK, "all"), Item("answer", STOP, "nothing reads it")], run)
    assert run.reached == (0, 3) and not told
    with pytest.raises(SystemExit):
        prechecks.conclude_ungradable([Item("golds", STOP, "1 of 3")], run)
    assert run.reached == (0, 0) and told == {"ok": 0, "look": 0, "stop": 1}

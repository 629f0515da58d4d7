"""Reading rollouts: the choice, a group side by side, two answers to one prompt, words and steps that grew."""

import numpy as np
import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.report import read_rollouts

ATTACK = "<img src=x onerror=alert(1)>"


def ledger_of(rows):
    """Rollouts from (step, group, sample, completion, reward, advantage)."""
    frame = pd.DataFrame(rows, columns=["step", "group", "sample", "completion", "reward", "advantage"])
    right = frame["reward"] > 0
    status = np.where(right, "correct", "wrong")
    return frame.assign(id="p", gold="1", problem="2+2?", correct=right, status=status, length=3, reward_correct=right)


LOGGED = ledger_of(
    [
        (1, 0, 0, "no", 0.0, -1.0),
        (1, 0, 1, "yes", 1.0, 1.0),
        (2, 0, 0, "I verify 3", 1.0, 0.1),
        (2, 0, 1, "no", 0.0, -0.1),
        (2, 1, 0, "I verify 14. So 7", 1.0, 2.0),
        (2, 1, 1, ATTACK, 0.0, -2.0),
    ]
)


def test_a_choice_is_by_step_group_status_and_reward():
    assert len(read_rollouts.select_rollouts(LOGGED)) == 4  # the last step
    assert read_rollouts.select_rollouts(LOGGED, step=1, status="correct")["completion"].tolist() == ["yes"]
    assert read_rollouts.select_rollouts(LOGGED, group=1, below=0.5)["completion"].tolist() == [ATTACK]
    for wrong, told in (({"step": 3}, "there are: 1, 2"), ({"group": 9}, "0 to 1"), ({"status": "corect"}, "correct")):
        with pytest.raises(InputError, match=told):
            read_rollouts.select_rollouts(LOGGED, **wrong)


def test_the_telling_group_has_the_widest_advantages():
    assert read_rollouts.most_varied_group(read_rollouts.select_rollouts(LOGGED)) == 1


def test_a_group_stands_side_by_side_with_bars_and_inert_texts():
    page = read_rollouts.side_by_side(LOGGED[LOGGED["group"] == 1])
    assert page.html.count("display: inline-block") == 2 and page.html.count("width: 100%") == 2
    assert page.html.index("verify") < page.html.index("&lt;img") and "<img" not in page.html
    assert "advantage +2.000 ████████████" in page.text and "advantage -2.000 ░░░░░░░░░░░░" in page.text
    assert "2+2?" in page.text and "mathjax_ignore" in page.html


def test_words_that_differ_are_marked():
    before, after = read_rollouts._diff_pieces("so 3 + 4 = 8", "so 3 + 4 = 7 ok")
    assert before == [("so 3 + 4 = ", False), ("8", True)]
    assert after == [("so 3 + 4 = ", False), ("7 ok", True)]


def test_two_answers_show_what_differs_and_nothing_acts():
    one = {"completion": f"a {ATTACK}", "status": "wrong", "length": 2}
    page = read_rollouts.diff_page(one, one | {"completion": "a b"}, ("before", "after"), ATTACK)
    assert "<img" not in page.html and page.html.count("&lt;img") == 2
    assert "after: wrong, 2 tokens\na [+b+]" in page.text


def test_pairs_are_samples_that_both_sides_have():
    before = LOGGED[LOGGED["step"] == 1]
    after = before.assign(completion=["yes", "maybe"], correct=[True, True], status="correct")
    both = read_rollouts.paired_samples(before, pd.concat([after, after.assign(id="q")]))
    assert len(both) == 2
    assert read_rollouts.changed_sample(both)["completion_before"] == "no"  # the one that became right
    with pytest.raises(InputError, match="no sample of the same problem"):
        read_rollouts.paired_samples(before, after.assign(id="q"))


def test_words_and_steps_that_grew_stand_beside_the_reward_of_their_groups():
    words = read_rollouts.more_frequent(LOGGED).set_index("word")
    assert words.loc["verify", ["before", "after"]].tolist() == [0.0, 0.5]  # in 2 of the 4 of the last quarter
    assert words.loc["verify", "reward gap"] == 1.0  # in both groups, 1 with it and 0 without
    assert "no" not in words.index
    steps = read_rollouts.more_frequent(LOGGED, "step").set_index("step")
    assert steps.loc["I verify #.", "after"] == 0.25 and steps.loc["So #", "reward gap"] == 1.0


def test_nothing_grew():
    assert list(read_rollouts.more_frequent(LOGGED[LOGGED["step"] == 1])) == ["word", "before", "after"]


def test_a_click_in_the_grid_opens_the_group_with_that_sample_first_and_nothing_acts():
    grid, page = read_rollouts.browser(LOGGED).children
    grid.selected_rows = [3]
    assert (
        page.value.index("sample 1: wrong") < page.value.index("sample 0: correct") and "Gold answer: 1" in page.value
    )
    grid.selected_rows = [5]
    assert "&lt;img" in page.value and "<img" not in page.value
    assert "&lt;img" in grid._dt_args["data_json"] and "<img" not in grid._dt_args["data_json"]


def test_a_static_page_opens_each_group_of_a_batch():
    page = read_rollouts.groups(read_rollouts.select_rollouts(LOGGED))
    assert page.html.count("<details>") == 2 and "<script" not in page.html and "<img" not in page.html
    assert page.text.splitlines() == [f"group {group}: 1 of 2 right, mean reward 0.5" for group in (0, 1)]

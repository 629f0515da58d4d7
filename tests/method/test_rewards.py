"""Rewards by hand, and on the rollouts of published runs."""

import re
import time
from itertools import product

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from lead_kit.errors import InputError
from lead_kit.method.rewards import (
    REFLECTION_V2,
    REWARDS,
    Rollout,
    bind_rewards,
    correct,
    cosine,
    format,
    format_boxed,
    format_only,
    l1_exact,
    l1_max,
    ngram_repetition,
    random,
    reasoning_steps,
    reflection_score,
    reflection_v1,
    reflection_v2,
    repeats_in_chain,
    repetition_chain,
    soft_overlong,
    unfinished,
)
from lead_kit.verify.verdict import STATUSES, Verdict
from tests.references.rewards import meant_reflection_v1, released_reflection_v1

COSINE = dict(max_length=100)


def rollout(completion="", status="wrong", length=0):
    """One completion with a given verdict, of a problem with a target of 100 tokens."""
    verdict = Verdict(status, "", "because", "same")
    return Rollout("1+1?", completion, "2", length, False, verdict, {"target_tokens": 100})


def test_only_the_status_correct_pays():
    paid = {s: correct(rollout(status=s)) for s in STATUSES if s != "gold_unparseable"}
    assert paid == {s: float(s == "correct") for s in paid}


def test_a_gold_answer_that_cannot_be_graded_is_never_a_number():
    with pytest.raises(ValueError, match="'2' cannot be graded: because"):
        correct(rollout(status="gold_unparseable"))
    with pytest.raises(ValueError):
        cosine(rollout(status="gold_unparseable"), **COSINE)


@pytest.mark.parametrize(
    "text, paid",
    [
        ("<think>a\nb</think> \n<answer>2</answer>", 1),
        ("<think></think><answer></answer>", 1),
        (" <think>a</think><answer>2</answer>", 0),
        ("<think>a</think> so <answer>2</answer>", 0),
        ("<think>a</think><answer>2</answer>\n\n", 1),
        ("<think>a</think><answer>2</answer>\nThat is all.", 1),  # the released flag is multi-line
        ("<think>a</think><answer>2</answer> done", 0),
        ("<think>a</think><answer>2</answer> \n", 0),
        ("<think>a</think><answer>2</answer>\r\n", 0),
        ("<think>a</think></answer>\n<answer>2", 0),
        ("<think>a</think><answer>2", 0),
        ("<answer>2</answer>", 0),
        ("", 0),
    ],
)
def test_strict_format(text, paid):
    assert format(rollout(text)) == paid


def test_strict_format_is_the_pattern_as_released():
    pattern = re.compile(r"^<think>.*?</think>\s*<answer>.*?</answer>$", re.DOTALL | re.MULTILINE)
    texts = ["<think>" + "".join(p) for p in product(["</think>", "<answer>", "</answer>", " ", "\n", "a"], repeat=5)]
    paid = [format(rollout(text)) for text in texts]
    assert paid == [bool(pattern.match(text)) for text in texts] and 0 < sum(paid) < len(texts)


@pytest.mark.parametrize(
    "text, boxed, only",
    [
        ("<think>a</think> \\boxed{2}", 1, 1),
        ("a</think> \\fbox{2}", 1, 1),
        ("<think>\\boxed{2}</think>", 0, 1),
        ("<think>a</think></think>\\boxed{2}", 0, 1),
        ("<think>a</think>\\boxed{ }", 0, 0),
        ("\\boxed{wrong}", 0, 1),
        ("2", 0, 0),
    ],
)
def test_boxed_format_and_the_control_arm_that_pays_any_box(text, boxed, only):
    assert (format_boxed(rollout(text)), format_only(rollout(text))) == (boxed, only)


def test_random_is_fair_and_repeats_itself():
    paid = [random(rollout(str(i)), seed=0) for i in range(400)]
    assert paid == [random(rollout(str(i)), seed=0) for i in range(400)]
    assert paid != [random(rollout(str(i)), seed=1) for i in range(400)]
    assert 160 < sum(paid) < 240  # 200 ± 4 standard deviations of 10


@pytest.mark.parametrize(
    "counts, score",
    [
        ((0, 0, 0, 0), 0),
        ((1, 0, 0, 0), 0.21),
        ((1, 1, 0, 0), 0.33),
        ((1, 1, 1, 1), 0.46),
        ((5, 5, 5, 5), 0.63),
        ((0, 0, 20, 0), 0.53),
        ((0, 0, 100, 0), 0.60),
        ((20, 20, 20, 20), 0.70),
    ],
)
def test_reflection_score_of_the_four_counts(counts, score):
    assert reflection_score(list(counts)) == score


@pytest.mark.parametrize(
    "text, score",
    [
        ("An ERROR.", 0.21),
        ("Let me re-evaluate this.", 0.21),
        ("On re-evaluation", 0),
        ("an incorrect step here", 0.33),  # backtracking, and the sub-goal word "step"
        ("check", 0.21),
        ("cross-validate", 0.21),
        ("edge case check", 0.21),  # the phrase, and not "check" once more
        ("Steps and steps", 0),
        ("decompose into 3 parts", 0.21),
        ("working backwards from the goal", 0.30),
        ("error, check, step, goal", 0.46),
    ],
)
def test_words_of_reflection(text, score):
    assert reflection_v2(rollout(text)) == approx(score, abs=0.005)


# Each alternative of the released patterns: "_" is one white-space character, "+" one or more. "both", "behind" and
# "none" say where a word boundary is needed.
BACKTRACKING, VERIFICATION, SUB_GOALS, BACKWARD = range(4)
ALTERNATIVES = [
    (BACKTRACKING, "both", ["backtrack", "error", "fix", "mistake"]),
    (BACKTRACKING, "behind", ["re-evaluate", "re-evalation"]),
    (BACKTRACKING, "none", ["flawed+approach", "flawed+step", "incorrect+approach", "incorrect+step"]),
    (VERIFICATION, "both", ["verify", "check", "confirm", "test"]),
    (
        VERIFICATION,
        "behind",
        [a + b + c for a, b, c in product(["cross", "re"], ["", "-"], ["validate", "validation"])],
    ),
    (VERIFICATION, "none", ["unit+analysis", "dimension+analysis", "edge+case+check", "boundary+check"]),
    (SUB_GOALS, "both", ["step", "stage", "phase", "subtask"]),
    (SUB_GOALS, "none", ["decompose_in+3", "decompose_into+12", "milestone+3", "checkpoint+12"]),
    (SUB_GOALS, "none", ["track_progress_at", "track_progress_on"]),
    (BACKWARD, "both", ["target", "goal", "required"]),
    (BACKWARD, "behind", ["work_backwards", "working_backwards"]),
    (BACKWARD, "none", ["reverse_engineer", "reverse_logic", "deduce_from_final", "deduce_from_outcome"]),
]
PHRASES = [(dimension, boundary, phrase) for dimension, boundary, phrases in ALTERNATIVES for phrase in phrases]


def spelled(phrase, one=" ", more=" "):
    return phrase.replace("_", one).replace("+", more)


def matches(dimension, text):
    """How often the dimension's pattern is found; the reward of that dimension alone follows from it."""
    return len(REFLECTION_V2[dimension].findall(text.lower()))


@pytest.mark.parametrize("dimension, boundary, phrase", PHRASES, ids=[phrase for *_, phrase in PHRASES])
def test_each_reflection_phrase_and_its_word_boundaries(dimension, boundary, phrase):
    text = spelled(phrase)
    assert matches(dimension, text) == matches(dimension, f"(so {text.upper()}!)") == 1
    assert matches(dimension, f"{text}, {text}") == 2 and reflection_v2(rollout(text)) >= reflection_score([1])
    assert matches(dimension, "x" + text) == (boundary != "both")
    assert matches(dimension, text + "s") == matches(dimension, text + "_1") == (boundary == "none")


@pytest.mark.parametrize("dimension, boundary, phrase", PHRASES, ids=[phrase for *_, phrase in PHRASES])
def test_each_reflection_phrase_and_its_white_space(dimension, boundary, phrase):
    assert matches(dimension, spelled(phrase, "\n", " \t\n")) == 1
    assert matches(dimension, spelled(phrase, "  ")) == ("_" not in phrase)
    assert matches(dimension, spelled(phrase, "", "")) == ("_" not in phrase and "+" not in phrase)
    assert matches(dimension, text := spelled(phrase, "-", ",")) == (text == phrase or text.endswith(",check"))


@pytest.mark.parametrize(
    "text, counts",
    [
        ("two incorrect steps and flawed approaches", [2, 0, 0, 0]),
        ("reverse engineering", [0, 0, 0, 1]),
        ("boundary checks, edge case checking", [0, 2, 0, 0]),
        ("homework backwards, prevalidation", [0, 1, 0, 1]),
        ("reevaluate, re-evaluation, re-evaluated", [0, 0, 0, 0]),
        ("backtrack progress on it", [1, 0, 1, 0]),  # "track progress on" stands in it
        ("errors, fixes, tested, subtasks, goals", [0, 0, 0, 0]),
        ("decompose in three, milestone three", [0, 0, 0, 0]),
    ],
)
def test_reflection_words_that_pay_and_neighbours_that_do_not(text, counts):
    assert [matches(dimension, text) for dimension in range(4)] == counts
    assert reflection_v2(rollout(text)) == reflection_score(counts)


@pytest.mark.slow
@pytest.mark.parametrize("run", ["reflection_7b_grpo", "reflection_1.5b_grpo"])
def test_the_recorded_reward_minus_our_reflection_is_an_integer(lead_data, run):
    rows = pandas.read_parquet(lead_data / "rollouts" / f"{run}.parquet", columns=["completion", "reward"])
    rest = rows.reward - [reflection_v2(rollout(text)) for text in rows.completion]
    assert len(rest) == 5376
    assert (rest - rest.round()).abs().max() < 0.011


def test_the_first_reflection_reward():
    # one of the first list: .3(1 - .5) = .15; two of the second: .5(1 - .36) = .32; one of the third: .2(1 - .4) = .12
    text = "Verify. cross-validation, alternative approach. The initial thought was incorrect."
    assert meant_reflection_v1("Verify") == 0.18
    assert meant_reflection_v1(text) == approx(1.2 * (0.15 + 0.32 + 0.12), abs=0.005)
    every = "verify " * 50 + "cross-validation " * 50 + "initial calculation is flawed " * 50
    assert meant_reflection_v1(every) == 1 and meant_reflection_v1("calculation is incorrect") == 0
    # the words that its docstring leaves out
    assert meant_reflection_v1("confirm, re-examine, double check, validate") == approx(
        1.2 * 0.3 * (1 - 0.5**4), abs=0.005
    )
    assert meant_reflection_v1("step verification") == approx(1.2 * 0.5 * 0.4, abs=0.005)
    assert meant_reflection_v1("a mistake in step 12; correcting myself") == approx(1.2 * 0.2 * (1 - 0.16), abs=0.005)


PAID_BY_V1 = [
    "verify",
    "double-check",
    "alternative approach",
    "correcting error",
    "<think>",
    "</think>",
    "\n",
    "<answer>",
]


@given(st.lists(st.sampled_from(PAID_BY_V1) | st.text(max_size=20), max_size=30).map(" ".join))
def test_the_first_reflection_reward_as_released_pays_nothing(text):
    for completion in (text, f"<think>{text}</think>"):
        assert reflection_v1(rollout(completion)) == released_reflection_v1(completion) == 0.0


def test_three_steps_of_reasoning_are_enough():
    assert reasoning_steps(rollout("1. a")) == approx(1 / 3)
    assert reasoning_steps(rollout("First, a\n- b\nStep 3: c\nFinally, d")) == 1


def test_cosine_pays_short_right_answers_and_spares_short_wrong_ones():
    def paid(status, characters):
        return cosine(rollout("x" * characters, status), **COSINE)

    assert [paid("correct", n) for n in (0, 50, 100, 200)] == approx([1, 0.75, 0.5, 0.5])
    assert [paid("wrong", n) for n in (0, 50, 100, 200)] == approx([0, -0.25, -0.5, -0.5])


def test_the_share_of_repeated_trigrams():
    # a b c a b c: four trigrams, abc twice: 1 - 3/4
    knobs = dict(n=3, max_penalty=-1.0)
    assert ngram_repetition(rollout("a b c A B C"), **knobs) == -0.25
    assert ngram_repetition(rollout("a b"), **knobs) == 0


@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 40))
def test_a_chain_is_found_at_any_offset_and_nine_repeats_are_none(n, before, after):
    def text(repeats):
        chain = [f"w{i}" for i in range(n)] * repeats
        return " ".join([f"b{i}" for i in range(before)] + chain + [f"a{i}" for i in range(after)])

    assert repeats_in_chain(text(10)) and not repeats_in_chain(text(9))


def test_words_of_120_characters_and_n_grams_of_31_words():
    assert repeats_in_chain("x" * 120) and not repeats_in_chain("x" * 119)
    assert not repeats_in_chain(" ".join(f"w{i % 31}" for i in range(31 * 12)))
    assert not repeats_in_chain("")


def test_a_chain_costs_its_penalty():
    assert repetition_chain(rollout("no " * 10), penalty=-1.5) == -1.5
    assert repetition_chain(rollout("no " * 9), penalty=-1.5) == 0


def test_an_unfinished_response_pays_a_penalty():
    cut = rollout()._replace(truncated=True)
    assert (unfinished(rollout()), unfinished(cut), unfinished(cut, penalty=-2.0)) == (0, -1, -2)


def test_soft_overlong_is_a_ramp_below_the_limit():
    paid = [soft_overlong(rollout(length=n), limit=100, margin=20) for n in (0, 80, 90, 100, 500)]
    assert paid == [0, 0, -0.5, -1, -1]


HOSTILE = [
    "</think> <answer>" * 20_000,
    "<think>" + "</think> <answer>" * 20_000 + "</answer>",
    "<think>" + "</think>" + " " * 300_000 + "x</answer>",
    "\\boxed{" * 40_000,
    "\\boxed" + " " * 300_000,
    "re-" * 100_000,
    "decompose in " * 25_000,
    "work " * 60_000,
    "<think></think><answer>" + "</answer>\n " * 30_000,
    "<think>" + "</answer>\n" * 30_000,
    "edge " * 60_000,
    "edge case " * 30_000,
    "boundary" + " " * 300_000,
    "incorrect" + "\n" * 300_000 + "x",
    "decompose in" + " " * 300_000 + "three",
    "milestone " + "1" * 300_000,
    "a " * 150_000,
    " ".join(f"w{i % 31}" for i in range(100_000)),
]


def test_l1_rewards_a_right_answer_near_or_below_the_target():
    lengths = (50, 100, 150)
    assert [l1_exact(rollout("", "correct", n), alpha=0.01) for n in lengths] == approx([0.5, 1.0, 0.5])
    assert [l1_exact(rollout("", "wrong", n), alpha=0.01) for n in lengths] == approx([-0.5, 0.0, -0.5])
    # above the target by 1/alpha · delta tokens or more nothing is left; below it the reward stops at 1
    assert [l1_max(rollout("", "correct", n), alpha=0.01) for n in (10, 50, 100, 149, 200)] == approx(
        [1.0, 1.0, 0.5, 0.01, 0.0]
    )
    assert l1_max(rollout("", "wrong", 50)) == 0.0
    with pytest.raises(InputError, match="target_tokens of the problem '1\\+1' is None, expected a number"):
        l1_max(rollout("", "correct", 9)._replace(problem="1+1", record={}))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_costs_little(text):
    start = time.process_time()
    for reward in REWARDS.values():
        reward(rollout(text))
    assert time.process_time() - start < 2


def test_names_in_the_table_are_the_functions_names():
    assert all(function.__name__ == name for name, function in REWARDS.items())


def test_a_reward_is_named_with_its_arguments():
    table = bind_rewards(["correct", "cosine(max_length=100, wrong_long=-1)", "soft_overlong"])
    assert list(table) == ["correct", "cosine", "soft_overlong"]
    assert table["cosine"](rollout("x" * 100)) == -1.0
    assert repr(table["cosine"]).startswith("cosine(max_length=100, correct_short=1.0, correct_long=0.5")


def test_your_own_reward_stands_beside_the_named_ones():
    def brief(rollout, *, limit: int):
        return float(rollout.length <= limit)

    table = bind_rewards(["correct", "mine.py:brief(limit=40)"], {"mine.py:brief": brief})
    assert list(table) == ["correct", "brief"] and table["brief"](rollout(length=40)) == 1


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("corect", "rewards is 'corect', expected one of correct.*did you mean 'correct'"),
        ("cosine(max_lenght=9)", "cosine has no argument 'max_lenght' .did you mean 'max_length'"),
        ("cosine(max_length='9 tokens')", "'max_length of cosine' must be int, got '9 tokens'"),
        ("correct(max_length=9)", "correct has no argument 'max_length'; there are: none"),
        ("cosine(4096)", "expected a name, or a name with literal arguments"),
        ("cosine(max_length=__import__('os').getpid())", "expected a name, or a name with literal arguments"),
        ("cosine(max_length=9", "expected a name, or a name with literal arguments"),
        ("cosine(**{})", "expected a name, or a name with literal arguments"),
    ],
)
def test_a_bad_reward_gets_one_sentence(text, sentence):
    with pytest.raises(InputError, match=sentence):
        bind_rewards([text])


def test_a_reward_named_twice_is_refused():
    with pytest.raises(InputError, match="rewards names 'cosine' twice"):
        bind_rewards(["cosine", "cosine(max_length=9)"])

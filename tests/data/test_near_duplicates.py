"""Texts that say the same: rewordings are found, templates are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.data import near_duplicates
from lead_kit.data.load import draw_problems, load_problems

DIE = (
    "When rolling a certain unfair six-sided die with faces numbered 1, 2, 3, 4, 5, and 6, the probability of "
    "obtaining face $F$ is greater than $1/6$, the probability of obtaining the face opposite {} is less than $1/6$, "
    "the probability of obtaining any one of the other four faces is $1/6$. Find $m + n$."
)
FILLER = [
    f"A farmer with {n} cows and {n + 3} goats sells every {n % 7 + 2}th animal. How many are left?" for n in range(9)
]


def record(problem, answer="29", identity="x"):
    return {"id": identity, "problem": problem, "gold": answer, "level": None, "source": "test"}


def kinds(left, right):
    return [match.kind for match in near_duplicates.matching_pairs([left], [right, *(record(text) for text in FILLER)])]


def test_spacing_dollars_and_cosmetic_latex_do_not_matter():
    one = "Consider $z(x, y)=(2 x-y)^{2}-2 y^{2}$.  Find \\dfrac{1}{2}\\left(z\\right)$"
    other = "Consider\n\\[z(x,y) = (2x - y)^2 - 2y^2.\\]Find \\frac12(z)$"
    assert near_duplicates.normal_form("$f (x) \\leqslant 3$") == near_duplicates.normal_form("\\(f(x) \\le 3\\)")
    assert kinds(record(one), record(other, "1")) == ["same text"]


def test_operators_and_digits_matter():
    assert len({near_duplicates.normal_form(text) for text in ("x+1", "x-1", "x1", "x=1", "3.5", "35", "n!", "n")}) == 8


@given(st.text())
def test_the_normal_form_is_stable(text):
    assert near_duplicates.normal_form(near_duplicates.normal_form(text)) == near_duplicates.normal_form(text)


def test_a_reworded_problem_with_the_same_answer_is_the_same_problem():
    assert kinds(record(DIE.format("face $F$")), record(DIE.format(""))) == ["same problem"]


def test_with_another_answer_it_is_a_variant_at_most():
    assert kinds(record(DIE.format("face $F$")), record(DIE.format("it"), "30")) == ["variant"]


def test_other_numbers_make_another_problem():
    text = "Find the remainder when $1 + 2 + 3 + 4 + \\dots + 9 + 10$ is divided by {}."
    assert "same problem" not in kinds(record(text.format(8), "7"), record(text.format(9), "7"))


def test_an_equal_text_is_the_same_whatever_its_answer():
    assert kinds(record(DIE.format("it"), "1"), record(DIE.format(" it "), "2")) == ["same text"]


def test_a_missing_answer_asks_for_more_of_the_text():
    assert kinds(record(DIE.format("face $F$")), record(DIE.format("it"), "")) == ["same problem"]


def test_a_phrase_that_many_problems_share_is_no_evidence():
    phrase = "Express your answer as a common fraction in lowest terms, and box it. "
    rows = [record(phrase + f"What is {n}/{n + 7} + {n + 1}/5?", str(n % 3)) for n in range(40)]
    assert near_duplicates.matching_pairs(rows) == []
    assert near_duplicates.matching_pairs(rows[:20], rows[20:]) == []


def test_without_an_evaluation_set_nothing_leaks():
    assert near_duplicates.matching_pairs([record(DIE.format("it")), record(DIE.format("face $F$"))], []) == []


def test_embedded_problems_are_no_duplicates_or_leaks_of_each_other():
    held_out = draw_problems("arithmetic", 252, "validation")
    train = draw_problems("arithmetic", 2000, exclude=frozenset(row["problem"] for row in held_out))
    distinct = list({row["problem"]: row for row in train}.values())
    assert near_duplicates.matching_pairs(train, held_out) == []
    assert near_duplicates.matching_pairs(distinct) == []


def test_an_equation_states_the_answer_of_its_right_side():
    assert near_duplicates.answer_key(record("", "c=2")) == near_duplicates.answer_key(record("", "$2$"))


@pytest.mark.slow
def test_known_leaks_of_the_released_training_set(lead_data):
    train = load_problems(lead_data / "train" / "grpo_lead_stage23.jsonl")
    known = {"math_500": 5, "olympiadbench": 1, "gaokaoen2023": 4, "aime24": 0}
    for name, least in known.items():
        held_out = load_problems(lead_data / "benchmarks" / f"{name}.jsonl", need_gold=False)
        found = near_duplicates.matching_pairs(train, held_out)
        leaked = {match.right for match in found if match.kind != "variant"}
        assert least <= len(leaked) <= least + 4, name

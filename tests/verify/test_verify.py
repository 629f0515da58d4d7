"""The verifier without processes: extraction, the normal form, exact comparison, the guard."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lead_kit.verify import compare, extraction, latex_scan
from lead_kit.verify.extraction import NestedBox, extract
from lead_kit.verify.normal_form import normal

SELF = ("math_500", "aime24", "aime25", "amc23", "gsm8k")
PIECES = [
    "\\frac", "\\dfrac", "{", "}", "(", ")", "[", "1", "23", "4.5", ",", "\\,", "\\!", "\\text{cm}", "\\text",
    "x", "_6", "^2", "^{\\circ}",
    "\\sqrt", "\\pm", "\\{", "\\}", "=", "\\leq", "\\cup", " ", "$", "\\$", "%", "\\%", "π", "²", "½", "−", "\\left",
    "\\right", "\\\\",
    "\\begin{pmatrix}", "\\end{pmatrix}", "&", "or", "\\mathrm{e}", "\\operatorname{sin}", ":", ";", ".", "~",
    "\\quad", "\\ldots", "'",
]  # fmt: skip


def verdict(answer, gold):
    """What is decided without algebra: "correct", "wrong", … or None."""
    decided = compare.quick(answer, gold) or compare.exactly(normal(gold), normal(answer))
    return decided and decided[0]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("so \\boxed{1}, no: \\boxed{2}", "2"),
        ("\\fbox{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("<think>\\boxed{3}</think> it is \\boxed{4}", "4"),
        ("<think>a</think><think>b</think>\\boxed{5}", "5"),
        ("\\boxed{\\boxed{6}}", "6"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{7} and then \\boxed{", "7"),
        ("<think>\\boxed{3}</think> no idea", None),
        ("<think>\\boxed{3}", None),
        ("</think>\\boxed{1}<think>\\boxed{3}", None),
        ("the answer is 3", None),
        ("\\boxed{3", None),
    ],
)
def test_the_answer_is_the_last_balanced_box_after_the_thinking(completion, answer):
    assert extract(completion) == answer


def test_a_box_inside_a_box_is_refused():
    with pytest.raises(NestedBox):
        extract("\\boxed{3 \\boxed{4}}")
    with pytest.raises(NestedBox):
        extract("\\boxed{\\boxed{3} or \\boxed{4}}")


def test_the_released_grpo_lead_reads_before_the_end_of_thinking():
    completion = "\\boxed{1} <think> \\boxed{2} </think> \\boxed{3}"
    assert extract(completion, answer_region="before_think") == "2"
    assert extract("\\boxed{2}", answer_region="before_think") is None
    with pytest.raises(ValueError, match="answer_region is 'inside'"):
        extract("x", answer_region="inside")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 42.", "42"),
        ("#### 1,234", "1,234"),
        ("Therefore, there are 12 such sequences.", "12"),
        ("So $x = 3$ and $y = 4$. Final Answer: The final answer is $7$. I hope it is correct.", "7"),
        ("\\boxed{1} and \\boxed{-2}", "1, -2"),
        ("\\boxed{5}", "5"),
        ("9 eggs at $2 each.\nA: 18", "18"),
        ("First: $10 + $5 = $15. Then $15 - $3 = $12.\n**A:** $12", "12"),
        ("She makes 9 * $2 = $18 every day.", "18"),
        ("The total price is 3 x $5 + 2 x $4 = $23", "23"),
        ("The book costs $5 and the pen costs $3.", "3"),
        ("He has $3 left", "3"),
        ("Then $5x = 20$ so $x = 4$.", "x = 4"),
        ("the number is $18$.", "18"),
    ],
)
def test_the_loose_mode_reads_stated_answers(text, answer):
    assert extract(text, loose=True) == answer


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 40_000, "\\boxed{1}\n" * 40_000, "\\boxed{" * 9_000 + "}" * 9_000, "{" * 300_000 + "}" * 300_000],
)
@pytest.mark.parametrize("loose", [False, True])
def test_extraction_is_linear(text, loose):
    start = time.process_time()
    try:
        extract(text, loose=loose)
    except NestedBox:
        pass
    assert time.process_time() - start < 1.5


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@settings(max_examples=400)
def test_the_normal_form_is_idempotent(text):
    once = normal(text)
    assert normal(once) == once


@given(st.text(max_size=30))
@settings(max_examples=200)
def test_the_normal_form_of_any_text_is_idempotent(text):
    assert normal(normal(text)) == normal(text)


def test_real_golds_are_equal_to_themselves_without_algebra(lead_data):
    for name in SELF:
        for line in (lead_data / "benchmarks" / f"{name}.jsonl").open(encoding="utf-8"):
            gold = json.loads(line)["answer"]
            assert verdict(extract(f"\\boxed{{{gold}}}"), gold) == "correct", gold


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("10{,}000", "10000"), ("\\frac{1}{2}", "0.5"), ("1\\frac{1}{4}", "5/4"), ("7.8\\times 10^2", "780"),
        ("½", "\\dfrac12"),
        ("28\\%", "28"), ("32.8\\%", "\\dfrac{41}{125}"), ("44^\\circ", "44"), ("\\$36", "36"),
        ("864 \\mbox{ inches}^2", "864"),
        ("\\text{(E)}", "E"), ("\\text{Evelyn}", "Evelyn"), ("(3,4]", "3 < x \\leq 4"), ("\\{x | -2<x<3\\}", "(-2, 3)"),
        ("a \\leqslant 2", "(-\\infty, 2]"), ("-2,1", "1, -2"), ("\\{1,2\\}", "2, 1"), ("\\pm 2", "-2, 2"),
        ("k=3", "3"), ("3,4", "p=3, q=4"),
        ("\\begin{pmatrix} -7 \\\\ 16 \\\\ 5 \\end{pmatrix}", "(-7,16,5)"), ("2:1", "2"), ("5:8", "\\frac{5}{8}"),
        ("3:6", "1:2"),
        ("180.67", "\\frac{542}{3}"), ("2516_8", "2516_{8}"), ("x=1000,y=10", "y=10, x=1000"), ("\\infty", "∞"),
        ("x^2", "x²"),
        ("infinitely many", "\\infty"), ("(1,2),(3,4)", "(3,4), (1,2)"), ("12", "12^{\\mathrm{th}}"), ("0.1", ".1"),
        ("0.\\overline{36}", "\\frac{4}{11}"), ("C", "\\text{(C) } 5"),
        ("\\mathbb{R}", "(-\\infty,\\infty)"), ("\\emptyset", "\\{\\}"), ("k\\pi, k\\in\\mathbb{Z}", "k\\pi"),
        ("x=2 \\text{ or } x=3", "3, 2"), ("17", "**17**"),
    ],
)  # fmt: skip
def test_equal_without_algebra(gold, answer):
    assert verdict(answer, gold) == "correct"


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("3", "3 or 4"), ("3", "4=3"), ("3", "\\neq 3"), ("3", "\\geq 3"), ("3", "\\pm 3"),
        ("3", "x=1 \\text{ or } 2 \\text{ or } 3"),
        ("1,2", "1,2,3"), ("12,34", "1234"), ("(1,2)", "[1,2]"), ("[1,2)", "[1,2]"), ("(1,2)", "(2,1)"),
        ("52_8", "52"), ("52", "52_8"),
        ("\\frac{1}{3}", "0.33"), ("10000", "10000.9"), ("17.001", "17"), ("1:2", "0.5"), ("A", "ABCD"),
        ("A", "A/B/C/D"),
        ("\\text{Evelyn}", "\\text{Evelyn and Bob}"), ("5 \\text{ hours}", "5 \\text{ days}"),
        ("4:30 \\text{ p.m.}", "4:30"), ("\\infty", "-\\infty"),
        ("25\\%", "6.5"), ("\\{1,2\\}", "\\{1\\}"), ("odd", "even"), ("b<a<d", "a<b<d"), ("2", "-2"), ("2:1", "1:2"),
        ("0.5", "0.5\\%"),
        ("2^{200}", "2"), ("11", "1 1"), ("19", "12+7"), ("33", "12+7\\cdot 3"), ("3", "\\approx 3"),
        ("3", "3 \\text{ or more}"), ("3", "\\text{at least } 3"), ("3", "3 \\pm 1"), ("0", "0=0"),
        ("A", "\\text{not A}"),
        ("C", "(C) or (D)"), ("3", "3 \\text{ (or 4)}"), ("2", "2 \\text{ if } x>0, 3 \\text{ otherwise}"),
    ],
)  # fmt: skip
def test_never_equal(gold, answer):
    assert verdict(answer, gold) in ("wrong", None)
    assert verdict(answer, gold) != "correct"


@pytest.mark.parametrize("gold", ["", "   ", "None", "$$", "\\boxed{}"])
def test_an_empty_gold_is_never_a_number(gold):
    assert verdict("3", extraction.gold_text(gold)) == "gold_unparseable"


@pytest.mark.parametrize("bomb", ["1" * 2001, "(" * 100 + ")" * 100, "1," * 200])
def test_the_guard_refuses_what_is_too_large_to_read(bomb):
    assert latex_scan.why_refused(bomb)


@pytest.mark.parametrize("honest", ["2^{200}", "(x+1)^{100}", "\\text{open}", "(\\frac23)^{100}", "9^{9^{9}}"])
def test_the_guard_asks_for_size_only(honest):
    assert latex_scan.why_refused(honest) == ""


def test_integers_are_decided_in_microseconds():
    start = time.process_time()
    for number in range(2000):
        assert compare.quick(str(number), "77") is not None
        extraction.extract(f"<think>3+4</think> The answer is \\boxed{{{number}}}.")
    assert (time.process_time() - start) / 2000 < 50e-6

"""The verifier against what users of other graders reported, and against real golds as models write them."""

import json
import random

import pytest

from lead_kit.verify import Verifier
from tests.verify import styles

pytestmark = pytest.mark.slow  # starts worker processes
REASONS = {  # (gold, text) of the cases that are decided otherwise than the file expects: why
    ("3 red, 5 blue", "3 \\text{ red and } 5 \\text{ blue}"): "3 abc is a product, so is 3 red",
}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(2) as shared:
        yield shared


def otherwise(verifier, rows):
    """The rows decided otherwise than expected. Modes: an answer in a box, a completion, a completion read loosely."""
    surprising = []
    for mode in "acl":
        chosen = [row for row in rows if row["mode"] == mode]
        texts = [f"\\boxed{{{row['text']}}}" if mode == "a" else row["text"] for row in chosen]
        verdicts = verifier.check_many(texts, [row["gold"] for row in chosen], loose=mode == "l")
        surprising += [row for row, got in zip(chosen, verdicts, strict=True) if got.correct != row["expected"]]
    return surprising


def test_reported_cases_are_decided_as_expected_and_no_unequal_one_is_accepted(lead_data, verifier):
    rows = [json.loads(line) for line in (lead_data / "verifier" / "reports.jsonl").open(encoding="utf-8")]
    surprising = otherwise(verifier, rows)
    assert [row for row in surprising if not row["expected"]] == []
    assert [row for row in surprising if (row["gold"], row["text"]) not in REASONS] == []
    assert len(surprising) <= 0.05 * len(rows)


def test_real_golds_are_recognised_in_forty_styles_and_no_changed_one_is_accepted(lead_data, verifier):
    assert len(styles.STYLES) >= 40
    golds = styles.real_golds(lead_data)
    golds = random.Random(0).sample([gold for gold in golds if not gold.isdigit()], 150) + golds[:20]
    for same, pairs in ((True, list(styles.styled(golds))), (False, list(styles.changed(golds)))):
        verdicts = verifier.check_many([f"\\boxed{{{answer}}}" for *_, answer in pairs], [gold for gold, *_ in pairs])
        mistakes = [pair for pair, got in zip(pairs, verdicts, strict=True) if got.correct is not same]
        assert len(mistakes) <= (0.005 * len(pairs) if same else 0), mistakes


# (gold, answer, equal): neighbours of the reported cases
NEIGHBOURS = [
    ("-5", "\\text{5}", False),
    ("\\text{-}5", "-5", True),
    ("3.4", "\\text{34}", False),
    ("2,3", "\\text{2 or 3}", True),
    ("4:51:06", "4:51", False),
    ("12:30", "0:30", False),
    ("1:58 am", "1:58 \\text{ a.m.}", True),
    ("(1,2,3)", "(r,s,t)=(1,2,3)", True),
    ("(3,4)", "n=3, m=4", False),
    ("(b,a)=(3,4)", "(a,b)=(4,3)", True),
    ("3", "\\mathbb{R}=3", False),
    ("3", "\\pi e = 3", False),
    ("3", "3=e", False),
    ("\\frac12", "\\sin\\theta=\\frac12", True),
    ("\\sqrt{2}", "\\sqrt{2}+(e^{-30}+\\pi^{-40})^{60}", False),
    ("x", "x+e^{-10^6(x^2+1)}", False),
    ("x", "x+\\lfloor\\frac{1}{1+(x-5)^2}\\rfloor", False),
    ("n!", "n!+\\binom{n}{200}", False),
    ("2^n", "2^n+0^n", False),
    ("2^{99}\\sqrt2", "2^{98}\\sqrt8", True),
    ("\\cosh x", "\\frac{e^x+e^{-x}}{2}", True),
    ("5", "5 \\text{ fifths}", False),
    ("5", "5万", False),
    ("5", "5 \\text{ Millionen}", False),
    ("15\\text{ cm}", "15厘米", True),
    ("3", "3 abc", False),
    ("3 xy", "3", False),
    ("5 \\text{ bolts}", "5 \\text{ nuts}", False),
    ("a_{ij}", "a_{ji}", False),
    ("\\dot{x}_0+1", "1+\\dot{x}_1", False),
    ("2v_{\\max}", "v_{\\text{max}}+v_{\\max}", True),
    ("\\dot{x}", "x", False),
    ("a^{x(b+c)}", "a^{bx+c}", False),
    ("1,\\frac34", "1 and 3/4", True),
    ("\\frac74", "1,\\frac34", False),
    ("x^2+C", "x^2+K", True),
    ("x^2+C", "x^2+a", False),
    ("x^2+C", "x^2", False),
    ("[1,3]", "[1,2)\\cup(2,3]", False),
    ("[1,3]", "[1,2)\\cup[2,3]", True),
    ("(0,1)", "]0,1[", True),
    ("(3,6)", "3(1,2)", True),
    ("(1,2)", "f(1,2)", False),
    ("50\\%", "P=\\frac24=\\frac13=50\\%", False),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}^T", True),
    ("\\text{June 20}", "\\text{20}", False),
    ("2020", "\\text{June 20, 2020}", False),
    ("A,C", "AD", False),
    ("\\text{5\\%}", "\\mathbf{5\\%}", True),
    ("\\text{5\\%}", "0.05", True),
    ("B", "\\text{B?}", False),
    ("\\frac12", "\\frac12 \\text{ or } 0.5", True),
    ("\\frac12", "\\frac12 \\text{ or } 0.6", False),
    ("5", "\\cancel{5}", False),
    ("proof", "proof", False),
    ("\\text{N/A}", "\\text{N/A}", False),
    ("\\text{none}", "\\text{none}", True),
]


def test_neighbours_of_the_reported_cases(verifier):
    rows = [{"mode": "a", "gold": gold, "text": text, "expected": equal} for gold, text, equal in NEIGHBOURS]
    assert otherwise(verifier, rows) == []


def test_boxes_are_found_in_whichever_spelling(verifier):
    cases = [
        ("5", "$\\boxed 5$", True),
        ("\\frac12", "$\\boxed\\frac12$", True),
        ("5", "\\\\boxed{5}", True),
        ("5", "boxed{5}", True),
        ("5", "\\framebox{5}", True),
        ("1,2", "$x=\\boxed{1}$ and $x=\\boxed{2}$", True),
        ("1", "\\boxed{1}, \\boxed{2}", False),
        ("7", "\\boxed{3} is wrong, so \\boxed{7}", True),
        ("7", "\\boxed{7}, \\boxed{7}", True),
        ("3", "\\boxed{x \\boxed{3}}", False),
        ("5", "\\boxed{5} in \\boxed as asked", True),
        ("5", "\\boxed{5} in \\boxed{}", True),
    ]
    rows = [{"mode": "c", "gold": gold, "text": text, "expected": equal} for gold, text, equal in cases]
    assert otherwise(verifier, rows) == []


def test_golds_that_are_no_answers_are_named(verifier):
    for gold in ("notfound", "\\text{Not found}", "proof", "N/A", "\\text{see solution}"):
        assert "no answer" in verifier.unreadable(gold), gold
    for gold in ("\\text{none}", "n", "\\text{unknotted}", "a", "\\text{yes}"):
        assert verifier.unreadable(gold) == "", gold

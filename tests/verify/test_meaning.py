"""What an answer means: (gold, answer, equal) by subject. Each pair was decided wrongly by text rules once."""

import pytest

from lead_kit.verify import Verifier
from tests.verify.pairs import KINDS as GENERATED
from tests.verify.pairs import draw_pairs

pytestmark = pytest.mark.slow  # starts worker processes

UNITS = [
    ("3", "3xyz", False), ("3", "3 \\text{ million}", False), ("3", "3 million", False), ("3", "3 dozen", False),
    ("3", "\\text{3 dozen}", False), ("3", "3 and a half", False), ("3", "3 squared", False),
    ("3", "3\\text{ squared}", False), ("3", "3 below zero", False), ("3", "3 \\text{ is wrong}", False),
    ("3", "3 is wrong", False), ("3", "3 hundred", False), ("3", "3 \\text{ halves}", False),
    ("3", "3 \\text{ and a half}", False), ("3", "3 \\text{ blorgs}", True), ("3", "about 3", False),
    ("3", "\\text{approximately } 3", False), ("3", "3 \\text{ approximately}", False),
    ("3", "3 \\text{ or so}", False), ("3", "3 \\text{ factorial}", False), ("3", "3 \\text{ times } 10", False),
    ("6", "6\\text{ m}^2", True), ("6", "6\\,\\mathrm{m}", True), ("6\\text{ g}", "6", True),
    ("5", "5 \\text{ s}", True), ("12", "12\\text{ cm}^2", True), ("12", "12 \\text{ square units}", True),
    ("6", "6 \\text{ m/s}", True), ("6 \\text{ m}", "6 \\text{ s}", False), ("6 \\text{ m}", "600 \\text{ cm}", True),
    ("6 \\text{ m}", "60 \\text{ cm}", False), ("1 \\text{ m}^2", "10000 \\text{ cm}^2", True),
    ("1 \\text{ m}^2", "100 \\text{ cm}^2", False), ("36 \\text{ km/h}", "10 \\text{ m/s}", True),
    ("2 \\text{ hours}", "120 \\text{ minutes}", True), ("\\$2", "200 \\text{ cents}", True),
    ("60 \\text{ mph}", "60 \\text{ miles per hour}", True), ("3000000", "3 \\text{ million}", True),
    ("24", "2 \\text{ dozen}", True), ("3 \\text{ million}", "3", False),
    ("\\$3 \\text{ million}", "\\$3{,}000{,}000", True), ("18", "18 \\text{ eggs}", True),
    ("5 \\text{ apples}", "5 \\text{ oranges}", False), ("3\\text{m}", "3\\text{n}", False),
]  # fmt: skip
PROBLEMS = [
    ("9900", "99^2+99+1", False), ("9901", "99^2+99+1", False), ("4495", "\\binom{31}{28}", False),
    ("12", "84/7", False), ("12", "\\frac{84}{7}", False), ("19", "1(12+7)", False), ("19", "(12+7)^1", False),
    ("3", "x=4=3", False), ("x=3", "2x+4=10", False), ("3", "2x+4=10", False), ("x=3", "x-3=0", False),
    ("120", "5!", False), ("4", "\\sqrt{16}", False), ("\\frac{\\sqrt{3}}{2}", "\\sin 60^\\circ", False),
    ("\\frac{1}{2}", "\\sin 30^\\circ", False), ("8", "2^3", False), ("\\frac{\\pi}{4}", "\\arctan 1", False),
    ("\\frac{3}{4}", "\\frac{1}{2}+\\frac{1}{4}", False), ("5", "|-5|", False), ("\\frac{1}{2}", "\\frac{2}{4}", True),
    ("3", "x=3", True), ("8", "3+5=8", True), ("x=3", "3", True), ("x=3", "3=x", True),
    ("1200", "1.2\\times 10^3", True), ("2\\sqrt{2}", "\\sqrt{8}", True), ("y=2x+3", "y-2x=3", True),
    ("3", "3.0", True), ("\\frac{\\pi}{3}", "60^\\circ", True), ("12", "S=3\\cdot 4=12", True),
    ("12", "S=3\\cdot 5=12", False),
]  # fmt: skip
KINDS = [
    ("3:00", "7:00", False), ("2:30", "1:15", False), ("3:00", "3:00", True), ("3:00 \\text{ p.m.}", "15:00", True),
    ("3:00\\text{ p.m.}", "3:00\\text{ a.m.}", False), ("3:00 \\text{ PM}", "3\\text{ p.m.}", True),
    ("4:30", "4:45", False), ("0:0", "1:2", False), ("1:2", "0:0", False), ("2:3", "4:6", True),
    ("1:2:3", "2:4:6", True), ("1:2:3", "0:0:0", False), ("x\\equiv 3\\pmod 7", "x\\equiv 4\\pmod 7", False),
    ("x\\equiv 3\\pmod 7", "x\\equiv 3\\pmod 8", False), ("x\\equiv 3\\pmod 7", "x\\equiv 10\\pmod{7}", True),
    ("x\\equiv 3\\pmod 7", "3 \\pmod 7", True), ("3", "x\\equiv 3\\pmod 7", False),
    ("3", "10\\equiv 3\\pmod 7", False), ("3", "3 \\pmod 7", False), ("k\\pi", "n\\pi", True),
    ("k\\pi,k\\in\\mathbb{Z}", "n\\pi,n\\in\\mathbb{Z}", True), ("k\\pi", "n\\pi,n\\in\\mathbb{Z}", True),
    ("k\\pi", "2n\\pi", False), ("k\\pi,k\\in\\mathbb{Z}", "2k\\pi,k\\in\\mathbb{Z}", False),
    ("\\frac{\\pi}{2}+k\\pi", "-\\frac{\\pi}{2}+n\\pi, n\\in\\mathbb{Z}", True),
    ("\\frac{\\pi}{2}+k\\pi", "k\\pi", False), ("\\frac{\\pi}{2}+k\\pi", "\\frac{(2n+1)\\pi}{2}", True),
    ("k\\pi", "3\\pi", False), ("k\\pi, k\\in\\mathbb{Z}", "k\\pi, k\\in\\mathbb{N}", False),
    ("\\begin{cases}x&x>0\\\\-x&x\\leq 0\\end{cases}", "\\begin{cases}x&x>0\\\\x&x\\leq 0\\end{cases}", False),
    ("\\begin{cases}x&x>0\\\\-x&x\\leq 0\\end{cases}",
     "\\begin{cases}-x,&x\\leq 0\\\\x,&\\text{if }x>0\\end{cases}", True),
    ("\\begin{cases}x&x>0\\\\-x&x\\leq 0\\end{cases}", "\\begin{cases}x&x>1\\\\-x&x\\leq 1\\end{cases}", False),
    ("\\begin{cases}x=1\\\\y=2\\end{cases}", "x=1,y=2", True),
    ("\\begin{cases}x=1\\\\y=2\\end{cases}", "x=2,y=1", False),
    ("(1,2)", "\\begin{cases}x=1\\\\y=2\\end{cases}", True), ("x=2,y=1", "x+y=3,x-y=1", False),
    ("\\mathbb{R}\\setminus\\{2\\}", "\\mathbb{R}\\setminus\\{3\\}", False), ("A\\setminus B", "B\\setminus A", False),
    ("\\mathbb{R}\\setminus\\{2\\}", "\\mathbb{R}", False),
    ("\\mathbb{R}\\setminus\\{1,2\\}", "\\mathbb{R}\\setminus\\{2,1\\}", True),
]  # fmt: skip
LISTS = [
    ("12345", "12, 345", False), ("12, 345", "12345", False), ("\\{1, 234\\}", "1234", False),
    ("1234", "\\{1, 234\\}", False), ("\\{1, 234\\}", "\\{234, 1\\}", True), ("12,345", "12345", True),
    ("12,345", "12, 345", False), ("1,234, 5,678", "5678, 1234", True), ("123, 456, 789", "456, 789, 123", True),
    ("(312,123,231)", "(312, 123, 231)", True), ("10,\\!080", "10080", True), ("\\text{A or B}", "(B)", False),
    ("(B)", "\\text{A or B}", False), ("(B)", "A or B", False), ("\\text{A and B}", "A, B", True),
    ("\\text{(C)}", "c", False), ("\\text{no}", "no", True),
]  # fmt: skip
POINTS = [
    ("x+1", "|x+1|", False), ("x", "\\min(x,10)", False), ("x", "\\max(x,-20)", False),
    ("n", "n+\\lfloor\\frac{n}{20}\\rfloor", False), ("|x|", "\\sqrt{x^2}", True), ("|x-2|", "|2-x|", True),
    ("\\max(x,y)", "\\frac{x+y+|x-y|}{2}", True), ("x", "\\max(x,-100)", False), ("\\max(x,y)", "x", False),
    ("|x-25|", "25-x", False), ("(x-1)(x+1)", "x^2-1", True), ("\\frac{x^2-1}{x-1}", "x+1", True),
    ("x^2", "x^2+10^{-60}x", False), ("|x-100|", "100-x", False), ("\\lfloor x\\rfloor", "\\lceil x\\rceil-1", False),
]  # fmt: skip
GUARD = [
    ("\\frac{x}{2}", "x\\sin 30^\\circ", True), ("\\sin 30^\\circ", "\\frac{1}{2}", True),
    ("\\cos 60^\\circ", "\\frac{1}{2}", True), ("\\sin 30^\\circ", "\\sin\\frac{\\pi}{6}", True),
    ("\\left(\\frac23\\right)^{100}", "\\left(\\frac23\\right)^{100}", True),
    ("\\left(\\frac23\\right)^{100}", "\\frac{2^{100}}{3^{100}}", True), ("{2}^{100}", "{2}^{100}", True),
    ("2^{100}", "{2}^{100}", True), ("\\left(\\frac23\\right)^{100}", "\\left(\\frac23\\right)^{101}", False),
    ("\\text{open}", "open", True), ("\\text{import}", "\\text{import}", True), ("3", "x\\not=3", False),
    ("3", "4\\implies 3", False), ("3", "\\text{about }3", False), ("x=3", "x\\not=3", False),
    ("x\\neq 3", "x\\not=3", True),
]  # fmt: skip
ORDINARY = [
    ("x<1", "-x>-1", True), ("x<3", "2x<6", True), ("(1,3)", "x>1 \\text{ and } x<3", True),
    ("1<x<3", "x>1 and x<3", True), ("x<3", "-2x<6", False),
    ("x<1 \\text{ or } x>3", "(-\\infty,1)\\cup(3,\\infty)", True), ("(1,3)", "x>1 \\text{ or } x<3", False),
    ("1200000000", "1.2e9", True), ("1.2\\times 10^{-3}", "1.2e-3", True), ("\\frac{a}{b}", "{a\\over b}", True),
    ("\\frac{\\sqrt{3}}{2}", "{\\sqrt{3}\\over 2}", True), ("(1,2,3)", "(x,y,z)=(1,2,3)", True),
    ("(x,y,z)=(1,2,3)", "x=1,y=2,z=3", True), ("(1,2,3)", "(x,y,z)=(1,3,2)", False), ("\\binom{n}{k}", "C(n,k)", True),
    ("\\binom{n}{k}", "C(k,n)", False), ("\\mathbb R\\setminus\\{2\\}", "x\\neq 2", True),
    ("x\\neq 2", "(-\\infty,2)\\cup(2,\\infty)", True), ("\\mathbb R\\setminus\\{2\\}", "x\\neq 3", False),
    ("\\langle 1,2,3\\rangle", "\\mathbf{i}+2\\mathbf{j}+3\\mathbf{k}", True),
    ("\\langle 1,-2,0\\rangle", "\\hat{i}-2\\hat{j}", True),
    ("\\langle 1,2,3\\rangle", "\\mathbf{i}+3\\mathbf{j}+2\\mathbf{k}", False), ("C", "\\text{Option C}", True),
    ("(C)", "\\text{Choice C}", True), ("D", "\\text{Option C}", False), ("1011_2", "(1011)_2", True),
    ("1011_2", "(1011)_{3}", False), ("(1,2)", "\\langle 1,2\\rangle", True), ("x=1,y=2,z=3", "(x,y,z)=(1,2,3)", True),
    ("a+bi", "bi+a", True), ("\\mathbb{R}\\setminus\\{-1,1\\}", "x\\neq \\pm 1", True),
    ("(-1,0)\\cup(0,\\infty)", "k>-1 \\text{ and } k\\neq 0", True), ("(-1,\\infty)", "k>-1,k\\neq 0", False),
]  # fmt: skip


@pytest.fixture(scope="module")
def verifier():
    with Verifier(2) as one:
        yield one


def mistakes(verifier, pairs):
    """The pairs decided otherwise than they say."""
    verdicts = verifier.check_many([f"\\boxed{{{answer}}}" for _, answer, _ in pairs], [gold for gold, _, _ in pairs])
    return [
        (pair, verdict.status, verdict.reason)
        for pair, verdict in zip(pairs, verdicts, strict=True)
        if verdict.correct != pair[2]
    ]


def test_the_table_holds_what_converts_and_number_words_are_factors(verifier):
    assert mistakes(verifier, UNITS) == []


def test_the_problem_boxed_is_no_answer_to_it(verifier):
    assert mistakes(verifier, PROBLEMS) == []


def test_times_ratios_congruences_families_pieces_and_differences_are_kinds_of_their_own(verifier):
    assert mistakes(verifier, KINDS) == []


def test_a_comma_before_a_space_separates_items(verifier):
    assert mistakes(verifier, LISTS) == []


def test_functions_that_agree_at_some_points_only_are_not_equal(verifier):
    assert mistakes(verifier, POINTS) == []


def test_the_guard_changes_no_meaning(verifier):
    assert mistakes(verifier, GUARD) == []


def test_ordinary_spellings_are_accepted(verifier):
    assert mistakes(verifier, ORDINARY) == []


def test_an_answer_that_stands_in_the_problem_is_refused_on_request(verifier):
    problem = "Expand $(x+1)^2$. Simplify $\\frac{2}{4}$, then $\\sqrt{180}$ and $5$."
    for gold, answer, kept in (
        ("x^2+2x+1", "(x+1)^2", False), ("\\frac{1}{2}", "\\frac24", False), ("6\\sqrt{5}", "\\sqrt{180}", False),
        ("(x+1)^2", "(x + 1)^2", True), ("5\\text{ cm}", "5", True), ("x=5", "5", True),
        ("6\\sqrt{5}", "6\\sqrt5", True),
    ):  # fmt: skip
        assert verifier.check(f"\\boxed{{{answer}}}", gold).correct
        assert verifier.check(f"\\boxed{{{answer}}}", gold, problem=problem).correct is kept
    assert not verifier.check_many(["\\boxed{\\sqrt{180}}"], ["6\\sqrt5"], problems=[problem])[0].correct


def test_the_order_of_a_list_counts_on_request_and_that_of_a_set_never(verifier):
    for gold, answer, given in (
        ("1, 2", "2, 1", False), ("1, 2", "1, 2", True), ("\\{1,2\\}", "\\{2,1\\}", True),
        ("1\\pm\\sqrt2", "1-\\sqrt2,1+\\sqrt2", True), ("\\sqrt8, 2", "2, 2\\sqrt2", False),
    ):  # fmt: skip
        assert verifier.check(f"\\boxed{{{answer}}}", gold).correct
        assert verifier.check(f"\\boxed{{{answer}}}", gold, order="given").correct is given
    with pytest.raises(ValueError, match="order is 'sorted'"):
        verifier.check("\\boxed{1, 3}", "1, 2", order="sorted")


def test_no_generated_pair_is_wrongly_equal_and_few_equal_ones_are_refused(verifier):
    assert len(GENERATED) >= 40
    wrong = {}
    for same in (True, False):
        pairs = draw_pairs(400, same, seed=9)  # bench/verify.py draws 5,000
        verdicts = verifier.check_many([f"\\boxed{{{pair.answer}}}" for pair in pairs], [pair.gold for pair in pairs])
        wrong[same] = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct is not same]
    assert wrong[False] == []
    assert len(wrong[True]) < 0.05 * 400, wrong[True]

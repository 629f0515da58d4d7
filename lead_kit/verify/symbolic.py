"""The judge with algebra; runs in a worker."""

from fractions import Fraction

import sympy
from sympy import Rational, Symbol

from lead_kit.verify import compare, exact, judge
from lead_kit.verify.algebra import Unreadable, parse
from lead_kit.verify.nodes import Bag, Leaf, Named, Qualified, Relation, Row, Words
from lead_kit.verify.structure import FLIPPED, read

PRECISION = sympy.Float(10) ** -45  # difference below which two floating values are the same
PROSE = 3  # words of a gold beyond which it is prose (articles not counted)
WORKING = 400  # digits tried before a difference counts as zero
POINTS = (  # where identities are tested: (first value, step) of the letters in alphabetical order, all different
    (Rational(37, 101), Rational(7, 61)),
    (Rational(131, 103), Rational(17, 59)),
    (Rational(-29, 47), Rational(-13, 71)),
    (Rational(307, 97), Rational(-167, 73)),
    (Rational(53, 7), Rational(41, 29)),
)
COUNTING = frozenset("nkmNK")  # letters that stand for integers where they are exponents of -1 or multiply π
WHOLE = (5, 8, 11, 14, 3)


EXAMPLES = (  # one of each kind, so that nothing is left to import once a worker may open no file
    ("\\frac{\\sqrt{3}}{2}+x^2", "\\frac{x^2+\\sqrt{3}}{2}"),
    ("\\sin(\\pi n)", "\\log_2(x)+e^{i}"),
    ("xy=6", "\\frac{6}{x}"),
    ("x^2+y^2=1", "x^2-1=-y^2"),
    ("2x+y<3", "6-4x>2y"),
    ("\\sqrt[3]{2+\\sqrt{5}}+\\arctan(2)", "\\tan(1)+\\binom{n}{2}+n!+\\lfloor x\\rfloor+|x|"),
    ("\\sum_{k=0}^{n}k^2", "\\int_0^1 x^2dx"),
    ("\\prod_{k=1}^{5}(k+\\sqrt{2})", "\\prod_{k=1}^{n}k+\\lfloor 7\\pi\\rfloor"),
    ("10^{\\frac{-5+\\sqrt{13}}{6}}", "10^{\\frac{\\sqrt{13}-5}{6}}"),
    ("\\int_0^1 x^2dx+\\lim_{x\\to 0}x+\\sum_{k=0}^{3}k", "\\frac{10}{3}+\\gcd(4,6)+(-1)^n"),
    ("1.234\\cdot\\cosh(2)", "\\max(1,\\pi)+17\\mod 5+\\log(2)"),
)


def warm() -> None:
    """Load and compile what the first comparison would otherwise wait for."""
    for gold, answer in EXAMPLES:
        decide(gold, answer)
        decide(answer, gold)


class GoldUnreadable(ValueError):
    """The gold is no expression of the grammar: no answer can be compared with it by value."""


class Algebra(judge.Exact):
    """Expressions as sympy objects: exact where both are rational, else identical at several points to 45 digits."""

    def __init__(self) -> None:
        self.path = "symbolic"

    def same(self, gold: str, answer: str) -> bool:
        try:
            return super().same(gold, answer)
        except judge.Undecided:
            pass
        theirs = readable(gold)
        try:
            ours = parse(answer)
        except Unreadable:
            return False
        return self.identical(theirs, ours) or self._rounds(gold, answer, ours)

    def holds(self, left: str, right: str) -> bool:
        try:
            return self.same(left, right)
        except GoldUnreadable:
            return False

    def scaled(self, gold: str, answer: str, factor: str) -> bool:
        try:
            return super().scaled(gold, answer, factor)
        except judge.Undecided:
            pass
        try:
            theirs, ours = readable(gold), parse(answer) * parse(factor)
        except Unreadable:
            return False
        return self.identical(theirs, ours) or self._rounds(gold, answer, ours)

    def _rounds(self, gold: str, answer: str, ours: sympy.Expr) -> bool:
        """A decimal gold and an exact value that rounds to it."""
        if judge.decimals(gold) is None or ours.free_symbols or not ours.is_real:
            return False
        value = Fraction(str(ours.evalf(30)))
        return judge.rounds_to(gold, exact.value(gold), answer, value)

    def identical(self, theirs: sympy.Expr, ours: sympy.Expr) -> bool:
        """Are two expressions the same function of their letters?"""
        if theirs == ours:
            return theirs != 0 and not theirs.has(sympy.nan, sympy.zoo)  # 0: collapsed; numerals came before
        if _collapsed(theirs) or _collapsed(ours):
            return False
        letters = sorted(theirs.free_symbols | ours.free_symbols, key=str)
        if not letters:
            return vanishes(theirs - ours)
        return self._agree(theirs, ours, letters)

    def _agree(self, theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> bool:
        """Equal at every point where both are real; at least two such points, else equal as complex numbers."""
        integers = _integers(theirs, ours, letters)
        seen = agreed = 0
        for at in range(len(POINTS)):
            point = _point(letters, integers, at)
            left, right = theirs.subs(point), ours.subs(point)
            if _collapsed(left) or _collapsed(right):
                continue
            if left == 0 and right == 0:
                continue  # that both vanish here says nothing: binom(n, 99) and binom(n, 98) are 0 for every small n
            real = left.is_real and right.is_real
            close = vanishes(left - right)
            if real and not close:
                return False
            seen += 1
            agreed += close
        return agreed >= 2 and (agreed == seen or agreed >= 3)

    def relation(self, gold: Relation, answer: Relation) -> bool:
        """Two equations or inequalities are the same if their differences are multiples of one another (positive for
        inequalities)."""
        if gold == answer:
            return True
        if gold.operators != answer.operators:
            flipped = tuple(FLIPPED.get(op, op) for op in answer.operators[::-1])
            if gold.operators != flipped:
                return self._reversed(gold, answer)
            answer = Relation(flipped, answer.sides[::-1])
        if len(gold.sides) != len(answer.sides):
            return False
        if all(self._side(g, a) for g, a in zip(gold.sides, answer.sides, strict=True)):
            return True
        if len(gold.sides) != 2 or gold.operators[0] not in ("=", "<", ">", "\\leq", "\\geq", "\\neq"):
            return False
        return self._multiple(gold, answer, gold.operators[0] in ("=", "\\neq"))

    def _reversed(self, gold: Relation, answer: Relation) -> bool:
        """-x ≥ -1 is x ≤ 1."""
        if len(gold.sides) != 2 or FLIPPED.get(answer.operators[0]) != gold.operators[0] or len(answer.sides) != 2:
            return False
        return self._multiple(gold, Relation(gold.operators, answer.sides[::-1]), False)

    def _side(self, gold: str, answer: str) -> bool:
        return compare.equal(read(gold), read(answer), self)

    def _multiple(self, gold: Relation, answer: Relation, any_sign: bool) -> bool:
        try:
            theirs, ours = (parse(each.sides[0]) - parse(each.sides[1]) for each in (gold, answer))
        except Unreadable:
            return False
        if not theirs.free_symbols or theirs.free_symbols != ours.free_symbols:
            return False
        letters = sorted(theirs.free_symbols, key=str)
        for at in (0, 1):
            point = _point(letters, set(), at)
            left, right = theirs.subs(point), ours.subs(point)
            if left == 0 or right == 0 or _collapsed(left) or _collapsed(right):
                continue
            factor = left / right
            return bool(any_sign or factor.is_positive) and self.identical(theirs, ours * factor)
        return False

    def solves(self, gold: Relation, answer: str) -> bool:
        """`xy = 6` and `6/x`: put the answer for one letter that it does not contain, and the equation becomes an
        identity."""
        if len(gold.sides) != 2:
            return False
        try:
            theirs, ours = parse(gold.sides[0]) - parse(gold.sides[1]), parse(answer)
        except Unreadable:
            return False
        unknown = theirs.free_symbols - ours.free_symbols
        if not ours.free_symbols or len(unknown) != 1 or theirs.free_symbols - unknown != ours.free_symbols:
            return False
        letter = unknown.pop()
        if theirs.diff(letter) == 0:
            return False
        return self.identical(theirs.subs(letter, ours) + 1, sympy.Integer(1))


def _collapsed(value: sympy.Expr) -> bool:
    return value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)


def _integers(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> set[Symbol]:
    """Letters that count: n in (-1)^n, k in sin(kπ), the n of n!."""
    if not any(
        each.has(sympy.pi, sympy.factorial, sympy.binomial, sympy.floor) or _signed_power(each)
        for each in (theirs, ours)
    ):
        return set()
    return {letter for letter in letters if str(letter)[:1] in COUNTING}


def _signed_power(value: sympy.Expr) -> bool:
    return any(power.base.is_negative and power.exp.free_symbols for power in value.atoms(sympy.Pow))


def _point(letters: list[Symbol], integers: set[Symbol], at: int) -> dict[Symbol, sympy.Expr]:
    first, step = POINTS[at]
    return {
        letter: sympy.Integer(WHOLE[at] + 2 * number) if letter in integers else first + number * step
        for number, letter in enumerate(letters)
    }


def vanishes(difference: sympy.Expr) -> bool:
    """Is a number zero? Exactly if it is rational; else to more digits than any cancellation that honest answers
    show."""
    if difference.is_Rational:
        return difference == 0
    if difference.is_Float:
        return abs(difference) < PRECISION
    value = difference.evalf(15, maxn=WORKING)
    if not value.is_number or value.has(sympy.nan):
        return False
    real, imaginary = value.as_real_imag()
    return all(_negligible(part) for part in (real, imaginary))


def _negligible(part: sympy.Expr) -> bool:
    """Zero, or a value of which no digit stands at WORKING digits; a tiny value with digits is not zero."""
    return part == 0 or part.is_Float and part._prec <= 1


def readable(gold: str) -> sympy.Expr:
    """The gold's expression. Raises GoldUnreadable."""
    try:
        return parse(gold)
    except Unreadable as problem:
        raise GoldUnreadable(f"the gold cannot be read: {problem}") from problem


def decide(gold: str, answer: str) -> compare.Outcome:
    """(status, reason, path) of two answers in normal form; a gold against itself says whether it can be graded."""
    try:
        return inspect(gold) if gold == answer else compare.decide(gold, answer, Algebra())
    except GoldUnreadable as problem:
        return "gold_unparseable", str(problem), "gold"


def inspect(gold: str) -> compare.Outcome:
    """Can every part of a gold be compared by value? Prose beyond a few words can only be matched word by word."""
    waiting = [read(gold)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Leaf):
            readable(node.text)
        elif isinstance(node, Words) and len(node.words) > PROSE:
            return "gold_unparseable", f"prose of {len(node.words)} words, which only the same words can match", "gold"
        elif isinstance(node, Row | Bag):
            waiting.extend(node.items)
        elif isinstance(node, Named | Qualified):
            waiting.append(node.value)
    return "correct", "every part can be compared", "symbolic"

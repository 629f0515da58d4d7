"""The judge with algebra; runs in a worker."""

from fractions import Fraction

import sympy

from lead_kit.verify import compare, exact_judge, rationals
from lead_kit.verify.algebra import Unreadable, parse
from lead_kit.verify.answer_types import Bag, Leaf, Named, Qualified, Relation, Row, Words
from lead_kit.verify.latex_scan import FLIPPED
from lead_kit.verify.parse_answer import read
from lead_kit.verify.same_function import ADDED, BROKEN, COUNTING, collapsed, identical, multiple, vanishes

PROSE = 3  # words of a gold beyond which it is prose (articles not counted)
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
    ("\\frac{\\pi}{2}+k\\pi", "\\frac{(2n+1)\\pi}{2}"),
    ("\\min(x,10)+\\lceil x\\rceil", "\\max(x,y)+|x-1|"),
    ("\\lim_{x\\to 0}\\frac{\\sin x}{x}+a\\sum_{k=1}^{n}k", "1+\\frac{an(n+1)}{2}"),
    ("\\frac{1}{x+1}-\\frac{2}{x}+(2n)!!", "\\frac{x-1}{x+3}+2^nn!"),
    ("1.234\\cdot\\cosh(2)", "\\max(1,\\pi)+17\\mod 5+\\log(2)"),
)


def warm() -> None:
    """Load and compile what the first comparison would otherwise wait for."""
    for gold, answer in EXAMPLES:
        decide(gold, answer)
        decide(answer, gold)


class GoldUnreadable(ValueError):
    """The gold is no expression of the grammar: no answer can be compared with it by value."""


class Algebra(exact_judge.Exact):
    """Expressions as sympy objects: exact where both are rational, else identical as functions."""

    path = "symbolic"

    def same(self, gold: str, answer: str) -> bool:
        try:
            return super().same(gold, answer)
        except exact_judge.Undecided:
            pass
        theirs = readable(gold)
        try:
            ours = parse(answer)
        except Unreadable:
            return False
        return identical(theirs, ours) or self._rounds(gold, answer, ours)

    def holds(self, left: str, right: str) -> bool:
        try:
            return self.same(left, right)
        except GoldUnreadable:
            return False

    def scaled(self, gold: str, answer: str, factor: str) -> bool:
        try:
            return super().scaled(gold, answer, factor)
        except exact_judge.Undecided:
            pass
        try:
            theirs, ours = readable(gold), parse(answer) * parse(factor)
        except Unreadable:
            return False
        return identical(theirs, ours) or self._rounds(gold, answer, ours)

    def _rounds(self, gold: str, answer: str, ours: sympy.Expr) -> bool:
        """A decimal gold and an exact value that rounds to it."""
        if exact_judge.decimals(gold) is None or ours.free_symbols or not ours.is_real:
            return False
        value = Fraction(str(ours.evalf(30)))
        return exact_judge.rounds_to(gold, rationals.value(gold), answer, value)

    def family(self, gold: str, answer: str) -> bool:
        """a+bk and c+dn over the integers: d is b or -b, and c-a is a multiple of b."""
        theirs, ours = readable(gold), parse(answer)
        letter, own = theirs.free_symbols, ours.free_symbols
        if len(letter) != 1 or len(own) != 1:
            return False
        (letter,), (own,) = letter, own
        step, other = theirs.diff(letter), ours.diff(own)
        if (
            step.free_symbols
            or other.free_symbols
            or step == 0
            or not (vanishes(step - other) or vanishes(step + other))
        ):
            return False
        apart = sympy.simplify((theirs.subs(letter, 0) - ours.subs(own, 0)) / step)
        return bool(apart.is_Integer)

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
        factor = multiple(theirs, ours)
        return factor is not None and bool(any_sign or factor.is_positive)

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
        return identical(theirs.subs(letter, ours) + 1, sympy.Integer(1))


def readable(gold: str) -> sympy.Expr:
    """The gold's expression. Raises GoldUnreadable."""
    try:
        return parse(gold)
    except Unreadable as problem:
        raise GoldUnreadable(f"the gold cannot be read: {problem}") from problem


def decide(gold: str, answer: str, order: str = "any") -> compare.Outcome:
    """(status, reason, path) of two answers in normal form; a gold against itself says whether it can be graded."""
    try:
        return inspect(gold) if gold == answer else compare.decide(gold, answer, Algebra(order))
    except GoldUnreadable as problem:
        return "gold_unparseable", str(problem), "gold"


def sketch(text: str) -> tuple[float, ...]:
    """The value of an expression where each letter has a number of its own: its real and imaginary part; () if it has
    none that tells it from others. A letter that may count through the integers is one.

    Expressions whose values differ are not `identical`: those with breaks, and those whose branch at this place may
    be another than elsewhere, are left out.
    """
    try:
        expression = parse(text)
    except Unreadable:
        return ()
    letters = expression.free_symbols
    if expression.has(*BROKEN, *ADDED) or collapsed(expression):
        return ()
    place = {x: 5 + ord(str(x)[0]) % 7 if str(x)[0] in COUNTING else _number(str(x)) for x in letters}
    value = expression.subs(place).evalf(15)
    parts = value.as_real_imag() if value.is_number and not collapsed(value) else ()
    if any(not part.is_Float and part != 0 or part.is_Float and part._prec < 40 for part in parts):
        return ()
    if letters and any(parts[1:]):
        return ()
    return tuple(map(float, parts))


def _number(letter: str) -> sympy.Rational:
    """A number between 1 and 2, another for each letter."""
    return 1 + sympy.Rational(sum(ord(char) * 31**at for at, char in enumerate(letter)) % 89 + 1, 97)


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

"""The judge with algebra; runs in a worker."""

import random
from contextlib import suppress
from fractions import Fraction
from itertools import combinations

import sympy
from sympy import Integer, Rational, Symbol

from lead_kit.verify import compare, compare_parts, rationals
from lead_kit.verify.answer_types import Bag, Leaf, Named, Qualified, Relation, Row, Words
from lead_kit.verify.latex_scan import FLIPPED
from lead_kit.verify.latex_to_sympy import Unreadable, parse
from lead_kit.verify.parse_answer import read

_PROSE = 3  # words of a gold beyond which it is prose (articles not counted)
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


class _GoldUnreadable(ValueError):
    """The gold is no expression of the grammar: no answer can be compared with it by value."""


class _Algebra(compare_parts.Exact):
    """Expressions as sympy objects: exact where both are rational, else identical as functions."""

    path = "symbolic"

    def equal_expressions(self, gold: str, answer: str) -> bool:
        with suppress(compare_parts.Undecided):
            return super().equal_expressions(gold, answer)
        return self._equal(gold, answer, _parsed(answer))

    def equal_within_answer(self, left: str, right: str) -> bool:
        with suppress(_GoldUnreadable):
            return self.equal_expressions(left, right)
        return False

    def equal_up_to_factor(self, gold: str, answer: str, factor: str) -> bool:
        with suppress(compare_parts.Undecided):
            return super().equal_up_to_factor(gold, answer, factor)
        ours = _parsed(answer)
        return self._equal(gold, answer, ours if ours is None else ours * parse(factor))

    def _equal(self, gold: str, answer: str, ours: sympy.Expr | None) -> bool:
        theirs = _parse_gold(gold)
        return ours is not None and (_equal_functions(theirs, ours) or self._rounds(gold, answer, ours))

    def _rounds(self, gold: str, answer: str, ours: sympy.Expr) -> bool:
        """A decimal gold and an exact value that rounds to it."""
        if rationals.decimals(gold) is None or ours.free_symbols or not ours.is_real:
            return False
        value = Fraction(str(ours.evalf(30)))
        return rationals.rounds_to(gold, rationals.value(gold), answer, value)

    def same_family(self, gold: str, answer: str) -> bool:
        """a+bk and c+dn over the integers: d is b or -b, and c-a is a multiple of b."""
        theirs, ours = _parse_gold(gold), parse(answer)
        letter, counter = theirs.free_symbols, ours.free_symbols
        if len(letter) != 1 or len(counter) != 1:
            return False
        (letter,), (counter,) = letter, counter
        step, other = theirs.diff(letter), ours.diff(counter)
        steady = not step.free_symbols and not other.free_symbols and step != 0
        if not steady or not (_is_zero(step - other) or _is_zero(step + other)):
            return False
        shift = sympy.simplify((theirs.subs(letter, 0) - ours.subs(counter, 0)) / step)
        return bool(shift.is_Integer)

    def equivalent_relations(self, gold: Relation, answer: Relation) -> bool:
        """The same if the differences of their sides are multiples of one another (positive for inequalities)."""
        if gold == answer:
            return True
        if gold.operators != answer.operators:
            flipped = tuple(FLIPPED.get(op, op) for op in answer.operators[::-1])
            if gold.operators != flipped:  # -x ≥ -1 is x ≤ 1
                two = (
                    len(gold.sides) == len(answer.sides) == 2 and FLIPPED.get(answer.operators[0]) == gold.operators[0]
                )
                return two and self._multiple(gold, Relation(gold.operators, answer.sides[::-1]), False)
            answer = Relation(flipped, answer.sides[::-1])
        if len(gold.sides) != len(answer.sides):
            return False
        if all(compare.equal_nodes(read(g), read(a), self) for g, a in zip(gold.sides, answer.sides, strict=True)):
            return True
        simple = len(gold.sides) == 2 and gold.operators[0] in ("=", "\\neq", *FLIPPED)
        return simple and self._multiple(gold, answer, gold.operators[0] in ("=", "\\neq"))

    def _multiple(self, gold: Relation, answer: Relation, any_sign: bool) -> bool:
        theirs, ours = _sides_apart(gold), _sides_apart(answer)
        factor = None if theirs is None or ours is None else _constant_ratio(theirs, ours)
        return factor is not None and bool(any_sign or factor.is_positive)

    def solves_relation(self, gold: Relation, answer: str) -> bool:
        """`xy = 6` and `6/x`: put for a letter that it does not hold, the answer makes an identity of the equation."""
        theirs, ours = _sides_apart(gold), _parsed(answer)
        if len(gold.sides) != 2 or theirs is None or ours is None:
            return False
        unknown = theirs.free_symbols - ours.free_symbols
        if not ours.free_symbols or len(unknown) != 1 or theirs.free_symbols - unknown != ours.free_symbols:
            return False
        letter = unknown.pop()
        return theirs.diff(letter) != 0 and _equal_functions(theirs.subs(letter, ours) + 1, sympy.Integer(1))


def _parsed(answer: str) -> sympy.Expr | None:
    """The answer's expression; None if it is none."""
    with suppress(Unreadable):
        return parse(answer)


def _sides_apart(relation: Relation) -> sympy.Expr | None:
    """The first side minus the second."""
    left, right = map(_parsed, relation.sides[:2])
    return None if left is None or right is None else left - right


def _parse_gold(gold: str) -> sympy.Expr:
    """The gold's expression. Raises GoldUnreadable."""
    try:
        return parse(gold)
    except Unreadable as problem:
        raise _GoldUnreadable(f"the gold cannot be read: {problem}") from problem


def decide(gold: str, answer: str, order: str = "any") -> compare.Outcome:
    """(status, reason, path) of two answers in normal form; a gold against itself says whether it can be graded."""
    try:
        return _inspect(gold) if gold == answer else compare.decide(gold, answer, _Algebra(order))
    except _GoldUnreadable as problem:
        return "gold_unparseable", str(problem), "gold"


def sketch(text: str) -> tuple[float, ...]:
    """The value of an expression where each letter has a number of its own: its real and imaginary part; () if it has
    none that tells it from others. A letter that may count through the integers is one.

    Expressions whose values differ are not `identical`: those with breaks, and those whose branch at this point may
    be another than elsewhere, are left out.
    """
    expression = _parsed(text)
    letters = set() if expression is None else expression.free_symbols
    if expression is None or expression.has(*_BROKEN, *_ADDED) or _collapsed(expression):
        return ()
    point = {}
    for name in map(str, letters):  # a number between 1 and 2, another for each letter
        mixed = sum(ord(char) * 31**at for at, char in enumerate(name)) % 89
        point[Symbol(name)] = 5 + ord(name[0]) % 7 if name[0] in _COUNTING else 1 + Rational(mixed + 1, 97)
    value = expression.subs(point).evalf(15)
    parts = value.as_real_imag() if value.is_number and not _collapsed(value) else ()
    exact = all(part._prec >= 40 if part.is_Float else part == 0 for part in parts)
    return tuple(map(float, parts)) if exact and not (letters and any(parts[1:])) else ()


def _inspect(gold: str) -> compare.Outcome:
    """Can every part of a gold be compared by value? Prose beyond a few words can only be matched word by word."""
    waiting = [read(gold)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Leaf):
            _parse_gold(node.text)
        elif isinstance(node, Words) and len(node.words) > _PROSE:
            return "gold_unparseable", f"prose of {len(node.words)} words, which only the same words can match", "gold"
        elif isinstance(node, Row | Bag):
            waiting.extend(node.items)
        elif isinstance(node, Named | Qualified):
            waiting.append(node.value)
    return "correct", "every part can be compared", "symbolic"


_WORKING = 400  # digits tried before a difference counts as zero
_RANGES = (  # of the letters, one for each point
    (0, 1), (0, 3), (-3, 3), (0, 30), (-30, 30), (-30, 0), (0, 30), (-30, 30), (30, 300), (-300, -30), (100, 999),
)  # fmt: skip
_STARTS = (4, 8, 9)  # the points from which one letter goes to a break
_DENOMINATORS = (61, 97)  # of the points, so that no gold is made for them
_COARSE = (2, 3, 5)  # of exponents: roots of another order take sympy minutes
_KINKS = 8  # breaks of abs, min, max, floor looked at
_BESIDE = (Integer(0), Rational(1, 7), Rational(-1, 7))
_EXPANDED = 40  # degree up to which polynomials are multiplied out
_COUNTING = frozenset("nkmNK")  # letters that stand for integers where they are exponents of -1 or multiply π
_BROKEN = (sympy.Abs, sympy.Min, sympy.Max, sympy.floor, sympy.ceiling, sympy.sign)
_SMALLEST = sympy.Float(10) ** (20 - _WORKING)
_ADDED = (sympy.Sum, sympy.Product)
_CONSTANTS = ("c", "K", "k", "C_1", "c_1", "C_0", "D")  # other names of the constant of integration C
_COUNTED = (sympy.factorial, sympy.factorial2, sympy.binomial)  # 0 or undefined for small integers
_LARGEST = 5000  # integer up to which terms that vanish at small integers are looked for
_TRUSTED = 300  # digits that the numbers of an expression may reach before a tiny difference is left to algebra
_ENOUGH = 3  # points of agreement that outweigh those where a branch of a root or logarithm is another


def _equal_functions(theirs: sympy.Expr, ours: sympy.Expr) -> bool:
    """Are two expressions the same function of their letters? What neither algebra nor points decide is not."""
    if theirs == ours:
        return theirs != 0 and not theirs.has(sympy.nan, sympy.zoo)  # 0: collapsed; numerals came before
    if any(_collapsed(each) or any(power.base == 0 for power in each.atoms(sympy.Pow)) for each in (theirs, ours)):
        return False
    ours = _with_constant_of(theirs, ours)
    letters = sorted(theirs.free_symbols | ours.free_symbols, key=str)
    if not letters:
        return _is_zero(theirs - ours) is True
    if theirs.is_rational_function(*letters) and ours.is_rational_function(*letters):
        decided = _equal_polynomials(theirs, ours, letters)
        if decided is not None:
            return decided
    return _equal_at_points(theirs, ours, letters)


def _with_constant_of(theirs: sympy.Expr, ours: sympy.Expr) -> sympy.Expr:
    """The answer with the gold's name of the constant of integration."""
    names = [sorted(map(str, one.free_symbols - other.free_symbols)) for one, other in ((theirs, ours), (ours, theirs))]
    if names[0] != ["C"] or len(names[1]) != 1 or names[1][0] not in _CONSTANTS:
        return ours
    constant, other = Symbol("C"), Symbol(names[1][0])
    factors = theirs.diff(constant), ours.diff(other)
    linear = names[1] == ["c"] and not factors[0].has(constant) and not factors[1].has(other)
    return ours.subs(other, constant) if factors == (1, 1) or linear else ours


def _equal_polynomials(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> bool | None:
    """Is a difference of polynomials or their quotients 0? None if it is too large to multiply out."""
    sizes = [abs(power.exp) for each in (theirs, ours) for power in each.atoms(sympy.Pow) if power.exp.is_Integer]
    numbers = theirs.atoms(sympy.Number) | ours.atoms(sympy.Number)
    if sum(sizes) > _EXPANDED or len(letters) > 4 or not all(number.is_Rational for number in numbers):
        return None
    for each in (theirs, ours):
        if each.has(sympy.NumberSymbol, sympy.Function) or not all(p.exp.is_Integer for p in each.atoms(sympy.Pow)):
            return None
    top, _ = sympy.fraction(sympy.together(theirs - ours))
    return sympy.expand(top) == 0


def _equal_at_points(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> bool:
    """Equal at every point where both are real; at least two such points, else equal as complex numbers."""
    if not _same_steps(theirs, ours):
        return False
    seen = agreed = 0
    for point in _points(theirs, ours, letters):
        left, right = (each.subs(point).doit() if each.has(*_ADDED) else each.subs(point) for each in (theirs, ours))
        if _collapsed(left) or _collapsed(right) or left == 0 and right == 0:
            continue  # that both vanish here says nothing: binom(n, 99) and binom(n, 98) are 0 for every small n
        if (close := _is_zero(left - right)) is None:
            continue
        if not close and left.is_real and right.is_real:
            return False
        seen += 1
        agreed += close
    return agreed >= 2 and (agreed == seen or agreed >= _ENOUGH)


def _same_steps(theirs: sympy.Expr, ours: sympy.Expr) -> bool:
    """Can points tell the two apart? Not where a floor of no polynomial may be 0 almost everywhere, nor where a
    factorial or binomial is 0 up to a large integer; then these must be the same on both sides."""
    sides = []
    for each in (theirs, ours):
        floors = each.atoms(sympy.floor, sympy.ceiling, sympy.sign)
        hidden = {part for part in floors if not part.args[0].is_polynomial(*part.free_symbols)}
        counts = [part for part in each.atoms(*_COUNTED) if part.free_symbols and max(_integers_in(part)) > _LARGEST]
        sides.append(hidden.union(counts))
    return sides[0] == sides[1]


def _integers_in(value: sympy.Expr) -> list[int]:
    return [0, *(abs(int(number)) for number in value.atoms(sympy.Integer))]


def _points(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> list[dict]:
    """Values of the letters: drawn for this pair, the same in every process; and beside the breaks of both sides."""
    draw = random.Random(f"{theirs} {ours}")
    integers = _integers(theirs, ours, letters)
    powers = {power for each in (theirs, ours) for power in each.atoms(sympy.Pow) if power.exp.free_symbols}
    exponents = set().union(*(power.exp.free_symbols for power in powers))
    points = []
    for lowest, highest in _RANGES:
        point = {}
        for letter in letters:
            over = draw.choice(_COARSE if letter in exponents else _DENOMINATORS)
            low, high = (max(lowest, -3), min(max(highest, 0), 3)) if letter in exponents else (lowest, highest)
            low, high = (low, high) if low < high else (-3, 3)
            point[letter] = Rational(draw.randrange(low * over + 1, high * over), over)
            if letter in integers:
                point[letter] = Integer(draw.randint(1 if low >= 0 else -30, min(max(high, 9), 30)))
        points.append(point)
    if integers and not (theirs.has(sympy.floor, sympy.ceiling) or ours.has(sympy.floor, sympy.ceiling)):
        points = [{x: abs(v) + 1 if x in integers else v for x, v in point.items()} for point in points]
    if any(part.free_symbols & integers for each in (theirs, ours) for part in each.atoms(*_COUNTED)):
        beyond = min(max(_integers_in(theirs) + _integers_in(ours)), _LARGEST)
        points += [{x: Integer(beyond + draw.randint(1, 9)) if x in integers else v for x, v in point.items()}
                   for point in points[:3]]  # fmt: skip
    return points + [at for start in _STARTS for at in _kinks(theirs, ours, points[start], integers)]


def _kinks(theirs: sympy.Expr, ours: sympy.Expr, start: dict, integers: set[Symbol]) -> list[dict]:
    """Points at, and to both sides of, the values of one letter where an abs, min, max or floor changes its branch."""
    zeros = []
    for part in sorted(theirs.atoms(*_BROKEN) | ours.atoms(*_BROKEN), key=str):
        if isinstance(part, sympy.Min | sympy.Max):
            zeros += [one - other for one, other in combinations(part.args, 2)]
        else:
            steps = (0, 1, -1) if isinstance(part, sympy.floor | sympy.ceiling) else (0,)
            inside = {part.args[0].replace(sympy.Abs, lambda of, sign=sign: sign * of) for sign in (1, -1)}
            zeros += [each - step for each in sorted(inside, key=str) for step in steps]
    points = []
    for zero in zeros[:_KINKS]:
        for letter in sorted(zero.free_symbols, key=str)[:2]:
            only = zero.subs({x: value for x, value in start.items() if x != letter})
            line = sympy.Poly(only, letter) if only.is_polynomial(letter) else None
            if line is None or line.degree() != 1:
                continue
            root = -line.nth(0) / line.nth(1)
            for aside in (-1, 0, 1) if letter in integers else _BESIDE:
                points.append(start | {letter: sympy.floor(root) + aside if letter in integers else root + aside})
    return points


def _collapsed(value: sympy.Expr) -> bool:
    return value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)


def _integers(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> set[Symbol]:
    """Letters that count: n in (-1)^n, k in sin(kπ), the n of n!."""
    marks = (sympy.pi, sympy.factorial, sympy.binomial, sympy.floor, sympy.ceiling, *_ADDED)
    powers = theirs.atoms(sympy.Pow) | ours.atoms(sympy.Pow)
    signed = any(power.base.is_negative and power.exp.free_symbols for power in powers)
    counted = signed or theirs.has(*marks) or ours.has(*marks)
    return {letter for letter in letters if counted and str(letter)[:1] in _COUNTING}


def _constant_ratio(theirs: sympy.Expr, ours: sympy.Expr) -> sympy.Expr | None:
    """The number by which two functions of the same letters differ, as read off at one point; None if none does."""
    letters = sorted(theirs.free_symbols, key=str)
    if not letters or theirs.free_symbols != ours.free_symbols:
        return None
    for point in _points(theirs, ours, letters):
        left, right = theirs.subs(point), ours.subs(point)
        if left != 0 and right != 0 and not _collapsed(left) and not _collapsed(right):
            return left / right if _equal_functions(theirs, ours * left / right) else None
    return None


def _is_zero(difference: sympy.Expr) -> bool | None:
    """Is a number zero? Exactly if it is rational; else to more digits than any cancellation that honest answers
    show. None if its numbers are so large or small that it could be smaller still, and algebra does not decide."""
    if difference.is_Rational:
        return difference == 0
    value = difference.evalf(15, maxn=_WORKING)
    if not value.is_number or value.has(sympy.nan):
        return False
    for part in value.as_real_imag():  # a tiny value with digits is not zero; one without any at WORKING digits may be
        if part != 0 and not (part.is_Float and (part._prec <= 1 or abs(part) < _SMALLEST)):
            return False
    return True if _digits(difference) < _TRUSTED or sympy.expand(difference) == 0 else None


def _digits(value: sympy.Expr) -> float:
    """Digits before or behind the point that the parts of a number may have."""
    if value.is_Rational:
        return len(str(abs(value.p))) + len(str(value.q)) - 1
    parts = sum(map(_digits, value.args)) if value.args else 1
    if isinstance(value, sympy.Pow | sympy.exp):
        base, exponent = value.as_base_exp()
        return _digits(base) * max(1.0, float(abs(exponent.evalf(5)))) + parts
    if isinstance(value, sympy.Function):
        return parts + max((float(abs(each.evalf(5))) for each in value.args), default=0)
    return parts

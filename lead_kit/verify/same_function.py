"""Are two expressions the same function of their letters? By exact algebra where both are polynomials or their
quotients, else at points drawn from the pair itself; runs in workers only."""

import random
from itertools import combinations

import sympy
from sympy import Integer, Rational, Symbol

WORKING = 400  # digits tried before a difference counts as zero
RANGES = (  # of the letters, one for each point
    (0, 1), (0, 3), (-3, 3), (0, 30), (-30, 30), (-30, 0), (0, 30), (-30, 30), (30, 300), (-300, -30), (100, 999),
)  # fmt: skip
STARTS = (4, 8, 9)  # the points from which one letter goes to a break
DENOMINATORS = (61, 97)  # of the points, so that no gold is made for them
KINKS = 8  # breaks of abs, min, max, floor looked at
BESIDE = (Integer(0), Rational(1, 7), Rational(-1, 7))
EXPANDED = 40  # degree up to which polynomials are multiplied out
COUNTING = frozenset("nkmNK")  # letters that stand for integers where they are exponents of -1 or multiply π
BROKEN = (sympy.Abs, sympy.Min, sympy.Max, sympy.floor, sympy.ceiling, sympy.sign)
SMALLEST = sympy.Float(10) ** (20 - WORKING)
ADDED = (sympy.Sum, sympy.Product)
ENOUGH = 3  # points of agreement that outweigh those where a branch of a root or logarithm is another


def identical(theirs: sympy.Expr, ours: sympy.Expr) -> bool:
    """Are two expressions the same function of their letters?"""
    if theirs == ours:
        return theirs != 0 and not theirs.has(sympy.nan, sympy.zoo)  # 0: collapsed; numerals came before
    if collapsed(theirs) or collapsed(ours):
        return False
    letters = sorted(theirs.free_symbols | ours.free_symbols, key=str)
    if not letters:
        return vanishes(theirs - ours)
    if theirs.is_rational_function(*letters) and ours.is_rational_function(*letters):
        decided = _cancels(theirs, ours, letters)
        if decided is not None:
            return decided
    return _agree(theirs, ours, letters)


def _cancels(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> bool | None:
    """Is a difference of polynomials or their quotients 0? None if it is too large to multiply out."""
    sizes = [abs(power.exp) for each in (theirs, ours) for power in each.atoms(sympy.Pow) if power.exp.is_Integer]
    numbers = theirs.atoms(sympy.Number) | ours.atoms(sympy.Number)
    if sum(sizes) > EXPANDED or len(letters) > 4 or not all(number.is_Rational for number in numbers):
        return None
    if any(not base.is_Rational for each in (theirs, ours) for base in each.atoms(sympy.NumberSymbol, sympy.Function)):
        return None
    if any(not power.exp.is_Integer for each in (theirs, ours) for power in each.atoms(sympy.Pow)):
        return None
    top, _ = sympy.fraction(sympy.together(theirs - ours))
    return sympy.expand(top) == 0


def _agree(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> bool:
    """Equal at every point where both are real; at least two such points, else equal as complex numbers."""
    seen = agreed = 0
    for point in _points(theirs, ours, letters):
        left, right = (each.subs(point).doit() if each.has(*ADDED) else each.subs(point) for each in (theirs, ours))
        if collapsed(left) or collapsed(right):
            continue
        if left == 0 and right == 0:
            continue  # that both vanish here says nothing: binom(n, 99) and binom(n, 98) are 0 for every small n
        close = vanishes(left - right)
        if not close and left.is_real and right.is_real:
            return False
        seen += 1
        agreed += close
    return agreed >= 2 and (agreed == seen or agreed >= ENOUGH)


def _points(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> list[dict]:
    """Values of the letters: drawn for this pair, the same in every process; and beside the breaks of both sides."""
    draw = random.Random(f"{theirs} {ours}")
    integers = _integers(theirs, ours, letters)
    points = []
    for low, high in RANGES:
        point = {}
        for letter in letters:
            over = draw.choice(DENOMINATORS)
            value = Rational(draw.randrange(low * over + 1, high * over), over)
            point[letter] = (
                Integer(draw.randint(1 if low >= 0 else -30, min(max(high, 9), 30))) if letter in integers else value
            )
        points.append(point)
    if integers and not (theirs.has(sympy.floor, sympy.ceiling) or ours.has(sympy.floor, sympy.ceiling)):
        points = [{x: abs(v) + 1 if x in integers else v for x, v in point.items()} for point in points]
    return points + [at for start in STARTS for at in _kinks(theirs, ours, points[start], integers)]


def _kinks(theirs: sympy.Expr, ours: sympy.Expr, start: dict, integers: set[Symbol]) -> list[dict]:
    """Points at, and to both sides of, the values of one letter where an abs, min, max or floor changes its branch."""
    zeros = []
    for part in sorted(theirs.atoms(*BROKEN) | ours.atoms(*BROKEN), key=str):
        if isinstance(part, sympy.Min | sympy.Max):
            zeros += [one - other for one, other in combinations(part.args, 2)]
        else:
            steps = (0, 1, -1) if isinstance(part, sympy.floor | sympy.ceiling) else (0,)
            inside = {part.args[0].replace(sympy.Abs, lambda of, sign=sign: sign * of) for sign in (1, -1)}
            zeros += [each - step for each in sorted(inside, key=str) for step in steps]
    found = []
    for zero in zeros[:KINKS]:
        for letter in sorted(zero.free_symbols, key=str)[:2]:
            only = zero.subs({x: value for x, value in start.items() if x != letter})
            line = sympy.Poly(only, letter) if only.is_polynomial(letter) else None
            if line is None or line.degree() != 1:
                continue
            root = -line.nth(0) / line.nth(1)
            for aside in (-1, 0, 1) if letter in integers else BESIDE:
                found.append(start | {letter: sympy.floor(root) + aside if letter in integers else root + aside})
    return found


def collapsed(value: sympy.Expr) -> bool:
    return value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)


def _integers(theirs: sympy.Expr, ours: sympy.Expr, letters: list[Symbol]) -> set[Symbol]:
    """Letters that count: n in (-1)^n, k in sin(kπ), the n of n!."""
    marks = (sympy.pi, sympy.factorial, sympy.binomial, sympy.floor, sympy.ceiling, *ADDED)
    if not any(each.has(*marks) or _signed_power(each) for each in (theirs, ours)):
        return set()
    return {letter for letter in letters if str(letter)[:1] in COUNTING}


def _signed_power(value: sympy.Expr) -> bool:
    return any(power.base.is_negative and power.exp.free_symbols for power in value.atoms(sympy.Pow))


def multiple(theirs: sympy.Expr, ours: sympy.Expr) -> sympy.Expr | None:
    """The number by which two functions of the same letters differ, as read off at one point; None if none does."""
    letters = sorted(theirs.free_symbols, key=str)
    if not letters or theirs.free_symbols != ours.free_symbols:
        return None
    for point in _points(theirs, ours, letters):
        left, right = theirs.subs(point), ours.subs(point)
        if left != 0 and right != 0 and not collapsed(left) and not collapsed(right):
            factor = left / right
            return factor if identical(theirs, ours * factor) else None
    return None


def vanishes(difference: sympy.Expr) -> bool:
    """Is a number zero? Exactly if it is rational; else to more digits than any cancellation that honest answers
    show."""
    if difference.is_Rational:
        return difference == 0
    value = difference.evalf(15, maxn=WORKING)
    if not value.is_number or value.has(sympy.nan):
        return False
    return all(_negligible(part) for part in value.as_real_imag())


def _negligible(part: sympy.Expr) -> bool:
    """Zero, or a value of which no digit stands at WORKING digits; a tiny value with digits is not zero."""
    return part == 0 or part.is_Float and (part._prec <= 1 or abs(part) < SMALLEST)

"""Expressions and equations: each kind draws (gold, equal spellings, other answers); sympy judges what it can."""

import random

import sympy
from sympy import Rational, latex

from tests.verify.kinds_of_numbers import proper

X, Y = sympy.symbols("x y")


def apart(difference, point):
    """Is a difference not 0 at a point where it is finite?"""
    value = difference.subs(point).evalf(20)
    return value.is_finite and abs(value) > 1e-6


def judged(draw: random.Random, gold: sympy.Expr, same: list, other: list):
    """Expressions as text, kept only where sympy agrees about them."""
    equal = [each for each in same if sympy.simplify(each - gold) == 0]
    points = [{X: Rational(draw.randint(-90, 90), 7), Y: Rational(draw.randint(-90, 90), 11)} for _ in range(12)]
    unequal = [each for each in other if any(apart(each - gold, point) for point in points)]
    return latex(gold), [latex(each) for each in equal], [latex(each) for each in unequal]


def surd(draw):
    a, b = draw.randint(2, 12), draw.choice([2, 3, 5, 6, 7, 10])
    return (
        f"{a}\\sqrt{{{b}}}",
        [f"\\sqrt{{{a * a * b}}}", f"{a}\\cdot\\sqrt{b}" if b < 10 else f"\\sqrt{{{b}}}\\cdot {a}",
         f"\\sqrt{{{b}}}\\times {a}", f"{a}\\cdot{b}^{{1/2}}"],
        [f"{a}\\sqrt{{{b + 1}}}", f"\\sqrt{{{a * b}}}", f"{a * b**0.5:.2f}", f"-{a}\\sqrt{{{b}}}",
         f"\\sqrt[3]{{{a * a * b}}}", f"{a}\\sqrt{{{b}}}+10^{{-30}}"],
    )  # fmt: skip


def surd_sum(draw):
    a, b, c, d = draw.randint(1, 9), draw.randint(1, 9), draw.choice([2, 3, 5, 7]), draw.randint(2, 9)
    return (
        f"\\frac{{{a}+{b}\\sqrt{{{c}}}}}{{{d}}}",
        [f"\\frac{{{b}\\sqrt{{{c}}}+{a}}}{{{d}}}", f"\\frac{{{a}}}{{{d}}}+\\frac{{{b}\\sqrt{{{c}}}}}{{{d}}}",
         f"({a}+{b}\\sqrt{{{c}}})/{d}"],
        [f"\\frac{{{a}-{b}\\sqrt{{{c}}}}}{{{d}}}", f"{a}+\\frac{{{b}\\sqrt{{{c}}}}}{{{d}}}",
         f"\\frac{{{a + 1}+{b}\\sqrt{{{c}}}}}{{{d}}}", f"\\frac{{{a}+{b}\\sqrt{{{c}}}}}{{{d + 1}}}"],
    )  # fmt: skip


def rationalised(draw):
    a, b = draw.randint(1, 9), draw.choice([2, 3, 5, 6, 7])
    return (
        f"\\frac{{{a}\\sqrt{{{b}}}}}{{{b}}}",
        [f"\\frac{{{a}}}{{\\sqrt{{{b}}}}}", f"{a}/\\sqrt{{{b}}}", f"\\frac{{{a}}}{{{b}}}\\sqrt{{{b}}}"],
        [f"\\frac{{{a}}}{{{b}}}", f"\\frac{{\\sqrt{{{b}}}}}{{{a + b}}}", f"\\frac{{{a + 1}}}{{\\sqrt{{{b}}}}}"],
    )  # fmt: skip


def multiples_of_pi(draw):
    value = abs(proper(draw))
    n, d = value.numerator, value.denominator
    return (
        f"\\frac{{{n}\\pi}}{{{d}}}",
        [f"\\frac{{{n}}}{{{d}}}\\pi", f"{n}\\pi/{d}", f"\\frac{{{3 * n}\\pi}}{{{3 * d}}}", f"\\frac{{{n}π}}{{{d}}}"],
        [f"\\frac{{{n}}}{{{d}}}", f"\\frac{{{n + 1}\\pi}}{{{d}}}", f"{n / d * 3.14159265:.4f}",
         f"\\frac{{{n}\\pi^2}}{{{d}}}", f"\\frac{{{n}}}{{{d}\\pi}}"],
    )  # fmt: skip


def powers(draw):
    a, n = draw.randint(2, 9), draw.randint(20, 150)
    return (
        f"{a}^{{{n}}}",
        [f"{{{a}}}^{{{n}}}", f"({a})^{{{n}}}", f"{a}\\cdot{a}^{{{n - 1}}}", f"({a}^{{{n}}})"],
        [f"{a}^{{{n + 1}}}", f"{a}^{{{n}}}+1", f"{a + 1}^{{{n}}}", f"{n}^{{{a}}}", f"-{a}^{{{n}}}"],
    )  # fmt: skip


def logarithms(draw):
    a, b = draw.sample([2, 3, 5, 7, 11], 2)
    return (
        f"\\ln {a * b}",
        [f"\\ln {a}+\\ln {b}", f"\\log {a * b}", f"\\ln({a * b})", f"-\\ln\\frac{{1}}{{{a * b}}}"],
        [f"\\ln {a + b}", f"\\ln {a}\\cdot\\ln {b}", f"\\ln {a * b + 1}", f"\\log_2 {a * b}"],
    )  # fmt: skip


def complex_numbers(draw):
    a, b = draw.randint(1, 30), draw.randint(2, 30)
    return (
        f"{a}+{b}i",
        [f"{b}i+{a}", f"{a}+{b}\\mathrm{{i}}", f"{a} + i{b}", f"z={a}+{b}i"],
        [f"{a}-{b}i", f"{b}+{a}i" if a != b else "i", f"{a}+{b}", f"({a},{b})", f"{a + 1}+{b}i"],
    )  # fmt: skip


def polynomials(draw):
    a, b, c = (draw.choice([n for n in range(-9, 10) if n]) for _ in range(3))
    gold = (X - a) * (X - b) * (X + c * Y)
    return judged(
        draw, sympy.expand(gold),
        [gold, sympy.horner(sympy.expand(gold))],
        [gold + 1, gold * -1, (X + a) * (X - b) * (X + c * Y), sympy.expand(gold) + X],
    )  # fmt: skip


def rational_functions(draw):
    a, b = draw.sample(range(1, 12), 2)
    gold = 1 / (X + a) + 1 / (X + b)
    return judged(
        draw, gold,
        [sympy.together(gold), sympy.factor(gold), 1 - (X + a - 1) / (X + a) + 1 / (X + b)],
        [1 / (X + a) - 1 / (X + b), sympy.together(gold) + 1, 2 / (2 * X + a + b), 1 / (X + a)],
    )  # fmt: skip


def trigonometry(draw):
    a = draw.randint(2, 9)
    sin, cos = sympy.sin(X), sympy.cos(X)
    return judged(
        draw, a * sympy.sin(2 * X),
        [2 * a * sin * cos, a * sympy.cos(2 * X - sympy.pi / 2)],
        [a * sin * cos, 2 * a * sin, a * sympy.cos(2 * X), a * sympy.sin(X) ** 2],
    )  # fmt: skip


def squares_of_sines(draw):
    a = draw.randint(2, 9)
    return judged(
        draw, a * sympy.sin(X) ** 2,
        [a - a * sympy.cos(X) ** 2, a * (1 - sympy.cos(2 * X)) / 2],
        [a * sympy.cos(X) ** 2, a * sympy.sin(X), a - sympy.cos(X) ** 2],
    )  # fmt: skip


def exponentials(draw):
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    gold = sympy.exp(a * X) * (X + b)
    return judged(
        draw, gold,
        [sympy.expand(gold), gold * sympy.exp(1) / sympy.E],
        [gold + 1, sympy.exp(a * X) * X + b, sympy.exp(X) * (X + b), sympy.exp(-a * X) * (X + b)],
    )  # fmt: skip


def absolute_values(draw):
    a, b = draw.randint(1, 9), draw.randint(1, 60)
    return (
        f"|{a}x-{b}|",
        [f"|{b}-{a}x|", f"\\left|{a}x-{b}\\right|", f"\\sqrt{{({a}x-{b})^2}}", f"\\max({a}x-{b},{b}-{a}x)"],
        [f"{a}x-{b}", f"{b}-{a}x", f"|{a}x|-{b}", f"|{a}x+{b}|"],
    )  # fmt: skip


def floors(draw):
    a, b = draw.randint(1, 9), draw.randint(2, 40)
    return (
        f"\\lfloor x\\rfloor+{a}",
        [f"\\lfloor x+{a}\\rfloor", f"{a}+\\lfloor x\\rfloor"],
        [f"\\lceil x\\rceil+{a - 1}", f"\\lfloor x+{a}.5\\rfloor", f"x+{a}",
         f"\\lfloor x\\rfloor+{a}+\\lfloor\\frac{{|x|}}{{{b}}}\\rfloor", f"\\lfloor x\\rfloor+{a + 1}"],
    )  # fmt: skip


def minima(draw):
    a = draw.randint(-60, 60)
    return (
        f"\\min(x,{a})",
        [f"\\min({a},x)", f"\\frac{{x+{a}-|x-({a})|}}{{2}}"],
        ["x", f"\\max(x,{a})", f"\\min(x,{a + 1})", str(a)],
    )  # fmt: skip


def binomials(draw):
    k = draw.randint(2, 5)
    return (
        f"\\binom{{n}}{{{k}}}",
        [f"\\frac{{n!}}{{{k}!(n-{k})!}}", f"C(n,{k})", f"\\dbinom{{n}}{{{k}}}", f"\\binom{{n}}{{n-{k}}}"],
        [f"\\binom{{n}}{{{k + 1}}}", f"\\frac{{n!}}{{(n-{k})!}}", f"\\binom{{n+1}}{{{k}}}", f"C({k},n)"],
    )  # fmt: skip


def signs(draw):
    a = draw.randint(2, 9)
    return (
        f"{a}(-1)^n",
        [f"(-1)^n\\cdot {a}", f"{a}(-1)^{{n+2}}", f"-{a}(-1)^{{n+1}}"],
        [f"{a}(-1)^{{n+1}}", str(a), f"{a}(-1)^{{2n}}", f"-{a}^n"],
    )  # fmt: skip


def lines(draw):
    a, b, c = draw.randint(1, 9), draw.randint(1, 9), draw.randint(1, 30)
    return (
        f"{a}x+{b}y={c}",
        [f"{2 * a}x+{2 * b}y={2 * c}", f"{a}x+{b}y-{c}=0", f"{c}={b}y+{a}x", f"-{a}x-{b}y=-{c}"],
        [f"{a}x-{b}y={c}", f"{a}x+{b}y={c + 1}", f"{a}x+{b}y+{c}=0", f"{a + 1}x+{b}y={c}", f"{a}x+{b}y<{c}",
         f"{a}x+{b}y"],
    )  # fmt: skip


def conics(draw):
    a, b, r = draw.randint(1, 9), draw.randint(1, 9), draw.randint(1, 9)
    return (
        f"(x-{a})^2+(y+{b})^2={r * r}",
        [f"x^2-{2 * a}x+y^2+{2 * b}y+{a * a + b * b - r * r}=0".replace("+-", "-"), f"(y+{b})^2+(x-{a})^2={r * r}",
         f"{r * r}=(x-{a})^2+(y+{b})^2"],
        [f"(x+{a})^2+(y+{b})^2={r * r}", f"(x-{a})^2+(y+{b})^2={r * r + 1}", f"(x-{a})^2-(y+{b})^2={r * r}",
         str(r * r)],
    )  # fmt: skip


def graphs(draw):
    a, b = draw.randint(2, 9), draw.randint(1, 30)
    return (
        f"y={a}x+{b}",
        [f"y={b}+{a}x", f"{a}x+{b}", f"y-{a}x={b}", f"{a}x-y+{b}=0"],
        [f"y={a}x-{b}", f"x={a}y+{b}", f"y={a + 1}x+{b}", f"y>{a}x+{b}", f"y={b}"],
    )  # fmt: skip


def functions(draw):
    a, b = draw.randint(2, 9), draw.randint(1, 30)
    return (
        f"f(x)={a}x^2+{b}",
        [f"f(t)={a}t^2+{b}", f"{a}x^2+{b}", f"f(x)={b}+{a}x^2"],
        [f"f(t)={a}x^2+{b}", f"f(x)={a}x+{b}", f"g(x)={a}x^2+{b}", f"f(x)={a}x^2-{b}", f"f(x,y)={a}x^2+{b}"],
    )  # fmt: skip


def inequalities(draw):
    a, b, c = draw.randint(1, 9), draw.randint(2, 9), draw.randint(1, 30)
    return (
        f"{a}x+{b}y<{c}",
        [f"{c}>{a}x+{b}y", f"{2 * a}x+{2 * b}y<{2 * c}", f"-{a}x-{b}y>-{c}"],
        [f"{a}x+{b}y>{c}", f"{a}x+{b}y\\leq {c}", f"{a}x+{b}y<{c + 1}", f"-{a}x-{b}y<-{c}", f"{a}x+{b}y={c}"],
    )  # fmt: skip


def sums(draw):
    a = draw.randint(2, 9)
    return (
        f"\\frac{{{a}n(n+1)}}{{2}}",
        [f"{a}\\cdot\\frac{{n^2+n}}{{2}}", f"\\frac{{{a}}}{{2}}n^2+\\frac{{{a}}}{{2}}n", f"{a}\\binom{{n+1}}{{2}}",
         f"{a}\\sum_{{k=1}}^{{n}}k"],
        [f"\\frac{{{a}n(n-1)}}{{2}}", f"\\frac{{{a}n^2}}{{2}}", "\\frac{n(n+1)}{2}",
         f"{a}\\sum_{{k=1}}^{{n}}k^2"],
    )  # fmt: skip


def roots(draw):
    a, b = draw.randint(2, 9), draw.randint(2, 9)
    return (
        f"{a}\\sqrt{{x^2+{b}}}",
        [f"\\sqrt{{{a * a}x^2+{a * a * b}}}", f"{a}(x^2+{b})^{{1/2}}", f"\\frac{{{a}(x^2+{b})}}{{\\sqrt{{x^2+{b}}}}}"],
        [f"{a}(x+{b})", f"\\sqrt{{{a}x^2+{a * b}}}", f"{a}\\sqrt{{x^2+{b + 1}}}", f"{a}\\sqrt{{x^2}}+{b}",
         f"-{a}\\sqrt{{x^2+{b}}}"],
    )  # fmt: skip


def degrees_in_functions(draw):
    a = draw.randint(2, 30)
    return (
        f"{a}x\\sin 30^\\circ",
        [f"\\frac{{{a}x}}{{2}}", f"{a}x\\sin\\frac{{\\pi}}{{6}}", f"{a}x\\cos 60^\\circ"],
        [f"{a}x\\sin 30", f"{a}x\\cos 30^\\circ", f"{a}x", f"30{a}x\\sin 1^\\circ"],
    )  # fmt: skip


KINDS = (
    surd, surd_sum, rationalised, multiples_of_pi, powers, logarithms, complex_numbers, polynomials,
    rational_functions, trigonometry, squares_of_sines, exponentials, absolute_values, floors, minima, binomials,
    signs, lines, conics, graphs, functions, inequalities, sums, roots, degrees_in_functions,
)  # fmt: skip

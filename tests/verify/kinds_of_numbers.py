"""Numerals and quantities: each kind draws (gold, equal spellings, other answers)."""

import random
from fractions import Fraction

import sympy
from sympy import Rational, latex


def fraction(value: Fraction, factor: int = 1) -> str:
    """A value as \\frac, perhaps not reduced; an integer as digits."""
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return f"{sign}\\frac{{{abs(value.numerator) * factor}}}{{{value.denominator * factor}}}"


def proper(draw: random.Random) -> Fraction:
    """A fraction that is no integer."""
    bottom = draw.randint(2, 40)
    return Fraction(draw.choice([n for n in range(-60, 60) if n % bottom]), bottom)


def integer(draw):
    n = draw.randint(1000, 99999)
    grouped = f"{n:,}"
    return (
        str(n),
        [grouped, grouped.replace(",", "{,}"), grouped.replace(",", ",\\!"), f"{n}.0", f"x={n}", f"\\text{{{n}}}",
         f"\\${n}"],
        [str(n + 1), str(-n), f"{n}0", grouped.replace(",", ", "), f"{n}.1", f"{n}x", f"x={n}={n + 1}", f"\\neq {n}",
         f">{n}"],
    )  # fmt: skip


def small_integer(draw):
    n = draw.randint(2, 60)
    a = draw.randint(1, n - 1)
    return (
        str(n),
        [f"n = {n}", f"{n}.", f"+{n}", f"\\mathbf{{{n}}}", f"{a}+{n - a}={n}", f"{{{n}}}", f"({n})",
         f"{n}\\text{{ units}}"],
        [f"{n}\\text{{ or }}{n + 1}", f"\\pm {n}", f"{n}!", f"{n}^2", f"\\frac{{1}}{{{n}}}", f"{n}\\pi",
         f"{n}_{{16}}"],
    )  # fmt: skip


def restated(draw):
    a, b = draw.randint(2, 30), draw.randint(2, 30)
    return (
        str(a + b),
        [str(a + b), f"S={a}+{b}={a + b}"],
        [f"{a}+{b}", f"1({a}+{b})", f"({a}+{b})^1", f"\\frac{{{(a + b) * 3}}}{{3}}", f"x+{a}={2 * a + b}",
         f"\\sqrt{{{(a + b) ** 2}}}", f"|{-a - b}|", f"{a}-(-{b})", f"\\binom{{{a + b}}}{{1}}",
         f"\\max({a},{a + b})", f"x={a}={a + b}", f"{a + b}\\cdot 1"],
    )  # fmt: skip


def followed_by_words(draw):
    n, units = draw.randint(2, 90), "cm kg hours people dollars points ways apples blorgs".split()
    words = "million thousand dozen squared cubed factorial below xyz halves wrong minus".split()
    phrases = ["is wrong", "or more", "and a half", "or so", *words]
    others = [f"{n} {word}" for word in words] + [f"{n}\\text{{ {phrase}}}" for phrase in phrases]
    return (
        str(n),
        [f"{n}\\text{{ {unit}}}" for unit in units],
        [*others, f"{n} and a half", f"\\text{{about }}{n}", f"4\\implies {n}", f"x\\not={n}"],
    )


def decimal(draw):
    value = Fraction(draw.randint(101, 9999) * 4 + 1, 100)
    text = f"{float(value):.2f}"
    return (
        text,
        [text + "0", fraction(value), fraction(value, 3), f"x={text}"],
        [f"{float(value) + 0.01:.2f}", f"{float(value) / 10:.3f}", fraction(value + Fraction(1, 90)), text[:-1],
         f"-{text}", f"{float(value):.2f}1", text.replace(".", ",")],
    )  # fmt: skip


def a_fraction(draw):
    value = proper(draw)
    n, d = value.numerator, value.denominator
    rounded = f"{float(value):.2f}" if 100 % d else f"{float(value) + 0.01:.2f}"
    return (
        fraction(value),
        [fraction(value, draw.randint(2, 9)), f"{n}/{d}", f"\\dfrac{{{n}}}{{{d}}}", f"({n})/({d})",
         f"{{{n}\\over {d}}}"],
        [fraction(value + Fraction(1, d * 7)), fraction(-value), rounded, f"\\frac{{{n}}}{{{d}}}+1", f"{n},{d}"],
    )  # fmt: skip


def mixed(draw):
    whole, value = draw.randint(1, 20), abs(proper(draw)) % 1
    gold = f"{whole}{fraction(value)}"
    return (
        gold,
        [fraction(whole + value),
         f"{whole}\\dfrac{{{value.numerator}}}{{{value.denominator}}}"],
        [fraction(whole * value), fraction(whole + value + 1), fraction(whole - value), f"{whole}"],
    )  # fmt: skip


def scientific(draw):
    a, b, n = draw.randint(1, 9), draw.randint(1, 9), draw.randint(3, 9)
    digits = str((10 * a + b) * 10 ** (n - 1))
    return (
        f"{a}.{b}\\times 10^{{{n}}}",
        [digits, f"{a}.{b}e{n}", f"{a}.{b}\\cdot10^{n}", f"{a}{b}\\times 10^{{{n - 1}}}"],
        [f"{a}.{b}\\times 10^{{{n + 1}}}", f"{a}.{b}e-{n}", digits + "0", f"{b}.{a}e{n + 9}", f"{a}.{b}"],
    )  # fmt: skip


def repeating(draw):
    n = draw.choice([k for k in range(1, 99) if k % 11])
    value = Fraction(n, 99)
    return (
        fraction(value),
        [f"0.\\overline{{{n:02d}}}", f"\\frac{{{n}}}{{99}}"],
        [f"0.{n:02d}", f"0.\\overline{{{(n + 1) % 100:02d}}}", f"0.{n:02d}{n:02d}", f"0.0\\overline{{{n:02d}}}"],
    )  # fmt: skip


def percent(draw):
    n = draw.randint(2, 99)
    return (
        f"{n}\\%",
        [f"{n}%", f"{n}\\text{{ percent}}", str(n), fraction(Fraction(n, 100)), f"{n / 100:.2f}"],
        [f"{n + 1}\\%", f"{n / 100:.2f}\\%", f"{n * 100}", fraction(Fraction(n, 1000)), f"{n}\\text{{ cm}}"],
    )  # fmt: skip


def money(draw):
    n = draw.randint(2, 900)
    return (
        f"\\${n}",
        [str(n), f"{n}\\text{{ dollars}}", f"\\${n}.00", f"{n * 100}\\text{{ cents}}"],
        [f"\\${n + 1}", f"{n}\\text{{ cents}}", f"\\${n}\\text{{ million}}", f"€{n}", f"\\${n}.50",
         f"{n}\\text{{ euros}}"],
    )  # fmt: skip


def lengths(draw):
    n = draw.randint(2, 90)
    return (
        f"{n}\\text{{ m}}",
        [str(n), f"{n}\\,\\mathrm{{m}}", f"{100 * n}\\text{{ cm}}", f"{n}\\text{{ meters}}",
         f"{1000 * n}\\text{{ mm}}"],
        [f"{n}\\text{{ cm}}", f"{n}\\text{{ km}}", f"{n}\\text{{ s}}", f"{10 * n}\\text{{ cm}}",
         f"{n}\\text{{ m}}^2", f"{n + 1}\\text{{ m}}"],
    )  # fmt: skip


def areas(draw):
    n = draw.randint(2, 90)
    return (
        f"{n}\\text{{ cm}}^2",
        [str(n), f"{n}\\text{{ square centimeters}}", f"{n}\\text{{ sq cm}}", f"{100 * n}\\text{{ mm}}^2",
         f"{n}\\text{{ square units}}"],
        [f"{n}\\text{{ cm}}^3", f"{n}\\text{{ cm}}", f"{n}\\text{{ m}}^2", f"{10 * n}\\text{{ mm}}^2",
         f"{n + 1}\\text{{ cm}}^2", f"{n}^2\\text{{ cm}}"],
    )  # fmt: skip


def durations(draw):
    n = draw.randint(2, 90)
    return (
        f"{n}\\text{{ hours}}",
        [f"{n}", f"{60 * n}\\text{{ minutes}}", f"{n}\\text{{ h}}", f"{n} hours", f"{3600 * n}\\text{{ s}}"],
        [f"{n}\\text{{ minutes}}", f"{n}\\text{{ days}}", f"{60 * n}", f"{n + 1}\\text{{ h}}", f"{n}\\text{{ km}}"],
    )  # fmt: skip


def speeds(draw):
    n = 18 * draw.randint(1, 20)
    return (
        f"{n}\\text{{ km/h}}",
        [f"{n // 18 * 5}\\text{{ m/s}}", str(n), f"{n}\\text{{ kilometers per hour}}", f"{n}\\text{{ kph}}"],
        [f"{n}\\text{{ m/s}}", f"{n}\\text{{ mph}}", f"{n}\\text{{ km}}", f"{n // 18 * 5}\\text{{ km/h}}"],
    )  # fmt: skip


def counted(draw):
    n, (thing, another) = draw.randint(2, 90), draw.sample("apples students books coins games".split(), 2)
    return (
        f"{n}\\text{{ {thing}}}",
        [str(n), f"{n} {thing}", f"x={n}"],
        [f"{n}\\text{{ {another}}}", f"{n + 1}\\text{{ {thing}}}", f"{n}\\text{{ dozen {thing}}}",
         f"{n}\\text{{ {thing} and }}1\\text{{ {another}}}"],
    )  # fmt: skip


def number_words(draw):
    sizes = {"million": 10**6, "thousand": 1000, "dozen": 12, "hundred": 100}
    n, (word, size) = draw.randint(2, 90), draw.choice(sorted(sizes.items()))
    return (
        f"{n}\\text{{ {word}}}",
        [str(n * size), f"{n} {word}", f"{n * size:,}"],
        [str(n), f"{n}\\text{{ billion}}", str(n * size * 10), f"{n + 1} {word}"],
    )  # fmt: skip


def angles(draw):
    n = 15 * draw.randint(1, 23)
    radians = latex(Rational(n, 180) * sympy.pi)
    return (
        f"{n}^\\circ",
        [str(n), f"{n}°", f"{n}\\text{{ degrees}}", radians, f"\\theta={n}^{{\\circ}}"],
        [f"{n + 15}^\\circ", f"{n}\\pi", latex(Rational(n + 15, 180) * sympy.pi), f"{n}\\text{{ radians}}"],
    )  # fmt: skip


def assignments(draw):
    a, b = draw.randint(2, 30), draw.randint(2, 9)
    return (
        f"x={a}",
        [str(a), f"{a}=x", f"x = {a}.0"],
        [f"y={a}", f"x={a + 1}", f"{b}x={a * b}", f"x+{b}={a + b}", f"x-{a}=0", f"x={a}={b + a}", f"x\\neq {a}",
         f"x>{a}", f"x={a - 1}+1"],
    )  # fmt: skip


def bases(draw):
    n, base = draw.randint(20, 500), draw.choice([2, 3, 5, 8])
    digits = ""
    while n:
        n, digits = n // base, str(n % base) + digits
    name = {2: "two", 3: "three", 5: "five", 8: "eight"}[base]
    return (
        f"{digits}_{base}",
        [f"({digits})_{base}", f"{digits}_{{{base}}}", f"{digits}_{{\\text{{{name}}}}}"],
        [digits, f"{digits}_{base + 1}", f"{digits}0_{base}", f"{int(digits, base)}"],
    )  # fmt: skip


def infinities(draw):
    n = draw.randint(1, 9)
    return (
        "-\\infty",
        ["-∞", "- \\infty", "-\\infty."],
        ["\\infty", str(-n), "0", f"{n}\\infty i", "(-\\infty,\\infty)"],
    )  # fmt: skip


KINDS = (
    integer, small_integer, restated, followed_by_words, decimal, a_fraction, mixed, scientific, repeating, percent,
    money, lengths, areas, durations, speeds, counted, number_words, angles, assignments, bases, infinities,
)  # fmt: skip

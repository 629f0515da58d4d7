"""Exact values without algebra: integers, decimals, fractions, mixed numbers, powers of ten."""

import re
from fractions import Fraction

_INT = r"\d+|\d{1,3}(?:,\d{3})+"
_DECIMAL = re.compile(rf"([-+]?)((?:{_INT})?(?:\.\d*)?)")
_FRACTION = re.compile(r"([-+]?)\(?\\frac\{([-+]?[\d.]+)\}\{([-+]?[\d.]+)\}\)?")
_MIXED = re.compile(r"([-+]?)(\d+) ?\\frac\{(\d+)\}\{(\d+)\}")
_SUM = re.compile(r"()(\d+)\+(?:\\frac\{)?(\d+)(?:/|\}\{)(\d+)\}?")  # a mixed number as the sum that it is
_SLASH = re.compile(r"([-+]?)\(?([-+]?[\d.]+)\)?(?:/|\\div ?)\(?([-+]?[\d.]+)\)?")
_SCIENTIFIC = re.compile(r"([-+]?[\d.]+)(?:\\times|\\cdot|\*)10\^\{?\(?([-+]?\d{1,4})\)?\}?")
_POWER_OF_TEN = re.compile(r"10\^\{?([-+]?\d{1,4})\}?")
_REPEATING = re.compile(r"([-+]?)(\d{0,30})\.(\d{0,30})\\(?:bar|dot)\{(\d{1,30})\}")
_ROUNDED_FROM = 3  # significant digits from which a decimal gold may stand for an exact value that rounds to it


def decimal(text: str) -> Fraction | None:
    """`-1,234.50` as a Fraction; None if the text is anything else."""
    match = _DECIMAL.fullmatch(text)
    if match is None or not any(char.isdigit() for char in match[2]):
        return None
    value = Fraction(match[2].replace(",", "").rstrip(".") or "0") if match[2] != "." else None
    return -value if match[1] == "-" else value


def value(text: str) -> Fraction | None:
    """The exact value of a numeral in normal form; None if it is not a plain numeral."""
    if not text or text[-1] not in "0123456789.})" or len(text) > 900:
        return None
    text = text.replace(" \\", "\\")
    plain = decimal(text)
    if plain is not None:
        return plain
    match = _MIXED.fullmatch(text) or (total := _SUM.fullmatch(text)) and int(total[3]) < int(total[4]) and total
    if match and int(match[4]):
        mixed = int(match[2]) + Fraction(int(match[3]), int(match[4]))
        return -mixed if match[1] == "-" else mixed
    if match := _FRACTION.fullmatch(text) or _SLASH.fullmatch(text):
        top, bottom = decimal(match[2]), decimal(match[3])
        if top is None or not bottom:
            return None
        return -top / bottom if match[1] == "-" else top / bottom
    if match := _REPEATING.fullmatch(text):
        return _repeating(*match.groups())
    if match := _SCIENTIFIC.fullmatch(text):
        mantissa = decimal(match[1])
        return None if mantissa is None else mantissa * Fraction(10) ** int(match[2])
    if match := _POWER_OF_TEN.fullmatch(text):
        return Fraction(10) ** int(match[1])
    return None


def text(value: Fraction) -> str:
    """A value in the normal form of a numeral."""
    return str(value) if value.denominator == 1 else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _repeating(sign: str, integer: str, fixed: str, period: str) -> Fraction:
    """0.12(36)… as a fraction: the period over as many nines."""
    value = Fraction(f"{integer or 0}.{fixed or 0}") + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    return -value if sign == "-" else value


def based(text: str) -> str:
    """The base subscript of a numeral such as 4343_6; empty if there is none."""
    match = re.fullmatch(r"[0-9A-Za-z]+_(?:\{?(\d+)\}?|\{?\\text\{(\w+)\}\}?)", text)
    return (match[1] or match[2]) if match else ""


def rounds_to(gold: str, theirs: Fraction, answer: str, ours: Fraction, factor: Fraction = Fraction(1)) -> bool:
    """A decimal gold of at least three significant digits equals a value written exactly that rounds to it."""
    digits = decimals(gold)
    difference = abs(ours * factor - theirs)
    return digits is not None and decimals(answer) is None and difference * 2 <= Fraction(10) ** -digits


def decimals(text: str) -> int | None:
    """Digits after the point of a decimal precise enough to be compared by rounding; None for anything else."""
    match = re.fullmatch(r"[-+]?([\d,]*)\.(\d+)", text)
    precise = match and len((match[1] + match[2]).replace(",", "").lstrip("0")) >= _ROUNDED_FROM
    return len(match[2]) if precise else None

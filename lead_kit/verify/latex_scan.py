"""Texts in normal form as strings of marks and brackets: what `parse_answer` asks before it knows their kind."""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, product

from lead_kit.verify import rationals
from lead_kit.verify.answer_types import Bag, Leaf, Row

FLIPPED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
_LETTER = re.compile(r"\\[A-Za-z]+|\\text\{[^{}]*\}|[A-Za-z]")
_PIECE = re.compile(r"\\text\{[^{}]*\}|\\[A-Za-z]+|\\[\s\S]|[\s\S]")
_SCALED = re.compile(r"([-+]?)(\d*|\\frac\{\d+\}\{\d+\})([A-Za-z](?:_\w|_\{\w+\})?)")
_BASIS = re.compile(
    r"([-+]?)((?:[^-+ijk\\{}]|\\(?:sqrt|frac|pi|cdot)(?![a-z])|\{[^{}]*\})*?)(?:\\(?:hat|vec|bar)\{([ijk])\}|([ijk]))"
)
FUNCTION_NAME = re.compile(r"([A-Za-z](?:_\w|_\{\w+\})?(?:\^\{-1\})?'*|\\[A-Za-z]+)\(([A-Za-z](?:,[A-Za-z])*)\)")
SYMBOL = re.compile(r"(?:\\[A-Za-z]+|[A-Za-z])(?:_\w|_\{[^{}]+\})?'*")
MAX_LENGTH = 2000  # characters; the longest gold of the usual benchmarks has under 400
BRACES = {"{": 1, "}": -1}
_BRACKETS = BRACES | {
    "(": 1, ")": -1, "[": 1, "]": -1, "\\{": 1, "\\}": -1, "\\langle": 1, "\\rangle": -1,
    "\\begin": 100, "\\end": -100,  # no bracket that is left open in a row of a matrix reaches out of it
}  # fmt: skip
_MAX_DEPTH = 24  # nested brackets
_MAX_ITEMS = 120  # commas, unions, rows
_MAX_SIGNS = 4  # ± signs expanded into all their combinations


def depths(text: str, weights: dict[str, int] = _BRACKETS) -> Iterator[tuple[re.Match, int]]:
    """The commands and characters of a text, each with the number of brackets open behind it."""
    depth = 0
    for piece in _PIECE.finditer(text):
        depth += weights.get(piece.group(), 0)
        yield piece, depth


def split(text: str, marks: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Parts of a text between marks that stand outside all brackets, and the marks."""
    parts, between, start = [], [], 0
    for piece, depth in depths(text):
        if depth == 0 and piece.group() in marks:
            parts.append(text[start : piece.start()].strip())
            between.append(piece.group())
            start = piece.end()
    return [*parts, text[start:].strip()], between


def is_one_bracket(text: str, weights: dict[str, int] = _BRACKETS) -> bool:
    """Does the first bracket close with the last?"""
    return next((piece.end() == len(text) for piece, depth in depths(text, weights) if depth == 0), False)


def is_balanced(text: str) -> bool:
    """Does each brace close, and none that was not opened?"""
    open_braces = [0, *(depth for _, depth in depths(text, BRACES))]
    return min(open_braces) == open_braces[-1] == 0


def enclosing_braces(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Span of the content of the innermost braces around text[start:end]; None if there are none."""
    opened, level = [], 0
    for piece, depth in depths(text, BRACES):
        if piece.start() >= end and opened and depth < level:
            return opened[-1], piece.start()
        if piece.end() <= start:
            level = depth
            if piece.group() == "{":
                opened.append(piece.end())
            elif piece.group() == "}" and opened:
                opened.pop()
    return None


def is_unknown(text: str) -> bool:
    if text in ("\\pi", "e", "i", "\\infty"):
        return False
    return bool(SYMBOL.fullmatch(text) or FUNCTION_NAME.fullmatch(text))


def monic(sides: list[str], operators: list[str]) -> tuple[list[str], list[str]]:
    """`-2x<6` as `-3<x`."""
    scaled = [
        (index, match) for index, side in enumerate(sides) if (match := _SCALED.fullmatch(side)) and match[1] + match[2]
    ]
    others = [side for side in sides if not _SCALED.fullmatch(side)]
    lettered = any(re.search(r"(?<!\\)\b[A-Za-z]", side) for side in others)
    if len(scaled) != 1 or len(others) + 1 != len(sides) or lettered:
        return sides, operators
    index, match = scaled[0]
    factor = rationals.value(match[1] + (match[2] or "1"))
    sides = [match[3] if position == index else _over(side, factor) for position, side in enumerate(sides)]
    return (sides, operators) if factor > 0 else (sides[::-1], operators[::-1])


def _over(text: str, factor: Fraction) -> str:
    """A bound over a number."""
    if (value := rationals.value(text)) is not None:
        return rationals.text(value / factor)
    if "infty" in text:
        return text if factor > 0 else f"-{text}".replace("--", "")
    return f"\\frac{{{text}}}{{{factor}}}"


def variants(text: str) -> list[str]:
    r"""The readings of an expression with \pm (each sign free, \mp opposite to the first \pm)."""
    signs = text.count("\\pm")
    if not signs or signs > _MAX_SIGNS:
        return [text]
    readings = []
    for choice in product("+-", repeat=signs):
        reading = text.replace("\\mp", "-" if choice[0] == "+" else "+")
        for sign in choice:
            reading = reading.replace("\\pm", sign, 1)
        readings.append(reading.lstrip("+"))
    return readings


def choices(items: list[str]) -> list[list[str]]:
    """A tuple with ± in it, as all the tuples it stands for."""
    options = [variants(item) for item in items]
    total = 1
    for option in options:
        total *= len(option)
    return [list(choice) for choice in product(*options)] if total <= 2**_MAX_SIGNS else [items]


def vector(text: str) -> Row | None:
    """`i+2j+3k` as (1,2,3)."""
    terms, end = [], 0
    while end < len(text) and (term := _BASIS.match(text, end)):
        terms.append(term)
        end = term.end()
    if end < len(text) or len(terms) < 2 and "{" not in text:
        return None
    parts = {term[3] or term[4]: term[1].strip("+") + (term[2].strip("*") or "1") for term in terms}
    return Row(tuple(Leaf(parts.get(name, "0")) for name in "ijk"), "()") if len(parts) == len(terms) else None


def letters(node: object) -> set[str]:
    """Single letters that occur in a node's expressions."""
    if isinstance(node, Leaf):
        return {piece for piece in _LETTER.findall(node.text) if len(piece) == 1}
    return set().union(*(letters(item) for item in node.items)) if isinstance(node, Row | Bag) else set()


def rename(node: object, names: dict[str, str]) -> object:
    """The same node with letters renamed in every expression."""
    if isinstance(node, Leaf):
        return Leaf(_LETTER.sub(lambda match: names.get(match.group(), match.group()), node.text), node.unit)
    if isinstance(node, Row):
        return Row(tuple(rename(item, names) for item in node.items), node.brackets)
    if isinstance(node, Bag):
        return Bag(tuple(rename(item, names) for item in node.items), node.free)
    return node


def why_refused(text: str) -> str:
    """A clause that says why a text is not handed on; empty if nothing speaks against it."""
    if len(text) > MAX_LENGTH:
        return f"{len(text)} characters, at most {MAX_LENGTH}"
    if max(accumulate((char in "([{") - (char in ")]}") for char in text), default=0) > _MAX_DEPTH:
        return f"brackets nested deeper than {_MAX_DEPTH}"
    if sum(map(text.count, (",", ";", "&", "\\cup", "\\\\"))) > _MAX_ITEMS:
        return f"more than {_MAX_ITEMS} items"
    return ""

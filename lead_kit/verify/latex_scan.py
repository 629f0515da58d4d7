"""Texts in normal form as strings of marks and brackets: what `parse_answer` asks before it knows their kind."""

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, product

from lead_kit.verify import rationals
from lead_kit.verify.answer_types import Bag, Leaf, Row

FLIPPED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
_LETTER = re.compile(r"\\[A-Za-z]+|\\text\{[^{}]*\}|[A-Za-z]")
_PIECE = re.compile(r"\\text\{[^{}]*\}|\\[A-Za-z]+|\\[\s\S]|[\s\S]")
_NUMBER = re.compile(r"[-+]?(?:\\(?:frac|sqrt|pi|cdot)(?![a-z])|[-+*/^(){}\d. ])*")
_SCALED = re.compile(r"([-+]?)(\d*|\\frac\{\d+\}\{\d+\})([A-Za-z](?:_\w|_\{\w+\})?)")
_BASIS = re.compile(
    r"([-+]?)((?:[^-+ijk\\{}]|\\(?:sqrt|frac|pi|cdot)(?![a-z])|\{[^{}]*\})*?)(?:\\(?:hat|vec|bar)\{([ijk])\}|([ijk]))"
)
FUNCTION_NAME = re.compile(r"([A-Za-z](?:_\w|_\{\w+\})?(?:\^\{-1\})?'*|\\[A-Za-z]+)\(([A-Za-z](?:,[A-Za-z])*)\)")
_NAMING = frozenset(  # commands that stand for a letter
    "alpha beta gamma delta varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau upsilon "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar text bar hat vec dot "
    "tilde mathcal mathfrak angle triangle".split()
)
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


def _depths(text: str, weights: dict[str, int] = _BRACKETS) -> Iterator[tuple[re.Match, int]]:
    """The commands and characters of a text, each with the number of brackets open behind it."""
    depth = 0
    for piece in _PIECE.finditer(text):
        depth += weights.get(piece.group(), 0)
        yield piece, depth


def split(text: str, marks: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Parts of a text between marks that stand outside all brackets, and the marks."""
    parts, between, start = [], [], 0
    for piece, depth in _depths(text):
        if depth == 0 and piece.group() in marks:
            parts.append(text[start : piece.start()].strip())
            between.append(piece.group())
            start = piece.end()
    return [*parts, text[start:].strip()], between


def is_one_bracket(text: str, weights: dict[str, int] = _BRACKETS) -> bool:
    """Does the first bracket close with the last?"""
    return next((piece.end() == len(text) for piece, depth in _depths(text, weights) if depth == 0), False)


def argument(text: str, start: int) -> tuple[int, int, int] | None:
    """Start and end of a command's argument, in braces or one token, and the end of both; None if it is not whole."""
    start += len(text[start:]) - len(text[start:].lstrip())
    if text[start : start + 1] != "{":
        token = re.compile(r"\\[A-Za-z]+|[^\\{}\s^_&$]").match(text, start)
        return (start, token.end(), token.end()) if token else None
    end = next((start + piece.end() for piece, depth in _depths(text[start:], BRACES) if depth == 0), None)
    return None if end is None else (start + 1, end - 1, end)


def is_balanced(text: str) -> bool:
    """Does each brace close, and none that was not opened?"""
    open_braces = [0, *(depth for _, depth in _depths(text, BRACES))]
    return min(open_braces) == open_braces[-1] == 0


def is_unknown(text: str) -> bool:
    """The name of an unknown or of a function's value; a constant or an operator names nothing."""
    command = re.match(r"\\([A-Za-z]+)", text)
    if text in ("e", "i") or command and command[1] not in _NAMING:
        return False
    return bool(SYMBOL.fullmatch(text) or FUNCTION_NAME.fullmatch(text))


def reading_order(names: list[str]) -> list[int]:
    """The places of names such as y, x or b_2, b_1 in the order in which they are read; as given if none is usual."""
    places = list(range(len(names)))
    bases, indices = {name[:1] for name in names}, [name[1:].strip("_{}") for name in names]
    if len(bases) == 1 and all(map(str.isdigit, indices)):
        return sorted(places, key=lambda index: int(indices[index]))
    codes = sorted(map(ord, names)) if all(len(name) == 1 for name in names) else []
    if codes and codes == list(range(codes[0], codes[0] + len(codes))):
        return sorted(places, key=lambda index: names[index])
    return places


def monic(sides: list[str], operators: list[str]) -> tuple[list[str], list[str]]:
    """`-2x<6` as `-3<x`."""
    matches = [(index, _SCALED.fullmatch(side)) for index, side in enumerate(sides)]
    scaled = [(index, match) for index, match in matches if match and match[1] + match[2]]
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
    if "infty" in text:
        return text if factor > 0 else f"-{text}".replace("--", "")
    value = rationals.value(text)
    return f"\\frac{{{text}}}{{{factor}}}" if value is None else rationals.text(value / factor)


def variants(text: str) -> list[str]:
    r"""The readings of an expression with \pm (each sign free, \mp opposite to the first \pm)."""
    signs, readings = text.count("\\pm"), []
    if not signs or signs > _MAX_SIGNS:
        return [text]
    for choice in product("+-", repeat=signs):
        reading = text.replace("\\mp", "-" if choice[0] == "+" else "+")
        for sign in choice:
            reading = reading.replace("\\pm", sign, 1)
        readings.append(re.sub(r"(?<=-) | (?=-)", "", reading).strip(" +"))
    return readings


def scaled(text: str) -> tuple[str, str] | None:
    """A number and the bracket or matrix that it multiplies; None if the text is anything else."""
    opened, level = 0, 0
    for piece, depth in _depths(text):
        if level == 0 and depth > 0 and text[piece.start() - 4 : piece.start()] != "\\end":
            opened = piece.start()
        level = depth
    factor = re.sub(r"(?:\\cdot|\\times|\*) ?$", "", text[:opened].strip())
    bracket = text[opened:]
    if not factor or level or not _NUMBER.fullmatch(factor) or not re.match(r"[^{].*[)\]}]$", bracket, re.DOTALL):
        return None
    return (factor + "1" if factor in ("+", "-") else factor), bracket


def choices(items: list[str]) -> list[list[str]]:
    """A tuple with ± in it, as all the tuples it stands for."""
    options = [variants(item) for item in items]
    few = math.prod(map(len, options)) <= 2**_MAX_SIGNS
    return [list(choice) for choice in product(*options)] if few else [items]


def vector(text: str, size: int = 3) -> Row | None:
    """`i+2j+3k` as (1,2,3); in the plane, `i+2j` as (1,2)."""
    terms, end = [], 0
    while end < len(text) and (term := _BASIS.match(text, end)):
        terms.append(term)
        end = term.end()
    if end < len(text) or len(terms) < 2 and "{" not in text:
        return None
    parts = {term[3] or term[4]: term[1].strip("+") + (term[2].strip("*") or "1") for term in terms}
    names = "ij" if size == 2 and "k" not in parts else "ijk"
    return Row(tuple(Leaf(parts.get(name, "0")) for name in names), "()") if len(parts) == len(terms) else None


def letters(node: object) -> set[str]:
    """Single letters that occur in a node's expressions."""
    if isinstance(node, Leaf):
        return {piece for piece in _LETTER.findall(node.text) if len(piece) == 1}
    return set().union(*(letters(item) for item in node.items)) if isinstance(node, Row | Bag) else set()


def rename(node: object, names: dict[str, str]) -> object:
    """The same node with letters renamed in every expression."""
    if isinstance(node, Leaf):
        return Leaf(_LETTER.sub(lambda match: names.get(match.group(), match.group()), node.text), node.unit)
    if isinstance(node, Row | Bag):
        return node._replace(items=tuple(rename(item, names) for item in node.items))
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

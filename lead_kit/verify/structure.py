"""The shape of an answer: which of the kinds below it is, and its parts. Input is in normal form; leaves keep their
text."""

import re
from itertools import product

from lead_kit.verify import exact, units
from lead_kit.verify.nodes import Bag, Grid, Leaf, Named, Qualified, Ratio, Relation, Row, Words

OPERATORS = (
    "\\leq",
    "\\geq",
    "\\neq",
    "\\approx",
    "\\equiv",
    "\\in",
    "\\subset",
    "\\subseteq",
    "\\implies",
    "\\to",
    "<",
    ">",
    "=",
)
FLIPPED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
ASCII_OPERATORS = (("<=", "\\leq"), (">=", "\\geq"), ("!=", "\\neq"), ("=>", "\\implies"))
PIECE = re.compile(r"\\text\{[^{}]*\}|\\[A-Za-z]+|\\[\s\S]|[\s\S]")
CONJUNCTION = re.compile(
    r"\\text\{,? ?(?:and|or|and also|or else)\}|\\(?:vee|wedge)|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"
)
CONDITION = re.compile(
    r"\\text\{,? ?(?:for (?:all|any|every|each|some|integers?)|where|with|such that)\b.*"
    r"|(?<![A-Za-z\\])(?:for (?:all|any|every|some)|where) .*"
)
ENVIRONMENT = re.compile(r"\\begin\{([pbvBV]?matrix|array|cases)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
MEMBERSHIP = re.compile(r"\(?[A-Za-z](?:,[A-Za-z])*\\in ?\\?(?:mathbb\{)?[ZNRQ]\}?(?:[_^]?[{]?[+*]?[}]?)\)?")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
FUNCTION_NAME = re.compile(r"([A-Za-z](?:_\w|_\{\w+\})?(?:\^\{-1\})?'*|\\[A-Za-z]+)\(([A-Za-z](?:,[A-Za-z])*)\)")
SYMBOL = re.compile(r"(?:\\[A-Za-z]+|[A-Za-z])(?:_\w|_\{[^{}]+\})?'*")
SYNONYMS = {
    ("infinite",): ("infinitely", "many"), ("infinity",): ("infinitely", "many"), ("no", "solutions"): ("none",),
    ("no", "solution"): ("none",), ("no", "real", "solutions"): ("none",),
    ("no", "such", "number", "exists"): ("none",),
    ("empty", "set"): ("none",), ("does", "not", "exist"): ("undefined",), ("dne",): ("undefined",), ("t",): ("true",),
}  # fmt: skip
NOTHING = Words(("none",))
MAX_SIGNS = 4  # ± signs expanded into all their combinations


def split(text: str, marks: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Parts of a text between marks that stand outside all brackets, and the marks."""
    parts, found, depth, start, at = [], [], 0, 0, 0
    while at < len(text):
        piece = PIECE.match(text, at).group()
        if piece in "([{" or piece == "\\{" or piece == "\\langle":
            depth += 1
        elif piece in ")]}" or piece == "\\}" or piece == "\\rangle":
            depth -= 1
        elif piece == "\\begin":
            depth += 100
        elif piece == "\\end":
            depth -= 100
        elif depth == 0 and piece in marks:
            parts.append(text[start:at])
            found.append(piece)
            start = at + len(piece)
        at += len(piece)
    parts.append(text[start:])
    return [part.strip() for part in parts], found


def read(text: str) -> object:
    """The node of an answer in normal form."""
    text = text.lstrip(" ,;~").rstrip(" .,;~")
    for written, operator in ASCII_OPERATORS:
        text = text.replace(written, operator + " ")
    return _lists(text) if text else Words(())


def _lists(text: str) -> object:
    """Solutions separated by semicolons, commas, "and", "or"."""
    condition = CONDITION.search(text)
    if condition and condition.start() > 0 and not _outer_comma(text, condition.start()):
        return Qualified(read(text[: condition.start()]), condition.group())
    if THOUSANDS.fullmatch(text) or THOUSANDS.fullmatch(units.strip(text)[0]):
        return _signs(text)
    text = CONJUNCTION.sub(";;", text) if CONJUNCTION.search(text) else text
    rows, marks = split(text, (";",))
    rows = [row for row in rows if row.strip(" ,")]
    if len(rows) > 1:
        return _bag([_system(row) if "," in row else read(row) for row in rows])
    parts, _ = split(rows[0] if rows else text, (",",))
    parts = [part for part in parts if part]
    if len(parts) > 1 and MEMBERSHIP.fullmatch(parts[-1]):
        return Qualified(read(text[: text.rfind(parts[-1])]), parts[-1])
    if len(parts) > 1:
        return _bag([read(part) for part in parts])
    return _union(parts[0] if parts else text)


def _outer_comma(text: str, before: int) -> bool:
    """Is the condition followed by further items? Then each item is read by itself."""
    tail = CONJUNCTION.split(text[before:])
    return len(tail) > 1 or (text.find(",", before) >= 0 and "=" in text[text.find(",", before) :])


def _system(row: str) -> object:
    """`p=5,q=2` between semicolons is one solution."""
    node = read(row)
    if isinstance(node, Bag) and all(isinstance(item, Named) for item in node.items):
        return Row(tuple(item.value for item in node.items), "()")
    return node


def _bag(items: list) -> Bag:
    flat = []
    for item in items:
        flat.extend(item.items if isinstance(item, Bag) else [item])
    return Bag(tuple(flat))


def _union(text: str) -> object:
    parts, marks = split(text, ("\\cup",))
    if marks:
        return _bag([read(part) for part in parts])
    return _relations(text)


def _relations(text: str) -> object:
    sides, operators = split(text, OPERATORS)
    if not operators:
        return _brackets(text)
    if "\\approx" in operators:
        return _approximate(text, sides, operators)
    if operators[-1] == "\\in" and len(operators) == 1:
        return (
            read(sides[1])
            if SYMBOL.fullmatch(sides[0]) or FUNCTION_NAME.fullmatch(sides[0])
            else Relation(("\\in",), tuple(sides))
        )
    if "\\implies" in operators:
        return read(sides[-1])
    if set(operators) == {"="}:
        return _equation(sides)
    return _inequality(sides, operators)


def _approximate(text: str, sides: list[str], operators: list[str]) -> object:
    """`x = √2 ≈ 1.41` states √2; `x ≈ 1.41` states 1.41."""
    exact_part = text[: text.rfind("\\approx")].strip()
    if not exact_part:
        return Relation(("\\approx",), tuple(sides))
    if SYMBOL.fullmatch(exact_part):
        return read(sides[-1])
    return read(exact_part)


def _equation(sides: list[str]) -> object:
    left, right = sides[0], sides[-1]
    function = FUNCTION_NAME.fullmatch(left)
    if function:
        return Named(function[1], tuple(function[2].split(",")), read(right))
    if left.startswith("(") and left.endswith(")") and right.startswith("("):
        return read(right)
    if any(SYMBOL.fullmatch(side) for side in sides[:-1]) and len(sides) <= 6:
        return Named(left, (), read(right)) if len(sides) == 2 else read(right)
    if SYMBOL.fullmatch(right) and not SYMBOL.fullmatch(left) and len(sides) == 2:
        return Named(right, (), read(left))
    return Relation(("=",) * (len(sides) - 1), tuple(sides))


def _inequality(sides: list[str], operators: list[str]) -> object:
    """An inequality for one unknown is the interval of its values; anything else stays a relation."""
    if any(operator not in FLIPPED for operator in operators) or len(sides) > 3:
        return Relation(tuple(operators), tuple(sides))
    if len({operator in (">", "\\geq") for operator in operators}) > 1:
        return Relation(tuple(operators), tuple(sides))
    if operators[0] in (">", "\\geq"):
        sides, operators = sides[::-1], [FLIPPED[operator] for operator in operators[::-1]]
    if len(sides) == 3 and _unknown(sides[1]) and not _unknown(sides[0]):
        brackets = ("[" if operators[0] == "\\leq" else "(") + ("]" if operators[1] == "\\leq" else ")")
        return Row((read(sides[0]), read(sides[2])), brackets)
    if len(sides) == 2 and _unknown(sides[0]):
        return Row((Leaf("-\\infty"), read(sides[1])), "(" + ("]" if operators[0] == "\\leq" else ")"))
    if len(sides) == 2 and _unknown(sides[1]):
        return Row((read(sides[0]), Leaf("\\infty")), ("[" if operators[0] == "\\leq" else "(") + ")")
    return Relation(tuple(operators), tuple(sides))


def _unknown(text: str) -> bool:
    if text in ("\\pi", "e", "i", "\\infty"):
        return False
    return bool(SYMBOL.fullmatch(text) or FUNCTION_NAME.fullmatch(text))


def _brackets(text: str) -> object:
    """Matrices, sets, tuples and intervals; else an expression."""
    if environment := ENVIRONMENT.fullmatch(text):
        return _matrix(environment[1], environment[2])
    if text.startswith("\\{") and text.endswith("\\}") and _whole(text, 2):
        return _set(text[2:-2])
    if re.match(r"[(\[]\\begin\{", text) and re.search(r"\\end\{\w+\}[)\]]$", text):
        return _brackets(text[1:-1])
    if text.startswith("\\langle") and text.endswith("\\rangle"):
        text = "(" + text[len("\\langle") : -len("\\rangle")] + ")"
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _whole(text, 1):
        items, _ = split(text[1:-1], (",", ";"))
        if len(items) > 1:
            row = [Row(tuple(map(read, choice)), text[0] + text[-1]) for choice in _choices(items)]
            return row[0] if len(row) == 1 else Bag(tuple(row))
        if text[0] == "(" and not re.fullmatch(r"\([A-Za-z0-9]\)", text):
            return read(text[1:-1])
    return _signs(text)


def _whole(text: str, width: int) -> bool:
    """Does the first bracket close with the last?"""
    depth, at = 0, 0
    while at < len(text):
        piece = PIECE.match(text, at).group()
        if piece in ("(", "[", "{", "\\{"):
            depth += 1
        elif piece in (")", "]", "}", "\\}"):
            depth -= 1
        at += len(piece)
        if depth == 0:
            return at == len(text)
    return False


def _set(inside: str) -> object:
    """`{x | condition}` is the set its condition describes; `{a, b}` its elements."""
    if not inside.strip():
        return NOTHING
    sides, marks = split(inside, ("|", ":"))
    if len(sides) == 2 and marks:
        head = re.fullmatch(r"([A-Za-z])(?:\\in(.*))?", sides[0])
        if head:
            return read(sides[1])
        return Relation(("|",), tuple(sides))
    node = read(inside)
    return node if isinstance(node, Bag) else Bag((node,))


def _matrix(kind: str, inside: str) -> object:
    if kind in ("vmatrix", "Vmatrix", "cases"):
        return Relation((kind,), (inside,))
    inside = inside.replace("\\hline", "")
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr", inside) if row.strip()]
    cells = tuple(tuple(read(cell) for cell in split(row, ("&",))[0]) for row in rows)
    if all(len(row) == 1 for row in cells):
        return Row(tuple(row[0] for row in cells), "()")
    return Row(cells[0], "()") if len(cells) == 1 else Grid(cells)


def _choices(items: list[str]) -> list[list[str]]:
    """A tuple with ± in it, as all the tuples it stands for."""
    options = [variants(item) for item in items]
    total = 1
    for option in options:
        total *= len(option)
    return [list(choice) for choice in product(*options)] if total <= 2**MAX_SIGNS else [items]


def variants(text: str) -> list[str]:
    r"""The readings of an expression with \pm (each sign free, \mp opposite to the first \pm)."""
    signs = text.count("\\pm")
    if not signs or signs > MAX_SIGNS:
        return [text]
    readings = []
    for choice in product("+-", repeat=signs):
        reading = text.replace("\\mp", "-" if choice[0] == "+" else "+")
        for sign in choice:
            reading = reading.replace("\\pm", sign, 1)
        readings.append(reading.lstrip("+"))
    return readings


def _signs(text: str) -> object:
    readings = variants(text)
    return _leaf(text) if len(readings) == 1 else Bag(tuple(map(_leaf, readings)))


def _leaf(text: str) -> object:
    """A ratio, prose, `label: value`, or an expression with its unit."""
    parts, marks = split(text, (":",))
    if marks and all(parts):
        return _colon(parts)
    words = units.prose(text)
    if words is not None:
        return Words(SYNONYMS.get(words, words))
    if text == "\\emptyset":
        return NOTHING
    if text == "\\mathbb{R}":
        return Row((Leaf("-\\infty"), Leaf("\\infty")), "()")
    number, unit = units.strip(text)
    if exact.value(number) is None and unit == "" and number != text:
        return Leaf(text, "")
    return Leaf(number, unit)


def _colon(parts: list[str]) -> object:
    """`Paolo: 18` names its value; `2:1` is a ratio."""
    if units.prose(parts[0]) is not None and len(parts) == 2:
        return Named(" ".join(units.prose(parts[0])), (), read(parts[1]))
    return Ratio(tuple(_leaf(part) for part in parts))

"""The shape of an answer: which of the kinds below it is, and its parts. Input is in normal form; leaves keep their
text."""

import re

from lead_kit.verify import rationals, units
from lead_kit.verify.answer_types import (
    Bag,
    Clock,
    Congruence,
    Grid,
    Leaf,
    Named,
    Pieces,
    Qualified,
    Ratio,
    Relation,
    Row,
    Words,
)
from lead_kit.verify.latex_scan import (
    FLIPPED,
    FUNCTION_NAME,
    SYMBOL,
    choices,
    is_one_bracket,
    is_unknown,
    monic,
    split,
    variants,
)

_OPERATORS = tuple("\\leq \\geq \\neq \\approx \\equiv \\in \\subset \\subseteq \\implies \\to < > =".split())
_ASCII_OPERATORS = (("<=", "\\leq"), (">=", "\\geq"), ("!=", "\\neq"), ("=>", "\\implies"))
_CONJUNCTION = re.compile(
    r"\\text\{,? ?(?:and|or|and also|or else)\}|\\(?:vee|wedge)|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"
)
_CONDITION = re.compile(
    r"\\text\{,? ?(?:for (?:all|any|every|each|some|integers?)|where|with|such that)\b.*"
    r"|(?<![A-Za-z\\])(?:for (?:all|any|every|some)|where) .*"
)
_CLOCK = re.compile(r"(?:\\text\{)?(\d{1,2})(?::([0-5]\d))? ?(?:\\text\{)?(?:([AaPp])\.? ?[Mm]\.?)?\}?")
_CONGRUENCE = re.compile(r"(?:(.+)\\equiv)?(.+?),?\\(?:pmod|mod) ?\{?([^{},;]+)\}?")
_IF = re.compile(r"^,|,$|\\text\{,? ?(?:if|for|when|where|as|and)\b ?([^{}]*)\}")
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_ENVIRONMENT = re.compile(r"\\begin\{([pbvBV]?matrix|array|cases)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_REAL = re.compile(r"[A-Za-z]\\in ?\\mathbb\{R\}")
_EXCEPT = re.compile(r"\\text\{all real (?:numbers|x) except(?: for)?\}(?:[a-z](?:=|\\neq ?))?(.+)")
_MEMBERSHIP = re.compile(r"\(?[A-Za-z](?:,[A-Za-z])*\\in ?\\?(?:mathbb\{)?[ZNRQ]\}?(?:[_^]?[{]?[+*]?[}]?)\)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_NOTHING = Words(("none",))
_LINE = Row((Leaf("-\\infty"), Leaf("\\infty")), "()")


def read(text: str) -> object:
    """The node of an answer in normal form."""
    text = text.lstrip(" ,;~").rstrip(" .,;~")
    for written, operator in _ASCII_OPERATORS:
        text = text.replace(written, operator + " ")
    return _lists(text) if text else Words(())


def _lists(text: str) -> object:
    """Solutions separated by semicolons, commas, "and", "or"."""
    condition = _CONDITION.search(text)
    if condition and condition.start() > 0 and not _outer_comma(text, condition.start()):
        return Qualified(read(text[: condition.start()]), condition.group())
    if _THOUSANDS.fullmatch(text) or _THOUSANDS.fullmatch(units.split_unit(text)[0]):
        return _signs(text)
    if "mod" in text and text.count("\\equiv") < 2 and (match := _CONGRUENCE.fullmatch(text)):
        if match[1] or "\\pmod" in text:
            return _congruence(*match.groups())
    if ", " in text:  # then a comma without a space stands inside a number
        text = _SPACED.sub(lambda number: number.group().replace(",", ""), text)
    joined = _CONJUNCTION.findall(text)
    around, _ = split(_CONJUNCTION.sub(",", text), (",",)) if joined else split(text, (",",))
    parts = [part for part in around if part]
    parts = parts[1:] if len(parts) > 1 and _REAL.fullmatch(parts[0]) else parts
    if joined and len(parts) < len(around) == 2:  # an alternative that is not said
        return Relation(("or",), (text,))
    if len(parts) > 1 and (combined := _combined(parts, "".join(joined))) is not None:
        return combined
    rows, _ = split(_CONJUNCTION.sub(";;", text) if joined else text, (";",))
    rows = [row for row in rows if row.strip(" ,")]
    if len(rows) > 1:
        return _bag([_system(row) if "," in row else read(row) for row in rows])
    if len(parts) > 1 and _MEMBERSHIP.fullmatch(parts[-1]):
        return Qualified(read(text[: text.rfind(parts[-1])]), parts[-1])
    if len(parts) > 1:
        return _bag([read(part) for part in parts])
    return _union(parts[0] if len(around) > 1 else text)


def _combined(parts: list[str], words: str) -> object | None:
    """`x>1 and x<3` is one interval, `x≠1, x≠2` one set; None if the parts are answers by themselves."""
    sides = [split(part, _OPERATORS) for part in parts]
    names = set(re.findall(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", _CONJUNCTION.sub("", "".join(parts))))
    if len(names) != 1 or not sides[0][1] or "or" in words or "vee" in words:
        return None
    if sides[0][1] == ["\\neq"] and all(marks in ([], ["\\neq"]) for _, marks in sides) and is_unknown(sides[0][0][0]):
        return _punctured([both[-1] for both, _ in sides])
    holes = [both[-1] for both, marks in sides if marks == ["\\neq"]]
    rest = [part for part, (_, marks) in zip(parts, sides, strict=True) if marks != ["\\neq"]]
    if holes and len(rest) == 1 and isinstance(base := read(rest[0]), Row) and len(base.items) == 2:
        return _punctured(holes, base)
    nodes = [read(part) for part in parts] if len(parts) == 2 and sides[1][1] else []
    if not nodes or not all(isinstance(node, Row) and len(node.items) == 2 for node in nodes):
        return None
    low, high = sorted(nodes, key=lambda node: node.items[0] == Leaf("-\\infty"))
    if low.items[1] != Leaf("\\infty") or high.items[0] != Leaf("-\\infty"):
        return None
    ends = [rationals.value(node.text) if isinstance(node, Leaf) else None for node in (low.items[0], high.items[1])]
    if None in ends and not words or None not in ends and ends[0] >= ends[1]:
        return None  # "x<1, x>3" names two parts of one set
    return Row((low.items[0], high.items[1]), low.brackets[0] + high.brackets[1])


def _punctured(points: list[str], base: Row = _LINE) -> object:
    """An interval, or the real line, without some points, as the intervals between them."""
    out = [leaf for node in map(read, points) for leaf in (node.items if isinstance(node, Bag) else [node])]
    values = [rationals.value(leaf.text) if isinstance(leaf, Leaf) else None for leaf in out]
    if None in values and (len(out) > 1 or base != _LINE):
        whole_set = "\\mathbb{R}" if base == _LINE else str(base)
        return Relation(("\\setminus",), (whole_set, "\\{" + ",".join(points) + "\\}"))
    inside = [leaf for _, leaf in sorted(zip(values, out, strict=True))] if len(out) > 1 else out
    ends = [base.items[0], *inside, base.items[1]]
    opening = [base.brackets[0]] + ["("] * len(inside)
    closing = [")"] * len(inside) + [base.brackets[1]]
    rows = zip(zip(ends, ends[1:], strict=False), opening, closing, strict=True)
    return Bag(tuple(Row(pair, left + right) for pair, left, right in rows), True)


def _congruence(left: str | None, residue: str, modulus: str) -> Congruence:
    """With the residues reduced where they are digits."""
    node, divisor = read(residue), rationals.value(modulus)
    items = node.items if isinstance(node, Bag) else (node,)
    values = [rationals.value(item.text) if isinstance(item, Leaf) else None for item in items]
    if divisor and None not in values:
        node = Bag(tuple(Leaf(str(value % divisor)) for value in values), True)
    return Congruence(left or "", node, modulus)


def _outer_comma(text: str, before: int) -> bool:
    """Is the condition followed by further items? Then each item is read by itself."""
    tail = _CONJUNCTION.split(text[before:])
    return len(tail) > 1 or (text.find(",", before) >= 0 and "=" in text[text.find(",", before) :])


def _system(row: str) -> object:
    """`p=5,q=2` between semicolons is one solution."""
    node = read(row)
    if isinstance(node, Bag) and all(isinstance(item, Named) for item in node.items):
        return Row(tuple(item.value for item in node.items), "()")
    return node


def _bag(items: list, free: bool = False) -> Bag:
    flat = []
    for item in items:
        flat.extend(item.items if isinstance(item, Bag) else [item])
    return Bag(tuple(flat), free)


def _union(text: str) -> object:
    if match := _EXCEPT.fullmatch(text):
        return _punctured(split(match[1], (",",))[0])
    parts, marks = split(text.replace("\\mathbb{R}-\\{", "\\mathbb{R}\\setminus\\{"), ("\\setminus",))
    if marks:
        head, _, real = parts[0].rpartition("\\in")
        if real == "\\mathbb{R}" and (not head or is_unknown(head)) and len(parts) == 2 and parts[1].startswith("\\{"):
            return _punctured(split(parts[1][2:-2], (",", ";"))[0])
        return Relation(tuple(marks), tuple(parts))
    parts, marks = split(text, ("\\cup",))
    if marks:
        return _bag([read(part) for part in parts], True)
    return _relations(text)


def _relations(text: str) -> object:
    sides, operators = split(text, _OPERATORS)
    if not operators:
        return _brackets(text)
    if "\\approx" in operators:
        return _approximate(text, sides, operators)
    if operators[-1] == "\\in" and len(operators) == 1:
        return read(sides[1]) if is_unknown(sides[0]) else Relation(("\\in",), tuple(sides))
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
    if left.startswith("(") and right.startswith("(") and all(map(is_unknown, split(left[1:-1], (",",))[0])):
        return read(right)
    if all(map(is_unknown, sides[:-1])):
        return Named(left, (), read(right)) if len(sides) == 2 else read(right)
    if is_unknown(right) and not is_unknown(left) and len(sides) == 2:
        return Named(right, (), read(left))
    return Relation(("=",) * (len(sides) - 1), tuple(sides))


def _inequality(sides: list[str], operators: list[str]) -> object:
    """An inequality for one unknown is the interval of its values; anything else stays a relation."""
    if operators == ["\\neq"] and is_unknown(sides[0]) and not is_unknown(sides[1]):
        return _punctured(sides[1:])
    if any(operator not in FLIPPED for operator in operators) or len(sides) > 3:
        return Relation(tuple(operators), tuple(sides))
    if len({operator in (">", "\\geq") for operator in operators}) > 1:
        return Relation(tuple(operators), tuple(sides))
    if operators[0] in (">", "\\geq"):
        sides, operators = sides[::-1], [FLIPPED[operator] for operator in operators[::-1]]
    sides, operators = monic(sides, operators)
    if len(sides) == 3 and is_unknown(sides[1]) and not is_unknown(sides[0]):
        brackets = ("[" if operators[0] == "\\leq" else "(") + ("]" if operators[1] == "\\leq" else ")")
        return Row((read(sides[0]), read(sides[2])), brackets)
    if len(sides) == 2 and is_unknown(sides[0]):
        return Row((Leaf("-\\infty"), read(sides[1])), "(" + ("]" if operators[0] == "\\leq" else ")"))
    if len(sides) == 2 and is_unknown(sides[1]):
        return Row((read(sides[0]), Leaf("\\infty")), ("[" if operators[0] == "\\leq" else "(") + ")")
    return Relation(tuple(operators), tuple(sides))


def _brackets(text: str) -> object:
    """Matrices, sets, tuples and intervals; else an expression."""
    if environment := _ENVIRONMENT.fullmatch(text):
        return _matrix(environment[1], environment[2])
    if text.startswith("\\{") and text.endswith("\\}") and is_one_bracket(text):
        return _set(text[2:-2])
    if re.match(r"[(\[]\\begin\{", text) and re.search(r"\\end\{\w+\}[)\]]$", text):
        return _brackets(text[1:-1])
    if text.startswith("\\langle") and text.endswith("\\rangle"):
        text = "(" + text[len("\\langle") : -len("\\rangle")] + ")"
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and is_one_bracket(text):
        items, _ = split(text[1:-1], (",", ";"))
        if len(items) > 1:
            row = [Row(tuple(map(read, choice)), text[0] + text[-1]) for choice in choices(items)]
            return row[0] if len(row) == 1 else Bag(tuple(row), True)
        if text[0] == "(" and not re.fullmatch(r"\([A-Za-z]\)", text):
            return read(text[1:-1])
    return _signs(text)


def _set(inside: str) -> object:
    """`{x | condition}` is the set its condition describes; `{a, b}` its elements."""
    if not inside.strip():
        return _NOTHING
    sides, marks = split(inside, ("|", ":"))
    if len(sides) == 2 and marks:
        head = re.fullmatch(r"[A-Za-z](?:\\in ?\\mathbb\{R\})?", sides[0])
        return read(sides[1]) if head else Relation(("|",), tuple(sides))
    node = read(inside)
    if node == _NOTHING:
        return Relation(("set",), (inside,))
    return Bag(node.items, True) if isinstance(node, Bag) else Bag((node,), True)


def _matrix(kind: str, inside: str) -> object:
    if kind in ("vmatrix", "Vmatrix"):
        return Relation((kind,), (inside,))
    inside = inside.replace("\\hline", "")
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr", inside) if row.strip()]
    if kind == "cases":
        return _cases(rows)
    cells = tuple(tuple(read(cell) for cell in split(row, ("&",))[0]) for row in rows)
    if all(len(row) == 1 for row in cells):
        return Row(tuple(row[0] for row in cells), "()")
    return Row(cells[0], "()") if len(cells) == 1 else Grid(cells)


def _cases(rows: list[str]) -> object:
    """A function by cases if every row has a condition, else a system of equations."""
    pieces = [[part for part in split(_IF.sub(r"&\1", row), ("&",))[0] if part.strip(" ,")] for row in rows]
    if all(len(piece) == 1 for piece in pieces):
        parts = [split(piece[0], (",",))[0] for piece in pieces]
        if not all(len(part) == 2 for part in parts):
            return _bag([read(piece[0]) for piece in pieces])
        pieces = parts
    if not all(len(piece) == 2 for piece in pieces):
        return Relation(("cases",), tuple(rows))
    return Pieces(tuple((read(value), read(condition)) for value, condition in pieces))


def _signs(text: str) -> object:
    readings = variants(text)
    return _leaf(text) if len(readings) == 1 else Bag(tuple(map(_leaf, readings)), True)


def _leaf(text: str) -> object:
    """A ratio, prose, `label: value`, or an expression with its unit."""
    clock = _CLOCK.fullmatch(text)
    if clock and (clock[2] or clock[3]) and int(clock[1]) <= 24:
        return Clock(int(clock[1]), int(clock[2] or 0), (clock[3] or "").lower())
    parts, marks = split(text, (":",))
    if marks and all(parts):
        return _colon(parts)
    words = units.words_of_prose(text)
    if words in units.EVERYTHING or text == "\\mathbb{R}":
        return _LINE
    if words is not None:
        if len(words) == 1 and words[0] in units.DIGITS:
            return Leaf(str(units.DIGITS.index(words[0])))
        return Words(units.SYNONYMS.get(words, words))
    if text == "\\emptyset":
        return _NOTHING
    number, unit = units.split_unit(text)
    if rationals.value(number) is None and unit == "" and number != text:
        return Leaf(text, "")
    return Leaf(number, unit)


def _colon(parts: list[str]) -> object:
    """`Paolo: 18` names its value; `2:1` is a ratio."""
    if units.words_of_prose(parts[0]) is not None and len(parts) == 2:
        return Named(" ".join(units.words_of_prose(parts[0])), (), read(parts[1]))
    return Ratio(tuple(_leaf(part) for part in parts))

"""The shape of an answer in normal form: which of the kinds it is, and its parts. Leaves keep their text."""

import re
from fractions import Fraction

from lead_kit.verify import answer_types as kinds
from lead_kit.verify import latex_scan as scan
from lead_kit.verify import rationals, units
from lead_kit.verify.answer_types import Bag, Leaf, Named, Qualified, Relation, Row, Words
from lead_kit.verify.latex_scan import FLIPPED, FUNCTION_NAME, is_one_bracket, is_unknown, letters, split

_OPERATORS = tuple("\\leq \\geq \\neq \\approx \\equiv \\in \\subset \\subseteq \\implies \\to < > =".split())
_ASCII_OPERATORS = (("<=", "\\leq"), (">=", "\\geq"), ("!=", "\\neq"), ("=>", "\\implies"))
_CONJUNCTION = re.compile(
    r"\\text\{,? ?(?:and|or|AND|OR|and also|or else)\}|\\(?:vee|wedge)|(?<![A-Za-z\\])(?:and|or|AND|OR)(?![A-Za-z])"
)
_CONDITION = re.compile(
    r"\\text\{,? ?(?:for ?\}|(?:for (?:all|any|every|each|some|integers?)|where|with|such that)\b).*"
    r"|(?<![A-Za-z\\])(?:for (?:all|any|every|some)|where) .*|,?\\forall.*"
    r"|\((?:[A-Za-z]|\\text\{[A-Za-z ]*\})(?:<|>|\\(?:leq|geq|neq|in)(?![a-z]))[^()]*\)$"
)
_DOMAIN = re.compile(r"([A-Za-z])(?:<|>|\\(?:leq|geq|neq|in)(?![a-z])).+")
_CLOCK = re.compile(r"(?:\\text\{)?(\d{1,2})(?::([0-5]\d)(?::([0-5]\d))?)? ?(?:\\text\{)?(?:([AaPp])\.? ?[Mm]\.?)?\}?")
_QUANTITY = re.compile(
    r"(\d+(?:\.\d+)?) ?(?:\\text\{([^{}]+)\}|([A-Za-z]+)) ?(?:,|\\text\{,? ?and\}|and(?![A-Za-z]))? ?"
)
_CONGRUENCE = re.compile(r"(?:(.+)\\equiv)?(.+?),?\\(?:pmod|mod) ?\{?([^{},;]+)\}?")
_TRANSPOSED = re.compile(r"(.+(?:[)\]}]|\\rangle))\^(?:\{?(?:T|\\top|\\intercal|\\text\{T\}|\\prime)\}?)")
_LEAD = re.compile(  # "the answer is" before an answer
    r"\\text\{(?:(?:only|exactly|[^{}]*\b(?:is|are|equals?))(?: at)?:?|(?:the )?(?:final )?"
    r"(?:answer|total|result|sum|area|value|choice|option):?|at) ?\}(?=.)|(?:.*final |the )?answer(?: is |: ?)(?=.)",
    re.IGNORECASE,
)
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
    if (lead := _LEAD.match(text)) and not units.DENIAL.search(lead.group().lower()):
        text = text[lead.end() :].lstrip(" ~")
    text = text.removeprefix("\\implies").lstrip()
    for written, operator in _ASCII_OPERATORS:
        text = text.replace(written, operator + " ")
    return _lists(text) if text else Words(())


def _lists(text: str) -> object:
    """Solutions separated by semicolons, commas, "and", "or"."""
    condition = _CONDITION.search(text)
    if condition and condition.start() > 0 and not _outer_comma(text, condition.start()):
        return Qualified(read(text[: condition.start()]), condition.group())
    if date := units.date(text):
        return Words(date)
    if (quantity := _compound(text)) is not None:
        return quantity
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
    domain = _DOMAIN.fullmatch(parts[-1]) if len(parts) == 2 and not joined else None
    if domain and not split(parts[0], tuple(FLIPPED))[1]:
        value = read(parts[0])
        if domain[1] in letters(value.value if isinstance(value, Named) else value):
            return Qualified(value, parts[1])
    if len(parts) > 1:
        return _bag([read(part) for part in parts])
    return _union(parts[0] if parts and len(around) > 1 else text)


def _compound(text: str) -> Leaf | None:
    """`2 hours and 30 minutes` in the smallest of its units; None if the text is anything else."""
    total, sizes, dimensions, unit, end = Fraction(0), [], [], "", 0
    while end < len(text) and (match := _QUANTITY.match(text, end)):
        unit = units.NAMES.get((match[2] or match[3]).strip(" .,"), "")
        dimension, size = units.SIZES.get(unit, ("", Fraction(0)))
        total, end = total + Fraction(match[1]) * size, match.end()
        sizes.append(size)
        dimensions.append(dimension)
    falling = len(sizes) > 1 and all(large > small > 0 for large, small in zip(sizes, sizes[1:], strict=False))
    if end < len(text) or not falling or len(set(dimensions)) > 1:
        return None
    return Leaf(rationals.text(total / sizes[-1]), unit)


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
    ends = [_end(low.items[0]), _end(high.items[1])]
    if None in ends and not words or None not in ends and ends[0] >= ends[1]:
        return None  # "x<1, x>3" names two parts of one set
    return Row((low.items[0], high.items[1]), low.brackets[0] + high.brackets[1])


def _punctured(points: list[str], base: Row = _LINE) -> object:
    """An interval, or the real line, without some points, as the intervals between them."""
    out = [leaf for node in map(read, points) for leaf in (node.items if isinstance(node, Bag) else [node])]
    if None in map(_end, out) and (len(out) > 1 or base != _LINE):
        whole_set = "\\mathbb{R}" if base == _LINE else str(base)
        return Relation(("\\setminus",), (whole_set, "\\{" + ",".join(points) + "\\}"))
    ends = [base.items[0], *(sorted(out, key=_end) if len(out) > 1 else out), base.items[1]]
    brackets = [base.brackets[0], *")(" * len(out), base.brackets[1]]
    rows = zip(ends, ends[1:], brackets[::2], brackets[1::2], strict=False)
    return Bag(tuple(Row((low, high), left + right) for low, high, left, right in rows), True)


def _congruence(left: str | None, residue: str, modulus: str) -> kinds.Congruence:
    """With the residues reduced where they are digits."""
    node, divisor = read(residue), rationals.value(modulus)
    items = node.items if isinstance(node, Bag) else (node,)
    values = [rationals.value(item.text) if isinstance(item, Leaf) else None for item in items]
    if divisor and None not in values:
        node = Bag(tuple(Leaf(str(value % divisor)) for value in values), True)
    return kinds.Congruence(left or "", node, modulus)


def _outer_comma(text: str, before: int) -> bool:
    """Is the condition followed by further items? Then each item is read by itself."""
    return _CONJUNCTION.search(text, before) is not None or "=" in text[before:].partition(",")[2]


def _system(row: str) -> object:
    """`p=5,q=2` between semicolons is one solution."""
    node = read(row)
    named = isinstance(node, Bag) and all(isinstance(item, Named) for item in node.items)
    return Row(tuple(item.value for item in node.items), "()") if named else node


def _bag(items: list, free: bool = False) -> Bag:
    flat = [each for item in items for each in (item.items if isinstance(item, Bag) else [item])]
    return Bag(tuple(flat), free)


def _union(text: str) -> object:
    if match := _EXCEPT.fullmatch(text):
        return _punctured(split(match[1], (",",))[0])
    parts, marks = split(text.replace("\\mathbb{R}-\\{", "\\mathbb{R}\\setminus\\{"), ("\\setminus",))
    if marks:
        head, _, real = parts[0].rpartition("\\in")
        line = real in ("\\mathbb{R}", "(-\\infty,\\infty)") and len(parts) == 2
        if line and (not head or is_unknown(head)):
            if parts[1].startswith("\\{"):
                return _punctured(split(parts[1][2:-2], (",", ";"))[0])
            if intervals := _joined(read(parts[1])):
                return _complement(intervals)
        return Relation(tuple(marks), tuple(parts))
    parts, marks = split(text, ("\\cup",))
    if marks:
        union = _bag([read(part) for part in parts], True)
        intervals = _joined(union)
        return union if intervals is None else intervals[0] if len(intervals) == 1 else Bag(tuple(intervals), True)
    return _relations(text)


def _end(node: object) -> Fraction | float | None:
    """The place of an interval's end on the line; None if arithmetic does not know it."""
    if node in (Leaf("\\infty"), Leaf("-\\infty")):
        return float(node.text.replace("\\infty", "inf"))
    return rationals.value(node.text) if isinstance(node, Leaf) and not node.unit else None


def _joined(node: object) -> list[Row] | None:
    """The intervals of a union from left to right, those that touch joined; None if it holds anything else."""
    rows = list(node.items) if isinstance(node, Bag) else [node]
    if not all(isinstance(row, Row) and len(row.items) == 2 and None not in map(_end, row.items) for row in rows):
        return None
    joined: list[Row] = []
    for row in sorted(rows, key=lambda row: (_end(row.items[0]), row.brackets[0] == "(")):
        last = joined[-1] if joined else None
        gap = _end(row.items[0]) - _end(last.items[1]) if last and _end(row.items[0]) != float("-inf") else -1
        if last is None or gap > 0 or gap == 0 and last.brackets[1] + row.brackets[0] == ")(":
            joined.append(row)
            continue
        further = max((last, row), key=lambda each: (_end(each.items[1]), each.brackets[1] == "]"))
        joined[-1] = Row((last.items[0], further.items[1]), last.brackets[0] + further.brackets[1])
    return joined


def _complement(intervals: list[Row]) -> Row | Bag:
    """The rest of the real line."""
    flipped = {"(": "]", "[": ")", ")": "[", "]": "("}
    ends = [_LINE.items[0], *(end for row in intervals for end in row.items), _LINE.items[1]]
    brackets = ["(", *(flipped[bracket] for row in intervals for bracket in row.brackets), ")"]
    rows = zip(ends[::2], ends[1::2], brackets[::2], brackets[1::2], strict=True)
    rest = tuple(Row((low, high), left + right) for low, high, left, right in rows if low != high)
    return rest[0] if len(rest) == 1 else Bag(rest, True)


def _relations(text: str) -> object:
    sides, operators = split(text, _OPERATORS)
    if not operators:
        return _brackets(text)
    if "\\approx" in operators:  # `x = √2 ≈ 1.41` states √2; `x ≈ 1.41` states 1.41
        exact_part = text[: text.rfind("\\approx")].strip()
        stated = sides[-1] if is_unknown(exact_part) else "" if scan.SYMBOL.fullmatch(exact_part) else exact_part
        return read(stated) if stated else Relation(tuple(operators), tuple(sides))
    if operators[-1] == "\\in" and len(operators) == 1:
        return read(sides[1]) if is_unknown(sides[0]) else Relation(("\\in",), tuple(sides))
    if set(operators) == {"="} or operators == ["\\equiv"] and FUNCTION_NAME.fullmatch(sides[0]):
        return _equation(sides)
    return _inequality(sides, operators)


def _equation(sides: list[str]) -> object:
    left, right = sides[0], sides[-1]
    function = FUNCTION_NAME.fullmatch(left)
    if function and is_unknown(left):
        return Named(function[1], tuple(function[2].split(",")), read(right))
    names = split(left[1:-1], (",",))[0]
    if left.startswith("(") and right.startswith("(") and all(map(is_unknown, names)):
        return _reordered(read(right), names)
    if all(map(is_unknown, sides[:-1])):
        return Named(left, (), read(right)) if len(sides) == 2 else read(right)
    if is_unknown(right) and not is_unknown(left) and len(sides) == 2:
        return Named(right, (), read(left))
    return Relation(("=",) * (len(sides) - 1), tuple(sides))


def _reordered(point: object, names: list[str]) -> object:
    """A point, or each of a list, in the order in which its names are read."""
    if isinstance(point, Bag):
        return point._replace(items=tuple(_reordered(each, names) for each in point.items))
    if not isinstance(point, Row) or len(point.items) != len(names):
        return point
    return point._replace(items=tuple(point.items[place] for place in scan.reading_order(names)))


def _inequality(sides: list[str], operators: list[str]) -> object:
    """An inequality for one unknown is the interval of its values; anything else stays a relation."""
    if operators == ["\\neq"] and is_unknown(sides[0]) and not is_unknown(sides[1]):
        return _punctured(sides[1:])
    directions = {operator in (">", "\\geq") for operator in operators}
    if any(operator not in FLIPPED for operator in operators) or len(sides) > 3 or len(directions) > 1:
        return Relation(tuple(operators), tuple(sides))
    if operators[0] in (">", "\\geq"):
        sides, operators = sides[::-1], [FLIPPED[operator] for operator in operators[::-1]]
    sides, operators = scan.monic(sides, operators)
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
        return _matrix(*environment.groups())
    if text.startswith("\\{") and text.endswith("\\}") and is_one_bracket(text):
        return _set(text[2:-2])
    if re.match(r"[(\[]\\begin\{", text) and re.search(r"\\end\{\w+\}[)\]]$", text):
        return _brackets(text[1:-1])
    if text.startswith("\\langle") and text.endswith("\\rangle"):
        text = "(" + text[len("\\langle") : -len("\\rangle")] + ")"
    if transposed := _TRANSPOSED.fullmatch(text):
        node = _brackets(transposed[1])
        if isinstance(node, kinds.Grid) and len({*map(len, node.rows)}) == 1:
            return kinds.Grid(tuple(zip(*node.rows, strict=True)))
        if isinstance(node, Row):
            return node
    if (product := scan.scaled(text)) and isinstance(node := _brackets(product[1]), Row | kinds.Grid):
        return _times(product[0], node)
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and is_one_bracket(text):
        items, _ = split(text[1:-1], (",", ";"))
        if len(items) > 1:
            row = [Row(tuple(map(read, choice)), text[0] + text[-1]) for choice in scan.choices(items)]
            return row[0] if len(row) == 1 else Bag(tuple(row), True)
        if text[0] == "(" and not re.fullmatch(r"\([A-Za-z]\)", text):
            return read(text[1:-1])
    return _signs(text)


def _times(factor: str, node: object) -> object:
    """A vector or matrix of which each entry is multiplied."""
    if isinstance(node, Row | kinds.Grid):
        return node._replace(**{node._fields[0]: tuple(_times(factor, each) for each in node[0])})
    if isinstance(node, tuple) and not isinstance(node, Leaf):
        return tuple(_times(factor, each) for each in node)
    values = rationals.value(factor), rationals.value(node.text)
    if values[1] in (0, 1):
        return Leaf(factor if values[1] else "0", node.unit)
    product = f"({factor})\\cdot({node.text})" if None in values else rationals.text(values[0] * values[1])
    return Leaf(product, node.unit)


def _set(inside: str) -> object:
    """`{x | condition}` is the set its condition describes; `{a, b}` its elements."""
    if not inside.strip():
        return _NOTHING
    sides, marks = split(inside, ("|", ":"))
    if len(sides) == 2 and marks:
        head = re.fullmatch(r"[A-Za-z](?:\\in ?\\mathbb\{R\})?", sides[0])
        return read(sides[1]) if head else Relation(("|",), tuple(sides))
    node = read(inside)
    items = node.items if isinstance(node, Bag) else (node,)
    return Relation(("set",), (inside,)) if node == _NOTHING else Bag(items, True)


def _matrix(kind: str, inside: str) -> object:
    if kind in ("vmatrix", "Vmatrix"):
        return Relation((kind,), (inside,))
    inside = inside.replace("\\hline", "")
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr", inside) if row.strip()]
    if kind == "cases":
        return _cases(rows)
    cells = tuple(tuple(read(cell) for cell in split(row, ("&",))[0]) for row in rows)
    if len(cells) > 1 and any(len(row) > 1 for row in cells):
        return kinds.Grid(cells)
    entries = cells[0] if len(cells) == 1 else tuple(row[0] for row in cells)
    return entries[0] if len(entries) == 1 else Row(entries, "()")


def _cases(rows: list[str]) -> object:
    """A function by cases if every row has a condition, else a system of equations."""
    pieces = [[part for part in split(_IF.sub(r"&\1", row), ("&",))[0] if part.strip(" ,")] for row in rows]
    if all(len(piece) == 1 for piece in pieces):
        pieces = [split(piece[0], (",",))[0] for piece in pieces]
        if not all(len(piece) == 2 for piece in pieces):
            return _bag([read(row) for row in rows])
    if not all(len(piece) == 2 for piece in pieces):
        return Relation(("cases",), tuple(rows))
    return kinds.Pieces(tuple(tuple(map(read, piece)) for piece in pieces))


def _signs(text: str) -> object:
    readings = tuple(map(_leaf, scan.variants(text)))
    return readings[0] if len(readings) == 1 else Bag(readings, True)


def _leaf(text: str) -> object:
    """A ratio, prose, `label: value`, or an expression with its unit."""
    clock = _CLOCK.fullmatch(text)
    if clock and (clock[2] or clock[4]) and int(clock[1]) <= 24:
        return kinds.Clock(int(clock[1]), int(clock[2] or 0), (clock[4] or "").lower(), int(clock[3] or -1))
    parts, marks = split(text, (":",))
    if marks and all(parts):  # `Paolo: 18` names its value; `2:1` is a ratio
        if len(parts) == 2 and (label := units.words_of_prose(parts[0])) is not None:
            return Named(" ".join(label), (), read(parts[1]))
        return kinds.Ratio(tuple(map(_leaf, parts)))
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
    changed = rationals.value(number) is None and unit == "" and number != text
    return Leaf(text if changed else number, unit)

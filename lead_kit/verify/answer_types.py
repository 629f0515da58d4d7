"""The kinds of answer that a text can be read as. Leaves keep their text, in normal form."""

from typing import NamedTuple


class Leaf(NamedTuple):
    """One expression with the unit that follows it ("" if none); `percent` and degrees are units."""

    text: str
    unit: str = ""


class Words(NamedTuple):
    """Prose or a choice: its words, lower case."""

    words: tuple[str, ...]


class Row(NamedTuple):
    """Ordered items in brackets: a point, a vector, an interval (two items); `brackets` as written, such as "[)"."""

    items: tuple
    brackets: str


class Bag(NamedTuple):
    """Several values. `free`: their order never counts (a set, a union, ±); else it is a list, whose order may."""

    items: tuple
    free: bool = False


class Clock(NamedTuple):
    """A time of day; `half` is "a", "p" or "" where it is not said."""

    hour: int
    minute: int
    half: str


class Congruence(NamedTuple):
    """`left ≡ residue (mod modulus)`; `left` may be empty; a residue of digits is reduced."""

    left: str
    residue: object
    modulus: str


class Pieces(NamedTuple):
    """A function by cases: (value, condition) pairs."""

    items: tuple[tuple, ...]


class Grid(NamedTuple):
    """A matrix of at least two rows and two columns."""

    rows: tuple[tuple, ...]


class Named(NamedTuple):
    """`name = value`, also `name: value`; `arguments` of a function's name."""

    name: str
    arguments: tuple[str, ...]
    value: object


class Relation(NamedTuple):
    """Any other relation: operators and the texts between them."""

    operators: tuple[str, ...]
    sides: tuple[str, ...]


class Ratio(NamedTuple):
    """`a:b:c`."""

    parts: tuple


class Qualified(NamedTuple):
    """A value with a condition in words behind it."""

    value: object
    condition: str

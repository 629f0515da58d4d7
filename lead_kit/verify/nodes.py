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
    """Items whose order does not count: a set, a list of solutions, a union of intervals."""

    items: tuple


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

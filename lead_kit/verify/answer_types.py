"""The kinds of answer that a text can be read as. Leaves keep their text, in normal form."""

from collections import namedtuple

# One expression with the unit that follows it ("" if none); `percent` and degrees are units.
Leaf = namedtuple("Leaf", "text unit", defaults=[""])
# Prose or a choice: its words, lower case, as a tuple.
Words = namedtuple("Words", "words")
# Ordered items in brackets: a point, a vector, an interval (two items); `brackets` as written, such as "[)".
Row = namedtuple("Row", "items brackets")
# Several values. `free`: their order never counts (a set, a union, ±); else it is a list, whose order may.
Bag = namedtuple("Bag", "items free", defaults=[False])
# A time of day; `half` is "a", "p" or "" where it is not said; `second` is -1 where it is not said.
Clock = namedtuple("Clock", "hour minute half second", defaults=[-1])
# `left ≡ residue (mod modulus)`; `left` may be empty; a residue of digits is reduced.
Congruence = namedtuple("Congruence", "left residue modulus")
# A function by cases: a tuple of (value, condition) pairs.
Pieces = namedtuple("Pieces", "items")
# A matrix of at least two rows and two columns, as a tuple of tuples.
Grid = namedtuple("Grid", "rows")
# `name = value`, also `name: value`; `arguments`, a tuple of texts, of a function's name.
Named = namedtuple("Named", "name arguments value")
# Any other relation: operators and the texts between them.
Relation = namedtuple("Relation", "operators sides")
# `a:b:c`, as a tuple.
Ratio = namedtuple("Ratio", "parts")
# A value with a condition in words behind it.
Qualified = namedtuple("Qualified", "value condition")

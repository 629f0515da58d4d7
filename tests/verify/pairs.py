"""Pairs of answers that are equal, or are not, by construction, dealt out evenly over the kinds.

Sympy and exact arithmetic are the judges; no rule of the verifier is used.
"""

import random
from typing import NamedTuple

from tests.verify import kinds_of_algebra, kinds_of_numbers, kinds_of_structure

KINDS = {kind.__name__: kind for kind in (*kinds_of_numbers.KINDS, *kinds_of_algebra.KINDS, *kinds_of_structure.KINDS)}


class Pair(NamedTuple):
    """Two answers of one kind, and whether they are equal."""

    kind: str
    gold: str
    answer: str
    same: bool


def dressed(text: str, draw: random.Random) -> str:
    """The same answer as different writers put it: dollars, spaces, sizes of brackets and fractions."""
    return draw.choice([text, f"${text}$", f" {text} ", text.replace("\\frac", "\\dfrac"), f"\\displaystyle {text}"])


def draw_pairs(count: int, same: bool, seed: int) -> list[Pair]:
    """`count` pairs, kind after kind."""
    draw, pairs, names = random.Random(f"{seed} {same}"), [], sorted(KINDS)
    while len(pairs) < count:
        name = names[len(pairs) % len(names)]
        gold, equal, unequal = KINDS[name](draw)
        pairs.append(Pair(name, gold, dressed(draw.choice(equal if same else unequal), draw), same))
    return pairs

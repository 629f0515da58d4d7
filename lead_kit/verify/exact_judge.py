"""The judge of expressions that needs no algebra: spelling, exact rational arithmetic, the stated precision."""

import re
from fractions import Fraction

from lead_kit.verify import rationals
from lead_kit.verify.answer_types import Relation

FLAT = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
ROUNDED_FROM = 3  # significant digits from which a decimal gold may stand for an exact value that rounds to it


class Undecided(Exception):
    """The pair needs algebra."""


class Exact:
    """The judge without algebra."""

    path = "exact"

    def __init__(self, order: str = "any"):
        self.order = order

    def same(self, gold: str, answer: str) -> bool:
        """Equality of two expressions in normal form. Raises Undecided."""
        if FLAT.sub("", gold) == FLAT.sub("", answer):
            return True
        theirs, ours = rationals.value(gold), rationals.value(answer)
        if theirs is None or ours is None:
            if rationals.based(gold) != rationals.based(answer):
                return False
            raise Undecided(gold, answer)
        return theirs == ours or rounds_to(gold, theirs, answer, ours)

    def holds(self, left: str, right: str) -> bool:
        """Equality of two expressions of the answer itself."""
        return self.same(left, right)

    def scaled(self, gold: str, answer: str, factor: str) -> bool:
        """gold == answer · factor, the factor being a number or a multiple of π."""
        theirs, ours = rationals.value(gold), rationals.value(answer)
        if theirs is None or ours is None or "\\" in factor:
            raise Undecided(gold, answer)
        return theirs == ours * Fraction(factor) or rounds_to(gold, theirs, answer, ours, Fraction(factor))

    def family(self, gold: str, answer: str) -> bool:
        """Do two expressions in one integer each take the same values? Raises Undecided."""
        raise Undecided(gold, answer)

    def relation(self, gold: Relation, answer: Relation) -> bool:
        """Do two relations say the same?"""
        if gold == answer:
            return True
        raise Undecided(gold, answer)

    def solves(self, gold: Relation, answer: str) -> bool:
        """Is the answer what the gold's equation says of one of its letters?"""
        raise Undecided(gold, answer)


def rounds_to(gold: str, theirs: Fraction, answer: str, ours: Fraction, factor: Fraction = Fraction(1)) -> bool:
    """The stated precision: a decimal gold of at least three significant digits equals a value written exactly that
    rounds to it."""
    digits = decimals(gold)
    return (
        digits is not None and decimals(answer) is None and abs(ours * factor - theirs) * 2 <= Fraction(10) ** -digits
    )


def decimals(text: str) -> int | None:
    """Digits after the point of a decimal precise enough to be compared by rounding; None for anything else."""
    match = re.fullmatch(r"[-+]?([\d,]*)\.(\d+)", text)
    if match is None:
        return None
    significant = (match[1] + match[2]).replace(",", "").lstrip("0")
    return len(match[2]) if len(significant) >= ROUNDED_FROM else None

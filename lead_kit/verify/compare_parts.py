"""Equality of the kinds that hold nothing but text: expressions with their units, words, times of day, ratios. And the
judge of expressions that needs no algebra: spelling, exact rational arithmetic, the stated precision."""

import re
from fractions import Fraction

from lead_kit.verify import rationals, units
from lead_kit.verify.answer_types import Clock, Leaf, Ratio, Relation, Words

_FLAT = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_CLOSED = re.compile(r"(?:\\(?:exp|frac|sqrt|pi|cdot|times|div|infty|pm)(?![a-z])|[-+*/^(){}\[\]\d.,ei ])+")
_QUOTIENT = re.compile(r"\\frac|\\div|/")


class Undecided(Exception):
    """The pair needs algebra."""


class Exact:
    """The judge without algebra."""

    path = "exact"

    def __init__(self, order: str = "any"):
        self.order = order

    def equal_expressions(self, gold: str, answer: str) -> bool:
        """Equality of two expressions in normal form. Raises Undecided."""
        if _FLAT.sub("", gold) == _FLAT.sub("", answer):
            return True
        theirs, ours = rationals.value(gold), rationals.value(answer)
        if theirs is None or ours is None:
            if rationals.based(gold) != rationals.based(answer):
                return False
            raise Undecided(gold, answer)
        return theirs == ours or rationals.rounds_to(gold, theirs, answer, ours)

    def equal_within_answer(self, left: str, right: str) -> bool:
        """Equality of two expressions of the answer itself."""
        return self.equal_expressions(left, right)

    def equal_up_to_factor(self, gold: str, answer: str, factor: str) -> bool:
        """gold == answer · factor, the factor being a number or a multiple of π."""
        theirs, ours = rationals.value(gold), rationals.value(answer)
        if theirs is None or ours is None or "\\" in factor:
            raise Undecided(gold, answer)
        return theirs == ours * Fraction(factor) or rationals.rounds_to(gold, theirs, answer, ours, Fraction(factor))

    def same_family(self, gold: str, answer: str) -> bool:
        """Do two expressions in one integer each take the same values? Raises Undecided."""
        raise Undecided(gold, answer)

    def equivalent_relations(self, gold: Relation, answer: Relation) -> bool:
        """Do two relations say the same?"""
        if gold == answer:
            return True
        raise Undecided(gold, answer)

    def solves_relation(self, gold: Relation, answer: str) -> bool:
        """Is the answer what the gold's equation says of one of its letters?"""
        raise Undecided(gold, answer)


def equal_leaves(gold: Leaf, answer: Leaf, judge: Exact) -> bool:
    """Percent: the gold p% is p% or p/100 or, the question having asked for percent, p. Degrees: d° is d or dπ/180.

    A numeral gold asks for a numeral: the problem itself, boxed, would be right.
    """
    if not _evaluated(gold, answer):
        return False
    if {"percent", "pct"} & {gold.unit, answer.unit} and gold.unit != answer.unit:
        return _percent(gold, answer, judge)
    for degrees, radians, factor in ((gold, answer, "180/\\pi"), (answer, gold, "\\pi/180")):
        if degrees.unit == "degree" and (radians.unit == "rad" or not radians.unit and "\\pi" in radians.text):
            return judge.equal_up_to_factor(gold.text, answer.text, factor)
    factor = units.conversion(gold.unit, answer.unit)
    if factor is None or factor == 1:
        return factor is not None and judge.equal_expressions(gold.text, answer.text)
    return judge.equal_up_to_factor(gold.text, answer.text, str(factor))


def _evaluated(gold: Leaf, answer: Leaf) -> bool:
    """Is the answer worked out as far as the gold is? A numeral gold asks for a numeral; a closed form in roots and π
    for one of these, not for a function's value; anything else for whatever equals it."""
    value = rationals.value(gold.text)
    if value is None:
        return not _CLOSED.fullmatch(gold.text) or _CLOSED.fullmatch(answer.text) is not None
    if (number := rationals.value(answer.text)) is not None:
        divided = [_QUOTIENT.search(text) is not None for text in (gold.text, answer.text)]
        return number.denominator > 1 or divided != [False, True]
    stated = rationals.decimals(gold.text) is not None or gold.unit in ("percent", "pct", "degree")
    return stated and _CLOSED.fullmatch(answer.text) is not None and re.search(r"sqrt|\\pi", answer.text) is not None


def _percent(gold: Leaf, answer: Leaf, judge: Exact) -> bool:
    texts, bare = (gold.text, answer.text), "pct" not in (gold.unit, answer.unit)  # the sign may be left out
    if {gold.unit, answer.unit} == {"percent", "pct"}:
        return judge.equal_expressions(*texts)
    if answer.unit == "":
        return bare and judge.equal_expressions(*texts) or judge.equal_up_to_factor(*texts, "100")
    if gold.unit == "":
        bare = bare and (rationals.value(gold.text) or 0) > 1
        return judge.equal_up_to_factor(*texts, "1/100") or bare and judge.equal_expressions(*texts)
    return False


def equal_words(gold: Words, answer: Words, judge: Exact) -> bool:
    """The same words; a sentence such as "it is odd" may stand for its end."""
    pair = [" ".join(node.words).lower() for node in (gold, answer)]
    short, long = sorted(pair, key=len)
    stated = long.rpartition(" is ")[2] == short and not units.DENIAL.search(long)
    return pair[0] == pair[1] or stated


def equal_clocks(gold: Clock, answer: Clock, judge: Exact) -> bool:
    """The same time; 15:00 says which half of the day it means."""
    times = []
    for each in (gold, answer):
        half = each.half or ("p" if each.hour > 12 else "a" if each.hour == 0 else "")
        times.append((each.hour % 12, each.minute, max(each.second, 0), half))
    return times[0] == times[1]


def as_ratio(clock: Clock) -> object:
    parts = [clock.hour, clock.minute, clock.second][: 3 if clock.second >= 0 else 2]
    return clock if clock.half else Ratio(tuple(Leaf(str(part)) for part in parts))


def equal_ratios(gold: object, answer: object, judge: Exact) -> bool:
    """a:b is the ratio a:b in any multiple, and the fraction a/b; a decimal is not a way to state a ratio."""
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        pairs = list(zip(gold.parts, answer.parts, strict=False))
        named = [tuple(getattr(part, "unit", "") for part in pair) for pair in pairs]
        if len(gold.parts) != len(answer.parts) or any("percent" in pair for pair in named):
            return False
        if any(units.conversion(*pair) != 1 for pair in named):
            return False
        if any(rationals.value(text_of(part)) == 0 for part in gold.parts + answer.parts):  # 0 multiplies nothing
            return all(rationals.value(text_of(g)) == rationals.value(text_of(a)) for g, a in pairs)
        (first, other), *_ = pairs
        return all(judge.equal_expressions(_times(g, other), _times(a, first)) for g, a in pairs)
    if isinstance(gold, Leaf) and len(answer.parts) == 2 and not gold.unit:
        top, bottom = map(text_of, answer.parts)
        return judge.equal_expressions(gold.text, f"\\frac{{{top}}}{{{bottom}}}")
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    if len(ratio.parts) != 2 or not isinstance(other, Leaf) or other.unit or "." in other.text:
        return False
    return judge.equal_expressions(_times(ratio.parts[1], other), text_of(ratio.parts[0]))


def text_of(node: object) -> str:
    return node.text if isinstance(node, Leaf) else "\\text{}"


def _times(left: object, right: object) -> str:
    texts = text_of(left), text_of(right)
    values = [rationals.value(text) for text in texts]
    return "({})\\cdot({})".format(*texts) if None in values else rationals.text(values[0] * values[1])

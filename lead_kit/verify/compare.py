"""Are two answers equal? Here: what needs no algebra."""

import re

from lead_kit.verify import exact

INTEGER = re.compile(r"\s*([-+]?\d{1,300})\s*")
Outcome = tuple[str, str, str]


def quick(answer: str, gold: str) -> Outcome | None:
    """Two integers, decided from their digits; None for anything else."""
    ours, theirs = INTEGER.fullmatch(answer), INTEGER.fullmatch(gold)
    if ours is None or theirs is None or not (gold.isascii() and answer.isascii()):
        return None
    same = int(ours[1]) == int(theirs[1])
    return ("correct", "the same integer", "exact") if same else ("wrong", "another integer", "exact")


def exactly(gold: str, answer: str) -> Outcome | None:
    """Decide by spelling and exact arithmetic; both in normal form. None if that does not settle it."""
    if not gold:
        return "gold_unparseable", "the gold is empty", "gold"
    if not answer:
        return "no_answer", "the box is empty", "extract"
    if gold == answer:
        return "correct", "the same normal form", "same"
    theirs, ours = exact.value(gold), exact.value(answer)
    if theirs is not None and ours is not None:
        return ("correct", "the same number", "exact") if theirs == ours else ("wrong", "another number", "exact")
    return None

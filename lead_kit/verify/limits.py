"""What is not read at all: texts whose size alone costs more than any honest answer. And answers that only repeat the
problem.

What they mean is not asked here. A number too large to write out is refused by the algebra; a worker's CPU limit ends
the rest.
"""

import re

from lead_kit.verify import rationals
from lead_kit.verify.extraction import joined_boxes
from lead_kit.verify.normal_form import normal

MAX_LENGTH = 2000  # characters; the longest gold of the usual benchmarks has under 400
MAX_DEPTH = 24  # nested brackets
MAX_ITEMS = 120  # commas, unions, rows
SHOWN = 2000  # characters of an answer that a verdict repeats


OPERATION = re.compile(r"[-+*/^!|\\](?!text|pi|infty|circ|cup)")
FORMULA = re.compile(r"\$+|\\[\[\]()]")  # what stands between a formula and prose


def gold_text(gold: str) -> str:
    """A gold as its answer alone: the content of its last box, or boxes, if it has any."""
    if "\\boxed" not in gold and "\\fbox" not in gold:
        return gold
    boxed = joined_boxes(gold)
    return gold if boxed is None else boxed


def refuse(text: str) -> str:
    """A clause that says why a text is not handed on; empty if nothing speaks against it."""
    if len(text) > MAX_LENGTH:
        return f"{len(text)} characters, at most {MAX_LENGTH}"
    if _depth(text) > MAX_DEPTH:
        return f"brackets nested deeper than {MAX_DEPTH}"
    if sum(map(text.count, (",", ";", "&", "\\cup", "\\\\"))) > MAX_ITEMS:
        return f"more than {MAX_ITEMS} items"
    return ""


def _depth(text: str) -> int:
    deepest = depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def restated(answer: str, gold: str, problem: str) -> bool:
    """Does an answer in normal form only repeat what the problem asks to be worked out?

    Never where it is the gold's own spelling, nor where nothing is left to work out.
    """
    stated, last, gold = (
        text.replace(" ", "") for text in (answer, answer.rpartition("=")[2], gold.rpartition("=")[2])
    )
    numerals = rationals.value(last) is not None and re.findall(r"\d+", last) == re.findall(r"\d+", gold)
    parts = {stated} if len(stated) - len(last) > len("x=") else set()  # a=5 only names what it says
    if last != gold and not numerals and rationals.decimal(last) is None and OPERATION.search(last.lstrip("-")):
        parts.add(last)
    found = [re.compile(rf"(?<![\w.]){re.escape(part)}(?![\w.])") for part in parts]
    formulas = [normal(formula).replace(" ", "") for formula in FORMULA.split(problem)] if found else []
    return any(part.search(formula) for part in found for formula in formulas)

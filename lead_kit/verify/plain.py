"""A judge for comparison only: parse both sides, simplify the difference. None of the verifier's rules; runs in a
worker."""

import sympy

from lead_kit.verify import symbolic
from lead_kit.verify.algebra import Unreadable, parse
from lead_kit.verify.compare import Outcome


def warm() -> None:
    """Load what simplification imports, as a worker may open no file."""
    symbolic.warm()
    for gold, answer in (
        *symbolic.EXAMPLES,
        ("(x+1)^2", "x^2+2x+1"),
        ("\\sin^2x+\\cos^2x", "1"),
        ("\\sqrt{8}+n!", "2\\sqrt{2}+n!"),
    ):
        decide(gold, answer)


def decide(gold: str, answer: str) -> Outcome:
    """Equal if sympy reduces the difference to 0."""
    try:
        same = sympy.simplify(parse(gold) - parse(answer)) == 0
    except Unreadable:
        return "wrong", "cannot be read", "sympy"
    return ("correct", "the difference is 0", "sympy") if same else ("wrong", "the difference is not 0", "sympy")

"""The comparison that needs algebra; runs in a worker."""

import math_verify.grader
from latex2sympy2_extended import latex2sympy


def warm() -> None:
    """Load and compile what the first comparison would otherwise wait for."""
    latex2sympy("x^2+\\frac{1}{2}")


def _parse(text):
    try:
        return latex2sympy(text)
    except Exception:  # noqa: BLE001
        return None


def decide(gold: str, answer: str) -> tuple[str, str, str]:
    """(status, reason, path) of two answers in normal form."""
    ours, theirs = _parse(answer), _parse(gold)
    if theirs is None or ours is None:
        return "wrong", "not the same text", "symbolic"
    same = math_verify.grader.verify([theirs], [ours], timeout_seconds=None)
    return ("correct", "algebraically equal", "symbolic") if same else ("wrong", "not equal", "symbolic")

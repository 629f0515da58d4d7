"""math-verify behind the same worker processes, for the second column of the benchmark."""

import logging

import math_verify

logging.disable(
    logging.WARNING
)  # it warns once a call that its own time limit is off; the worker's CPU limit replaces it


def decide(gold: str, completion: str) -> tuple[str, str, str]:
    """Its documented use: parse both sides, verify. The gold is put between dollars if it holds no formula of its
    own."""
    if "$" not in gold and "boxed" not in gold:
        gold = f"${gold}$"
    same = math_verify.verify(
        math_verify.parse(gold, parsing_timeout=None),
        math_verify.parse(completion, parsing_timeout=None),
        timeout_seconds=None,
    )
    return ("correct" if same else "wrong", "", "math-verify")


def warm() -> None:
    """Load the grammar."""
    decide("\\frac{1}{2}+x", "\\boxed{x+0.5}")

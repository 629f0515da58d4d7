"""GRPO_reflection's first reflection reward as its code at commit e86feff computes it, re-derived."""

import re

_ADMISSIONS = (
    r"initial (?:thought|calculation) (?:was|is) (?:incorrect|flawed)|mistake in (?:previous|step \d+)"
    r"|correcting (?:error|myself)"
)
_LISTS = (  # pattern, weight, decay
    (r"double[- ]?check|verify|re-?examine|confirm|validate", 0.3, 0.5),
    (r"cross[- ]?validation|alternative approach|step[- ]?verification", 0.5, 0.6),
    (_ADMISSIONS, 0.2, 0.4),
)


def meant_reflection_v1(thought: str) -> float:
    """min(1, 1.2 Σ weight (1 − decay^matches)) of a thought, to two decimals."""
    score = sum(weight * (1 - decay ** len(re.findall(part, thought.lower()))) for part, weight, decay in _LISTS)
    return round(min(1.0, 1.2 * score), 2)


def released_reflection_v1(completion: str) -> float:
    """The same of what the code captures after <think>: lazily with nothing behind it, so the empty text."""
    captured = re.search(r"<think>(.*?)", completion, re.DOTALL)
    return meant_reflection_v1(captured[1]) if captured else 0.0

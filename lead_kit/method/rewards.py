"""Scores of one completion: rollout in, number out. What looks at a whole group is in advantages.py.

Keyword-only arguments are notebook parameters of the same name. Completions are untrusted text: every scan is linear in
their length. REWARDS at the foot is the list to choose from.
"""

import re
from hashlib import blake2b
from math import cos, log, pi
from typing import NamedTuple

import numpy as np

from lead_kit.verify.verdict import Verdict


class Rollout(NamedTuple):
    """One completion and what is known of it."""

    prompt: str
    completion: str
    answer: str  # the gold answer
    length: int  # tokens generated
    finished: bool  # the model ended by itself, not at the limit
    verdict: Verdict


def correct(rollout: Rollout) -> float:
    """1 where the verifier accepts the answer, else 0. Raises ValueError when the gold answer cannot be graded."""
    if rollout.verdict.status == "gold_unparseable":
        raise ValueError(f"the gold answer {rollout.answer!r} cannot be graded: {rollout.verdict.reason}")
    return float(rollout.verdict.status == "correct")


THINK_TO_ANSWER = re.compile(r"</think>\s*<answer>")
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{\s*[^\s}]")


def format(rollout: Rollout) -> float:
    """GRPO_reflection, released code: 1 if all of it is <think>…</think> <answer>…</answer>, first tag at the start."""
    text = rollout.completion
    closing = text.rfind("</answer>")
    if not text.startswith("<think>") or text[closing:] not in ("</answer>", "</answer>\n"):
        return 0.0
    return float(THINK_TO_ANSWER.search(text, len("<think>"), closing) is not None)


def format_boxed(rollout: Rollout) -> float:
    """1 if a thought is closed by </think> exactly once and a box that is not empty follows, else 0."""
    _, closed, answer = rollout.completion.partition("</think>")
    return float(bool(closed) and "</think>" not in answer and BOX.search(answer) is not None)


def format_only(rollout: Rollout) -> float:
    """Control arm of Spurious Rewards (2506.10947): 1 for any box that is not empty, whatever it holds."""
    return float(BOX.search(rollout.completion) is not None)


def random(rollout: Rollout, *, reward_seed: int) -> float:
    """Control arm: 0 or 1 with equal odds, decided by the seed and the text, so a repeated run pays the same."""
    text = f"{reward_seed}\0{rollout.prompt}\0{rollout.completion}"
    return float(blake2b(text.encode(errors="surrogatepass")).digest()[0] % 2)


# GRPO_reflection, released code, commit f730f5e: four dimensions of reflection, matched on lower-cased text.
# "re-evaluation" earns nothing: the rewards recorded with the published runs show it on all seven rows that have it.
REFLECTION_V2 = (
    re.compile(  # backtracking
        r"\b(?:backtrack|error|fix|mistake)\b|\bre-?evaluate\b|\b(?:flawed|incorrect)\s+(?:approach|step)\b"
    ),
    re.compile(  # verification
        r"\b(?:verify|check|confirm|test)\b|\b(?:cross|re)-?validat(?:e|ion)\b|\b(?:unit|dimension)\s+analysis\b"
        r"|\b(?:edge\s+case|boundary)\s+check\b"
    ),
    re.compile(  # sub-goals
        r"\b(?:step|stage|phase|subtask)\b|\bdecompose\s+in(?:to)?\s+\d+|\b(?:milestone|checkpoint)\s+\d+"
        r"|\btrack\s+progress\s+(?:at|on)\b"
    ),
    re.compile(  # backward reasoning
        r"\b(?:target|goal|required)\b|\bwork(?:ing)?\s+backwards\b|\breverse\s+(?:engineer|logic)\b"
        r"|\bdeduce\s+from\s+(?:final|outcome)\b"
    ),
)
# Commit e86feff: pattern, weight, decay.
REFLECTION_V1 = (
    (re.compile(r"double-check|verify|re-examine"), 0.3, 0.5),
    (re.compile(r"cross-validation|alternative approach"), 0.5, 0.6),
    (re.compile(r"(?:initial thought|calculation) (?:was|is) incorrect"), 0.2, 0.4),
)


def reflection_score(counts: list[int]) -> float:
    """GRPO_reflection v2: R = 1 − 1/(1 + c^1.2), c = .8 ln(1 + Σ_d Σ_{i<n_d} .5/(1 + i/2.5)), to two decimals."""
    raw = sum(0.5 / (1 + i / 2.5) for count in counts for i in range(count))
    return round(1 - 1 / (1 + (0.8 * log(1 + raw)) ** 1.2), 2)


def reflection_v2(rollout: Rollout) -> float:
    """GRPO_reflection (2603.14041), the version of the published runs: words of reflection, with falling returns."""
    text = rollout.completion.lower()
    return reflection_score([sum(1 for _ in pattern.finditer(text)) for pattern in REFLECTION_V2])


def reflection_v1(rollout: Rollout) -> float:
    """GRPO_reflection, first version: min(1, 1.2 Σ weight (1 − decay^matches)), to two decimals."""
    text = rollout.completion.lower()
    score = sum(weight * (1 - decay ** len(pattern.findall(text))) for pattern, weight, decay in REFLECTION_V1)
    return round(min(1.0, 1.2 * score), 2)


REASONING_STEP = re.compile(r"Step \d+:|\A\d+\.|\n[-*]|(?:First|Second|Next|Finally),")


def reasoning_steps(rollout: Rollout) -> float:
    """open-r1, released code: min(1, marks of a step / 3)."""
    return min(1.0, len(REASONING_STEP.findall(rollout.completion)) / 3)


def cosine(
    rollout: Rollout,
    *,
    cosine_max_length: int,
    cosine_correct_short: float,
    cosine_correct_long: float,
    cosine_wrong_short: float,
    cosine_wrong_long: float,
) -> float:
    """open-r1: long + ½(short − long)(1 + cos(π·length/max)), other bounds for right and wrong; length in characters.

    Held at `long` beyond the maximum, where the released code swings back.
    """
    if cosine_max_length < 1:
        raise ValueError(f"cosine_max_length counts characters: {cosine_max_length} found, expected 1 or more")
    right = correct(rollout)
    short, long = (cosine_correct_short, cosine_correct_long) if right else (cosine_wrong_short, cosine_wrong_long)
    progress = min(1.0, len(rollout.completion) / cosine_max_length)
    return long + 0.5 * (short - long) * (1 + cos(pi * progress))


def ngram_repetition(rollout: Rollout, *, repetition_ngram: int, repetition_max_penalty: float) -> float:
    """open-r1: max_penalty · (1 − distinct n-grams / all n-grams) over lower-cased words; 0 in a shorter text."""
    if repetition_ngram < 1:
        raise ValueError(f"repetition_ngram counts words: {repetition_ngram} found, expected 1 or more")
    words = rollout.completion.lower().split()
    count = len(words) - repetition_ngram + 1
    if count < 1:
        return 0.0
    distinct = len(set(zip(*(words[i:] for i in range(repetition_ngram)), strict=False)))
    return repetition_max_penalty * (1 - distinct / count)


CHAIN_NGRAM, CHAIN_REPEATS, CHAIN_WORD = 30, 10, 120  # GRPO-LEAD, released code: math_reward.py


def repeats_in_chain(text: str) -> bool:
    """GRPO-LEAD, released code: an n-gram (n ≤ 30 words) ten times in a row, or a word of 120 characters.

    Found at any offset; the released code looks at chunks counted from the start of prompt and response together.
    """
    words = text.split()
    if any(len(word) >= CHAIN_WORD for word in words):
        return True
    number: dict[str, int] = {}
    ids = np.array([number.setdefault(word, len(number)) for word in words])
    for n in range(1, min(CHAIN_NGRAM, len(words) // CHAIN_REPEATS) + 1):
        # Ten n-grams in a row: each of 9 n words equals the one n places on.
        breaks = np.flatnonzero(ids[n:] != ids[:-n])
        runs = np.diff(breaks, prepend=-1, append=len(ids) - n) - 1
        if runs.max() >= (CHAIN_REPEATS - 1) * n:
            return True
    return False


def repetition_chain(rollout: Rollout, *, chain_penalty: float) -> float:
    """GRPO-LEAD (2504.09696, stage 2: −1.5): chain_penalty where the completion repeats itself in a chain, else 0."""
    return chain_penalty if repeats_in_chain(rollout.completion) else 0.0


def soft_overlong(rollout: Rollout, *, overlong_limit: int, overlong_margin: int) -> float:
    """DAPO (2503.14476, eq. 13): 0 up to limit − margin tokens, then a ramp down to −1 at the limit and beyond."""
    if overlong_margin < 1:
        raise ValueError(
            f"overlong_margin is the width of the ramp in tokens: {overlong_margin} found, expected 1 or more"
        )
    beyond = rollout.length - (overlong_limit - overlong_margin)
    return -min(1.0, max(0.0, beyond / overlong_margin))


REWARDS = {
    "correct": correct,
    "format": format,
    "format_boxed": format_boxed,
    "format_only": format_only,
    "random": random,
    "reflection_v1": reflection_v1,
    "reflection_v2": reflection_v2,
    "reasoning_steps": reasoning_steps,
    "cosine": cosine,
    "ngram_repetition": ngram_repetition,
    "repetition_chain": repetition_chain,
    "soft_overlong": soft_overlong,
}

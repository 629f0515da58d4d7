"""Rewards of one completion: a Rollout in, a number out. What depends on the whole group is in advantages.py.

Keyword-only arguments are given with the reward's name, as in `cosine(max_length=4096)`; their defaults are those of
the source. Completions are untrusted text: every scan is linear in their length. REWARDS at the foot lists them all.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import cos, isfinite, log, pi
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lead_kit.errors import InputError, shorten
from lead_kit.parameters import select_function, with_user_functions
from lead_kit.verify.verdict import Verdict


class Rollout(NamedTuple):
    """One completion with its problem and verdict; `record` has every column of the problem's row."""

    problem: str
    completion: str
    gold: str  # the right answer
    length: int  # tokens generated
    truncated: bool  # cut off before its end
    verdict: Verdict
    record: Mapping = MappingProxyType({})


def correct(rollout: Rollout) -> float:
    """1 if the verifier accepts the answer, else 0. Raises ValueError when the gold answer cannot be graded."""
    if rollout.verdict.status == "gold_unparseable":
        raise ValueError(f"the gold answer {rollout.gold!r} cannot be graded: {rollout.verdict.reason}")
    return float(rollout.verdict.status == "correct")


_THINK_TO_ANSWER = re.compile(r"</think>\s*<answer>")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{\s*[^\s}]")


def format(rollout: Rollout) -> float:
    """GRPO_reflection, released code: 1 for <think>…</think> <answer>…</answer> where an </answer> ends a line.

    The released pattern is multi-line: text after that line break still earns 1.

    >>> format(Rollout("1 + 1", "<think>1 + 1 = 2</think> <answer>2</answer>", "2", 9, False, None))
    1.0
    """
    text = rollout.completion
    closing = (text + "\n").rfind("</answer>\n")
    if closing < 0 or not text.startswith("<think>"):
        return 0.0
    return float(_THINK_TO_ANSWER.search(text, len("<think>"), closing) is not None)


def format_boxed(rollout: Rollout) -> float:
    r"""1 if </think> occurs exactly once and a non-empty box follows it, else 0.

    >>> format_boxed(Rollout("1 + 1", r"1 + 1 = 2</think> \boxed{2}", "2", 9, False, None))
    1.0
    """
    _, closed, answer = rollout.completion.partition("</think>")
    return float(bool(closed) and "</think>" not in answer and _BOX.search(answer) is not None)


def format_only(rollout: Rollout) -> float:
    r"""Control arm of Spurious Rewards (2506.10947): 1 for any non-empty box.

    >>> format_only(Rollout("1 + 1", r"So it is \boxed{2}.", "2", 7, False, None))
    1.0
    """
    return float(_BOX.search(rollout.completion) is not None)


def random(rollout: Rollout, *, seed: int = 0) -> float:
    """Control arm: 0 or 1 with equal probability, a hash of the seed and the text, so runs are repeatable."""
    text = f"{seed}\0{rollout.problem}\0{rollout.completion}"
    return float(blake2b(text.encode(errors="surrogatepass")).digest()[0] % 2)


# GRPO_reflection, released code, commit f730f5e: four dimensions of reflection, matched on lower-cased text. Word
# boundaries stand where they stand there: "incorrect steps" counts, "steps", "reevaluate" and "re-evaluation" do not.
REFLECTION_V2 = (
    re.compile(  # backtracking
        r"\b(?:backtrack|error|fix|mistake)\b|re-eval(?:uate|ation)\b|(?:flawed|incorrect)\s+(?:approach|step)"
    ),
    re.compile(  # verification
        r"\b(?:verify|check|confirm|test)\b|(?:cross|re)-?validat(?:e|ion)\b|(?:unit|dimension)\s+analysis"
        r"|(?:edge\s+case|boundary)\s+check"
    ),
    re.compile(  # sub-goals
        r"\b(?:step|stage|phase|subtask)\b|decompose\sin(?:to)?\s+\d+|(?:milestone|checkpoint)\s+\d+"
        r"|track\sprogress\s(?:at|on)"
    ),
    re.compile(  # backward reasoning
        r"\b(?:target|goal|required)\b|work(?:ing)?\sbackwards\b|reverse\s(?:engineer|logic)"
        r"|deduce\sfrom\s(?:final|outcome)"
    ),
)
# A text without any of a dimension's stems has no match of it; to look for stems takes a tenth of the time.
_REFLECTION_STEMS = (
    ("backtrack", "error", "fix", "mistake", "re-eval", "flawed", "incorrect"),
    ("verify", "check", "confirm", "test", "validat", "analysis"),
    ("step", "stage", "phase", "subtask", "decompose", "milestone", "checkpoint", "track"),
    ("target", "goal", "required", "backwards", "reverse", "deduce"),
)


def reflection_score(counts: list[int]) -> float:
    """GRPO_reflection v2: R = 1 − 1/(1 + c^1.2), c = .8 ln(1 + Σ_d Σ_{i<n_d} .5/(1 + i/2.5)), to two decimals."""
    raw = sum(0.5 / (1 + i / 2.5) for count in counts for i in range(count))
    return round(1 - 1 / (1 + (0.8 * log(1 + raw)) ** 1.2), 2)


def reflection_v2(rollout: Rollout) -> float:
    """GRPO_reflection (2603.14041), the version of the published runs: reflection words, with diminishing returns.

    >>> reflection_v2(Rollout("1 + 1", "Let me verify this step.", "2", 6, False, None))
    0.33
    """
    text = rollout.completion.lower()
    dimensions = zip(REFLECTION_V2, _REFLECTION_STEMS, strict=True)
    return reflection_score(
        [len(p.findall(text)) if any(stem in text for stem in stems) else 0 for p, stems in dimensions]
    )


def reflection_v1(rollout: Rollout) -> float:
    """GRPO_reflection, first version (commit e86feff): 0.0 for every text.

    Meant: min(1, 1.2 Σ weight (1 − decay^matches)) of words in the thought. As released, the capture after <think> is
    lazy with nothing behind it, so it is empty and nothing matches. tests/references/rewards.py has the whole rule.
    """
    return 0.0


_REASONING_STEP = re.compile(r"Step \d+:|\A\d+\.|\n[-*]|(?:First|Second|Next|Finally),")


def reasoning_steps(rollout: Rollout) -> float:
    """open-r1, released code: min(1, step markers / 3)."""
    return min(1.0, len(_REASONING_STEP.findall(rollout.completion)) / 3)


def cosine(
    rollout: Rollout,
    *,
    max_length: int = 4096,
    correct_short: float = 1.0,
    correct_long: float = 0.5,
    wrong_short: float = 0.0,
    wrong_long: float = -0.5,
) -> float:
    """open-r1: long + ½(short − long)(1 + cos(π·length/max)), with bounds for correct and wrong; length in characters.

    Beyond max_length it stays at `long`, where the released code's cosine rises again.
    """
    if max_length < 1:
        raise InputError(f"max_length of cosine is {max_length} characters, expected 1 or more")
    short, long = (correct_short, correct_long) if correct(rollout) else (wrong_short, wrong_long)
    progress = min(1.0, len(rollout.completion) / max_length)
    return long + 0.5 * (short - long) * (1 + cos(pi * progress))


def ngram_repetition(rollout: Rollout, *, n: int = 3, max_penalty: float = -1.0) -> float:
    """open-r1: max_penalty · (1 − distinct n-grams / all n-grams) over lower-cased words; 0 below n words.

    >>> ngram_repetition(Rollout("1 + 1", "so it is so it is", "2", 6, False, None))
    -0.25
    """
    if n < 1:
        raise InputError(f"n of ngram_repetition is {n} words, expected 1 or more")
    words = rollout.completion.lower().split()
    count = len(words) - n + 1
    if count < 1:
        return 0.0
    distinct = len(set(zip(*(words[i:] for i in range(n)), strict=False)))
    return max_penalty * (1 - distinct / count)


_CHAIN_NGRAM, _CHAIN_REPEATS, _CHAIN_WORD = 30, 10, 120  # GRPO-LEAD, released code: math_reward.py


def repeats_in_chain(text: str) -> bool:
    """GRPO-LEAD, released code: an n-gram (n ≤ 30 words) ten times in a row, or a word of 120 characters.

    At any offset; the released code compares chunks counted from the start of prompt plus response.

    >>> repeats_in_chain("so it is " * 10), repeats_in_chain("so it is " * 9)
    (True, False)
    """
    words = text.split()
    if any(len(word) >= _CHAIN_WORD for word in words):
        return True
    if max(Counter(words).values(), default=0) < _CHAIN_REPEATS:
        return False
    number: dict[str, int] = {}
    ids = np.array([number.setdefault(word, len(number)) for word in words])
    for n in range(1, min(_CHAIN_NGRAM, len(words) // _CHAIN_REPEATS) + 1):
        # Ten equal n-grams in a row: 9 n consecutive words each equal the word n places later.
        equal, least = ids[n:] == ids[:-n], (_CHAIN_REPEATS - 1) * n
        if np.count_nonzero(equal) < least:  # most texts end here, which costs a quarter of looking for the run
            continue
        runs = np.diff(np.flatnonzero(~equal), prepend=-1, append=len(ids) - n) - 1
        if runs.max() >= least:
            return True
    return False


def repetition_chain(rollout: Rollout, *, penalty: float = -1.5) -> float:
    """GRPO-LEAD (2504.09696, stage 2: −1.5): `penalty` if the completion repeats an n-gram in a chain, else 0."""
    return penalty if repeats_in_chain(rollout.completion) else 0.0


def soft_overlong(rollout: Rollout, *, limit: int = 20480, margin: int = 4096) -> float:
    """DAPO (2503.14476, eq. 13): 0 up to limit − margin tokens, then a ramp down to −1 at the limit and beyond.

    >>> soft_overlong(Rollout("1 + 1", "2", "2", 15, False, None), limit=20, margin=10)
    -0.5
    """
    if margin < 1:
        raise InputError(f"margin of soft_overlong is {margin} tokens, expected 1 or more")
    return -min(1.0, max(0.0, (rollout.length - (limit - margin)) / margin))


def unfinished(rollout: Rollout, *, penalty: float = -1.0) -> float:
    """cs2916 homework 1 (released stub of get_score): `penalty` for a truncated completion, else 0."""
    return penalty if rollout.truncated else 0.0


def _target(rollout: Rollout) -> float:
    """The column target_tokens of the rollout's problem. Raises InputError where it is missing or no number."""
    target = rollout.record.get("target_tokens")
    if isinstance(target, int | float) and target > 0:
        return target
    raise InputError(
        f"target_tokens of the problem {shorten(rollout.problem)!r} is {target!r}, expected a number of tokens: the "
        "rewards l1_exact and l1_max need this column, and {target_tokens} in the template"
    )


def l1_exact(rollout: Rollout, *, alpha: float = 0.0003) -> float:
    """L1-Exact (LCPO, 2503.04697, eq. 1): 1 if correct, minus alpha for each token above or below target_tokens.

    >>> l1_exact(Rollout("1 + 1", "2", "2", 15, False, Verdict("correct", *"2  "), {"target_tokens": 10}), alpha=0.01)
    0.95
    """
    return correct(rollout) - alpha * abs(_target(rollout) - rollout.length)


def l1_max(rollout: Rollout, *, alpha: float = 0.0003, delta: float = 0.5) -> float:
    """L1-Max (LCPO, 2503.04697, eq. 2): alpha · (target_tokens − length) + delta within [0, 1] if correct, else 0.

    >>> l1_max(Rollout("1 + 1", "2", "2", 15, False, Verdict("correct", *"2  "), {"target_tokens": 10}), alpha=0.01)
    0.45
    """
    return correct(rollout) * min(1.0, max(0.0, alpha * (_target(rollout) - rollout.length) + delta))


def finite(name: str, value: float, rollout: Rollout) -> float:
    """The reward's value. Raises InputError, with the rollout, for one that is no finite number."""
    if isinstance(value, bool | int | float | np.number) and isfinite(value):
        return float(value)
    raise InputError(
        f"the reward {name!r} is {value!r}, expected a finite number, for the completion "
        f"{shorten(rollout.completion)!r} of the problem {shorten(rollout.problem)!r}"
    )


def bind_rewards(
    texts: list[str], user_functions: Mapping[str, Callable] = MappingProxyType({}), **arguments
) -> dict[str, Callable[[Rollout], float]]:
    """The chosen rewards by name, from REWARDS and `user_functions`, with the arguments given in their texts.

    `arguments` (the run's seed) are passed to rewards that accept them and whose text does not set them. Raises
    InputError for an unknown name, a bad argument, or a reward that is named twice.

    >>> list(bind_rewards(["correct", "cosine(max_length=9)"]))
    ['correct', 'cosine']
    """
    table = with_user_functions(REWARDS, user_functions, "rewards")
    chosen = [select_function(text, table, "rewards", arguments) for text in texts]
    names = [reward.__name__ for reward in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"rewards names {twice[0]!r} twice; to count it more, raise its reward_weights")
    return dict(zip(names, chosen, strict=True))


REWARDS = {
    "correct": correct, "format": format, "format_boxed": format_boxed, "format_only": format_only, "random": random,
    "reflection_v1": reflection_v1, "reflection_v2": reflection_v2, "reasoning_steps": reasoning_steps,
    "cosine": cosine, "ngram_repetition": ngram_repetition, "repetition_chain": repetition_chain,
    "soft_overlong": soft_overlong, "unfinished": unfinished, "l1_exact": l1_exact, "l1_max": l1_max,
}  # fmt: skip
# at most 0, so that 0 in every rollout is the best that can be
PENALTIES = frozenset({"ngram_repetition", "repetition_chain", "soft_overlong", "unfinished"})

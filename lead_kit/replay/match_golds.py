"""Golds that are given beside a record: found by id or by the problem inside the prompt, and graded."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from lead_kit.data.load import load_problems
from lead_kit.errors import InputError
from lead_kit.verify import Verifier

RECORDED = "recorded"  # in place of a file: the golds of the record itself
_OPENING = 6  # words by which a problem is looked for inside a prompt
WORDS = re.compile(r"\S+")


def find(frame: pd.DataFrame, golds: str | Path) -> list[str | None]:
    """The right answer of each rollout: of the record ("recorded"), or from a file of problems; None where none fits.

    A problem is found by its id, or by its text inside the prompt (white space aside). Raises InputError where the
    record has no golds of its own.
    """
    if golds == RECORDED:
        if "gold" not in frame:
            raise InputError("golds is 'recorded', but the record has no golds: give a file of problems")
        return [gold if isinstance(gold, str) else None for gold in frame["gold"]]
    problems = load_problems(Path(golds))
    by_id = {record["id"]: record["gold"] for record in problems}
    if "id" in frame and frame["id"].astype(str).isin(by_id).all():
        return [by_id[str(one)] for one in frame["id"]]
    if "prompt" not in frame:
        return [None] * len(frame)
    opening = defaultdict(list)
    for record in problems:
        words = WORDS.findall(record["problem"])
        opening[tuple(words[:_OPENING])].append((words, record["gold"]))
    sizes = sorted({len(key) for key in opening}, reverse=True)
    known = {prompt: inside(WORDS.findall(_marked(prompt)), opening, sizes) for prompt in set(frame["prompt"])}
    return [known[prompt] for prompt in frame["prompt"]]


def _marked(prompt: str) -> str:
    """A prompt whose chat markers stand apart from its words."""
    return re.sub(r"(<\|[^|<>]*\|>)", r" \1 ", prompt)


def inside(words: list[str], opening: dict, sizes: list[int]) -> str | None:
    """The gold of the longest problem whose words stand in a row in the prompt."""
    found: tuple[int, str | None] = (0, None)
    for at in range(len(words)):
        for size in sizes:
            for problem, gold in opening.get(tuple(words[at : at + size]), ()):
                if len(problem) > found[0] and words[at : at + len(problem)] == problem:
                    found = (len(problem), gold)
    return found[1]


def regrade(frame: pd.DataFrame, golds: list[str | None], answer_region: str = "after_think") -> np.ndarray:
    """1 or 0 for each rollout by the kit's verifier; nan where no gold is known or the gold cannot be graded."""
    graded = np.full(len(frame), np.nan)
    where = [at for at, gold in enumerate(golds) if gold is not None]
    texts = frame["completion"].to_numpy()
    with Verifier() as verifier:
        verdicts = verifier.check_many(
            [texts[at] for at in where], [golds[at] for at in where], answer_region=answer_region
        )
    for at, verdict in zip(where, verdicts, strict=True):
        graded[at] = np.nan if verdict.status == "gold_unparseable" else float(verdict.correct)
    return graded

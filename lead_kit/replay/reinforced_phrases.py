"""What was learned to please the reward: phrases that grew and carry advantage, and rewards that stop to separate."""

import re
from collections import Counter

import numpy as np
import pandas as pd

from lead_kit.evaluate import stats
from lead_kit.replay.attribution import share_with_interval
from lead_kit.replay.groups import THIRDS, Rollouts, thirds
from lead_kit.replay.variants import Outcome
from lead_kit.report.read_rollouts import WORD

_BREAK = re.compile(r"[^\w\s'’-]|\d|\n\s*\n")  # a phrase does not go on behind punctuation, a number or an empty line
_LONGEST = 3  # words of a phrase
_MOST = 2000  # completions of each third that are read; a longer record is sampled evenly
_LEAST_SHARE = 0.02  # of the late completions that a phrase stands in
_CANDIDATES = 300  # phrases whose advantage is looked up
_CONTEXT = 70  # characters on each side of a phrase


def phrases(text: str) -> set[str]:
    """The words, and the phrases of two and three words, of a text; lower case. Each counts once."""
    distinct_phrases = set()
    for piece in _BREAK.split(text.lower()):
        words = WORD.findall(piece)
        for size in range(1, _LONGEST + 1):
            distinct_phrases.update(" ".join(words[at : at + size]) for at in range(len(words) - size + 1))
    return distinct_phrases


def _sampled(chosen: np.ndarray) -> np.ndarray:
    """At most MOST of the positions, evenly spaced."""
    return chosen[np.unique(np.linspace(0, len(chosen) - 1, min(_MOST, len(chosen))).astype(int))]


def _parts_of_advantage(outcome: Outcome, data: Rollouts) -> dict[str, np.ndarray]:
    """The advantage of each part: weight · (part − its group mean), times the group's own A over its centred reward.

    The sum over the parts is A, because the reward is a sum. Under GRPO this is weight · (part − mean)/(std + ε).
    """
    centred, parts = np.zeros(len(data.frame)), {}
    for name, values in outcome.parts.items():
        part = np.zeros(len(values))
        for block in data.blocks:
            part[block.rows] = values[block.rows] - values[block.rows].mean(1, keepdims=True)
        parts[name] = outcome.weights[name] * part
        centred += parts[name]
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(np.abs(centred) > 1e-12, outcome.advantage / centred, 0.0)
    for block in data.blocks:  # a rollout at its group's mean has A = 0, but its parts are scaled as their group's
        scales = scale[block.rows]
        typical = np.abs(scales).max(1, keepdims=True)
        scale[block.rows] = np.where(scales == 0, typical, scales)
    return {name: part * scale for name, part in parts.items()}


def reinforced(outcome: Outcome, data: Rollouts, most: int = 15) -> pd.DataFrame:
    """The phrases that grew from the early to the late third and carry positive advantage late.

    phrase, early and late (shares of completions), growth with its interval over groups, then the mean A and its part
    by reward of late completions with the phrase, best first by growth · A. Empty where the record has no thirds.
    """
    third, inside = thirds(data.frame), np.zeros(len(data.frame), bool)
    for block in data.blocks:
        inside[block.rows] = True
    ends = [_sampled(np.flatnonzero((third == place) & inside)) for place in (0, 2)]
    if not all(len(end) for end in ends):
        return pd.DataFrame(columns=["phrase", "early", "late", "growth", "A"])
    texts = data.frame["completion"].to_numpy()
    phrase_sets = [[phrases(texts[at]) for at in end] for end in ends]
    shares = [
        {phrase: n / len(sets) for phrase, n in Counter(p for s in sets for p in s).items()} for sets in phrase_sets
    ]
    growth = {p: late - shares[0].get(p, 0.0) for p, late in shares[1].items() if late >= _LEAST_SHARE}
    best = sorted((p for p in growth if growth[p] > 0), key=growth.get, reverse=True)[:_CANDIDATES]
    values = {"A": outcome.advantage} | _parts_of_advantage(outcome, data)
    rows = []
    for phrase in best:
        holds = np.array([phrase in one for one in phrase_sets[1]])
        row = {"phrase": phrase, "early": shares[0].get(phrase, 0.0), "late": shares[1][phrase]}
        row |= interval(np.array([phrase in one for one in phrase_sets[0]]), holds, ends, data)
        row |= {name: float(value[ends[1]][holds].mean()) for name, value in values.items()}
        rows.append(row)
    table = pd.DataFrame(rows, columns=["phrase", "early", "late", "growth", "low", "high", *values])
    table = table[(table["low"] > 0) & (table["A"] > 0)]
    return distinct(table.assign(order=table["growth"] * table["A"]).sort_values("order", ascending=False), most)


def interval(early: np.ndarray, late: np.ndarray, ends: list[np.ndarray], data: Rollouts) -> dict[str, float]:
    """Late minus early share, with the 95% interval of two independent means, groups as clusters."""
    means, errors = [], []
    for holds, end in zip((early, late), ends, strict=True):
        codes = pd.factorize(data.frame["group"].to_numpy()[end])[0]
        of_end = stats.t_interval(np.bincount(codes, holds), np.bincount(codes).astype(float))
        means.append(float(of_end.estimate))
        errors.append(float(of_end.high - of_end.estimate))
    growth, half = means[1] - means[0], float(np.hypot(*errors))
    return {"growth": growth, "low": growth - half, "high": growth + half}


def distinct(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The first rows, without a phrase that holds a word listed above it, or shares two words in a row with one."""
    kept, singles, words_told, pairs_told = [], set(), set(), set()
    for index, phrase in zip(table.index, table["phrase"], strict=True):
        words = phrase.split(" ")
        pairs = set(zip(words, words[1:], strict=False))
        alone = len(words) == 1
        if not (pairs & pairs_told or singles & set(words) or alone and words[0] in words_told):
            kept.append(index)
            singles |= set(words) if alone else set()
            words_told, pairs_told = words_told | set(words), pairs_told | pairs
        if len(kept) == most:
            break
    return table.loc[kept].drop(columns="order").reset_index(drop=True)


def examples(table: pd.DataFrame, outcome: Outcome, data: Rollouts, most: int = 5) -> pd.DataFrame:
    """For each of the first phrases, the late completion with the most advantage that holds it: phrase, A, text."""
    rows, late = [], np.flatnonzero(thirds(data.frame) == 2)
    order = late[np.argsort(-outcome.advantage[late], kind="stable")]
    texts = data.frame["completion"].to_numpy()
    for phrase in table["phrase"].head(most):
        pattern = re.compile(r"\b" + r"[\W\d_]+".join(map(re.escape, phrase.split(" "))) + r"\b", re.IGNORECASE)
        for row in order:
            if match := pattern.search(texts[row]):
                low, high = max(0, match.start() - _CONTEXT), match.end() + _CONTEXT
                text = " ".join(texts[row][low:high].split())
                rows.append({"phrase": phrase, "A": outcome.advantage[row], "text": f"…{text}…"})
                break
    return pd.DataFrame(rows, columns=["phrase", "A", "text"])


def separation(outcome: Outcome, data: Rollouts) -> pd.DataFrame:
    """Does a part still separate right from wrong? reward, steps, groups, separation, low, high.

    Separation is the share of pairs (right, wrong) of one group in which the right answer's part is higher, ties half:
    1 separates, .5 says nothing, below .5 the wrong answers have the higher reward. Groups are clusters.
    """
    correct, rows = data.fields.get("correct"), []
    if correct is None:
        return pd.DataFrame(columns=["reward", "steps", "groups", "separation", "low", "high"])
    for name, values in outcome.parts.items():
        if name == "correct" or not any(np.ptp(values[block.rows]) for block in data.blocks):
            continue
        signed = values * np.sign(outcome.weights[name] or 1.0)
        wins, pairs = (
            np.concatenate(each)
            for each in zip(*(_pairwise_wins(signed, correct, b) for b in data.blocks), strict=True)
        )
        for index, third in enumerate(("all", *THIRDS)):
            chosen = (pairs > 0) & ((data.groups["third"] == index - 1) if index else True)
            value, low, high = share_with_interval(wins[chosen], pairs[chosen])
            row = {"reward": name, "steps": third, "groups": int(chosen.sum())}
            rows.append(row | {"separation": value, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["reward", "steps", "groups", "separation", "low", "high"]).dropna()


def _pairwise_wins(values: np.ndarray, correct: np.ndarray, block) -> tuple[np.ndarray, np.ndarray]:
    """(groups,): pairs (right, wrong) won by the right answer, ties as half, and their number."""
    value, right = values[block.rows], correct[block.rows] == 1
    pair = right[:, :, None] & (correct[block.rows] == 0)[:, None, :]
    gap = value[:, :, None] - value[:, None, :]
    return (np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0)) * pair).sum((1, 2)), pair.sum((1, 2)).astype(float)

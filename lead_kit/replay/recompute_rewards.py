"""Is the record explained? The recorded reward against the one that is computed from the text."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lead_kit.data.load import load_problems
from lead_kit.errors import InputError
from lead_kit.method.rewards import REWARDS, bind_rewards, finite
from lead_kit.parameters import call_name
from lead_kit.replay.groups import MissingField, NoColumns, RecordedRollout
from lead_kit.replay.read_record import PART, Record
from lead_kit.verify import Verifier
from lead_kit.verify.verdict import Verdict

_TOLERANCE = 0.0051  # rewards are recorded with two decimals
_LEAST = 0.5  # a set of rewards that explains less than this share of the rollouts is no explanation
_SAMPLE = 1000  # rollouts on which the published sets of rewards are tried
_PUBLISHED = {  # sets of rewards of weight 1, tried where the record has no parts and none are given
    "accuracy alone": ("correct",),
    "GRPO_reflection (2603.14041)": ("correct", "format", "reflection_v2"),
    "accuracy and format": ("correct", "format"),
    "open-r1": ("correct", "format", "reasoning_steps"),
}
_LEVELS = ((0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0, 1.0))  # values that an accuracy part can have: 1 is right
_ROLES = {"verdict": "correct", "problem": "prompt"}  # field of a rollout: role of a record, where they differ


class Explanation(NamedTuple):
    """The parts of the recorded reward, one number a rollout each; nan where it is not known."""

    parts: dict[str, np.ndarray]  # by name of the reward, unweighted
    weights: dict[str, float]
    correct: np.ndarray | None  # 1 right, 0 wrong: as recorded, or the part that remains
    explained: np.ndarray | None  # booleans: the recorded reward is the computed one
    sentences: list[str]


def rollouts_of(rows: pd.DataFrame, correct: np.ndarray | None = None) -> list[RecordedRollout]:
    """The rows as the kit's rollouts; reading what the record lacks raises MissingField."""
    verdicts = {value: Verdict(name, "", "as recorded", "record") for value, name in ((1.0, "correct"), (0.0, "wrong"))}
    table = rows.reindex(columns=["prompt", "completion", "gold", "length", "truncated"]).astype(object)
    table["verdict"] = None if correct is None else [verdicts.get(value) for value in correct]
    table["record"] = [NoColumns() for _ in rows.index]
    return [RecordedRollout(*row) for row in table.where(table.notna(), None).itertuples(index=False)]


def computed(name: str, score: Callable, rollouts: list[RecordedRollout]) -> np.ndarray:
    """A reward of every rollout. Raises InputError naming what the record lacks."""
    try:
        return np.array([finite(name, score(rollout), rollout) for rollout in rollouts])
    except MissingField as error:
        field = _ROLES.get(error.field, error.field)
        raise InputError(f"the reward {name!r} needs {field} of each rollout, which the record lacks") from None


def explain(
    record: Record, rewards: Sequence[str] = (), weights: Sequence[float] = (), regraded: np.ndarray | None = None
) -> Explanation:
    """The record's reward from its text, run by run. `rewards` are those of the run, with arguments; empty: those
    of the run's own record, else the published set that explains most. `regraded`: the accuracy by given golds.

    Raises InputError for rewards that do not exist or whose weights do not fit.
    """
    explanations = []
    for run, frame in record.frame.groupby("run", sort=False):
        recorded = {} if rewards or weights else record.parameters.get(run, {})
        chosen, weighed = recorded.get("rewards", rewards), recorded.get("reward_weights", weights)
        again = None if regraded is None else regraded[frame.index]
        explanation = _explain_run(frame, list(chosen), list(weighed), again, recorded.get("seed", 0))
        explanations.append((frame.index, explanation))
    return _merged(explanations)


def _explain_run(frame: pd.DataFrame, rewards: list[str], weights: list[float], regraded, seed: int) -> Explanation:
    """`explain` for one run, whose rewards take its seed. Rewards that are recorded alone need no search."""
    recorded = [name for name in frame if name.startswith(PART) and frame[name].notna().any()]
    rewards, tried = rewards or [name.removeprefix(PART) for name in recorded], []
    if not rewards and "reward" in frame and frame["reward"].notna().any():
        sample, shares = frame.iloc[np.unique(np.linspace(0, len(frame) - 1, _SAMPLE).astype(int))], {}
        for name, texts in _PUBLISHED.items():
            explanation = _add_up(sample, list(texts), dict.fromkeys(texts, 1.0), None)
            shares[name] = float(explanation.explained.mean())
        name, share = max(shares.items(), key=lambda item: item[1])
        if share < _LEAST:
            sentence = (
                "No published set of rewards explains half of the record, so the reward cannot be split into parts and "
                "the accuracy is unknown: name its rewards with recorded_rewards, or give golds."
            )
            return _total_alone(frame, None, [sentence])
        rewards = list(_PUBLISHED[name])
        tried = [f"Of the published sets of rewards, {name} ({' + '.join(rewards)}) explains most: {share:.0%}."]
    names = [call_name(text, "recorded_rewards").rpartition(":")[2] for text in rewards]  # as the ledger names them
    if weights and len(weights) != len(names):
        listed = ", ".join(names) or "none"
        raise InputError(f"recorded_weights has {len(weights)} values, but the rewards of the record are {listed}")
    weighed = dict(zip(names, weights or [1.0] * len(names), strict=True))
    explanation = _add_up(frame, rewards, weighed, regraded, seed)
    return explanation._replace(sentences=tried + explanation.sentences)


def agreement(frame: pd.DataFrame, advantage: np.ndarray, kept: np.ndarray) -> float:
    """The share of rollouts, of those in kept groups, whose recorded advantage is the computed one (to 1% or .001)."""
    recorded = frame["advantage"].to_numpy(float)
    return float(np.isclose(recorded, advantage, rtol=0.01, atol=0.001)[kept].mean()) if kept.any() else np.nan


def _merged(explanations: list[tuple[pd.Index, Explanation]]) -> Explanation:
    """The explanations of all runs, with their rows, as one; weights that differ are multiplied into the parts."""
    runs = [run for _, run in explanations]
    order = np.argsort(np.concatenate([index for index, _ in explanations]))
    alike = all(run.weights == runs[0].weights for run in runs)
    names = dict.fromkeys(name for run in runs for name in run.parts)

    def joined(values: list) -> np.ndarray | None:
        return None if any(value is None for value in values) else np.concatenate(values)[order]

    parts = {}
    for name in names:
        factors = [1.0 if alike else run.weights.get(name, 0.0) for run in runs]
        values = [run.parts.get(name, np.zeros(len(index))) for index, run in explanations]
        parts[name] = joined([factor * part for factor, part in zip(factors, values, strict=True)])
    weights = {name: runs[0].weights[name] if alike else 1.0 for name in names}
    correct, explained = joined([run.correct for run in runs]), joined([run.explained for run in runs])
    sentences = dict.fromkeys(sentence for run in runs for sentence in run.sentences)
    return Explanation(parts, weights, correct, explained, list(sentences))


def _add_up(frame: pd.DataFrame, rewards: list[str], weights: dict[str, float], regraded, seed: int = 0) -> Explanation:
    """The parts and the accuracy for one set of rewards. A part is as recorded; else it is computed."""
    correct = frame["correct"].to_numpy(float) if "correct" in frame and frame["correct"].notna().any() else None
    known = bind_rewards([text for text in rewards if call_name(text, "rewards") in REWARDS], seed=seed)
    rollouts = rollouts_of(frame, correct)
    sentences, parts, gap = [], {}, np.zeros(len(frame))
    for name in weights:
        column = np.nan_to_num(frame[PART + name].to_numpy(float)) if PART + name in frame else None
        if name == "correct":
            continue
        try:
            if name not in known:
                raise InputError(f"the reward {name!r} is not one of the kit's")
            again = computed(name, known[name], rollouts)
            gap += 0 if column is None else weights[name] * (column - again)
            parts[name] = again if column is None else column
        except InputError as error:
            sentences.append(f"Not computed again: {error}.")
            if column is None:
                return _total_alone(frame, correct, sentences)
            parts[name] = column
    if "reward" not in frame:
        return Explanation(parts, weights, correct, None, sentences)
    return _with_accuracy(frame, parts, weights, correct, gap, regraded, sentences)


def _total_alone(frame: pd.DataFrame, correct, sentences: list[str]) -> Explanation:
    """The total as its only part."""
    if "reward" not in frame:
        return Explanation({}, {}, correct, None, sentences)
    parts, nothing = {"reward": frame["reward"].to_numpy(float)}, np.zeros(len(frame), bool)
    return Explanation(parts, {"reward": 1.0}, correct, nothing, sentences)


def _with_accuracy(frame, parts, weights, correct, gap, regraded, sentences) -> Explanation:
    """Which totals the parts add up to. Where the accuracy is not recorded, it is what remains of the total.

    `gap`: the weighted recorded parts minus those computed again, where a part is recorded.
    """
    total = frame["reward"].to_numpy(float)
    rest = total - sum((weights[name] * values for name, values in parts.items()), np.zeros(len(frame)))
    if "correct" not in weights:
        return Explanation(parts, weights, correct, np.abs(rest + gap) < _TOLERANCE, sentences)
    if correct is None and PART + "correct" not in frame:
        accuracy = rest / (weights["correct"] or 1.0)
        agree = {levels: np.abs(accuracy[:, None] - levels).min(1) < _TOLERANCE for levels in _LEVELS}
        levels = max(_LEVELS, key=lambda levels: agree[levels].sum())  # the first of those that explain most
        explained, accuracy = agree[levels], accuracy.round()
        correct = np.where(explained, (accuracy == 1).astype(float), np.nan)
        parts = {"correct": np.where(explained, accuracy, rest), **parts}
        if explained.mean() < _LEAST:
            correct = None
            sentences.append("What remains of the reward is no accuracy in half of the rollouts, so none is known.")
        else:
            listed = ", ".join(f"{level:g}" for level in levels)
            sentences.append(
                f"No accuracy is recorded: what remains of the reward is {listed}, and 1 is taken as right."
            )
    else:
        scores = frame[PART + "correct"].to_numpy(float) if PART + "correct" in frame else correct
        correct = (scores == 1).astype(float) if correct is None else correct
        parts = {"correct": np.nan_to_num(scores), **parts}
        rest = rest - weights["correct"] * np.nan_to_num(correct)
        explained = np.abs(rest + gap) < _TOLERANCE
    if regraded is not None and correct is not None:
        explained = explained & ~(np.abs(regraded - correct) > 0.5)
    return Explanation(parts, weights, correct, explained, sentences)


def disagreements(frame: pd.DataFrame, explanation: Explanation, regraded: np.ndarray, golds: Sequence) -> pd.DataFrame:
    """The rollouts whose recorded accuracy differs from the verifier's: a file for 07_verifier_audit."""
    differ = np.flatnonzero(np.abs(regraded - explanation.correct) > 0.5)
    rows = frame.iloc[differ]
    table = pd.DataFrame({"id": rows.get("group", rows.index), "gold": [golds[at] for at in differ]}, rows.index)
    return table.assign(completion=rows["completion"], recorded=explanation.correct[differ], regraded=regraded[differ])


RECORDED = "recorded"  # in place of a file: the golds of the record itself


def find_golds(frame: pd.DataFrame, golds: str | Path) -> list[str | None]:
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
    by_first_word = defaultdict(list)
    for record in problems:
        words = record["problem"].split() or [""]
        by_first_word[words[0]].append((" ".join(words) + " ", record["gold"]))
    known = {prompt: _gold_in_prompt(prompt, by_first_word) for prompt in set(frame["prompt"])}
    return [known[prompt] for prompt in frame["prompt"]]


def _gold_in_prompt(prompt: str, by_first_word: dict[str, list]) -> str | None:
    """The gold of the longest problem whose words stand in a row in the prompt, chat markers apart from its words."""
    words = re.sub(r"(<\|[^|<>]*\|>)", r" \1 ", prompt).split()
    text, start, matches = " ".join(words) + " ", 0, []
    for word in words:
        matches += [match for match in by_first_word.get(word, ()) if text.startswith(match[0], start)]
        start += len(word) + 1
    return max(matches, key=lambda match: len(match[0]), default=("", None))[1]


def regrade(frame: pd.DataFrame, golds: list[str | None], answer_region: str = "after_think") -> np.ndarray:
    """1 or 0 for each rollout by the kit's verifier; nan where no gold is known or the gold cannot be graded."""
    graded = np.full(len(frame), np.nan)
    where = [at for at, gold in enumerate(golds) if gold is not None]
    texts, known = frame["completion"].iloc[where].tolist(), [golds[at] for at in where]
    with Verifier() as verifier:
        verdicts = verifier.check_many(texts, known, answer_region=answer_region)
    graded[where] = [np.nan if verdict.status == "gold_unparseable" else verdict.correct for verdict in verdicts]
    return graded

r"""Problems drawn by the package reasoning-gym (Apache-2.0), an optional extra, and its scorers as a reward.

A data set is named `reasoning_gym:chain_sum(min_terms=2, max_terms=3)`: one of the package's, with its difficulty
settings as arguments. The reward `reasoning_gym` gives the score, 0 to 1, of the package's own scorer for that set.
"""

import functools
import inspect
import json
import re
import sys
from hashlib import blake2b

from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.parameters import read_call

_PREFIX = "reasoning_gym:"
_REQUIREMENT = "reasoning-gym==0.1.25"
_COMPUTES = re.compile(r"\b(?:eval|exec|parse_expr|sympify|simplify)\(")  # what runs a text as a program


def is_gym(name) -> bool:
    return str(name).startswith(_PREFIX)


def _data_sets() -> dict:
    """The package's data sets: name → (class, class of its settings). Raises InputError where it is not installed."""
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise InputError(f"reasoning_gym needs the package {_REQUIREMENT}: pip install {_REQUIREMENT}") from None
    return {name: entry for name, entry in DATASETS.items() if name != "composite"}


def draw(name: str, n: int, seed: str, exclude: frozenset[str] = frozenset(), distinct: bool = False) -> list[dict]:
    """n records {id, problem, gold, level, source, reasoning_gym}, none with a text in `exclude`.

    The last column is the package's entry as JSON, which its scorer needs; a worked solution of the entry becomes the
    record's, with the answer in a box. Raises InputError for an unknown data set or setting, for entries without one
    answer, and where n such problems are not found.
    """
    short, arguments = read_call(name.removeprefix(_PREFIX), "dataset")
    sets = _data_sets()
    if short not in sets:
        raise InputError(f"no data set {shorten(repr(short))} in reasoning_gym{nearest_or_all(short, sets)}")
    kind, settings = sets[short]
    size = 3 * n + 100
    known = inspect.signature(settings).parameters
    for argument in arguments:
        if argument not in known or argument in ("seed", "size"):
            raise InputError(f"{_PREFIX}{short} has no setting {argument!r}{nearest(argument, known)}")
    number = int.from_bytes(blake2b(f"{seed}".encode(), digest_size=4).digest(), "big")
    try:
        drawn = kind(settings(**arguments, seed=number, size=size))
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(f"{name}: {shorten(str(error) or 'a setting is out of its range')}") from None
    seen, records = set(exclude), []
    for index in range(size):
        entry = drawn[index]
        text, answer = entry["question"], entry["answer"]
        if not isinstance(answer, str):
            raise InputError(f"{_PREFIX}{short}: its problems have no single answer, so they cannot be graded")
        if text in seen:
            continue
        if distinct:
            seen.add(text)
        records.append(_record(short, seed, index, entry))
        if len(records) == n:
            return records
    raise InputError(f"{name}: only {len(records)} of {n} problems were found among {size}")


def _record(short: str, seed: str, index: int, entry: dict) -> dict:
    """The kit's record of one entry."""
    facts = entry["metadata"]
    difficulty, worked = facts.get("difficulty"), facts.get("answer_cot")
    new = {
        "id": f"{short}-{seed}-{index}",
        "problem": entry["question"],
        "gold": entry["answer"].strip(),
        "level": float(difficulty) if isinstance(difficulty, int | float) else None,
        "source": _PREFIX + short,
        "reasoning_gym": json.dumps(entry, default=str),
    }
    if worked:  # gsm_symbolic ends its solutions with four hashes and the answer
        new["solution"] = f"{worked.rpartition('####')[0].strip()}\n\\boxed{{{new['gold']}}}"
    return new


@functools.cache
def _scorer(short: str):
    """The package's scorer of one data set. Raises InputError for one that runs answers as programs."""
    sets = _data_sets()
    kind, settings = sets[short]
    if _COMPUTES.search(inspect.getsource(sys.modules[kind.score_answer.__module__])):
        raise InputError(
            f"the scorer of {_PREFIX}{short} runs an answer as a program, which a model's text must not be; use the "
            "reward correct"
        )
    return kind(settings()).score_answer


def reasoning_gym(rollout) -> float:
    """reasoning-gym: the score, 0 to 1, of the answer by the scorer of the problem's data set; 0 without an answer.

    Raises InputError for a problem that does not come from the package.
    """
    if "reasoning_gym" not in rollout.record:
        raise InputError(
            f"the reward 'reasoning_gym' scores problems of {_PREFIX}…, not {shorten(rollout.problem)!r}; expected "
            "the reward correct"
        )
    entry = json.loads(rollout.record["reasoning_gym"])
    scorer = _scorer(entry["metadata"]["source_dataset"])
    return float(scorer(rollout.verdict.answer or None, entry))


REWARDS = {"reasoning_gym": reasoning_gym}

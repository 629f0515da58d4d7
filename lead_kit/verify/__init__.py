"""The verifier: the answer in a completion, and whether it equals the gold.

`Verifier(workers, cpu_seconds, memory_mb)` for many checks, `check` for one in a notebook; both return a `Verdict`.
Importing this package is light: algebra is loaded by the workers, which start with the first pair that needs them.
Model text is data here, never code.
"""

import atexit
from collections.abc import Iterable, Mapping, Sequence

from lead_kit.verify import clusters
from lead_kit.verify.extraction import extract
from lead_kit.verify.normal_form import normal
from lead_kit.verify.pool import Verifier
from lead_kit.verify.verdict import STATUSES, Fault, Verdict

__all__ = [
    "STATUSES", "Fault", "Verdict", "Verifier", "check", "check_many", "cluster", "extract", "lint_golds", "normal",
    "shared",
]  # fmt: skip
_shared: list[Verifier] = []


def shared() -> Verifier:
    """The verifier behind the functions of this module, made at first use and closed at exit."""
    if not _shared:
        _shared.append(Verifier())
        atexit.register(_shared[0].close)
    return _shared[0]


def check(
    completion: str,
    gold: str,
    loose: bool = False,
    answer_region: str = "after_think",
    problem: str = "",
    order: str = "any",
) -> Verdict:
    r"""Is the answer of this completion equal to the gold? For one-off use; a loop should hold a `Verifier`.

    >>> check(r"So x = \boxed{0.5}.", r"\frac12").status
    'correct'
    """
    return shared().check(completion, gold, loose=loose, answer_region=answer_region, problem=problem, order=order)


def check_many(completions: Sequence[str], golds: Sequence[str], **options) -> list[Verdict]:
    """`check` for lists of the same length, with the options of `Verifier.check_many`; the order is kept."""
    return shared().check_many(completions, golds, **options)


def cluster(answers: Sequence[str | None], verifier: Verifier | None = None) -> list[int]:
    """A class number for each answer, equal answers sharing one, numbered by first appearance; -1 where there is no
    answer.

    See `lead_kit.verify.clusters`.
    """
    return clusters.cluster(answers, verifier or shared())


def lint_golds(records: Iterable[Mapping], verifier: Verifier | None = None) -> list[Fault]:
    """Names the records {id, gold} whose gold cannot be graded: empty, not text, refused by the guard, unreadable,
    or prose.

    A record without `gold` is read by `answer`, as data sets call it.
    """
    verifier, faults = verifier or shared(), []
    for number, record in enumerate(records):
        gold = record.get("gold", record.get("answer"))
        readable = isinstance(gold, str)
        reason = verifier.unreadable(gold) if readable else f"the gold is {type(gold).__name__}, expected text"
        if reason:
            faults.append(Fault(str(record.get("id", number)), gold if readable else repr(gold), reason))
    return faults

"""Golds that cannot be graded, named before training starts on them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Fault(NamedTuple):
    """A gold that cannot be graded: the record's id, the gold as it stands, why."""

    id: str
    gold: str
    reason: str


def lint_golds(records: Iterable[Mapping], verifier=None) -> list[Fault]:
    """Names the records {id, gold} whose gold cannot be graded: empty, not text, refused by the guard, unreadable,
    or prose.

    A record without `gold` is read by `answer`, as data sets call it.
    """
    from lead_kit.verify import shared

    verifier = verifier or shared()
    faults = []
    for at, record in enumerate(records):
        gold = record.get("gold", record.get("answer"))
        name = str(record.get("id", at))
        if not isinstance(gold, str):
            faults.append(Fault(name, repr(gold), f"the gold is {type(gold).__name__}, expected text"))
            continue
        reason = verifier.unreadable(gold)
        if reason:
            faults.append(Fault(name, gold, reason))
    return faults

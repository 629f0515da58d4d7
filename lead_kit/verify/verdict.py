"""What a check reports: of an answer, and of a gold that cannot be graded."""

from typing import NamedTuple

STATUSES = ("correct", "wrong", "no_answer", "rejected", "timeout", "gold_unparseable")


class Verdict(NamedTuple):
    """What the verifier found.

    status: one of STATUSES.  answer: the text that was extracted ("" if none).  reason: one readable clause. path:
    which check decided (extract, gold, guard, same, exact, symbolic, problem, worker).  seconds: wall time
    of this check.
    """

    status: str
    answer: str
    reason: str
    path: str
    seconds: float = 0.0

    @property
    def correct(self) -> bool:
        """True only for the status `correct`."""
        return self.status == "correct"


class Fault(NamedTuple):
    """A gold that cannot be graded: the record's id, the gold as written, why."""

    id: str
    gold: str
    reason: str

"""Classes of equal answers: what the answers of one problem have in common decides most pairs without algebra."""

import time
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

from lead_kit.verify import compare, latex_scan, rationals
from lead_kit.verify.answer_types import Bag, Leaf
from lead_kit.verify.compare_parts import Exact, Undecided
from lead_kit.verify.extraction import gold_text
from lead_kit.verify.normal_form import normal
from lead_kit.verify.parse_answer import read

_BUDGET = 5  # CPU seconds of algebra for one problem, in units of what one comparison may take
_KNOWN = 1 << 14  # described answers kept
_DIFFERENT = 1e-6  # relative; sketches are exact to about 15 digits


class _Sketched(Exact):
    """The judge without algebra that also knows a value of each expression, and so that most of them differ."""

    def __init__(self, sketch: Callable[[str], complex | None]):
        super().__init__()
        self.sketch = sketch

    def equal_expressions(self, gold: str, answer: str) -> bool:
        try:
            return super().equal_expressions(gold, answer)
        except Undecided:
            theirs, ours = self.sketch(gold), self.sketch(answer)
            if theirs is None or ours is None:
                raise
            digits = rationals.decimals(gold)  # a decimal gold equals what rounds to it
            margin = max(_DIFFERENT * max(1, abs(theirs), abs(ours)), 0 if digits is None else 10.0**-digits)
            if abs(theirs - ours) > margin:
                return False
            raise


class _Answer(NamedTuple):
    """An answer with all that can be said of it alone; it is compared with others as their gold and as an answer."""

    text: str
    gold: str  # in normal form, as the gold; empty if nothing equals it
    form: str  # in normal form, as the answer; empty if it equals nothing
    integer: bool  # an integer, which is compared with other integers by its digits
    number: Fraction | None  # the exact value of a plain number
    node: object  # what is read from both forms; None if they differ


@lru_cache(_KNOWN)  # answers occur again in other samples, problems and models
def _described(text: str) -> _Answer:
    """The answer of this text. One that the guard refuses equals nothing, not even itself."""
    integer = compare.quick(text, text) is not None
    if not integer and latex_scan.why_refused(text):
        return _Answer(text, "", "", False, None, None)
    gold, form = normal(gold_text(text)), normal(text)
    node = read(form) if gold == form else None
    number = rationals.value(node.text) if isinstance(node, Leaf) and not node.unit else None
    return _Answer(text, "" if gold == "None" else gold, form, integer, number, node)


class _Comparisons:
    """The comparisons of one problem's answers, and the CPU time they may take in the workers and here."""

    def __init__(self, verifier):
        self.verifier, self.allowed = verifier, _BUDGET * verifier.cpu_seconds
        self.end = self._now() + self.allowed
        self.judge = _Sketched(cache(lambda text: None if self.spent() else verifier.sketch(text)))

    def _now(self) -> float:
        return self.verifier.algebra_seconds + time.thread_time()

    def spent(self) -> bool:
        return self._now() >= self.end

    def equals_leader(self, leader: _Answer, answer: _Answer) -> bool | None:
        """Whether an answer equals the first member of a class; None if that would take more time than is left."""
        if not leader.gold or not answer.form:
            return False
        if leader.integer and answer.integer:
            return compare.quick(answer.text, leader.text)[0] == "correct"
        if leader.number is not None and answer.number is not None and leader.number != answer.number:
            digits = rationals.decimals(leader.gold)
            if digits is None or abs(leader.number - answer.number) > Fraction(1, 10**digits):
                return False
        if leader.gold == answer.form or self.spent():
            return leader.gold == answer.form or None
        if self.cannot_match(leader.node, answer.node):
            return False
        try:
            return compare.decide(leader.gold, answer.form, self.judge)[0] == "correct"
        except Undecided:
            return None if self.spent() else self.verifier.compare(answer.text, leader.text).correct

    def cannot_match(self, gold: object, answer: object) -> bool:
        """Whether two lists of expressions have no chance to match: an item of one is like none of the other."""
        lists = isinstance(gold, Bag) and isinstance(answer, Bag) and len(gold.items) == len(answer.items)
        if not lists or not all(isinstance(item, Leaf) for item in gold.items + answer.items):
            return False
        alike = compare.equal_up_to_parameter
        try:
            return any(not any(alike(g, a, self.judge) for a in answer.items) for g in gold.items)
        except Undecided:
            return False


def cluster(answers: Sequence[str | None], verifier) -> list[int]:
    """A class number for each answer, equal answers sharing one, numbered by first appearance; -1 where there is no
    answer.

    An answer joins the first class whose first member it equals, so the classes do not depend on an equality that is
    not transitive. All comparisons may take BUDGET times the CPU time of answer. After that a warning is given, and
    answers are the same only where their normal form or their exact value is.
    """
    work, leaders, labels, undecided = _Comparisons(verifier), [], [], 0
    known: dict[tuple[str, bool], int] = {}  # answers of one normal form are equal to the same leaders
    for answer in (_described(text) if text else None for text in answers):
        if answer is None:
            labels.append(-1)
            continue
        label = known.get((answer.form, answer.integer))
        for number, leader in enumerate(leaders) if label is None else ():
            same = work.equals_leader(leader, answer)
            undecided += same is None
            if same:
                label = number
                break
        if label is None:
            label = len(leaders)
            leaders.append(answer)
        if answer.form and (label < len(leaders) - 1 or answer.gold == answer.form):
            known[answer.form, answer.integer] = label
        labels.append(label)
    if undecided:
        warnings.warn(
            f"{len(labels)} answers of one problem: their comparison has taken {work.allowed:g} s of CPU time, and "
            f"{undecided} pairs that need more count as different",
            stacklevel=3,
        )
    return labels

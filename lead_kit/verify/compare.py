"""Are two answers equal? Kinds are compared part by part; a judge decides pairs of expressions.

The order of the checks of one pair, cheapest first; the first that decides ends it (`pool.Verifier` calls them):

| check | decides | path |
|---|---|---|
| `extraction.extract` | no answer, or a box inside a box | extract |
| `quick` | two integers, by their digits | exact |
| `latex_scan.why_refused` | a text that is too long, too deep, or has too many items | guard |
| `exactly` | equal normal forms; what spelling and rational arithmetic settle, with the judge `Exact` | same, exact |
| `sympy_judge.decide` | the rest, in a worker, with the judge `Algebra` | symbolic |
| `repeats_problem` | an equal answer that is only a part of the problem | problem |

What counts as equal: `equal_nodes` compares two nodes of `parse_answer`; `equal_up_to_parameter` also accepts another
name or step of the integer in kπ. Of the judge: `equal_expressions` by value; `equal_up_to_factor` by value times a
unit's factor; `equal_within_answer` for the two sides of an equation in the answer; `same_family` for the values of two
expressions in an integer; `equivalent_relations` for equations and inequalities; `solves_relation` for an equation and
the value of one of its letters.
"""

import re
from functools import lru_cache

from lead_kit.verify import rationals
from lead_kit.verify.answer_types import (
    Bag,
    Clock,
    Congruence,
    Grid,
    Leaf,
    Named,
    Pieces,
    Qualified,
    Ratio,
    Relation,
    Row,
    Words,
)
from lead_kit.verify.compare_parts import (
    Exact,
    Undecided,
    as_ratio,
    equal_clocks,
    equal_leaves,
    equal_ratios,
    equal_words,
)
from lead_kit.verify.latex_scan import letters, rename, vector
from lead_kit.verify.normal_form import normal
from lead_kit.verify.parse_answer import read

_INTEGER = re.compile(r"\s*([-+]?\d{1,300})\s*")
_PARAMETERS = frozenset("knmlt")  # letters that count through the integers in answers such as kπ
_CHOICE = re.compile(r"\(?[A-Z]\)?")
# the letter of a choice, then its text
_CHOSEN = re.compile(r"(?:\\text\{)?\(?([A-Z])[).:]\}?\s*([^-+*/^=<>!_].*|-\d.*)", re.DOTALL)
_RIVAL = re.compile(r"(?<![A-Za-z])[A-Z](?![A-Za-z])|\b(?:or|and|not)\b|[,;/]")
_DENIED = re.compile(r"\\(?:neg|lnot|not)|[?#@&%]|(?<![A-Za-z])(?:not|no|if|but|than|never|about|un\w+)(?![A-Za-z])")
_WRITTEN = re.compile(r"\\[A-Za-z]+")
_REASONS = {"exact": "the same by exact arithmetic", "symbolic": "the same by algebra"}
_OPERATION = re.compile(r"[-+*/^!|\\](?!text|pi|infty|circ|cup)")
_FORMULA = re.compile(r"\$+|\\[\[\]()]")  # what stands between a formula and prose
_INTEGERS = ("inz", "inn", "inq")  # conditions, as `_plain` gives them
_ENDLESS = Words(("infinitely", "many"))
Outcome = tuple[str, str, str]


def quick(answer: str, gold: str) -> Outcome | None:
    """Two integers, decided from their digits; None for anything else."""
    ours, theirs = _INTEGER.fullmatch(answer), _INTEGER.fullmatch(gold)
    if ours is None or theirs is None or not (gold.isascii() and answer.isascii()):
        return None
    same = int(ours[1]) == int(theirs[1])
    return ("correct", "the same integer", "exact") if same else ("wrong", "another integer", "exact")


def exactly(gold: str, answer: str, order: str = "any") -> Outcome | None:
    """Decide by spelling and exact arithmetic; both in normal form. None if that does not settle it."""
    if not gold or gold == "None":
        return "gold_unparseable", "the gold is empty", "gold"
    if not answer:
        return "no_answer", "the box is empty", "extract"
    if gold == answer:
        return "correct", "the same normal form", "same"
    try:
        return decide(gold, answer, Exact(order))
    except Undecided:
        return None


def repeats_problem(answer: str, gold: str, problem: str) -> bool:
    """Does an answer in normal form only repeat what the problem asks to be worked out?

    Never where it is the gold's own spelling, nor where nothing is left to work out.
    """
    stated, last, gold = (
        text.replace(" ", "") for text in (answer, answer.rpartition("=")[2], gold.rpartition("=")[2])
    )
    numerals = rationals.value(last) is not None and re.findall(r"\d+", last) == re.findall(r"\d+", gold)
    parts = {stated} if len(stated) - len(last) > len("x=") else set()  # a=5 only names what it says
    if last != gold and not numerals and rationals.decimal(last) is None and _OPERATION.search(last.lstrip("-")):
        parts.add(last)
    patterns = [re.compile(rf"(?<![\w.]){re.escape(part)}(?![\w.])") for part in parts]
    formulas = [normal(formula).replace(" ", "") for formula in _FORMULA.split(problem)] if patterns else []
    return any(part.search(formula) for part in patterns for formula in formulas)


@lru_cache(maxsize=1 << 12)
def _read(text: str) -> object:
    return read(text)


def decide(gold: str, answer: str, judge: Exact) -> Outcome:
    """(status, reason, path) of two answers in normal form."""
    if _CHOICE.fullmatch(gold) and (chosen := _CHOSEN.fullmatch(answer)) and not _RIVAL.search(chosen[2]):
        answer = chosen[1]
    theirs, ours = _read(gold), _read(answer)
    if equal_up_to_parameter(theirs, ours, judge):
        return "correct", _REASONS[judge.path], judge.path
    return "wrong", _difference(theirs, ours), judge.path


def _difference(gold: object, answer: object) -> str:
    if isinstance(gold, Bag | Row) and isinstance(answer, Bag | Row) and len(gold.items) != len(answer.items):
        return f"{len(answer.items)} items, the gold has {len(gold.items)}"
    kind = {
        "Bag": "a set or list",
        "Row": "a tuple or interval",
        "Words": "words",
        "Relation": "a relation",
        "Grid": "a matrix",
    }
    names = [kind.get(type(node).__name__, "an expression") for node in (gold, answer)]
    return "not equal to the gold" if names[0] == names[1] else f"{names[1]}, the gold is {names[0]}"


def equal_up_to_parameter(gold: object, answer: object, judge: Exact) -> bool:
    """Equality up to the name of the integer in a family such as kπ, and up to its steps."""
    if equal_nodes(gold, answer, judge):
        return True
    names = {node.name for node in (gold, answer) if isinstance(node, Named)}
    if len(names) == 1:
        gold, answer = (node.value if isinstance(node, Named) else node for node in (gold, answer))
    if isinstance(gold, Leaf | Row) and type(gold) is type(answer) and "\\pi" in str(gold):
        counting = [sorted(letters(node) & _PARAMETERS) for node in (answer, gold)]
        if len(counting[0]) == len(counting[1]) == 1 and counting[0] != counting[1]:
            answer = rename(answer, {counting[0][0]: counting[1][0]})
            if equal_nodes(gold, answer, judge):
                return True
        return len(counting[1]) == 1 and isinstance(gold, Leaf) and judge.same_family(gold.text, answer.text)
    return False


def equal_nodes(gold: object, answer: object, judge: Exact) -> bool:
    """Equality of two nodes."""
    if gold == answer:
        return True
    if isinstance(gold, Qualified) or isinstance(answer, Qualified):
        return _qualified(gold, answer, judge)
    if isinstance(gold, Named) or isinstance(answer, Named):
        return _named(gold, answer, judge)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _relation(gold, answer, judge)
    if isinstance(gold, Bag) != isinstance(answer, Bag):
        gold, answer = (
            node.items[0] if isinstance(node, Bag) and len(node.items) == 1 else node for node in (gold, answer)
        )
    if isinstance(gold, Bag) and isinstance(answer, Bag):
        return _bags(gold, answer, judge)
    if {type(gold), type(answer)} == {Bag, Row}:
        gold, answer = _as_point(gold), _as_point(answer)
        return type(gold) is type(answer) and gold.brackets == answer.brackets and _rows(gold, answer, judge)
    if {type(gold), type(answer)} == {Leaf, Row}:
        gold, answer = (vector(node.text) or node if isinstance(node, Leaf) else node for node in (gold, answer))
    if isinstance(gold, Clock) and isinstance(answer, Leaf) or isinstance(answer, Clock) and type(gold) is not Clock:
        gold, answer = (as_ratio(node) if isinstance(node, Clock) else node for node in (gold, answer))
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return equal_ratios(gold, answer, judge)
    if isinstance(gold, Words) and isinstance(answer, Leaf) and answer.text.isalpha() and len(answer.text) > 1:
        return answer.text.lower() == "".join(gold.words).lower()
    if _ENDLESS in (gold, answer):
        return Leaf("\\infty") in (gold, answer)
    compare = _COMPARE.get(type(gold)) if type(gold) is type(answer) else None
    return compare is not None and compare(gold, answer, judge)


def _congruences(gold: Congruence, answer: Congruence, judge: Exact) -> bool:
    if gold.left and answer.left and gold.left != answer.left:
        return False
    return judge.equal_expressions(gold.modulus, answer.modulus) and equal_nodes(gold.residue, answer.residue, judge)


def _pieces(gold: Pieces, answer: Pieces, judge: Exact) -> bool:
    if len(gold.items) != len(answer.items):
        return False
    return _matched(
        [
            [
                at
                for at, ours in enumerate(answer.items)
                if all(equal_nodes(*pair, judge) for pair in zip(theirs, ours, strict=True))
            ]
            for theirs in gold.items
        ]
    )


def _rows(gold: Row, answer: Row, judge: Exact) -> bool:
    if len(gold.items) != len(answer.items):
        return False
    if gold.brackets != answer.brackets and (len(gold.items) == 2 or {gold.brackets, answer.brackets} != {"()", "[]"}):
        return False  # an interval's brackets say which ends belong to it; a longer tuple may be written either way
    return all(equal_nodes(g, a, judge) for g, a in zip(gold.items, answer.items, strict=True))


def _grids(gold: Grid, answer: Grid, judge: Exact) -> bool:
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return False
    pairs = (
        (g, a) for ours, theirs in zip(gold.rows, answer.rows, strict=True) for g, a in zip(ours, theirs, strict=True)
    )
    return all(equal_nodes(g, a, judge) for g, a in pairs)


def _bags(gold: Bag, answer: Bag, judge: Exact) -> bool:
    """The same number of items, each equal to one of the other side (a maximum matching, as equality may not be
    transitive)."""
    if len(gold.items) != len(answer.items):
        return False
    names = [{item.name for item in bag.items if isinstance(item, Named)} for bag in (gold, answer)]
    if all(len(each) == len(gold.items) for each in names) and names[0] == names[1]:
        values = {item.name: item for item in answer.items}
        return all(equal_nodes(item, values[item.name], judge) for item in gold.items)
    bases = {item.name[0] for item in gold.items if isinstance(item, Named)}
    if len(bases) == len(gold.items) > 1 and not names[1]:  # x=1, y=2 and 1, 2
        return all(equal_nodes(g, a, judge) for g, a in zip(gold.items, answer.items, strict=True))
    if judge.order == "given" and not (gold.free or answer.free):
        return all(equal_up_to_parameter(g, a, judge) for g, a in zip(gold.items, answer.items, strict=True))
    links = [[at for at, a in enumerate(answer.items) if equal_up_to_parameter(g, a, judge)] for g in gold.items]
    return _matched(links)


def _matched(links: list[list[int]]) -> bool:
    """Is there a perfect matching? Augmenting paths."""
    owner: dict[int, int] = {}

    def assign(item: int, tried: set[int]) -> bool:
        for partner in links[item]:
            if partner not in tried:
                tried.add(partner)
                if partner not in owner or assign(owner[partner], tried):
                    owner[partner] = item
                    return True
        return False

    return all(assign(item, set()) for item in range(len(links)))


def _named(gold: object, answer: object, judge: Exact) -> bool:
    """`name = value`: names must agree where both sides give one; a function's argument may be renamed."""
    if isinstance(gold, Named) and isinstance(answer, Named):
        if len(gold.arguments) != len(answer.arguments):
            if bool(gold.arguments) == bool(answer.arguments) or not letters(gold.value):
                return False  # y=2x and f(x)=2x, not x=2 and f(x)=2
            return equal_nodes(gold.value, answer.value, judge)
        renamed = dict(zip(answer.arguments, gold.arguments, strict=True))
        value = rename(answer.value, renamed) if renamed else answer.value
        captured = any(old != new and new in letters(answer.value) for old, new in renamed.items())
        if gold.name.lower() == answer.name.lower() and not captured:
            return equal_nodes(gold.value, value, judge)
        if gold.arguments:
            return False
        return judge.equivalent_relations(_as_relation(gold), _as_relation(answer))
    if isinstance(gold, Named):
        if isinstance(answer, Relation):
            line = answer.operators == ("=",) and (letters(gold.value) or gold.arguments)  # an equation as an answer
            same = answer.sides[0].lower() == gold.name.lower() and _stated(gold.value, answer, judge)
            return same or bool(line) and judge.equivalent_relations(_as_relation(gold), answer)
        return equal_nodes(gold.value, answer, judge)
    if isinstance(gold, Relation):
        return gold.operators == ("=",) and judge.equivalent_relations(gold, _as_relation(answer))
    return equal_nodes(gold, answer.value, judge)


def _as_relation(named: Named) -> Relation:
    return Relation(("=",), (named.name, named.value.text if isinstance(named.value, Leaf) else "\\text{}"))


def _qualified(gold: object, answer: object, judge: Exact) -> bool:
    """A condition in words may be left out; two conditions must read alike. It also frees the letters it speaks of."""
    conditions = [_plain(node.condition) for node in (gold, answer) if isinstance(node, Qualified)]
    theirs = gold.value if isinstance(gold, Qualified) else gold
    ours = answer.value if isinstance(answer, Qualified) else answer
    if len(conditions) == 2 and conditions[0] != conditions[1]:
        return False
    if len(conditions) == 1 and isinstance(theirs, Row) and not letters(theirs) and conditions[0] in _INTEGERS:
        return False  # the integers of an interval are not the interval
    if isinstance(theirs, Leaf) and theirs is gold and not letters(theirs):
        return False  # 7 for some x
    if equal_up_to_parameter(theirs, ours, judge):
        return True
    only = [sorted(letters(node) - letters(other)) for node, other in ((ours, theirs), (theirs, ours))]
    if len(only[0]) == len(only[1]) == 1 and only[0][0] in _PARAMETERS:
        return equal_nodes(theirs, rename(ours, {only[0][0]: only[1][0]}), judge)
    return False


def _plain(condition: str) -> str:
    condition = re.sub(r"^\(?[A-Za-z](?=\\in)", "", condition)
    return re.sub(r"[^a-z0-9]", "", condition.replace("\\text", "").replace("mathbb", "").lower())


def _relation(gold: object, answer: object, judge: Exact) -> bool:
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return judge.equivalent_relations(gold, answer)
    if isinstance(answer, Relation):
        return _stated(gold, answer, judge)
    if gold.operators == ("=",) and isinstance(answer, Leaf) and judge.solves_relation(gold, answer.text):
        return True
    if gold.operators == ("=",):
        return _label(gold.sides[0]) and equal_nodes(read(gold.sides[-1]), answer, judge)
    order = len(set(gold.operators)) == 1 and gold.operators[0] in ("<", ">")
    if order and isinstance(answer, Bag) and len(answer.items) == len(gold.sides):
        return all(equal_nodes(read(g), a, judge) for g, a in zip(gold.sides, answer.items, strict=True))
    return False


def _stated(gold: object, answer: Relation, judge: Exact) -> bool:
    """An equation stands for its last side only if what it says holds, or if its left side is the name of a
    quantity."""
    if set(answer.operators) != {"="}:
        return False
    first, last = answer.sides[0], answer.sides[-1]
    if first == last:
        return False
    middle = [side for side in answer.sides[:-1] if not re.search(r"[A-Za-z]", _WRITTEN.sub("", side))]
    if len(middle) < len(answer.sides) - 1 and not _label(first):
        return False
    return all(judge.equal_within_answer(last, side) for side in middle) and equal_nodes(gold, read(last), judge)


def _label(text: str) -> bool:
    """The name of a quantity: letters, their subscripts and arguments, at most a quotient or product of such."""
    if _DENIED.search(text):
        return False
    bare = re.sub(r"_\{[^{}]*\}|_\w|(?<=[A-Zafghpqru])\([^()]*\)", "", text)
    letter = re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", bare))
    return letter is not None and not re.search(r"[-+\d^<>=!]", bare)  # -x=3 says that x is -3


def _as_point(node: object) -> object:
    """`x=1, y=2` as the point (1, 2)."""
    named = isinstance(node, Bag) and all(isinstance(item, Named) for item in node.items)
    return Row(tuple(item.value for item in node.items), "()") if named else node


_COMPARE = {
    Leaf: equal_leaves, Words: equal_words, Row: _rows, Grid: _grids, Clock: equal_clocks, Congruence: _congruences,
    Pieces: _pieces,
}  # fmt: skip

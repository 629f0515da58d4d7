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
from collections.abc import Sequence
from functools import lru_cache

from lead_kit.verify import answer_types as kinds
from lead_kit.verify import compare_parts as parts
from lead_kit.verify import rationals, units
from lead_kit.verify.answer_types import Bag, Leaf, Named, Qualified, Relation, Row, Words
from lead_kit.verify.compare_parts import Exact, Undecided
from lead_kit.verify.latex_scan import is_unknown, letters, reading_order, rename, vector
from lead_kit.verify.normal_form import normal
from lead_kit.verify.parse_answer import read

_INTEGER = re.compile(r"\s*([-+]?\d{1,300})\s*")
_PARAMETERS = frozenset("knmlt")  # letters that count through the integers in answers such as kπ
_CHOICE = re.compile(r"\(?[A-Z]\)?")
# the letter of a choice, then its text
_CHOSEN = re.compile(r"(?:\\text\{)?(?:(?i:option|choice|answer) )?\(?([A-Z])[).:]\}?\s*([^-+*/^=<>!_].*|-\d.*)", re.S)
_NO = "or|and|not|isn|no|wrong|incorrect|false|never|cannot|excluded|eliminated|rejected|impossible"
_RIVAL = re.compile(rf"(?<![A-Za-z])[A-Z](?![A-Za-z])|\b(?:{_NO})\b|[,;/]")
_OPTION = re.compile(r"(?:\\text\{)?\(([A-Z])\)\}?\s*(.+)", re.DOTALL)  # a gold that keeps its option's text
_EXPLAINED = re.compile(r"(?<=\w) ?\\text\{is (?:both )?an? .*")  # a gold that goes on to say what its value is
_AND_A_FRACTION = re.compile(r"(-?\d+) ?(?:\\text\{and\}|and) ?(?:(\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_NO_ANSWERS = frozenset(  # what data sets write where an answer is missing, as `_plain` gives them
    "none notfound noanswer noanswerfound proof seeproof seesolution seeexplanation null nan na unknown undetermined "
    "tobeproved proofonly unavailable notavailable notprovided answernotfound noanswerprovided omitted".split()
)
_SORTS = "positive|negative|non-?negative|non-?zero|odd|even|prime|real|integer|natural|rational|complex"
_SETS = re.compile(rf"\\mathbb\{{([RZNQC])\}}|\b({_SORTS})")
_SET_NAMES = {"integer": "Z", "real": "R", "natural": "N", "rational": "Q", "complex": "C"}
_DENIED = re.compile(r"\\(?:neg|lnot|not)|[?#@&%]|(?<![A-Za-z])(?:not|no|if|but|than|never|about|un\w+)(?![A-Za-z])")
_WRITTEN = re.compile(r"\\[A-Za-z]+")
_REASONS = {"exact": "the same by exact arithmetic", "symbolic": "the same by algebra"}
_OPERATION = re.compile(r"[-+*/^!|\\](?!text|pi|infty|circ|cup)")
_FORMULA = re.compile(r"\$+|\\[\[\]()]")  # what stands between a formula and prose
_INTEGERS = ("inz", "inn", "inq")  # conditions, as `_plain` gives them
_KINDS = {
    Bag: "a set or list", Row: "a tuple or interval", Words: "words", Relation: "a relation", kinds.Grid: "a matrix",
}  # fmt: skip
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
    if reason := missing_answer(gold):
        return "gold_unparseable", reason, "gold"
    if not answer:
        return "no_answer", "the box is empty", "extract"
    if gold == answer:
        return "correct", "the same normal form", "same"
    try:
        return decide(gold, answer, Exact(order))
    except Undecided:
        return None


def missing_answer(gold: str) -> str:
    """Why a gold in normal form is no answer; empty if it is one."""
    if not gold or gold == "None":
        return "the gold is empty"
    worded = gold != "none" and re.fullmatch(r"(?:\\text\{)?[A-Za-z/. ]+\}?", gold)
    plain = re.sub("[^a-z]", "", gold.replace("\\text", "").lower())
    return f"the gold is {gold!r}, which is no answer" if worded and plain in _NO_ANSWERS - {"none"} else ""


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


_read = lru_cache(maxsize=1 << 12)(read)


def decide(gold: str, answer: str, judge: Exact) -> Outcome:
    """(status, reason, path) of two answers in normal form."""
    kept = _OPTION.fullmatch(gold)
    if kept and not _RIVAL.search(kept[2]):
        gold = kept[2] if _read(answer) == _read(kept[2]) else kept[1]
    gold = _EXPLAINED.sub("", gold)
    if _CHOICE.fullmatch(gold) and (chosen := _CHOSEN.fullmatch(answer)) and not _RIVAL.search(chosen[2]):
        answer = chosen[1]
    theirs, ours = _read(gold), _read(answer)
    if isinstance(theirs, Bag):
        ours = _letter_list(theirs, ours, answer)
    theirs, ours = _alternative(theirs, ours), _alternative(ours, theirs)
    if not isinstance(theirs, Bag) and (mixed := _AND_A_FRACTION.fullmatch(answer)):
        integer, top, bottom = filter(None, mixed.groups())
        ours = Leaf(rf"{integer}\frac{{{top}}}{{{bottom}}}")
    if equal_up_to_parameter(theirs, ours, judge):
        return "correct", _REASONS[judge.path], judge.path
    return "wrong", _difference(theirs, ours), judge.path


def _letter_list(gold: Bag, node: object, answer: str) -> object:
    """`AC` as A and C, where the gold is a list of choices."""
    letters_only = re.fullmatch(r"(?:\\text\{)?([A-Z]{2,6})\}?", answer)
    chosen = letters_only and all(isinstance(item, Words) and len("".join(item.words)) == 1 for item in gold.items)
    return Bag(tuple(Words((letter,)) for letter in letters_only[1])) if chosen and len(gold.items) > 1 else node


def _alternative(node: object, other: object) -> object:
    """`0.09 or 9/100` is one value in two spellings, where the other side has one value."""
    if not isinstance(node, Bag) or node.free or not isinstance(other, Leaf) or len({*node.items}) == 1:
        return node
    values = {rationals.value(item.text) if isinstance(item, Leaf) else None for item in node.items}
    return node.items[-1] if len(values) == 1 and None not in values else node


def _difference(gold: object, answer: object) -> str:
    if {type(gold), type(answer)} <= {Bag, Row} and len(gold.items) != len(answer.items):
        return f"{len(answer.items)} items, the gold has {len(gold.items)}"
    names = [_KINDS.get(type(node), "an expression") for node in (gold, answer)]
    return "not equal to the gold" if names[0] == names[1] else f"{names[1]}, the gold is {names[0]}"


def equal_up_to_parameter(gold: object, answer: object, judge: Exact) -> bool:
    """Equality up to the name of the integer in a family such as kπ, and up to its steps."""
    if equal_nodes(gold, answer, judge):
        return True
    names = {node.name for node in (gold, answer) if isinstance(node, Named)}
    if len(names) == 1:
        gold, answer = (node.value if isinstance(node, Named) else node for node in (gold, answer))
    if not isinstance(gold, Leaf | Row) or type(gold) is not type(answer) or "\\pi" not in str(gold):
        return False
    counting = [sorted(letters(node) & _PARAMETERS) for node in (answer, gold)]
    if len(counting[0]) == len(counting[1]) == 1 and counting[0] != counting[1]:
        answer = rename(answer, {counting[0][0]: counting[1][0]})
        if equal_nodes(gold, answer, judge):
            return True
    return len(counting[1]) == 1 and isinstance(gold, Leaf) and judge.same_family(gold.text, answer.text)


def equal_nodes(gold: object, answer: object, judge: Exact) -> bool:
    """Equality of two nodes."""
    types = {type(gold), type(answer)}
    if gold == answer:
        return True
    if Qualified in types:
        return _qualified(gold, answer, judge)
    if types == {Bag, Named}:
        gold, answer = _distributed(gold), _distributed(answer)
        types = {type(gold), type(answer)}
    if Named in types:
        return _named(gold, answer, judge)
    if Relation in types:
        return _relation(gold, answer, judge)
    if Bag in types and len(types) == 2:
        lone = [node.items[0] if isinstance(node, Bag) and len(node.items) == 1 else node for node in (gold, answer)]
        if lone != [gold, answer]:
            return equal_nodes(*lone, judge)
    if types == {Bag}:
        return _bags(gold, answer, judge)
    if types == {Bag, Row}:
        gold, answer = _as_point(gold), _as_point(answer)
        return type(gold) is type(answer) and gold.brackets == answer.brackets and _rows(gold, answer, judge)
    if types == {Leaf, Row}:
        size = len((gold if isinstance(gold, Row) else answer).items)
        gold, answer = (vector(node.text, size) or node if isinstance(node, Leaf) else node for node in (gold, answer))
    if types == {kinds.Clock, Leaf} or isinstance(answer, kinds.Clock) and len(types) == 2:
        gold, answer = (parts.as_ratio(node) if isinstance(node, kinds.Clock) else node for node in (gold, answer))
    if kinds.Ratio in (type(gold), type(answer)):
        return parts.equal_ratios(gold, answer, judge)
    if isinstance(gold, Words) and isinstance(answer, Leaf) and answer.text.isalpha() and len(answer.text) > 1:
        return answer.text.lower() == "".join(gold.words).lower()
    if _ENDLESS in (gold, answer):
        return Leaf("\\infty") in (gold, answer)
    compare = _COMPARE.get(type(gold)) if type(gold) is type(answer) else None
    return compare is not None and compare(gold, answer, judge)


def _pairwise(golds: Sequence, answers: Sequence, judge: Exact) -> bool:
    """Are there as many of one as of the other, each equal to its partner?"""
    return len(golds) == len(answers) and all(equal_nodes(*pair, judge) for pair in zip(golds, answers, strict=True))


def _distributed(node: object) -> object:
    """`P(x) = ±x` as two equations."""
    if not isinstance(node, Named) or not isinstance(node.value, Bag):
        return node
    return Bag(tuple(node._replace(value=item) for item in node.value.items), node.value.free)


def _congruences(gold: kinds.Congruence, answer: kinds.Congruence, judge: Exact) -> bool:
    same = not gold.left or not answer.left or gold.left == answer.left
    same = same and judge.equal_expressions(gold.modulus, answer.modulus)
    return same and equal_nodes(gold.residue, answer.residue, judge)


def _pieces(gold: kinds.Pieces, answer: kinds.Pieces, judge: Exact) -> bool:
    pairs = [[at for at, a in enumerate(answer.items) if _pairwise(g, a, judge)] for g in gold.items]
    return len(gold.items) == len(answer.items) and _matched(pairs)


def _rows(gold: Row, answer: Row, judge: Exact) -> bool:
    if gold.brackets != answer.brackets and (len(gold.items) == 2 or {gold.brackets, answer.brackets} != {"()", "[]"}):
        return False  # an interval's brackets say which ends belong to it; a longer tuple may be written either way
    return _pairwise(gold.items, answer.items, judge)


def _grids(gold: kinds.Grid, answer: kinds.Grid, judge: Exact) -> bool:
    if len(gold.rows) != len(answer.rows):
        return False
    return all(_pairwise(g, a, judge) for g, a in zip(gold.rows, answer.rows, strict=True))


def _bags(gold: Bag, answer: Bag, judge: Exact) -> bool:
    """The same number of items, each equal to one of the other side (equality is not transitive: a matching)."""
    if len(gold.items) != len(answer.items):
        return False
    names = [{item.name for item in bag.items if isinstance(item, Named)} for bag in (gold, answer)]
    if all(len(each) == len(gold.items) for each in names) and names[0] == names[1]:
        return _pairwise(*(sorted(bag.items, key=lambda item: item.name) for bag in (gold, answer)), judge)
    bases = {item.name[0] for item in gold.items if isinstance(item, Named)}
    if len(bases) == len(gold.items) > 1 and not names[1]:  # x=1, y=2 and 1, 2
        return _pairwise(gold.items, answer.items, judge)
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
    if not isinstance(gold, Named):
        if isinstance(gold, Relation):
            return gold.operators == ("=",) and judge.equivalent_relations(gold, _as_relation(answer))
        return equal_nodes(gold, answer.value, judge)
    if isinstance(answer, Relation):
        line = answer.operators == ("=",) and (letters(gold.value) or gold.arguments)  # an equation as an answer
        same = answer.sides[0].lower() == gold.name.lower() and _stated(gold.value, answer, judge)
        return same or bool(line) and judge.equivalent_relations(_as_relation(gold), answer)
    if not isinstance(answer, Named):
        return equal_nodes(gold.value, answer, judge)
    if len(gold.arguments) != len(answer.arguments):  # y=2x and f(x)=2x, not x=2 and f(x)=2
        explicit = bool(gold.arguments) != bool(answer.arguments) and letters(gold.value)
        return bool(explicit) and equal_nodes(gold.value, answer.value, judge)
    renamed = dict(zip(answer.arguments, gold.arguments, strict=True))
    captured = any(old != new and new in letters(answer.value) for old, new in renamed.items())
    if gold.name.lower() == answer.name.lower() and not captured:
        return equal_nodes(gold.value, rename(answer.value, renamed) if renamed else answer.value, judge)
    return not gold.arguments and judge.equivalent_relations(_as_relation(gold), _as_relation(answer))


def _as_relation(named: Named) -> Relation:
    return Relation(("=",), (named.name, parts.text_of(named.value)))


def _qualified(gold: object, answer: object, judge: Exact) -> bool:
    """A condition in words may be left out; two conditions must read alike. It also frees the letters it speaks of."""
    conditions = [_plain(node.condition) for node in (gold, answer) if isinstance(node, Qualified)]
    theirs = gold.value if isinstance(gold, Qualified) else gold
    ours = answer.value if isinstance(answer, Qualified) else answer
    interval = len(conditions) == 1 and isinstance(theirs, Row) and not letters(theirs) and conditions[0] in _INTEGERS
    number = isinstance(theirs, Leaf) and theirs is gold and not letters(theirs)
    if conditions[0] != conditions[-1] or interval or number:
        return False  # neither the integers of an interval for the interval, nor 7 for some x
    if equal_up_to_parameter(theirs, ours, judge):
        return True
    only = [sorted(letters(node) - letters(other)) for node, other in ((ours, theirs), (theirs, ours))]
    renamed = len(only[0]) == len(only[1]) == 1 and only[0][0] in _PARAMETERS
    return renamed and equal_nodes(theirs, rename(ours, {only[0][0]: only[1][0]}), judge)


def _plain(condition: str) -> str:
    """A condition for comparison: the set that it names, else its letters and digits."""
    names = [first or _SET_NAMES.get(second, second) for first, second in _SETS.findall(condition)]
    if names and not re.search(r"\d|[<>=^_]|leq|geq|neq", condition):
        return "in" + "".join(sorted(names, key=str.isupper)).replace("-", "").lower()
    condition = re.sub(r"^,?(?:\\forall)?\(?[A-Za-z](?=\\in)|^,?\\forall", "", condition)
    return re.sub(r"[^a-z0-9]", "", condition.replace("\\text", "").replace("mathbb", "").lower())


def _relation(gold: object, answer: object, judge: Exact) -> bool:
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return judge.equivalent_relations(gold, answer)
    if isinstance(answer, Relation):
        return _stated(gold, answer, judge)
    if gold.operators == ("=",):
        if isinstance(answer, Leaf) and judge.solves_relation(gold, answer.text):
            return True
        return _label(gold.sides[0]) and equal_nodes(read(gold.sides[-1]), answer, judge)
    order = len(set(gold.operators)) == 1 and gold.operators[0] in ("<", ">")
    return order and isinstance(answer, Bag) and _pairwise([*map(read, gold.sides)], answer.items, judge)


def _stated(gold: object, answer: Relation, judge: Exact) -> bool:
    """An equation stands for its last side if what it says holds, or if its left side names a quantity."""
    first, last = answer.sides[0], answer.sides[-1]
    if set(answer.operators) != {"="} or first == last:
        return False
    middle = [side for side in answer.sides[:-1] if not _has_name(side)]
    if len(middle) < len(answer.sides) - 1 and not _label(first):
        return False
    held = all(judge.equal_within_answer(_hundredths(last), _hundredths(side)) for side in middle)
    return held and equal_nodes(gold, read(last), judge)


def _hundredths(side: str) -> str:
    """A percentage as the number that it is."""
    number, unit = units.split_unit(side)
    return f"({number})\\cdot\\frac{{1}}{{100}}" if unit in ("percent", "pct") else side


def _label(text: str) -> bool:
    """The name of a quantity: letters, their subscripts and arguments, at most a quotient or product of such."""
    denied = _DENIED.search(text) or "\\mathbb" in text
    bare = re.sub(r"_\{[^{}]*\}|_\w|(?<=[A-Zafghpqru])\([^()]*\)", "", text)
    return not denied and _has_name(bare) and not re.search(r"[-+\d^<>=!]", bare)  # -x=3 says that x is -3


def _has_name(text: str) -> bool:
    """Does an expression hold a letter that names a quantity? The constants e and i do not."""
    commands = any(map(is_unknown, _WRITTEN.findall(text)))
    return commands or re.search(r"[A-Za-df-hj-z]|[A-Za-z]{2}", _WRITTEN.sub("", text)) is not None


def _as_point(node: object) -> object:
    """`x=1, y=2` as the point (1, 2)."""
    if not isinstance(node, Bag) or not all(isinstance(item, Named) for item in node.items):
        return node
    order = reading_order([item.name for item in node.items])
    return Row(tuple(node.items[place].value for place in order), "()")


_COMPARE = {
    Leaf: parts.equal_leaves, Words: parts.equal_words, Row: _rows, kinds.Grid: _grids, kinds.Pieces: _pieces,
    kinds.Clock: parts.equal_clocks, kinds.Congruence: _congruences,
}  # fmt: skip

"""Finds equal problems: within a set (duplicates) and between training and evaluation (leaks).

Two texts are compared by the character shingles of a normal form without spacing and cosmetic LaTeX. A shingle is
weighted by its inverse document frequency; one that many problems share weighs 0, because a phrase of a template is no
evidence. score = weight of the shared shingles / weight of the heavier of the two texts, in 0…1. Competitions reuse
sentences with other numbers, so a high score is not enough: the numbers and answers must agree as well.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

_WIDTH = 12  # characters a shingle: about three words once the spaces are gone
_FREQUENT_SHARE = 0.005  # a shingle in a larger share of the problems is boilerplate;
FREQUENT_FROM, FREQUENT_TO = 5, 50  # the limit is at least 5 and at most 50 problems
_BLOCK = 2048  # rows compared at a time
TOKEN = re.compile(r"\\(?:begin|end)\{[^}]*\}|\\[a-z]+|\\.|[a-z]+|\d+(?:\.\d+)?|[^\s\w]")
_EMPTY = re.compile(r"[_^]\{\s*\}")  # empty sub- and superscripts, which some converters leave
_NUMBER = re.compile(r"[-+]?\s*\d+(?:\.\d+)?")
_FRACTION = re.compile(r"(\\[dtc]?frac)\s*(\d)\s*(\d)")  # \frac12 is a half, not twelve
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_COSMETIC = frozenset(
    r"""$ { } . , ; : ? ~ & " ' ` \left \right \big \bigl \bigr \displaystyle \quad \qquad \text \textbf
    \textit \mathrm \mathbf \operatorname \, \! \; \: \  \\ \( \) \[ \] \$ \% \{ \}""".split()
    + ["\\ "]
)
_SYNONYMS = {
    **dict.fromkeys(("\\dfrac", "\\tfrac", "\\cfrac"), "\\frac"),
    **dict.fromkeys(("\\leq", "\\leqslant", "≤"), "\\le"),
    **dict.fromkeys(("\\geq", "\\geqslant", "≥"), "\\ge"),
    **dict.fromkeys(("\\cdots", "\\dots", "\\dotsb", "\\dotsc"), "\\ldots"),
    **dict.fromkeys(("−", "–"), "-"),
    "\\rightarrow": "\\to",
}


class Match(NamedTuple):
    """Row `left` of the first list matches row `right` of the second. The kinds are

    - same text: equal up to spacing and cosmetic LaTeX
    - same problem: much of the wording, the numbers and the answer are equal
    - variant: most of the wording is equal, but the numbers or the answer differ
    """

    left: int
    right: int
    score: float
    kind: str


def tokens(text: str) -> list[str]:
    """The words, numbers, LaTeX commands and signs of a text in normal form. Operators stay: +5 is not -5."""
    plain = _FRACTION.sub(r"\1 \2 \3 ", _EMPTY.sub("", unicodedata.normalize("NFKC", text).lower()))
    kept = (_SYNONYMS.get(token, token) for token in TOKEN.findall(plain) if token not in _COSMETIC)
    return [token for token in kept if not token.startswith(("\\begin", "\\end"))]


@lru_cache(maxsize=1 << 18)  # a comparison needs the key of each text several times
def key(text: str) -> str:
    """The normal form: equal for texts that differ only in spacing, case, dollar signs and the like."""
    return " ".join(tokens(text))


def numbers(text: str) -> Counter:
    """The numbers in a text and how often each occurs, without those that draw its figure."""
    return Counter(token for token in tokens(_FIGURE.sub("", text)) if token[0].isdigit())


def _shingles(text: str) -> np.ndarray:
    """The distinct hashes of the shingles of a text, uint64."""
    letters = np.frombuffer(key(text).replace(" ", "").encode(), dtype=np.uint8).astype(np.uint64)
    letters = np.pad(letters, (0, max(0, _WIDTH - len(letters))))
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(1, _WIDTH + 1, dtype=np.uint64)  # overflow is fine in a hash
    return np.unique(np.lib.stride_tricks.sliding_window_view(letters + 1, _WIDTH) @ powers)


def frequent(count: int) -> float:
    """The number of texts, out of `count`, above which a shingle or template is boilerplate."""
    return min(FREQUENT_TO, max(FREQUENT_FROM, _FREQUENT_SHARE * count))


def templates(texts: list[str]) -> list[str]:
    """Each text without its numbers where many texts share that template, as generated problems do; else ""."""
    blank = [_NUMBER.sub("#", key(text)) for text in texts]
    distinct = set(zip(blank, map(key, texts), strict=True))
    shared = Counter(template for template, _ in distinct)
    return [template if shared[template] > frequent(len(texts)) else "" for template in blank]


def _weighted(texts: list[str]) -> csr_matrix:
    """A matrix (texts, shingles) of square roots of weights: the product of two rows is their shared weight."""
    hashes = [_shingles(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(row) for row in hashes])
    distinct, columns, seen_in = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
    weight = np.where(seen_in > frequent(len(texts)), 0.0, np.log((len(texts) + 1) / seen_in))
    matrix = csr_matrix((np.sqrt(weight)[columns], (rows, columns)), shape=(len(texts), len(distinct)))
    matrix.eliminate_zeros()  # otherwise a product visits every pair that shares boilerplate
    return matrix


def _similar(left: list[str], right: list[str] | None, threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (row of left, row of right, score) with score ≥ threshold; without `right`, pairs i < j of left.

    The cost grows with the number of shared rare shingles, not with the number of pairs.
    """
    every = _weighted(left + (right or []))
    total = np.asarray(every.multiply(every).sum(axis=1)).ravel()
    start_of_right = 0 if right is None else len(left)
    above, below = every[: len(left)], every[start_of_right:].T.tocsr()
    above_total, below_total = total[: len(left)], total[start_of_right:]
    pairs = []
    for start in range(0, len(left), _BLOCK):
        shared = (above[start : start + _BLOCK] @ below).tocoo()
        i, j = shared.row + start, shared.col
        heavier = np.maximum(above_total[i], below_total[j])
        close = (shared.data >= threshold * heavier) & (heavier > 0) & ((right is not None) | (i < j))
        scores = np.minimum(1.0, shared.data[close] / heavier[close])
        pairs += zip(i[close].tolist(), j[close].tolist(), scores.tolist(), strict=True)
    return pairs


def matches(
    left: list[dict], right: list[dict] | None = None, threshold: float = 0.65, variant: float = 0.8
) -> list[Match]:
    """Records of `left` that match a record of `right`; without `right`, pairs of `left`, the earlier record first.

    A pair with score ≥ threshold is the same problem if its numbers and answers agree. If they differ and score ≥
    variant, it is a variant. Where an answer is missing, the numbers must agree and score ≥ variant.
    """
    others = left if right is None else right
    texts = [record["problem"] for record in left], [record["problem"] for record in others]
    made = templates(texts[0] + texts[1]) if right else templates(texts[0]) * 2
    scores = {
        (i, j): score
        for i, j, score in _similar(texts[0], None if right is None else texts[1], threshold)
        if not (made[i] and made[len(left) + j])  # problems made from templates match only if their texts are equal
    }
    scores |= {pair: 1.0 for pair in _equal_texts(*texts, within=right is None)}
    kinds = {(i, j): _kind_of(left[i], others[j], score, variant) for (i, j), score in scores.items()}
    return [Match(*pair, scores[pair], kinds[pair]) for pair in sorted(scores) if kinds[pair]]


def _equal_texts(left: list[str], right: list[str], within: bool) -> list[tuple[int, int]]:
    """Pairs of texts with equal normal forms; within one list, each row is paired only with the first equal one."""
    rows = defaultdict(list)
    for j, text in enumerate(right):
        rows[key(text)].append(j)
    if within:
        return [(first, j) for first, *others in rows.values() for j in others]
    return [(i, j) for i, text in enumerate(left) for j in rows.get(key(text), ())]


def _kind_of(one: dict, other: dict, score: float, variant: float) -> str:
    """The kind of match that a close pair is; empty for none."""
    if key(one["problem"]) == key(other["problem"]):
        return "same text"
    a, b = numbers(one["problem"]), numbers(other["problem"])
    answers = answer_key(one), answer_key(other)
    agree = answers[0] == answers[1] if all(answers) else score >= variant
    if agree and (a <= b or b <= a):  # one text may lack an example or a figure
        return "same problem"
    return "variant" if score >= variant else ""


def answer_key(record: dict) -> str:
    """The answer in normal form, without the left side of an equation: c = 2 becomes 2."""
    return key(record.get("gold") or "").split("=")[-1].strip()

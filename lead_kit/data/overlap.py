"""Problems that say the same thing: within a set (duplicates) and between training and evaluation (leaks).

Two texts are compared by the character shingles of a normal form (no spacing, no cosmetic LaTeX). A shingle counts
by its inverse document frequency, and one that many problems share counts nothing: a phrase of a template is no
evidence. score = weight of the shared shingles / weight of the heavier of the two texts, in 0…1. A high score alone is
not enough, since competitions reuse a sentence with other numbers: numbers and answers must agree as well.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

WIDTH = 12  # characters a shingle: about three words once the spaces are gone
FREQUENT_SHARE = 0.005  # a shingle in more of the problems than this is boilerplate,
FREQUENT_FROM, FREQUENT_TO = 5, 50  # but never below 5 problems and always above 50
BLOCK = 2048  # rows compared at a time
TOKEN = re.compile(r"\\(?:begin|end)\{[^}]*\}|\\[a-z]+|\\.|[a-z]+|\d+(?:\.\d+)?|[^\s\w]")
EMPTY = re.compile(r"[_^]\{\s*\}")  # scripts with nothing in them, left over by some converters
NUMBER = re.compile(r"[-+]?\s*\d+(?:\.\d+)?")
FRACTION = re.compile(r"(\\[dtc]?frac)\s*(\d)\s*(\d)")  # \frac12 is a half, not twelve
FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
COSMETIC = frozenset(
    r"""$ { } . , ; : ? ~ & " ' ` \left \right \big \bigl \bigr \displaystyle \quad \qquad \text \textbf
    \textit \mathrm \mathbf \operatorname \, \! \; \: \  \\ \( \) \[ \] \$ \% \{ \}""".split()
    + ["\\ "]
)
SYNONYMS = {
    **dict.fromkeys(("\\dfrac", "\\tfrac", "\\cfrac"), "\\frac"),
    **dict.fromkeys(("\\leq", "\\leqslant", "≤"), "\\le"),
    **dict.fromkeys(("\\geq", "\\geqslant", "≥"), "\\ge"),
    **dict.fromkeys(("\\cdots", "\\dots", "\\dotsb", "\\dotsc"), "\\ldots"),
    **dict.fromkeys(("−", "–"), "-"),
    "\\rightarrow": "\\to",
}


class Match(NamedTuple):
    """Row `left` of the first list says what row `right` of the second says; kind is one of KINDS."""

    left: int
    right: int
    score: float
    kind: str


KINDS = {
    "same text": "equal up to spacing and cosmetic LaTeX",
    "same problem": "much of the wording, the numbers and the answer are equal",
    "variant": "most of the wording is equal, the numbers or the answer are not",
}


def tokens(text: str) -> list[str]:
    """Words, numbers, LaTeX commands and signs of a text in normal form. Operators stay: +5 is not -5."""
    plain = FRACTION.sub(r"\1 \2 \3 ", EMPTY.sub("", unicodedata.normalize("NFKC", text).lower()))
    kept = (SYNONYMS.get(token, token) for token in TOKEN.findall(plain) if token not in COSMETIC)
    return [token for token in kept if not token.startswith(("\\begin", "\\end"))]


@lru_cache(maxsize=1 << 18)  # a comparison asks for each text's several times
def key(text: str) -> str:
    """Equal for texts that differ in spacing, case, dollar signs and the like alone."""
    return " ".join(tokens(text))


def numbers(text: str) -> Counter:
    """The numbers a text holds, with how often; those that draw its figure do not count."""
    return Counter(token for token in tokens(FIGURE.sub("", text)) if token[0].isdigit())


def shingles(text: str) -> np.ndarray:
    """Hashes of the shingles of a text, each once; uint64."""
    letters = np.frombuffer(key(text).replace(" ", "").encode(), dtype=np.uint8).astype(np.uint64)
    letters = np.pad(letters, (0, max(0, WIDTH - len(letters))))
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(1, WIDTH + 1, dtype=np.uint64)  # wraps around, as a hash may
    return np.unique(np.lib.stride_tricks.sliding_window_view(letters + 1, WIDTH) @ powers)


def frequent(count: int) -> float:
    """In more of `count` texts than this, a shingle or a template is boilerplate."""
    return min(FREQUENT_TO, max(FREQUENT_FROM, FREQUENT_SHARE * count))


def templates(texts: list[str]) -> list[str]:
    """For each text the text without numbers and signs where that is boilerplate, as of generated problems, else ""."""
    blank = [NUMBER.sub("#", key(text)) for text in texts]
    shared = Counter(
        template for template, _ in {(template, key(text)) for template, text in zip(blank, texts, strict=True)}
    )
    return [template if shared[template] > frequent(len(texts)) else "" for template in blank]


def weighted(texts: list[str]) -> csr_matrix:
    """One row a text, one column a shingle, the square root of its weight: a product of rows sums shared weights."""
    found = [shingles(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(one) for one in found])
    distinct, columns, seen_in = np.unique(np.concatenate(found), return_inverse=True, return_counts=True)
    weight = np.where(seen_in > frequent(len(texts)), 0.0, np.log((len(texts) + 1) / seen_in))
    matrix = csr_matrix((np.sqrt(weight)[columns], (rows, columns)), shape=(len(texts), len(distinct)))
    matrix.eliminate_zeros()  # else a product still visits every pair that shares boilerplate
    return matrix


def similar(left: list[str], right: list[str] | None, threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (row of left, row of right, score) with score ≥ threshold; without `right`, pairs i < j of left.

    Cost grows with the number of shared rare shingles, not with the number of pairs.
    """
    every = weighted(left + (right or []))
    total = np.asarray(every.multiply(every).sum(axis=1)).ravel()
    above, below = every[: len(left)], (every[len(left) :] if right else every).T.tocsr()
    above_total, below_total = total[: len(left)], total[len(left) :] if right else total
    found = []
    for start in range(0, len(left), BLOCK):
        shared = (above[start : start + BLOCK] @ below).tocoo()
        i, j = shared.row + start, shared.col
        heavier = np.maximum(above_total[i], below_total[j])
        close = (shared.data >= threshold * heavier) & (heavier > 0) & (bool(right) | (i < j))
        scores = np.minimum(1.0, shared.data[close] / heavier[close])
        found += zip(i[close].tolist(), j[close].tolist(), scores.tolist(), strict=True)
    return found


def matches(
    left: list[dict], right: list[dict] | None = None, threshold: float = 0.65, variant: float = 0.8
) -> list[Match]:
    """Records of `left` that say what a record of `right` says (without `right`: pairs of `left`, the first one first).

    A pair with score ≥ threshold is the same problem if its numbers and answers agree; one with score ≥ variant that
    disagrees in them is a variant. Where an answer is missing, the numbers and score ≥ variant must do.
    """
    others = left if right is None else right
    texts = [record["problem"] for record in left], [record["problem"] for record in others]
    made = templates(texts[0] + texts[1]) if right else templates(texts[0]) * 2
    close = {
        (i, j): score
        for i, j, score in similar(texts[0], None if right is None else texts[1], threshold)
        if not (made[i] and made[len(left) + j])  # of two instances of templates only equal texts are the same
    }
    close |= {pair: 1.0 for pair in equal_texts(*texts, within=right is None)}
    found = [
        Match(i, j, score, kind)
        for (i, j), score in close.items()
        if (kind := kind_of(left[i], others[j], score, variant))
    ]
    return sorted(found, key=lambda match: (match.left, match.right))


def equal_texts(left: list[str], right: list[str], within: bool) -> list[tuple[int, int]]:
    """Pairs of equal texts in normal form; within one list each row is paired with the first of its kind alone."""
    first, places = {}, defaultdict(list)
    for j, text in enumerate(right):
        places[key(text)].append(j)
    if not within:
        return [(i, j) for i, text in enumerate(left) for j in places.get(key(text), ())]
    for j, text in enumerate(right):
        first.setdefault(key(text), j)
    return [(first[key(text)], j) for j, text in enumerate(right) if first[key(text)] != j]


def kind_of(one: dict, other: dict, score: float, variant: float) -> str:
    """Which of KINDS a close pair is; empty for none."""
    if key(one["problem"]) == key(other["problem"]):
        return "same text"
    a, b = numbers(one["problem"]), numbers(other["problem"])
    answers = answer_key(one), answer_key(other)
    agree = answers[0] == answers[1] if all(answers) else score >= variant
    if agree and (a <= b or b <= a):  # an example or a figure may have been left out
        return "same problem"
    return "variant" if score >= variant else ""


def answer_key(record: dict) -> str:
    """The answer in normal form, without the left side of an equation: c = 2 is 2."""
    return key(record.get("gold") or "").split("=")[-1].strip()

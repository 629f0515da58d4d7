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
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from lead_kit.data import load
from lead_kit.errors import InputError
from lead_kit.runs.files import atomic, refuse_unwritable, shown
from lead_kit.safe_text import safe_line

_VARIANT = 0.8  # score from which a pair with other numbers or another answer is a variant
_WIDTH = 12  # characters a shingle: about three words once the spaces are gone
_FREQUENT_SHARE = 0.005  # a shingle in a larger share of the problems is boilerplate;
_FREQUENT_FROM, _FREQUENT_TO = 5, 50  # the limit is at least 5 and at most 50 problems
_BLOCK = 2048  # rows compared at a time
_TOKEN = re.compile(r"\\(?:begin|end)\{[^}]*\}|\\[a-z]+|\\.|[a-z]+|\d+(?:\.\d+)?|[^\s\w]")
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


def _tokens(text: str) -> list[str]:
    """The words, numbers, LaTeX commands and signs of a text in normal form. Operators stay: +5 is not -5."""
    plain = _FRACTION.sub(r"\1 \2 \3 ", _EMPTY.sub("", unicodedata.normalize("NFKC", text).lower()))
    kept = (_SYNONYMS.get(token, token) for token in _TOKEN.findall(plain) if token not in _COSMETIC)
    return [token for token in kept if not token.startswith(("\\begin", "\\end"))]


@lru_cache(maxsize=1 << 18)  # a comparison needs the key of each text several times
def normal_form(text: str) -> str:
    r"""The normal form: equal for texts that differ only in spacing, case, dollar signs and the like.

    >>> normal_form(r"What is $\dfrac12$?")
    'what is \\frac 1 2'
    """
    return " ".join(_tokens(text))


def _numbers(text: str) -> Counter:
    """The numbers in a text and how often each occurs, without those that draw its figure."""
    return Counter(token for token in _tokens(_FIGURE.sub("", text)) if token[0].isdigit())


def _shingles(text: str) -> np.ndarray:
    """The distinct hashes of the shingles of a text, uint64."""
    letters = np.frombuffer(normal_form(text).replace(" ", "").encode(), dtype=np.uint8).astype(np.uint64)
    letters = np.pad(letters, (0, max(0, _WIDTH - len(letters))))
    powers = np.uint64(0x9E3779B97F4A7C15) ** np.arange(1, _WIDTH + 1, dtype=np.uint64)  # overflow is fine in a hash
    return np.unique(np.lib.stride_tricks.sliding_window_view(letters + 1, _WIDTH) @ powers)


def _frequent(count: int) -> float:
    """The number of texts, out of `count`, above which a shingle or template is boilerplate."""
    return min(_FREQUENT_TO, max(_FREQUENT_FROM, _FREQUENT_SHARE * count))


def _templates(texts: list[str]) -> list[str]:
    """Each text without its numbers where many texts share that template, as generated problems do; else ""."""
    blank = [_NUMBER.sub("#", normal_form(text)) for text in texts]
    distinct = set(zip(blank, map(normal_form, texts), strict=True))
    shared = Counter(template for template, _ in distinct)
    return [template if shared[template] > _frequent(len(texts)) else "" for template in blank]


def _weighted(texts: list[str]) -> csr_matrix:
    """A matrix (texts, shingles) of square roots of weights: the product of two rows is their shared weight."""
    hashes = [_shingles(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(row) for row in hashes])
    distinct, columns, seen_in = np.unique(np.concatenate(hashes), return_inverse=True, return_counts=True)
    weight = np.where(seen_in > _frequent(len(texts)), 0.0, np.log((len(texts) + 1) / seen_in))
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


def matching_pairs(left: list[dict], right: list[dict] | None = None, threshold: float = 0.65) -> list[Match]:
    """Records of `left` that match a record of `right`; without `right`, pairs of `left`, the earlier record first.

    A pair with score ≥ threshold is the same problem if its numbers and answers agree. If they differ and score ≥ .8,
    it is a variant. Where an answer is missing, the numbers must agree and score ≥ .8.

    >>> matching_pairs([{"problem": "1 + 1?"}, {"problem": "$1+1$?"}])
    [Match(left=0, right=1, score=1.0, kind='same text')]
    """
    others = left if right is None else right
    texts = [record["problem"] for record in left], [record["problem"] for record in others]
    templates = _templates(texts[0] + texts[1]) if right else _templates(texts[0]) * 2
    scores = {
        (i, j): score
        for i, j, score in _similar(texts[0], None if right is None else texts[1], threshold)
        if not (templates[i] and templates[len(left) + j])  # problems of a template match only as equal texts
    }
    scores |= {pair: 1.0 for pair in _equal_texts(*texts, within=right is None)}
    kinds = {(i, j): _kind_of(left[i], others[j], score) for (i, j), score in scores.items()}
    return [Match(*pair, scores[pair], kinds[pair]) for pair in sorted(scores) if kinds[pair]]


def _equal_texts(left: list[str], right: list[str], within: bool) -> list[tuple[int, int]]:
    """Pairs of texts with equal normal forms; within one list, each row is paired only with the first equal one."""
    rows = defaultdict(list)
    for j, text in enumerate(right):
        rows[normal_form(text)].append(j)
    if within:
        return [(first, j) for first, *others in rows.values() for j in others]
    return [(i, j) for i, text in enumerate(left) for j in rows.get(normal_form(text), ())]


def _kind_of(record: dict, other: dict, score: float) -> str:
    """The kind of match that a close pair is; empty for none."""
    if normal_form(record["problem"]) == normal_form(other["problem"]):
        return "same text"
    a, b = _numbers(record["problem"]), _numbers(other["problem"])
    answers = answer_key(record), answer_key(other)
    agree = answers[0] == answers[1] if all(answers) else score >= _VARIANT
    if agree and (a <= b or b <= a):  # one text may lack an example or a figure
        return "same problem"
    return "variant" if score >= _VARIANT else ""


def answer_key(record: dict) -> str:
    """The answer in normal form, without the left side of an equation: c = 2 becomes 2."""
    return normal_form(record.get("gold") or "").split("=")[-1].strip()


LEAK = ["id", "set", "kind", "score", "problem", "gold", "evaluation_id", "evaluation_problem", "evaluation_gold"]
_REPORT = ["set", "problems", "in training", "share", "variants", "removed"]


def leaks(records: list[dict], evaluation: dict[str, list[dict]], threshold: float) -> list[dict]:
    """Training records that are also in an evaluation set, and variants to look at: one row a pair, columns LEAK."""
    held_out = [(name, record) for name, one_set in evaluation.items() for record in one_set]
    rows = []
    for match in matching_pairs(records, [record for _, record in held_out], threshold):
        record, (name, other) = records[match.left], held_out[match.right]
        values = (record["id"], name, match.kind, round(match.score, 3), record["problem"], record["gold"])
        rows.append(dict(zip(LEAK, (*values, other["id"], other["problem"], other["gold"]), strict=True)))
    return rows


def leak_report(evaluation: dict[str, list[dict]], leaked: list[dict]) -> pd.DataFrame:
    """One row for each evaluation set, columns REPORT; `leaked` are the rows of `leaks`.

    `in training` counts problems of the set that are the same text or the same problem, `variants` those of which only
    a variant is there, `removed` the training records that leave because of this set (one may leave for several).
    """
    rows = []
    for name, records in evaluation.items():
        of_set = [row for row in leaked if row["set"] == name]
        same = [row for row in of_set if row["kind"] != "variant"]
        in_training = {row["evaluation_id"] for row in same}
        variants = {row["evaluation_id"] for row in of_set} - in_training
        removed = len({row["id"] for row in same})
        share = len(in_training) / len(records) if records else 0.0
        rows.append([name, len(records), len(in_training), round(share, 4), len(variants), removed])
    return pd.DataFrame(rows, columns=_REPORT)


def leaks_command(set_a: str, set_b: str, threshold: float, out: str | None, show: int) -> int:
    """Prints which problems of B are also in A, and some pairs to read. Returns 1 where there are any, else 0.

    A is what is trained on; B may be a suite or a folder of several sets. Raises InputError for what cannot be read.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"--threshold {threshold:g}: expected a score above 0, at most 1")
    if out and Path(out).suffix != ".csv":
        raise InputError(f"--out {out}: expected the name of a .csv file")
    target = Path(out).expanduser().absolute() if out else None
    if target:
        refuse_unwritable(target)
    records = load.load_problems(set_a, need_gold=False)
    names = load.expand_names([set_b])
    evaluation = {name: load.load_problems(path, need_gold=False) for name, path in names.items()}
    leaked = leaks(records, evaluation, threshold)
    report = leak_report(evaluation, leaked)
    print(f"A = {set_a}, {len(records)} problems; a variant has close wording, but other numbers or another answer")
    print(report.rename(columns={"in training": "in A", "removed": "records of A"}).to_string(index=False))
    for row in sorted(leaked, key=lambda row: (row["kind"] == "variant", row["score"]))[:show]:
        pair = f"{safe_line(row['id'])} and {safe_line(row['evaluation_id'])} of {row['set']}"
        print(f"{row['kind']}, score {row['score']}: {pair}")
        for part in ("", "evaluation_"):
            print(f"  {safe_line(row[part + 'problem'])}  → {safe_line(row[part + 'gold'])}")
    if target:
        with atomic(target) as part:
            pd.DataFrame(leaked, columns=LEAK).to_csv(part, index=False)
        print(f"written: {shown(target)}")
    return int(bool(report["in training"].sum()))

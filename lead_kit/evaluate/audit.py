"""The same answers under three graders: string equality, plain sympy, and the verifier; and what a wrong verdict does
to its group."""

import time
from pathlib import Path

import pandas as pd
import torch

from lead_kit.errors import InputError
from lead_kit.method import advantages
from lead_kit.verify import Verifier, extract
from lead_kit.verify.extraction import NestedBox

GRADERS = ("string", "sympy", "verifier")
SMALL = {  # gold → eight ways to answer, right and wrong
    "\\frac{1}{2}": ("\\frac{1}{2}", "0.5", "\\dfrac12", "1/2", "\\frac{2}{4}", "2", "0.33", "x=\\frac{1}{2}"),
    "3": ("3", "3.0", "\\text{3}", "x=3", "\\pm 3", "3 \\text{ or } 4", "\\geq 3", "4=3"),
    "10{,}000": ("10000", "10,000", "10^4", "10{,}000", "1000", "10000.9", "10,000 \\text{ cm}", "10,00"),
    "52_8": ("52_8", "52_{8}", "52", "42", "52_{\\text{eight}}", "52_9", "52.0", "520_8"),
    "-2,1": ("-2,1", "1, -2", "\\{1,-2\\}", "x=1 \\text{ or } x=-2", "(1,-2)", "1", "1,-2,3", "2,-1"),
    "(3,4]": ("(3,4]", "3<x\\leq 4", "x\\in(3,4]", "[3,4]", "\\{x \\mid 3<x\\leq 4\\}", "(3,4)", "3.5", "x>3"),
    "25\\%": ("25\\%", "25", "0.25", "\\frac14", "25 \\text{ percent}", "2.5", "75\\%", "\\frac{25}{10}"),
    "x^2+2x+1": ("(x+1)^2", "x^2+2x+1", "1+x(x+2)", "x^2", "(y+1)^2", "x^2+2x+1+C", "(x-1)^2", "f(x)=(x+1)^2"),
    "\\frac{3\\pi}{4}": ("\\frac{3\\pi}{4}", "135^\\circ", "0.75\\pi", "2.356", "\\frac{\\pi}{4}", "3\\pi/4",
    "-\\frac{3\\pi}{4}", "135"),
    "\\begin{pmatrix}1\\\\2\\end{pmatrix}": (
        "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}", "(1,2)", "(2,1)",
        "\\langle 1,2\\rangle",
        "1,2", "\\{1,2\\}", "3",
    ),
    "\\text{even}": ("even", "\\text{even}", "Even", "odd", "even function", "\\textbf{even}", "e v e n", "2k"),
    "2^{200}": ("2^{200}", "4^{100}", "2^{200}+1", "2^{199}", "9^{9^{9^{9}}}", "(2^{100})^2", "2^{20}", "16^{50}"),
}  # fmt: skip


class Plain(Verifier):
    """Parse both sides, simplify the difference: sympy without any of the verifier's rules, in the same worker
    processes."""

    judge = "lead_kit.verify.plain"


def small() -> list[dict]:
    """Twelve golds with eight answers each: rows {id, gold, completion}."""
    return [
        {"id": f"small-{number}", "gold": gold, "completion": f"so it is \\boxed{{{answer}}}"}
        for number, (gold, answers) in enumerate(SMALL.items())
        for answer in answers
    ]


def load(path: Path) -> list[dict]:
    """Rows {id, gold, completion} of a .jsonl or .parquet file (`answer` is read as the gold). Raises InputError."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True, dtype=False)
    frame = frame if "gold" in frame else frame.rename(columns={"answer": "gold"})
    if missing := [name for name in ("id", "gold", "completion") if name not in frame]:
        raise InputError(f"{path} has no column {missing[0]!r}, expected id, gold (or answer) and completion")
    return frame[["id", "gold", "completion"]].astype(str).to_dict("records")


def answer_of(completion: str) -> str:
    """The boxed answer, "" if there is none."""
    try:
        return extract(completion) or ""
    except NestedBox:
        return ""


def grade(rows: list[dict], workers: int) -> pd.DataFrame:
    """One row an answer: `string`, `sympy`, `verifier` (bool), their milliseconds (ms_…), the verifier's status,
    reason and path."""
    with Verifier(workers).warm() as verifier, Plain(workers).warm() as plain:
        graded = [_graded(row, verifier, plain) for row in rows]
    return pd.DataFrame(graded)


def _graded(row: dict, verifier: Verifier, plain: Plain) -> dict:
    answer, start = answer_of(row["completion"]), time.perf_counter()
    string = answer.strip() == row["gold"].strip()
    middle = time.perf_counter()
    simplified = plain.ask(answer, row["gold"])
    verdict = verifier.check(row["completion"], row["gold"])
    return {
        "id": row["id"], "gold": row["gold"], "answer": answer,
        "string": string, "sympy": simplified.correct, "verifier": verdict.correct,
        "ms_string": (middle - start) * 1000, "ms_sympy": simplified.seconds * 1000,
        "ms_verifier": verdict.seconds * 1000,
        "status": verdict.status, "reason": verdict.reason, "path": verdict.path, "length": len(row["completion"]),
    }  # fmt: skip


def disagreements(graded: pd.DataFrame) -> pd.DataFrame:
    """The answers on which the graders differ, to be read."""
    differ = graded[list(GRADERS)].nunique(axis=1) > 1
    return graded.loc[differ, ["gold", "answer", *GRADERS, "reason"]].reset_index(drop=True)


def latency(graded: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds an answer, by grader: median, 90th and 99th percentile, most."""
    quantiles = {"median": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}
    return pd.DataFrame(
        {name: {said: graded[f"ms_{name}"].quantile(q) for said, q in quantiles.items()} for name in GRADERS}
    ).T


def with_advantages(graded: pd.DataFrame, *, std_ddof: int, std_epsilon: float) -> pd.DataFrame:
    """`graded` with the GRPO advantage of every answer under each grader (advantage_…); a group is what shares an
    id."""
    parts = []
    for _, group in graded.groupby("id", sort=False):
        part = group.copy()
        for name in GRADERS:
            part[f"advantage_{name}"] = _advantages(group[name], group["length"], std_ddof, std_epsilon)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _advantages(correct: pd.Series, length: pd.Series, std_ddof: int, std_epsilon: float) -> list[float]:
    right, characters = (torch.from_numpy(column.to_numpy(float))[None] for column in (correct, length))
    group = advantages.Group(correct=right, length=characters, reward=right)
    return advantages.grpo(group, std_ddof=std_ddof, std_epsilon=std_epsilon)[0].tolist()


def damage(advised: pd.DataFrame) -> pd.DataFrame:
    """By grader: verdicts that differ from the verifier's, answers whose advantage changes sign, the mean change,
    groups that lose all signal."""
    rows = {}
    for name in GRADERS[:2]:
        ours, theirs = advised["advantage_verifier"], advised[f"advantage_{name}"]
        silent = advised.groupby("id").apply(lambda g, name=name: _silenced(g, name), include_groups=False)
        rows[name] = {
            "other verdicts": int((advised[name] != advised["verifier"]).sum()),
            "advantages of the other sign": int((ours * theirs < 0).sum()),
            "mean |change of advantage|": float((ours - theirs).abs().mean()),
            "groups without any signal left": int(silent.sum()),
        }
    return pd.DataFrame(rows).T


def worst_group(advised: pd.DataFrame) -> pd.DataFrame:
    """The group in which an advantage under string equality or sympy differs most from the verifier's."""
    gaps = [(advised[f"advantage_{name}"] - advised["advantage_verifier"]).abs() for name in GRADERS[:2]]
    return advised[advised["id"] == advised.loc[pd.concat(gaps, axis=1).max(axis=1).idxmax(), "id"]]


def _silenced(group: pd.DataFrame, name: str) -> bool:
    return bool(group["verifier"].nunique() > 1 and group[name].nunique() == 1)

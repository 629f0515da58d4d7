"""The same answers under three graders (string equality, plain sympy, the verifier), and the advantages they give."""

from pathlib import Path

import numpy as np
import pandas as pd
import sympy
import torch

from lead_kit.evaluate.score import read_problems
from lead_kit.method import advantages
from lead_kit.verify import Verifier, sympy_judge
from lead_kit.verify.latex_to_sympy import Unreadable, parse

GRADERS = ("string", "sympy", "verifier")
_SMALL = {  # gold → eight ways to answer, right and wrong
    "\\frac{1}{2}": ("\\frac{1}{2}", "0.5", "\\dfrac12", "1/2", "\\frac{2}{4}", "2", "0.33", "x=\\frac{1}{2}"),
    "3": ("3", "3.0", "\\text{3}", "x=3", "\\pm 3", "3 \\text{ or } 4", "\\geq 3", "4=3"),
    "10{,}000": ("10000", "10,000", "10^4", "10{,}000", "1000", "10000.9", "10,000 \\text{ cm}", "10,00"),
    "52_8": ("52_8", "52_{8}", "52", "42", "52_{\\text{eight}}", "52_9", "52.0", "520_8"),
    "-2,1": ("-2,1", "1, -2", "\\{1,-2\\}", "x=1 \\text{ or } x=-2", "(1,-2)", "1", "1,-2,3", "2,-1"),
    "(3,4]": ("(3,4]", "3<x\\leq 4", "x\\in(3,4]", "[3,4]", "\\{x \\mid 3<x\\leq 4\\}", "(3,4)", "3.5", "x>3"),
    "25\\%": ("25\\%", "25", "0.25", "\\frac14", "25 \\text{ percent}", "2.5", "75\\%", "\\frac{25}{10}"),
    "x^2+2x+1": ("(x+1)^2", "x^2+2x+1", "1+x(x+2)", "x^2", "(y+1)^2", "x^2+2x+1+C", "(x-1)^2", "f(x)=(x+1)^2"),
    "\\frac{3\\pi}{4}": (
        "\\frac{3\\pi}{4}", "135^\\circ", "0.75\\pi", "2.356", "\\frac{\\pi}{4}", "3\\pi/4", "-\\frac{3\\pi}{4}", "135",
    ),
    "\\begin{pmatrix}1\\\\2\\end{pmatrix}": (
        "\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}", "(1,2)", "(2,1)",
        "\\langle 1,2\\rangle", "1,2", "\\{1,2\\}", "3",
    ),
    "\\text{even}": ("even", "\\text{even}", "Even", "odd", "even function", "\\textbf{even}", "e v e n", "2k"),
    "2^{200}": ("2^{200}", "4^{100}", "2^{200}+1", "2^{199}", "9^{9^{9^{9}}}", "(2^{100})^2", "2^{20}", "16^{50}"),
}  # fmt: skip


class _Plain(Verifier):
    """Sympy alone, in the verifier's worker processes: parse both sides, simplify the difference."""

    judge = __name__  # `warm` and `decide` below


def builtin_answers() -> list[dict]:
    """Rows {id, gold, completion} of SMALL."""
    return [
        {"id": f"small-{number}", "gold": gold, "completion": f"so it is \\boxed{{{answer}}}"}
        for number, (gold, answers) in enumerate(_SMALL.items())
        for answer in answers
    ]


def read_answers(path: Path) -> list[dict]:
    """Rows {id, gold, completion} of a file as `lead score` reads it. Raises InputError."""
    return [
        {"id": problem.id, "gold": problem.golds[0], "completion": text}
        for problem in read_problems(path)
        for text in problem.completions
    ]


def warm() -> None:
    """Load what simplification imports, as a worker may open no file."""
    pairs = ("(x+1)^2", "x^2+2x+1"), ("\\sin^2x+\\cos^2x", "1"), ("\\sqrt{8}+n!", "2\\sqrt{2}+n!")
    sympy_judge.warm()
    for gold, answer in (*sympy_judge.EXAMPLES, *pairs):
        decide(gold, answer)


def decide(gold: str, answer: str) -> tuple[str, str, str]:
    """The baseline's (status, reason, path), in a worker: equal if sympy reduces the difference to 0."""
    try:
        same = sympy.simplify(parse(gold) - parse(answer)) == 0
    except Unreadable:
        return "wrong", "cannot be read", "sympy"
    return ("correct", "the difference is 0", "sympy") if same else ("wrong", "the difference is not 0", "sympy")


def grade(rows: list[dict], workers: int) -> pd.DataFrame:
    """One row an answer: `string`, `sympy`, `verifier` (bool), and the verifier's status, reason and path."""
    golds = [row["gold"] for row in rows]
    with Verifier(workers).warm() as verifier, _Plain(workers).warm() as plain:
        verdicts = verifier.check_many([row["completion"] for row in rows], golds)
        answers = [verdict.answer or "" for verdict in verdicts]
        simplified = [plain.ask(answer, gold).correct for answer, gold in zip(answers, golds, strict=True)]
    graded = pd.DataFrame({"id": [row["id"] for row in rows], "gold": golds, "answer": answers})
    graded["string"] = graded["answer"].str.strip() == graded["gold"].str.strip()
    graded["sympy"], graded["verifier"] = simplified, [verdict.correct for verdict in verdicts]
    for field in ("status", "reason", "path"):
        graded[field] = [getattr(verdict, field) for verdict in verdicts]
    return graded.assign(length=[len(row["completion"]) for row in rows])


def disagreements(graded: pd.DataFrame) -> pd.DataFrame:
    """The answers on which the graders differ."""
    differ = graded[list(GRADERS)].nunique(axis=1) > 1
    return graded.loc[differ, ["gold", "answer", *GRADERS, "reason"]].reset_index(drop=True)


def with_advantages(graded: pd.DataFrame, *, std_ddof: int, std_epsilon: float) -> pd.DataFrame:
    """`graded` with the GRPO advantage of each answer under each grader (advantage_…); a group has one id."""

    def advantages_of(verdicts: pd.Series) -> np.ndarray:
        correct = torch.tensor(verdicts.to_numpy(float))[None]
        group = advantages.Group(correct=correct, length=correct, reward=correct)
        return advantages.grpo(group, std_ddof=std_ddof, std_epsilon=std_epsilon)[0].numpy()

    groups = graded.astype(dict.fromkeys(GRADERS, float)).groupby("id", sort=False)
    return graded.assign(**{f"advantage_{name}": groups[name].transform(advantages_of) for name in GRADERS})


def effect_on_advantages(advised: pd.DataFrame) -> pd.DataFrame:
    """For string equality and sympy: how their verdicts and advantages differ from the verifier's."""
    rows = {}
    differing_verdicts = advised.groupby("id")[list(GRADERS)].nunique() > 1
    for name in GRADERS[:2]:
        ours, theirs = advised["advantage_verifier"], advised[f"advantage_{name}"]
        rows[name] = {
            "other verdicts": int((advised[name] != advised["verifier"]).sum()),
            "advantages of the other sign": int((ours * theirs < 0).sum()),
            "mean |change of advantage|": float((ours - theirs).abs().mean()),
            "zero-advantage groups": int((differing_verdicts["verifier"] & ~differing_verdicts[name]).sum()),
        }
    return pd.DataFrame(rows).T


def worst_group(advised: pd.DataFrame) -> pd.DataFrame:
    """The group with the largest difference of an advantage from the verifier's."""
    gaps = [(advised[f"advantage_{name}"] - advised["advantage_verifier"]).abs() for name in GRADERS[:2]]
    return advised[advised["id"] == advised.loc[pd.concat(gaps, axis=1).max(axis=1).idxmax(), "id"]]

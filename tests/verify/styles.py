"""Real golds as models write them: forty styles, each a function of the gold, and changes that make another answer."""

import ast
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_INTEGER = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?|-?\\frac\{\d+\}\{\d+\}")
_FRACTION = re.compile(r"\\[dt]?frac(?![a-z])")


def _around(before: str, after: str) -> Callable[[str], str]:
    return lambda gold: f"{before}{gold}{after}"


def _fractions(name: str) -> Callable[[str], str | None]:
    return lambda gold: _FRACTION.sub(rf"\\{name}", gold) if _FRACTION.search(gold) else None


def _number(before: str, after: str) -> Callable[[str], str | None]:
    return lambda gold: f"{before}{gold}{after}" if _NUMBER.fullmatch(gold) else None


def _grouped(comma: str) -> Callable[[str], str | None]:
    return lambda gold: f"{int(gold):,}".replace(",", comma) if _INTEGER.fullmatch(gold) else None


def _spaced(gold: str) -> str:
    """Spaces around signs, outside of `\\text{...}`."""
    return gold if "\\text" in gold or "\\mbox" in gold else re.sub(r"(?<=[\w)}])([-+=])(?=[\w(\\])", r" \1 ", gold)


def _tight(gold: str) -> str:
    return gold if "\\text" in gold or "\\mbox" in gold else re.sub(r"(?<=[-+=*/(]) | (?=[-+=*/)])", "", gold)


def _brackets(gold: str) -> str | None:
    if "left" in gold or gold.count("(") != gold.count(")") or not re.search(r"[()]", gold):
        return None
    return gold.replace("(", "\\left(").replace(")", "\\right)")


def _unicode(gold: str) -> str | None:
    new = re.sub(r"\\pi(?![a-z]) ?", "π", re.sub(r"\\infty(?![a-z]) ?", "∞", gold)).replace("^{2}", "²")
    return new if new != gold and "{π" not in new else None


STYLES: dict[str, Callable[[str], str | None]] = {
    "as it is": _around("", ""), "dollars": _around("$", "$"), "parentheses": _around("\\(", "\\)"),
    "square brackets": _around("\\[", "\\]"), "double dollars": _around("$$", "$$"),
    "displaystyle": _around("\\displaystyle ", ""), "dfrac": _fractions("dfrac"), "tfrac": _fractions("tfrac"),
    "boldsymbol": _around("\\boldsymbol{", "}"), "mathbf": _around("\\mathbf{", "}"), "bm": _around("\\bm{", "}"),
    "text": _around("\\text{", "}"), "textbf": _around("\\textbf{", "}"), "mathrm": _around("\\mathrm{", "}"),
    "mathit": _around("\\mathit{", "}"), "mathsf": _around("\\mathsf{", "}"), "spaced": _spaced, "tight": _tight,
    "thin space": _around("\\,", "\\,"), "spaces": _around("\\ ", "\\ "), "braces": _around("{", "}"),
    "left and right": _brackets, "a point": _around("", "."), "quad": _around("\\quad ", "\\quad"),
    "large": _around("\\large ", ""), "color": _around("\\color{blue}{", "}"),
    "textcolor": _around("\\textcolor{red}{", "}"), "colorbox": _around("\\colorbox{yellow}{$", "$}"),
    "underline": _around("\\underline{", "}"), "stars": _around("**", "**"),
    "a check mark": _around("", "\\ \\checkmark"),
    "a sentence": _around("\\text{The answer is } ", ""), "a name": _number("N = ", ""),
    "square units": _number("", "\\text{ square units}"), "a unit": _number("", "\\,\\mathrm{cm}"),
    "a noun": _number("", "\\text{ bolts}"), "hspace": _around("\\hspace{1mm}", ""),
    "therefore": _around("\\therefore ", ""), "ensuremath": _around("\\ensuremath{", "}"),
    "fbox": _around("\\fbox{", "}"), "a tag": _around("", "\\tag{1}"), "commas": _grouped(","),
    "commas in braces": _grouped("{,}"), "thin spaces in numbers": _grouped("\\,"), "unicode": _unicode,
    "phantom": _around("\\phantom{0}", ""), "a box": _around("\\boxed{", "}"), "tildes": _around("~", "~"),
}  # fmt: skip


def real_golds(folder: Path) -> list[str]:
    """The golds of all benchmarks and training sets under LEAD_DATA, each once, without formula signs around them."""
    golds: dict[str, None] = {}
    for path in sorted([*(folder / "benchmarks").glob("*.jsonl"), *(folder / "train").glob("*.jsonl")]):
        for line in path.open(encoding="utf-8"):
            gold = str(json.loads(line)["answer"])
            if gold.startswith(("['", '["')):
                gold = str(ast.literal_eval(gold)[0])
            gold = gold.strip().strip("$").strip()
            if gold and "$" not in gold.replace("\\$", "") and "\\boxed" not in gold and "\\[" not in gold:
                golds[gold] = None
    return list(golds)


def styled(golds: list[str]) -> Iterator[tuple[str, str, str]]:
    """(gold, style, answer), all equal."""
    for gold in golds:
        for name, style in STYLES.items():
            if (answer := style(gold)) is not None:
                yield gold, name, answer


def changed(golds: list[str], seed: int = 0) -> Iterator[tuple[str, str, str]]:
    """(gold, style, answer), all unequal: a digit, the sign or a bracket of the gold is another one."""
    draw = random.Random(seed)
    for gold in golds:
        digits = [place for place, char in enumerate(gold) if char in "123456789"]
        others = []
        if digits:
            place = draw.choice(digits)
            digit = draw.choice([each for each in "123456789" if each != gold[place]])
            others.append(gold[:place] + digit + gold[place + 1 :])
        if re.fullmatch(r"\d+|\\frac\{\d+\}\{\d+\}", gold) and gold.strip("0"):
            others.append("-" + gold)
        if re.fullmatch(r"\(.*,.*\]", gold):
            others.append(gold[:-1] + ")")
        for other in others:
            name = draw.choice(list(STYLES))
            if (answer := STYLES[name](other)) is not None:
                yield gold, name, answer

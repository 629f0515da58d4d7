"""What is never handed to algebra: texts whose size or shape alone can cost more than any honest answer."""

import re

from lead_kit.verify.extraction import joined_boxes

MAX_LENGTH = 2000  # characters; the longest gold of the usual benchmarks has under 400
MAX_DIGITS = 400  # digits in one number
MAX_DEPTH = 24  # nested brackets
MAX_ITEMS = 120  # commas, unions, rows
MAX_EXPONENT = 10**4  # a literal exponent of a number
MAX_SYMBOLIC_EXPONENT = 60  # a literal exponent of a sum, which an expansion would multiply out
MAX_FACTORIAL = 5000
SHOWN = 2000  # characters of an answer that a verdict repeats
CODE = re.compile(
    r"__|(?<!\\)\b(?:eval|exec|open|import|lambda|compile|getattr|globals|subprocess|os\.|sys\.)\b|<<|>>|\bfor\b[^{}]{0,40}\bin\b\s*[\[(]"
)
LIMITS = re.compile(r"\\(?:sum|prod|int|lim)_(?:\{[^{}]*\}|\w)\^(?:\{[^{}]*\}|\w)")


def gold_text(gold: str) -> str:
    """A gold as its answer alone: the content of its last box, or boxes, if it has any."""
    if "\\boxed" not in gold and "\\fbox" not in gold:
        return gold
    boxed = joined_boxes(gold)
    return gold if boxed is None else boxed


def refuse(text: str) -> str:
    """A clause that says why a text is not handed on; empty if nothing speaks against it."""
    if len(text) > MAX_LENGTH:
        return f"{len(text)} characters, at most {MAX_LENGTH}"
    if re.search(rf"\d[\d,.\s]{{{MAX_DIGITS},}}", text):
        return f"a number of more than {MAX_DIGITS} digits"
    if "\0" in text:
        return "a null character"
    if _depth(text) > MAX_DEPTH:
        return f"brackets nested deeper than {MAX_DEPTH}"
    if len(re.findall(r"[,;&]|\\cup|\\\\", text)) > MAX_ITEMS:
        return f"more than {MAX_ITEMS} items"
    if CODE.search(text):
        return "program text"
    return _explosive(text)


def _depth(text: str) -> int:
    deepest = depth = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def _explosive(text: str) -> str:
    """Towers, factorials, binomials and powers by their literal sizes."""
    flat = re.sub(r"\s|\\left|\\right|\\,", "", text).replace("**", "^")
    if re.search(r"\^[-+({]*[^-+,;=<>]{0,30}\^[-+({]*[^-+,;=<>]{0,30}\^", flat) and _towers(flat) > 2:
        return "a tower of powers"
    for exponent in re.findall(r"\^[-+({]*(\d+)", flat):
        if len(exponent) > 6 or int(exponent) > MAX_EXPONENT:
            return f"an exponent over {MAX_EXPONENT}"
    flat = LIMITS.sub("", flat)
    for base, exponent in re.findall(r"([)}\]])\^[-+({]*(\d+)", flat):
        if int(exponent) > MAX_SYMBOLIC_EXPONENT and base:
            return f"a bracket raised to more than {MAX_SYMBOLIC_EXPONENT}"
    flat = flat.replace("!!", "!")
    for number in re.findall(r"(\d+)[})]*!", flat):
        if len(number) > 4 or int(number) > MAX_FACTORIAL:
            return f"a factorial over {MAX_FACTORIAL}!"
    if re.search(r"!\s*[)}]*\s*!|[)}]!", flat) and (
        flat.count("!") > 4 or re.search(r"![)}]*!", flat) or re.search(r"\d\^[^!]*[)}]!", flat)
    ):
        return "a factorial of something large"
    for number in re.findall(r"binom\{?(\d+)", flat):
        if len(number) > 5:
            return "a binomial of a large number"
    return ""


def _towers(flat: str) -> int:
    r"""The largest number of powers stacked in one another: 2 for a^{b^c}."""
    tallest = height = 0
    open_powers: list[bool] = []
    at = 0
    while at < len(flat):
        if flat[at] == "^":
            height += 1
            tallest = max(tallest, height)
            if flat[at + 1 : at + 2] in ("{", "("):
                open_powers.append(True)
                at += 2
                continue
            if flat[at + 2 : at + 3] != "^":
                height -= 1
        elif flat[at] in "{([":
            open_powers.append(False)
        elif flat[at] in "})]" and open_powers and open_powers.pop():
            height -= 1
        at += 1
    return tallest

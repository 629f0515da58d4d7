"""The answer in a completion. Every function is linear in the length of the text."""

import re
from collections.abc import Callable

from lead_kit.verify.latex_scan import is_balanced

_NAME = r"(?:\\{1,2}(?:boxed|fbox|framebox)|(?<![A-Za-z\\])boxed)"
_BOX = re.compile(rf"{_NAME}\s*\{{|\\[\s\S]|[{{}}]")
_WRAPPING = re.compile(rf"(?:{_NAME}\s*\{{\s*)*")
_NESTED = re.compile(_NAME)
# a box without braces, up to the end of its formula, sentence or number
_START, _END = r"(?=[-+\d.]|\\(?:frac|dfrac|tfrac|sqrt|pi)(?![a-z]))", r"(?:\$|\\[)\]]|\n|\. |\Z| [A-Za-z]{2})"
_BARE_BOX = re.compile(rf"\\(?:boxed|fbox|framebox) *{_START}(.*?){_END}")
_TAG = re.compile(r"<(?:final_?)?answer>|\[answer\]", re.IGNORECASE)
_ENDING_TAG = re.compile(r"</(?:final_?)?answer>|\[/answer\]", re.IGNORECASE)
_JSON = re.compile(r'"(?:final_)?answer"\s*:\s*(?:"((?:[^"\\\n]|\\.){0,500})"|([^\s",}]{1,500}))')
REGIONS = ("after_think", "before_think")
_MARKER = re.compile(
    r"(?i)(?:final answer|answer|réponse|respuesta|antwort|ответ|答案)[*\"]*\s*"
    r"(?:(?:is|est|es|ist|are|would be)\b|是|为)?\s*[:：=]?|####"
)
_LABELLED = re.compile(r"(?:^|\n)[ *]*A[ *]*[:：][ *]*([^\n]{1,80})$")  # "A: 18" as the last line
_PRICE = re.compile(r"(?<!\\)\$(?=\d[\d,.]*(?![\d$\w\\^_{])(?:[^$]*(?:\Z|\$\s?\d)|[^$\\]*[A-Za-z]{3}[^$\\]*\$))")
_FINAL = re.compile(
    r"(?i)final answer(?: is|:| =)\W{0,6}(?!\\boxed)\w|####\s*\S|\n[ *#_]*answer[ *_]*[:：=]\W{0,6}(?!boxed)\w"
)
_MATH = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:[^\\]|\\[^)])*)\\\)|\\\[((?:[^\\]|\\[^\]])*)\\\]")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|-?\.\d+")
_JOINED = re.compile(
    r"\}?[\s$,;.()\\{}]*(?:\\(?:quad|qquad|text|textbf|\(|\)|boxed|fbox|framebox)"
    r"|and|or|[\s$,;.()\\{}]|[\w()]+ ?= ?|for part \(\w\)){0,24}"
)
_CONNECTED = re.compile(rf"(?=[^.]*(?:[,;]|and|or))(?!.*\.){_JOINED.pattern}", re.DOTALL)
_SENTENCE = re.compile(r"\n\s*\n|(?<!\d)\.\s+(?=[A-Z])|(?<=\d)\.\s+(?=[A-Z])|<\|")
_CONCLUSION = re.compile(r"\b(?:therefore|thus|hence|so|in total|there (?:are|is))\b,?", re.IGNORECASE)
_PROSE = re.compile(r"[^\W\d_]{3,}")
_COMMAND = re.compile(r"\\[A-Za-z]+(?:\{[A-Za-z ]*\})?")
_VALUE = re.compile(r"\d|\\(?:infty|pi|sqrt)")
_LINK = 80  # characters between two boxes that may still be one answer
_LOOSE_TAIL = 4000  # characters at the end of a completion that the loose mode reads


class NestedBox(ValueError):
    """A box holds another box beside other text: which of the two is the answer is not said."""


def _region(completion: str, answer_region: str = "after_think") -> str | None:
    """The part of a completion in which an answer counts; None if the thinking was never closed.

    `after_think`: what follows the last `</think>`. `before_think`: what precedes it (GRPO-LEAD, released code).
    """
    if answer_region not in REGIONS:
        raise ValueError(f"answer_region is {answer_region!r}, expected one of {', '.join(REGIONS)}")
    before, closed, after = completion.rpartition("</think>")
    if answer_region == "before_think":
        return before if closed else None
    return None if "<think>" in after else after


def _boxes(text: str) -> list[tuple[int, int]]:
    """Spans (start of the content, end of the content) of all balanced boxes, outermost only, in order."""
    spans: list[tuple[int, int]] = []
    stack: list[tuple[bool, int]] = []
    for match in _BOX.finditer(text):
        token = match.group()
        if token[-1] == "{" and token != "\\{":
            stack.append((token != "{", match.end()))
        elif token == "}" and stack:
            boxed, start = stack.pop()
            while boxed and spans and spans[-1][0] > start:
                spans.pop()
            spans += [(start, match.start())] if boxed else []
    return spans


def _last_boxes(text: str, joined: Callable[[str], bool]) -> str | None:
    """The last box that is not empty, with those before it that what stands between joins to it; None without a box.

    A box that wraps nothing but another box is unwrapped; any other nesting raises NestedBox.
    """
    if not _NESTED.search(text):
        return None
    spans = _boxes(text)
    filled = [span for span in spans if text[slice(*span)].strip(" ~\n.")]
    bare = next(reversed(list(_BARE_BOX.finditer(text))), None)
    if bare and (not filled or bare.start() > filled[-1][1]):
        return bare[1].strip(" .")
    if not filled:
        return "" if spans else None
    start = len(filled) - 1
    while start and joined(text[filled[start - 1][1] + 1 : filled[start][0]]):
        start -= 1
    contents = [_unwrapped(text[slice(*span)].strip()) for span in filled[start:]]
    return ", ".join(dict.fromkeys(contents))


def _unwrapped(content: str) -> str:
    """What stands inside boxes that wrap nothing but one another. Raises NestedBox."""
    prefix = _WRAPPING.match(content).group()
    layers = prefix.count("{")
    core = content[len(prefix) : len(content) - layers]
    wraps = content.endswith("}" * layers) and len(content) >= len(prefix) + layers and is_balanced(core)
    if layers and not wraps or _NESTED.search(core if layers else content):
        raise NestedBox("a box inside a box")
    return core.strip()


def last_box(text: str) -> str | None:
    """The answer in the last box, or in the last ones if "and", "or" or a comma join them; None if there is none."""
    return _last_boxes(text, lambda between: len(between) < _LINK and _CONNECTED.fullmatch(between))


def _joined_boxes(text: str) -> str | None:
    """The last box, together with those before it that only words such as "and", a comma or nothing separate."""
    return _last_boxes(text, lambda between: len(between) < _LINK and _JOINED.fullmatch(between))


def _last_stated(text: str) -> str | None:
    """What follows the last "answer is", "####" …; else the last conclusion; else the last formula or number."""
    text = _PRICE.sub("", text[-_LOOSE_TAIL:].strip())  # two prices are no pair of formula signs
    if (line := _LABELLED.search(text.rstrip(" .*\n"))) and len(_SENTENCE.split(line[1])) == 1:
        return _of_sentence(line[1])
    for marker in reversed(list(_MARKER.finditer(text))):
        tail = _SENTENCE.split(text[marker.end() :].strip(" *_}\n\t:："), maxsplit=1)[0]
        if tail:
            return _of_sentence(tail)
    for conclusion in list(_CONCLUSION.finditer(text))[-1:]:
        if stated := _of_sentence(_SENTENCE.split(text[conclusion.end() :], maxsplit=1)[0], last=True):
            return stated
    return _of_text(text)


def _formulas(text: str) -> list[str]:
    """Formulas between dollars or brackets that are not prose between two prices."""
    formulas = ("".join(filter(None, match.groups())).strip() for match in _MATH.finditer(text))
    return [formula for formula in formulas if len(_PROSE.findall(_COMMAND.sub("", formula))) < 2]


def _of_sentence(sentence: str, last: bool = False) -> str | None:
    """Of the sentence after a marker: its formula, itself if short, else its first (last, if it computes) number."""
    formulas, rest = _formulas(sentence), _MATH.sub(" ", sentence)
    if formulas and (_VALUE.search(formulas[-1]) or not _NUMBER.search(rest)):
        return ", ".join(formulas) if not rest.replace("and", "").replace("or", "").strip(" ,.;*\n") else formulas[-1]
    line = (rest if formulas else sentence).split("\n", 1)[0].strip(" *.")
    numbers = _NUMBER.findall(line)
    if numbers and len(line.split()) > 3 and not re.search(r"[\\(]", line):
        return numbers[-1 if last or "=" in line else 0].rstrip(",")
    return None if last and "=" not in line else line or None


def _of_text(text: str) -> str | None:
    """Of a text without a marker: itself if it is one formula, else its last formula or number."""
    if len(text) < 300 and ("\\text" in text or len(text) < 60 and len(_PROSE.findall(_COMMAND.sub("", text))) < 3):
        sentence = _NUMBER.search(text) and _PROSE.search(text) and not re.search(r"[\\^_=<>(]", text)
        if not sentence and not _formulas(text) and "$" not in text.strip("$ "):
            return text.strip(" .") or None
    matches = list(_MATH.finditer(text))
    formulas = _formulas(text)
    numbers = _NUMBER.findall(text[matches[-1].end() :] if formulas else text)
    if numbers and (not formulas or not _VALUE.search(formulas[-1])):
        return numbers[-1].rstrip(",")
    if not formulas:
        return text.strip(" .") if len(text) < 200 else None
    return formulas[-1] if _MATH.sub("", text).replace("and", "").strip(" ,.;\n") else ", ".join(formulas)


def extract(completion: str, loose: bool = False, answer_region: str = "after_think") -> str | None:
    """The answer of a completion as text; None if it gives none. Raises NestedBox."""
    text = _region(completion, answer_region)
    if text is None or not loose:
        return text if text is None else last_box(text)
    if tags := list(_TAG.finditer(text)):
        text = _ENDING_TAG.split(text[tags[-1].end() :], maxsplit=1)[0].strip()
        if _joined_boxes(text) is None and not _MARKER.search(text):
            return _bare(text) or None
    answer = _joined_boxes(text)
    if answer is None and (stated := list(_JSON.finditer(text[-_LOOSE_TAIL:]))):
        return (stated[-1][2] or stated[-1][1]).replace("\\\\", "\\")
    if answer is None or (spans := _boxes(text)) and _FINAL.search(text, spans[-1][1]):
        answer = _last_stated(text)
    return answer if answer is None else _bare(answer)


def _bare(answer: str) -> str:
    """An answer without the marks of emphasis, code and quotes around it."""
    answer = re.sub(r"^(\*\*|__|[`'\"“]+)(.*?)(\*\*|__|[`'\"”]+)$", r"\2", answer.strip(), flags=re.DOTALL)
    formula = _MATH.fullmatch(answer)
    return answer if formula is None else "".join(filter(None, formula.groups())).strip()


def gold_text(gold: str) -> str:
    """A gold as its answer alone: the content of its last box, or boxes, if it has any."""
    try:
        boxed = _joined_boxes(gold)
    except NestedBox:
        return gold
    return gold if boxed is None else boxed

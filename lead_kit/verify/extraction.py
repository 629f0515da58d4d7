"""The answer in a completion. Every function is linear in the length of the text."""

import re

from lead_kit.verify.latex_scan import is_balanced

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[\s\S]|[{}]")
_WRAPPING = re.compile(r"(?:\\(?:boxed|fbox)\s*\{\s*)*")
REGIONS = ("after_think", "before_think")
_MARKER = re.compile(
    r"(?:final answer|answer|réponse|respuesta|antwort|答案)\s*(?:is|est|es|ist|are|是|为)?\s*[:：]?|####",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"(?:^|\n)[ *]*A[ *]*[:：][ *]*([^\n]{1,80})$")  # "A: 18" as the last line
_PRICE = re.compile(r"(?<!\\)\$(?=\d[\d,.]*(?![\d$\w\\^_{])(?:[^$]*(?:\Z|\$\s?\d)|[^$\\]*[A-Za-z]{3}[^$\\]*\$))")
_FINAL = re.compile(r"final answer is\W{0,6}(?!\\boxed)\w|####\s*\S", re.IGNORECASE)
_MATH = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:[^\\]|\\[^)])*)\\\)|\\\[((?:[^\\]|\\[^\]])*)\\\]")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|-?\.\d+")
_JOINED = re.compile(
    r"\}?[\s$,;.()\\{}]*(?:\\(?:quad|qquad|text|textbf|\(|\)|boxed|fbox)"
    r"|and|or|[\s$,;.()\\{}]|[\w()]+ = |for part \(\w\)){0,24}"
)
_SENTENCE = re.compile(r"\n\s*\n|(?<!\d)\.\s+(?=[A-Z])|(?<=\d)\.\s+(?=[A-Z])|<\|")
_CONCLUSION = re.compile(r"\b(?:therefore|thus|hence|so|in total|there (?:are|is))\b,?", re.IGNORECASE)
_PROSE = re.compile(r"[^\W\d_]{3,}")
_COMMAND = re.compile(r"\\[A-Za-z]+(?:\{[A-Za-z ]*\})?")
_VALUE = re.compile(r"\d|\\(?:infty|pi|sqrt)")
_LINK = 80  # characters between two boxes that may still be one answer
_LOOSE_TAIL = 4000  # characters at the end of a completion that the loose mode reads


class NestedBox(ValueError):
    """A box holds another box beside other text: which of the two is the answer is not said."""


def region(completion: str, answer_region: str = "after_think") -> str | None:
    """The part of a completion in which an answer counts; None if the thinking was never closed.

    `after_think`: what follows the last `</think>`. `before_think`: what precedes it (GRPO-LEAD, released code).
    """
    if answer_region not in REGIONS:
        raise ValueError(f"answer_region is {answer_region!r}, expected one of {', '.join(REGIONS)}")
    close = completion.rfind("</think>")
    if answer_region == "before_think":
        return completion[:close] if close >= 0 else None
    if completion.rfind("<think>") > close:
        return None
    return completion[close + len("</think>") :] if close >= 0 else completion


def boxes(text: str) -> list[tuple[int, int]]:
    """Spans (start of the content, end of the content) of all balanced boxes, outermost only, in order."""
    spans: list[tuple[int, int]] = []
    stack: list[tuple[bool, int]] = []
    for match in _BOX.finditer(text):
        token = match.group()
        if token == "}":
            if stack:
                boxed, start = stack.pop()
                if boxed:
                    while spans and spans[-1][0] > start:
                        spans.pop()
                    spans.append((start, match.start()))
        elif token == "{":
            stack.append((False, match.end()))
        elif token[-1] == "{" and len(token) > 2:
            stack.append((True, match.end()))
    return spans


def last_box(text: str) -> str | None:
    """Content of the last balanced box; None if there is none.

    A box that wraps nothing but another box is unwrapped; any other nesting raises NestedBox.
    """
    if "boxed" not in text and "fbox" not in text:
        return None
    spans = boxes(text)
    if not spans:
        return None
    content = text[slice(*spans[-1])].strip()
    if "\\boxed" not in content and "\\fbox" not in content:
        return content
    return _unwrapped(content)


def _unwrapped(content: str) -> str:
    """What stands inside boxes that wrap nothing but one another. Raises NestedBox."""
    prefix = _WRAPPING.match(content).group()
    layers = prefix.count("{")
    core = content[len(prefix) : len(content) - layers]
    wraps = layers and content.endswith("}" * layers) and len(content) >= len(prefix) + layers and is_balanced(core)
    if not wraps or "boxed" in core or "fbox" in core:
        raise NestedBox("a box inside a box")
    return core.strip()


def _joined_boxes(text: str) -> str | None:
    """The last box, together with those before it that only words such as "and" or a comma separate from it."""
    spans = boxes(text)
    if not spans:
        return None
    start = len(spans) - 1
    while start and _joined(text, spans[start - 1][1] + 1, spans[start][0]):
        start -= 1
    return ", ".join(text[slice(*span)].strip() for span in spans[start:])


def _joined(text: str, end: int, start: int) -> bool:
    return start - end < _LINK and _JOINED.fullmatch(text, end, start) is not None


def _last_stated(text: str) -> str | None:
    """The loose mode: what follows the last "answer is", "####" …; else the last conclusion; else the last formula or
    number."""
    text = _PRICE.sub("", text[-_LOOSE_TAIL:].strip())  # two prices are no pair of formula signs
    if (line := _LABELLED.search(text.rstrip(" .*\n"))) and len(_SENTENCE.split(line[1])) == 1:
        return _of_sentence(line[1])
    for marker in reversed(list(_MARKER.finditer(text))):
        tail = _SENTENCE.split(text[marker.end() :].strip(" *\n\t:："), maxsplit=1)[0]
        if tail:
            return _of_sentence(tail)
    conclusions = list(_CONCLUSION.finditer(text))
    if conclusions and (
        conclusion := _of_sentence(_SENTENCE.split(text[conclusions[-1].end() :], maxsplit=1)[0], last=True)
    ):
        return conclusion
    return _of_text(text)


def _formulas(text: str) -> list[str]:
    """Formulas between dollars or brackets that are not prose between two prices."""
    formulas = ("".join(filter(None, match.groups())).strip() for match in _MATH.finditer(text))
    return [formula for formula in formulas if len(_PROSE.findall(_COMMAND.sub("", formula))) < 2]


def _of_sentence(sentence: str, last: bool = False) -> str | None:
    """Of the sentence after a marker: its formula, itself if it is short, else its first (last, if it computes)
    number."""
    formulas = _formulas(sentence)
    rest = _MATH.sub(" ", sentence)
    if formulas and (_VALUE.search(formulas[-1]) or not _NUMBER.search(rest)):
        return ", ".join(formulas) if not rest.replace("and", "").replace("or", "").strip(" ,.;*\n") else formulas[-1]
    line = (rest if formulas else sentence).split("\n", 1)[0].strip(" *.")
    numbers = _NUMBER.findall(line)
    if numbers and len(line.split()) > 3 and not re.search(r"[\\(]", line):
        return numbers[-1 if last or "=" in line else 0].rstrip(",")
    return None if last else line or None


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
    if formulas:
        return ", ".join(formulas) if not _MATH.sub("", text).replace("and", "").strip(" ,.;\n") else formulas[-1]
    return text.strip(" .") if len(text) < 200 else None


def extract(completion: str, loose: bool = False, answer_region: str = "after_think") -> str | None:
    """The answer of a completion as text; None if it gives none. Raises NestedBox."""
    text = region(completion, answer_region)
    if text is None:
        return None
    if not loose:
        return last_box(text)
    answer = _joined_boxes(text)
    if answer is None or _FINAL.search(text, boxes(text)[-1][1]):
        return _last_stated(text)
    return answer


def gold_text(gold: str) -> str:
    """A gold as its answer alone: the content of its last box, or boxes, if it has any."""
    if "\\boxed" not in gold and "\\fbox" not in gold:
        return gold
    boxed = _joined_boxes(gold)
    return gold if boxed is None else boxed

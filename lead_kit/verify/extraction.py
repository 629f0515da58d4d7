"""The answer in a completion. Every function is linear in the length of the text."""

import re

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[\s\S]|[{}]")
REGIONS = ("after_think", "before_think")
MARKER = re.compile(
    r"(?:final answer|answer|réponse|respuesta|antwort|答案)\s*(?:is|est|es|ist|are|是|为)?\s*[:：]?|####", re.IGNORECASE
)
FINAL = re.compile(r"final answer is\W{0,6}(?!\\boxed)\w|####\s*\S", re.IGNORECASE)
MATH = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:[^\\]|\\[^)])*)\\\)|\\\[((?:[^\\]|\\[^\]])*)\\\]")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|-?\.\d+")
JOINED = re.compile(r"\}?[\s$,;.()\\{}]*(?:\\(?:quad|qquad|text|textbf|\(|\)|boxed|fbox)|and|or|[\s$,;.()\\{}]|[\w()]+ = |for part \(\w\)){0,24}")
LOOSE_TAIL = 4000  # characters at the end of a completion that the loose mode reads


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
    found: list[tuple[int, int]] = []
    stack: list[tuple[bool, int]] = []
    for match in BOX.finditer(text):
        token = match.group()
        if token == "}":
            if stack:
                boxed, start = stack.pop()
                if boxed:
                    while found and found[-1][0] > start:
                        found.pop()
                    found.append((start, match.start()))
        elif token == "{":
            stack.append((False, match.end()))
        elif token[-1] == "{" and len(token) > 2:
            stack.append((True, match.end()))
    return found


def last_box(text: str) -> str | None:
    """Content of the last balanced box; None if there is none.

    A box that wraps nothing but another box is unwrapped; any other nesting raises NestedBox.
    """
    if "boxed" not in text and "fbox" not in text:
        return None
    found = boxes(text)
    if not found:
        return None
    content = text[slice(*found[-1])].strip()
    while "\\boxed" in content or "\\fbox" in content:
        inner = boxes(content)
        if len(inner) != 1 or content[: inner[0][0]].strip() not in ("\\boxed{", "\\fbox{"):
            raise NestedBox("a box inside a box")
        if content[inner[0][1] + 1 :].strip(" $."):
            raise NestedBox("a box inside a box")
        content = content[slice(*inner[0])].strip()
    return content


def joined_boxes(text: str) -> str | None:
    """The last box, together with those before it that only words such as "and" or a comma separate from it."""
    found = boxes(text)
    if not found:
        return None
    start = len(found) - 1
    while start and JOINED.fullmatch(text[found[start - 1][1] + 1 : found[start][0]]):
        start -= 1
    return ", ".join(text[slice(*span)].strip() for span in found[start:])


def last_stated(text: str) -> str | None:
    """The loose mode: what follows the last "answer is", "####" …; else the last formula; else the last number."""
    text = text[-LOOSE_TAIL:].strip()
    for marker in reversed(list(MARKER.finditer(text))):
        tail = text[marker.end() :].strip(" *\n\t:：")
        if tail:
            return _first_stated(re.split(r"\n\s*\n|\.\s+(?=[A-Z])|<\|", tail, maxsplit=1)[0])
    return _last_stated(text)


def _formulas(text: str) -> list[str]:
    return [next(group for group in match.groups() if group is not None).strip() for match in MATH.finditer(text)]


def _first_stated(sentence: str) -> str | None:
    """Of the sentence after a marker: its formula, itself if it is short, else its last number."""
    formulas = _formulas(sentence)
    if formulas:
        return ", ".join(formulas) if _only_formulas(sentence) else formulas[-1]
    line = sentence.split("\n", 1)[0].strip(" *.")
    numbers = NUMBER.findall(line)
    if numbers and len(line.split()) > 3 and not re.search(r"[\\(]", line):
        return numbers[-1].rstrip(",")
    return line or None


def _only_formulas(sentence: str) -> bool:
    return len(MATH.sub("", sentence).replace("and", "").replace("or", "").strip(" ,.;*\n")) == 0


def _last_stated(text: str) -> str | None:
    """Of a text without a marker: itself if it is a formula, else its last formula, else its last number."""
    formulas = _formulas(text)
    if len(text) < 60 and not formulas and len(re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[A-Za-z]+", "", text))) < 3:
        return text.strip(" .") or None
    if text.startswith("\\text{") and len(text) < 200 or "\\text" in text and len(text) < 300 and not formulas:
        return text
    last = list(MATH.finditer(text))
    tail = text[last[-1].end() :] if last else text
    numbers = NUMBER.findall(tail)
    if numbers and (not formulas or not re.search(r"[\d\\]", formulas[-1])):
        return numbers[-1].rstrip(",")
    if formulas:
        return ", ".join(formulas) if _only_formulas(text) else formulas[-1]
    return text.strip(" .") if len(text) < 200 else None


def extract(completion: str, loose: bool = False, answer_region: str = "after_think") -> str | None:
    """The answer of a completion as text; None if it gives none. Raises NestedBox."""
    text = region(completion, answer_region)
    if text is None:
        return None
    if not loose:
        return last_box(text)
    answer = joined_boxes(text)
    if answer is None or FINAL.search(text, boxes(text)[-1][1]):
        return last_stated(text)
    return answer

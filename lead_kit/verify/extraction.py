"""The answer in a completion. Every function is linear in the length of the text."""

import re

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[\s\S]|[{}]")
REGIONS = ("after_think", "before_think")
MARKER = re.compile(
    r"(?:final answer|answer|réponse|respuesta|antwort|答案)\s*(?:is|est|es|ist|are|是|为)?\s*[:：]?|####", re.IGNORECASE
)
MATH = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:[^\\]|\\[^)])*)\\\)|\\\[((?:[^\\]|\\[^\]])*)\\\]")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|-?\.\d+")
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


def last_stated(text: str) -> str | None:
    """The loose mode: what follows the last "answer is", "####" …; else the last formula; else the last number."""
    text = text[-LOOSE_TAIL:].strip()
    markers = list(MARKER.finditer(text))
    for marker in reversed(markers):
        tail = text[marker.end() :].strip(" *\n\t:：")
        if tail:
            return stated_in(tail)
    return stated_in(text, last=True)


def stated_in(text: str, last: bool = False) -> str | None:
    """The first (or last) formula of a text, else its first short line, else its first (or last) number."""
    formulas = [next(group for group in match.groups() if group is not None) for match in MATH.finditer(text)]
    line = text.split("\n", 1)[0].strip(" *.")
    if not last and not formulas:
        numbers = NUMBER.findall(line)
        return numbers[0] if len(numbers) == 1 and len(line.split()) > 3 else line or None
    if formulas:
        return formulas[-1 if last else 0].strip()
    if len(text) < 40 and "\n" not in text:
        return line or None
    numbers = NUMBER.findall(text)
    return numbers[-1 if last else 0].rstrip(",") if numbers else None


def extract(completion: str, loose: bool = False, answer_region: str = "after_think") -> str | None:
    """The answer of a completion as text; None if it gives none. Raises NestedBox."""
    text = region(completion, answer_region)
    if text is None:
        return None
    answer = last_box(text)
    if answer is None and loose:
        answer = last_stated(text)
    return answer

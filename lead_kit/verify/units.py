"""Units and words: what stands beside a number, kept aside to be compared by itself."""

import re

NAMES = {
    "degree": "degree", "deg": "degree", "cm": "centimeter", "mm": "millimeter", "km": "kilometer", "m": "meter",
    "metre": "meter",
    "centimetre": "centimeter", "kilometre": "kilometer", "in": "inch", "ft": "foot", "feet": "foot", "yd": "yard",
    "mi": "mile",
    "inches": "inch", "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "s": "second",
    "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "mph": "mile per hour",
    "percent": "percent",
    "percentage": "percent", "pct": "percent", "usd": "dollar", "cents": "cent", "l": "liter", "litre": "liter",
    "ml": "milliliter",
    "sq": "square", "cubic": "cubic", "people": "person", "children": "child", "men": "man", "women": "woman",
    "dice": "die",
    "kph": "kilometer per hour", "n": "newton", "j": "joule", "w": "watt", "hz": "hertz", "k": "kelvin", "a.m": "am",
    "p.m": "pm",
}  # fmt: skip
SHORT = "cm|mm|km|kg|mg|ml|mph|lbs?|ft|hrs?|oz|sec|min|inches|feet|rad"
DECORATION = frozenset("the a an of per approximately about exactly only is answer each total".split())
TRAILING = re.compile(r"^(.*?[\d)}\]a-zA-Z!])\s*(\\text\{[^{}]*\}.*)$")
BARE = re.compile(rf"^(.*?[\d)}}\]]) ?((?:{SHORT}|[A-Za-z]{{3,}}(?: [A-Za-z]+)*|(?<= )(?:[A-Za-z.]{{3,}}))(?:\^\d)?)$")
HEDGE = re.compile(r"\b(?:or|and|not|more|less|fewer|least|most|than|if|otherwise|maybe|else)\b|(?<![\^{])\d")
WORD = re.compile(r"[A-Za-z][A-Za-z.'’-]*|\d+(?:\.\d+)?")
PREFIX = re.compile(
    r"^\\text\{(?:only|the answer is|answer|exactly|about|approximately|at|it is|is|it's)\}(?=.)", re.IGNORECASE
)
LETTERS = re.compile(r"[A-Za-z]+")
COMMANDS = re.compile(r"\\[A-Za-z]+")
MANDATORY = frozenset(("am", "pm"))  # part of a time, not a unit


def strip(text: str) -> tuple[str, str]:
    """(expression, canonical unit) of a leaf."""
    text = PREFIX.sub("", text).strip()
    unit = ""
    for mark, name in (
        ("\\text{dollar}", "dollar"),
        ("\\text{euro}", "euro"),
        ("\\text{pound}", "pound"),
        ("\\text{yuan}", "yuan"),
    ):
        if text.startswith(mark) and len(text) > len(mark):
            text, unit = text[len(mark) :].strip(), name
        elif text.startswith("-" + mark):
            text, unit = "-" + text[len(mark) + 1 :].strip(), name
    if text.endswith("%"):
        return text[:-1].strip(), "percent"
    if match := re.fullmatch(r"(.*\S)\^\\circ ?([CFK]?)", text):
        return match[1], "degree" + match[2]
    if match := re.fullmatch(r"(\d+)(?:\^\{?)?(?:\\text\{)?(?:st|nd|rd|th)\}?\}?(?: ?\w+)?", text):
        return match[1], "ordinal"
    match = TRAILING.match(text) or BARE.match(text)
    if match and HEDGE.search(match[2]):
        return text, ""
    if match and any(char.isdigit() or char == "\\" for char in match[1]):
        return match[1].strip(" ~"), canonical(match[2]) or unit
    return text, unit


def canonical(unit: str) -> str:
    """One name for a unit: `\\text{ inches}^2` and `square inches` are "square inch"."""
    power = {"2": "square ", "3": "cubic "}.get((re.findall(r"\^\{?([23])\}?", unit) or [""])[-1], "")
    plain = re.sub(r"\^\{?\d\}?|\\text|[{}\\,]", " ", unit).lower()
    names = []
    for word in plain.split():
        word = word.strip(".'") or word
        name = (
            NAMES.get(word)
            or NAMES.get(word.rstrip("s"))
            or (word[:-1] if len(word) > 3 and word.endswith("s") else word)
        )
        if name not in DECORATION and name != "unit":
            names.append(name)
    return power + " ".join(names) if names else power.strip()


def agree(gold: str, answer: str) -> bool:
    """A unit may be left out (not a.m. or p.m.), never exchanged; `square` alone says nothing."""
    if gold == answer:
        return True
    if MANDATORY & {gold, answer}:
        return False
    vague = ("", "square", "cubic", "ordinal")
    return gold in vague or answer in vague


def prose(text: str) -> tuple[str, ...] | None:
    """The words of a text that is prose or a choice letter; None if it is mathematics."""
    if text.startswith("-"):
        return None
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()
    if match := re.fullmatch(r"\(?([A-Za-z])\)?[.)]?", plain):
        return None if text == match[1] and match[1].islower() else (match[1] if match[1].isupper() else match[1],)
    worded = re.sub(r"\\text\{[^{}]*\}", "", text).strip(" .-")
    longest = max((len(run) for run in LETTERS.findall(COMMANDS.sub("", worded))), default=0)
    if "\\text" in text and not re.search(r"[\d=+*/^_\\<>]", worded) and len(LETTERS.findall(worded)) <= 1:
        return _words(plain)
    if "\\" not in worded and longest >= 3 and not re.search(r"[=+*/^_<>|()]", worded):
        if not re.search(r"\d", worded) or len(worded.split()) > 4 or re.match(r"[A-Za-z]{3,} ", worded):
            return _words(plain)
    if " " in worded and longest >= 4 and len(re.findall(r"[A-Za-z]{2,}", COMMANDS.sub("", worded))) >= 3:
        return _words(plain)
    return None


def _words(text: str) -> tuple[str, ...]:
    return tuple(
        word.lower().strip(".'-")
        for word in WORD.findall(re.sub(r"[\\{}]", " ", text))
        if word.lower() not in ("the", "a", "an")
    )

"""Units, by a closed table: what may stand beside a number without being another answer; and prose."""

import re
from fractions import Fraction
from functools import lru_cache

from lead_kit.verify import rationals

# dimension: the names of a unit = its size in the dimension's own; the first name is the canonical one
_TABLE = {
    "length": "m meter metre=1, mm millimeter millimetre=1/1000, cm centimeter centimetre=1/100, dm decimeter=1/10,"
    " km kilometer kilometre=1000, in inch inches=127/5000, ft foot feet=381/1250, yd yard=1143/1250, mi "
    "mile=201168/125",
    "mass": "g gram=1, mg milligram=1/1000, kg kilogram=1000, lb lbs pound=45359237/100000, oz "
    "ounce=45359237/1600000, ton tonne=1000000",
    "time": "s sec second=1, ms millisecond=1/1000, min minute=60, h hr hrs hour=3600, day=86400, week=604800, "
    "month=2629800, yr year=31557600, decade=315576000, century centuries=3155760000",
    "volume": "L l liter litre=1, ml mL milliliter millilitre=1/1000, gal gallon=3785411784/1000000000, quart, "
    "pint, cup, tablespoon, teaspoon",
    "money": "dollar usd buck=1, cent=1/100",
    "euro": "euro=1",
    "yuan": "yuan rmb=1",
    "rupee": "rupee=1",
    "yen": "yen=1",
    "angle": "degree deg=1",
    "radian": "rad radian=1",
    "percent": "percent percentage pct=1",
    "area": "acre=1, hectare",
    "temperature": "degreeC C celsius=1",
    "fahrenheit": "degreeF F fahrenheit=1",
    "kelvin": "K kelvin=1",
    "force": "N newton=1",
    "energy": "J joule=1, kJ kilojoule=1000",
    "power": "W watt=1, kW kilowatt=1000",
    "frequency": "Hz hertz=1",
    "voltage": "V volt=1",
    "current": "A amp ampere=1",
    "amount": "mol mole=1",
    "data": "bit=1, byte=8",
}  # fmt: skip
_COUNTED = (  # things that answers count, each its own dimension; a plural in brackets if it is not name + s
    "person(people) child(children) man(men) woman(women) boy girl student teacher friend worker guest player "
    "member family(families) way time step hour point vertex(vertices) edge side face diagonal line triangle square"
    " rectangle circle cube region path arrangement permutation combination possibility(possibilities) outcome "
    "solution root zero value number integer digit term element triple subset function page book game "
    "match(matches) round turn coin card ball marble block tile piece box(boxes) bag bottle apple orange banana egg"
    " cookie cake pie candy(candies) chocolate lollipop marmalade flower tree car bus(buses) boat house room ticket"
    " letter word problem question test dog cat cow chicken horse bird fish(fish) sheep(sheep) seat table chair "
    "pencil pen sticker stamp toy shirt shoe sock hat packet pack can slice serving bead stone fold trip lap floor "
    "stair shot goal vote die(dice)"
)
_VAGUE = frozenset(("unit", "ordinal"))  # says nothing about what is measured
_NUMBER_WORDS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
}  # fmt: skip
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_RAISED = {"squared": 2, "cubed": 3}
_SPEEDS = {"mph": ("mile", "hour"), "kph": ("km", "h"), "kmh": ("km", "h")}
_SHORT = "cm|mm|km|kg|mg|ml|mph|lbs?|ft|hrs?|oz|sec|min|inches|feet|rad"
_TRAILING = re.compile(r"^(.*?[\d)}\]a-zA-Z!])\s*(\\text\{[^{}]*\}.*)$")
_BARE = re.compile(rf"^(.*?[\d)}}\]]) ?((?:(?:{_SHORT})|(?<= )[A-Za-z][A-Za-z.]+(?: [A-Za-z/]+)*)(?:\^\d|/[a-z]+)*)$")
_MEANING = re.compile(  # words that make another answer of a number, so that a gold with them is no plain number
    r"\b(?:or|and|not|more|less|fewer|least|most|than|if|otherwise|maybe|else|below|above|under|over|minus|negative|"
    r"short|half|halves|thirds?|quarters?|score|pairs?|twice|times|wrong|plus|factorial|about|around|nearly)\b|(?<![\^{])\d"
)
_UNIT = re.compile(r"[A-Za-z]+|\^\{?(-?\d)\}?|/")
_WORD = re.compile(r"[A-Za-z][A-Za-z.'’-]*|\d+(?:\.\d+)?")
_PREFIX = re.compile(
    r"^\\text\{(?:only|exactly|at|it is|is|it's|there are|(?:the )?(?:final )?"
    r"(?:answer|total|result|sum|area)(?: is)?):?\}(?=.)",
    re.IGNORECASE,
)
_CURRENCY = re.compile(r"(-?)\\text\{(dollar|euro|pound|yuan)\}(-?)(?=.)")
_LETTERS = re.compile(r"[A-Za-z]+")
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_PAIRS = re.compile(r"ordered (?:pair|triple|tuple)s?")
_KIND = re.compile(r"\b(?:different|distinct|possible|real|such|integer|positive) (?=[a-z])")
_TAIL = re.compile(
    r" (?:old|in total|in all|total|each|of (?:water|milk|juice|oil|paint|flour|sugar|rice|sand|gas|soup|land))$"
)
_CHOICE = re.compile(r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer):? ?)?\(?([A-Za-z])\)?[.)]?")
SYNONYMS = {
    ("infinite",): ("infinitely", "many"), ("infinity",): ("infinitely", "many"), ("no", "solutions"): ("none",),
    ("no", "solution"): ("none",), ("no", "real", "solutions"): ("none",),
    ("no", "such", "number", "exists"): ("none",),
    ("empty", "set"): ("none",), ("does", "not", "exist"): ("undefined",), ("dne",): ("undefined",), ("t",): ("true",),
}  # fmt: skip
DIGITS = "zero one two three four five six seven eight nine ten eleven twelve".split()
EVERYTHING = ("all", "real", "numbers"), ("all", "reals"), ("real", "numbers"), ("all", "real", "x")
_UNKNOWN = "?"  # the first character of a unit that is not in the table


def _tables() -> tuple[dict[str, str], dict[str, tuple[str, Fraction]]]:
    """(canonical name of each spelling, (dimension, size) of each canonical name)."""
    names, sizes = {}, {}
    for dimension, row in _TABLE.items():
        for entry in row.split(", "):
            spellings, _, size = entry.partition("=")
            first, *others = spellings.split()
            sizes[first] = (dimension, Fraction(size)) if size else (first, Fraction(1))
            for name in (first, *others):
                names.update({name: first} if len(name) < 3 else {name: first, name + "s": first})
    for entry in _COUNTED.split():
        name, _, plural = entry.rstrip(")").partition("(")
        names.setdefault(name, name)
        names.setdefault(plural or name + "s", name)
        sizes.setdefault(name, (name, Fraction(1)))
    return names | {"unit": "unit", "units": "unit"}, sizes


NAMES, SIZES = _tables()
LETTER_UNITS = frozenset(name for name in NAMES if len(name) == 1)


def split_unit(text: str) -> tuple[str, str]:
    """(expression, canonical unit) of a leaf; an unknown word makes a unit that equals only itself."""
    text = _PREFIX.sub("", text).strip()
    money = ""
    if match := _CURRENCY.match(text):
        text, money = (match[1] or match[3]) + text[match.end() :].strip(), match[2]
    if text.endswith("%"):
        return text[:-1].strip(), "percent"
    if match := re.fullmatch(r"(.*\S)\^\\circ ?([CFK]?)", text):
        applied = re.search(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])", match[1])
        return (text, "") if applied else (match[1], "degree" + match[2])
    if match := re.fullmatch(r"(\d+)(?:\^\{?)?(?:\\text\{)?(?:st|nd|rd|th)\}?\}?(?: ?(?:place|day|Day|term))?", text):
        return match[1], "ordinal"
    match = _TRAILING.match(text) or _BARE.match(text)
    if match is None or not any(char.isdigit() or char == "\\" for char in match[1]):
        return text, money
    return _measured(
        match[1].strip(" ~"),
        re.sub(r"\\text|\\cdot|\\,|[{}~*]", " ", re.sub(r"\^\{(-?\d)\}", r"^\1", match[2])).split(),
        money,
    ) or (text, "")


def _measured(number: str, words: list[str], money: str) -> tuple[str, str] | None:
    """`3 million dollars` as (3000000, dollar); None if the words make no unit of it."""
    while words and words[0].lower() in _NUMBER_WORDS and (value := rationals.value(number)) is not None:
        value *= _NUMBER_WORDS[words.pop(0).lower()]
        number = rationals.text(value)
    phrase = " ".join(words)
    unit = _canonical(phrase)
    if unit is not None:
        return number, unit or money
    if _MEANING.search(phrase.lower()) or any(word.lower() in _NUMBER_WORDS | _RAISED for word in words):
        return None
    return number, _UNKNOWN + " ".join(phrase.lower().split())


@lru_cache(maxsize=1 << 10)
def _canonical(phrase: str) -> str | None:
    r"""One spelling for a unit: `inches ^2` and `square inches` are "in^2", `km/h` is "km h^-1"; None if it is none."""
    powers: dict[str, int] = {}
    sign, pending, last, word = 1, 1, "", ""
    phrase = _KIND.sub("", _TAIL.sub("", _PAIRS.sub("solutions", phrase)))
    if _UNIT.sub("", phrase).strip(" -.'"):
        return None
    for match in _UNIT.finditer(phrase):
        word = match.group()
        if match[1] or word.lower() in _RAISED:
            if not last:
                return None
            powers[last] *= int(match[1] or _RAISED[word.lower()])
        elif word.lower() in _POWERS:
            pending = _POWERS[word.lower()]
        elif word in ("/", "per", "an", "a"):
            sign = -1
        else:
            for name in _SPEEDS.get(word.lower(), (word,)):
                last = NAMES.get(name) or len(name) > 1 and NAMES.get(name.lower())
                if not last:
                    return None
                powers[last] = powers.get(last, 0) + sign * pending
                sign, pending = (-1 if word.lower() in _SPEEDS else 1), 1
    if sign < 0 and word.lower() not in _SPEEDS:
        return None
    named = [name if power == 1 else f"{name}^{power}" for name, power in powers.items() if name not in _VAGUE]
    return " ".join(named) or ("unit" if powers else "")


def conversion(gold: str, answer: str) -> Fraction | None:
    """The size of the answer's unit in the gold's. A unit may be left out; None if it is exchanged or no unit."""
    if gold == answer or answer in ("", *_VAGUE):
        return Fraction(1)
    if gold in ("", *_VAGUE):
        return None if answer.startswith(_UNKNOWN) else Fraction(1)
    if gold.startswith(_UNKNOWN) or answer.startswith(_UNKNOWN):
        return None
    (theirs, size), (ours, part) = _measure(gold), _measure(answer)
    return part / size if theirs == ours else None


def _measure(unit: str) -> tuple[dict[str, int], Fraction]:
    """(powers of the dimensions, size) of a canonical unit."""
    dimensions: dict[str, int] = {}
    size = Fraction(1)
    for factor in unit.split():
        name, _, power = factor.partition("^")
        dimension, unit_size = SIZES.get(name, (name, Fraction(1)))
        dimensions[dimension] = dimensions.get(dimension, 0) + int(power or 1)
        size *= unit_size ** int(power or 1)
    return dimensions, size


def words_of_prose(text: str) -> tuple[str, ...] | None:
    """The words of a text that is prose or a choice letter; None if it is mathematics."""
    if text.startswith("-"):
        return None
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()
    if match := _CHOICE.fullmatch(plain):
        return None if text == match[1] and match[1].islower() else (match[1],)
    worded = re.sub(r"\\text\{[^{}]*\}", "", text).strip(" .-")
    longest = max((len(run) for run in _LETTERS.findall(_COMMANDS.sub("", worded))), default=0)
    if "\\text" in text and not re.search(r"[\d=+*/^_\\<>]", worded) and len(_LETTERS.findall(worded)) <= 1:
        return _words(plain)
    if "\\" not in worded and longest >= 3 and not re.search(r"[=+*/^_<>|()]", worded):
        if not re.search(r"\d", worded) or len(worded.split()) > 4 or re.match(r"[A-Za-z]{3,} ", worded):
            return _words(plain)
    if " " in worded and longest >= 4 and len(re.findall(r"[A-Za-z]{2,}", _COMMANDS.sub("", worded))) >= 3:
        return _words(plain)
    return None


def _words(text: str) -> tuple[str, ...]:
    return tuple(
        word.lower().strip(".'-")
        for word in _WORD.findall(re.sub(r"[\\{}]", " ", text))
        if word.lower() not in ("the", "a", "an")
    )

"""Units: what may stand beside a number without making another answer of it, and what converts; and prose."""

import re
from fractions import Fraction
from functools import lru_cache

from lead_kit.verify import rationals

# dimension: the names of a unit = its size in the dimension's own; the first name is the canonical one
_TABLE = dict(row.split(": ") for row in (
    "length: m meter metre mètre metro метр метра метров м 米=1, mm millimeter millimetre=1/1000, cm centimeter "
    "centimetre centimètre centimetro Zentimeter сантиметр см 厘米=1/100, dm decimeter=1/10, km kilometer kilometre "
    "kilomètre kilometro километр км 公里 千米=1000, in inch inches=127/5000, ft foot feet=381/1250, yd "
    "yard=1143/1250, mi mile=201168/125, nm nanometer nanometre=1/1000000000, um micrometer micron=1/1000000, "
    "pm=1/1000000000000; distance: pc parsec=1, ly lightyear, AU, kpc, Mpc, angstrom; mass: g gram gramme gramo Gramm "
    "г 克=1, mg milligram=1/1000, ug microgram=1/1000000, kg kilo kilogram kilogramme kilogramo кг 千克 公斤=1000, lb "
    "lbs pound=45359237/100000, oz ounce=45359237/1600000, ton tonne=1000000; time: s sec second seconde segundo "
    "Sekunde секунд сек с 秒=1, ms millisecond=1/1000, us microsecond=1/1000000, ns=1/1000000000, min minute minuto "
    "Minuten минут мин 分钟=60, h hr hrs hour heure hora Stunde Stunden час часа часов ч 小时=3600, day jour día Tage "
    "天=86400, week=604800, month=2629800, yr year=31557600, decade=315576000, century centuries=3155760000; volume: "
    "L l liter litre=1, ml mL milliliter millilitre=1/1000, gal gallon=3785411784/1000000000, quart, pint, cup, "
    "tablespoon, teaspoon, floz, barrel, cc; money: dollar usd USD buck 美元=1, cent ¢=1/100; euro: euro eur EUR=1; "
    "yuan: yuan rmb cny RMB CNY 元=1; rupee: rupee Rs INR=1; yen: yen JPY=1; sterling: GBP=1; angle: degree deg grado "
    "Grad 度=1; radian: rad radian=1; percent: percent percentage=1, pct=1; area: acre=1, hectare ha; temperature: "
    "degreeC C celsius=1; fahrenheit: degreeF F fahrenheit=1; kelvin: K kelvin=1; force: N newton=1, kN "
    "kilonewton=1000; energy: J joule=1, kJ kilojoule=1000, MJ=1000000, cal calorie=523/125, kcal=4184, eV, keV, MeV, "
    "GeV, kWh, erg; power: W watt=1, kW kilowatt=1000, MW=1000000, hp; pressure: Pa pascal=1, kPa kilopascal=1000, "
    "MPa=1000000, GPa=1000000000, bar=100000, atm, mmHg, psi, torr; frequency: Hz hertz=1, kHz=1000, MHz=1000000, "
    "GHz=1000000000, rpm; voltage: V volt=1, mV=1/1000, kV=1000; current: A amp ampere=1, mA=1/1000; amount: mol "
    "mole=1, mmol=1/1000; charge: coulomb; field: T tesla=1; resistance: ohm Omega=1; capacity: farad; concentration: "
    "M molar=1; speed: knot; share: ppm; level: dB decibel; data: bit=1, byte=8"
).split("; "))  # fmt: skip
_COUNTED = (  # things that answers count, each its own dimension; a plural in brackets if it is not name + s
    "person(people) child(children) man(men) woman(women) boy girl student teacher friend worker guest player "
    "member family(families) way time step hour point vertex(vertices) edge side face diagonal line triangle square "
    "rectangle circle cube region path arrangement permutation combination possibility(possibilities) outcome "
    "solution root zero value number integer digit term element triple subset function page book game "
    "match(matches) round turn coin card ball marble block tile piece box(boxes) bag bottle apple orange banana egg "
    "cookie cake pie candy(candies) chocolate lollipop marmalade flower tree car bus(buses) boat house room ticket "
    "letter word problem question test dog cat cow chicken horse bird fish(fish) sheep(sheep) seat table chair "
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
_SHORT = "cm|mm|nm|um|km|kg|mg|ml|mph|lbs?|ft|hrs?|oz|sec|min|inches|feet|rad|deg|kPa|kJ|Hz|mol|pc|eV"
_TRAILING = re.compile(r"^(.*?[\d)}\]a-zA-Z!])\s*(\\text\{[^{}]*\}.*)$")
_BARE = re.compile(rf"^(.*?[\d)}}\]]) ?((?:(?:{_SHORT})|(?<= )[A-Za-z][A-Za-z.]+(?: [A-Za-z/]+)*)(?:\^\d|/[a-z]+)*)$")
_LETTER = r"[^\W\d_]"
_MEANING = re.compile(  # words that make another answer of a number, so that a gold with them is no plain number
    r"\b(?:or|and|not?|non|never|none|nothing|more|less|fewer|greater|smaller|larger|higher|lower|least|most|than|if|"
    r"unless|otherwise|else|maybe|perhaps|possibly|probably|below|above|under|over|beyond|before|after|ago|minus|plus|"
    r"negative|short|half|halves|couple|scores?|pairs?|gross|twice|thrice|double[ds]?|triple[ds]?|times|multiplied|"
    r"divided|modulo?|base|powers?|exponent|roots?|log|pi|infinity|percentage|wrong|incorrect|false|invalid|impossible|"
    r"undefined|error|correct|except|excluding|without|but|about|around|approx\w*|nearly|almost|roughly|circa|so|"
    r"ish|somewhat|estimated?|guess\w*|is|are|be|isn|aren|cannot|can|does|do|did|has|have|equals?|gives?|"
    r"yes|because|since|either|neither|both|versus|vs|factorial|repeating|recurring|remainder|ordinal|"
    r"(?:\w+(?:third|fourth|fifth|sixth|seventh|eighth|nineth|ninth|tenth|hundredth|thousandth|millionth)|third|quarter|"
    r"fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|hundredth|thousandth|millionth|billionth)s?|"
    r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|"
    r"eighty|ninety|\w*(?:hundred|thousand|[mb]illion|[mb]illiard|dozen|dutzend|douzaine|docena|tausend|hundert)\w*|"
    r"mill[eo]n\w*|mil|mille|cents?|cien|\w*(?:миллион|миллиард|тысяч|сот|дюжин|полов|процент)\w*|prozent|pourcent|"
    r"fois|mal|mod)\b|[万千百十亿億萬兆半倍双打割成천만백억반배不非或约約]|(?<![\^{])\d"
)
_UNIT = re.compile(rf"{_LETTER}+|\^\{{?(-?\d)\}}?|/")
_WORD = re.compile(rf"{_LETTER}(?:{_LETTER}|[.'’-])*|\d+(?:\.\d+)?")
_CURRENCY = re.compile(
    r"(-?)(?:\\text\{(dollar|euro|pound|yuan|rupee|US|USD|EUR|GBP|INR|CNY|RMB|Rs\.?)\}|(USD|EUR|GBP|INR|CNY|RMB|Rs\.?))"
    r"(?:\\text\{dollar\})?(-?)(?=.)"
)
_HEDGES = "not?|never|least|most|more|less|than|about|around|approx\\w*|nearly|almost|if|or|but|un\\w+"
DENIAL = re.compile(rf"\b(?:{_HEDGES})\b|n't")
_LETTERS = re.compile(rf"{_LETTER}+")
_COMMANDS = re.compile(r"\\[A-Za-z]+")
_FLUID = re.compile(r"\bfl(?:uid)?\.? ?(?:oz|ounces?)\b")
_HEAD = re.compile(rf"({_LETTER}+) (?:to|of|that|which|who) ")
_PAIRS = re.compile(r"ordered (?:pair|triple|tuple)s?")
_KIND = re.compile(r"\b(?:different|distinct|possible|real|such|integer|positive) (?=[a-z])")
_TAIL = re.compile(
    r"(?:^| )(?:old|in total|in all|total|each|left|remaining|needed|required|altogether|overall|"
    r"of (?:water|milk|juice|oil|paint|flour|sugar|rice|sand|gas|soup|land))$"
)
# a thing in words, of any script, that the table does not hold: it has a vowel, and at most six words
_NOUN = re.compile(
    rf"(?=[\x00-\x7f]*[aeiouAEIOU]|.*[^\x00-\x7f])(?:{_LETTER}{{3,}}|[^\x00-\x7f]{{1,}})(?:[ /-]{_LETTER}+){{0,5}}"
)
_CHOICE = re.compile(r"(?:(?i:the )?(?:correct )?(?i:option|choice|answer)(?: is)?:? ?)?\(?([A-Za-z])\)?[.)]?")
SYNONYMS = {
    tuple(words.split()): (meaning, *more.split()) for meaning, more, spellings in (
        ("infinitely", "many", "infinite, infinity"), ("undefined", "", "does not exist, dne"), ("true", "", "t"),
        ("none", "", "no solutions, no solution, no real solutions, no such number exists, empty set"),
    ) for words in spellings.split(", ")
}  # fmt: skip
_DAYS = frozenset("monday tuesday wednesday thursday friday saturday sunday".split())
_MONTHS = "january february march april may june july august september october november december".split()
DIGITS = "zero one two three four five six seven eight nine ten eleven twelve".split()
EVERYTHING = ("all", "real", "numbers"), ("all", "reals"), ("real", "numbers"), ("all", "real", "x")
_WORDY = 5  # characters from which letters without a command are a word: one for the mark of an unknown unit
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
                names |= {name: first} if len(name) < 3 else {name: first, name + "s": first}
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
    money = ""
    if match := _CURRENCY.match(text):
        text, money = (match[1] or match[4]) + text[match.end() :].strip(), (match[2] or match[3]).strip(".")
        money = "dollar" if money == "US" else money if money == "pound" else NAMES[money]
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
    words = re.sub(r"\\text|\\cdot|\\,|[{}~*]", " ", re.sub(r"\^\{(-?\d)\}", r"^\1", match[2])).split()
    measured = _measured(match[1].strip(" ~"), words, money)
    if measured is None or match.re is _BARE and measured[1].startswith(_UNKNOWN) and len(measured[1]) < _WORDY:
        return text, ""  # `3 abc` is a product
    return measured


def _measured(number: str, words: list[str], money: str) -> tuple[str, str] | None:
    """`3 million dollars` as (3000000, dollar); None if the words make no unit of it."""
    while words and words[0].lower() in _NUMBER_WORDS and (value := rationals.value(number)) is not None:
        value *= _NUMBER_WORDS[words.pop(0).lower()]
        number = rationals.text(value)
    phrase = " ".join(words)
    unit = _canonical(phrase)
    if unit is not None:
        return number, unit or money
    if _MEANING.search(phrase.lower()) or any(word.lower() in _RAISED for word in words):
        return None
    return (number, _UNKNOWN + " ".join(words).lower()) if _NOUN.fullmatch(phrase) else None


@lru_cache(maxsize=1 << 10)
def _canonical(phrase: str) -> str | None:
    r"""One spelling for a unit: `inches ^2` and `square inches` are "in^2", `km/h` is "km h^-1"; None if it is none."""
    powers, sign, pending, last, word = {}, 1, 1, "", ""
    phrase = phrase.replace("per cent", "percent").replace("mm Hg", "mmHg")
    phrase = _KIND.sub("", _TAIL.sub("", _PAIRS.sub("solutions", _FLUID.sub("floz", phrase))))
    if (head := _HEAD.match(phrase)) and head[1] in NAMES:
        phrase = head[1]
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
    if gold == answer or {gold, answer} & {"", *_VAGUE}:
        return Fraction(1)
    if gold.startswith(_UNKNOWN) or answer.startswith(_UNKNOWN):
        return None
    (theirs, size), (ours, part) = _measure(gold), _measure(answer)
    return part / size if theirs == ours else None


def _measure(unit: str) -> tuple[dict[str, int], Fraction]:
    """(powers of the dimensions, size) of a canonical unit."""
    dimensions, size = {}, Fraction(1)
    for factor in unit.split():
        name, _, power = factor.partition("^")
        dimension, unit_size = SIZES.get(name, (name, Fraction(1)))
        dimensions[dimension] = dimensions.get(dimension, 0) + int(power or 1)
        size *= unit_size ** int(power or 1)
    return dimensions, size


def date(text: str) -> tuple[str, ...] | None:
    """Month, day and year of a date, in whichever order; None if the text is anything else."""
    plain = re.sub(r"(?<=\d)\W*(?:st|nd|rd|th)\b", "", re.sub(r"\\text|[{}]", " ", text).lower())
    words = re.findall(r"[a-z]+|\d+", plain)
    months = [word for word in words if len(word) > 2 and any(month.startswith(word) for month in _MONTHS)]
    numbers = sorted((word for word in words if word.isdigit()), key=len)
    known = {*words} <= {*months, *numbers, "the", "of", "on", "in", *_DAYS}
    if not known or len(months) != 1 or not 1 <= len(numbers) <= 2 or re.search(r"[=+*/<>()-]", text):
        return None
    return months[0][:3], *numbers


def words_of_prose(text: str) -> tuple[str, ...] | None:
    """The words of a text that is prose or a choice letter; None if it is mathematics."""
    if text.startswith("-"):
        return None
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()
    if match := _CHOICE.fullmatch(plain):
        return None if text == match[1] and match[1].islower() else (match[1],)
    worded = re.sub(r"\\text\{[^{}]*\}", "", text).strip(" .-")
    longest = max((len(run) for run in _LETTERS.findall(_COMMANDS.sub("", worded))), default=0)
    prose = "\\text" in text and not re.search(r"[\d=+*/^_\\<>]", worded) and len(_LETTERS.findall(worded)) <= 1
    if "\\" not in worded and longest >= 3 and not re.search(r"[=+*/^_<>|()]", worded):
        prose = prose or not re.search(r"\d", worded) or len(worded.split()) > 4 or re.match(r"[A-Za-z]{3,} ", worded)
    if " " in worded and longest >= 4:
        prose = prose or len(re.findall(r"[A-Za-z]{2,}", _COMMANDS.sub("", worded))) >= 3
    return _words(plain) if prose else None


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.lower().strip(".'-") for word in _WORD.findall(re.sub(r"[\\{}]", " ", text)))
    words += ("?",) * ("?" in text)  # a question is no answer
    return tuple(word for word in words if word not in ("the", "a", "an") and (word != "on" or not _DAYS & {*words}))

"""The normal form of an answer: one spelling for each of the many that mean the same. Idempotent; no algebra.

Every rule rewrites spelling, never value: a base subscript, a unit, a percent sign and an interval's brackets all
survive.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from lead_kit.verify.latex_scan import BRACES, enclosing_braces, is_one_bracket
from lead_kit.verify.units import LETTER_UNITS

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FRACTIONS = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10), "⅐": (1,
    7),
}  # fmt: skip
_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ",
    "∗": "*", "±": r"\pm ", "∓": r"\mp ", "≤": r"\leq ", "⩽": r"\leq ", "≥": r"\geq ", "⩾": r"\geq ", "≠": r"\neq ",
    "≈": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∞": r"\infty ", "∅": r"\emptyset ", "°": r"^\circ ",
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "μ": r"\mu ",
    "φ": r"\varphi ", "ω": r"\omega ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "δ": r"\delta ",
    "ε": r"\varepsilon ",
    "Δ": r"\Delta ", "Ω": r"\Omega ", "Σ": r"\Sigma ", "∀": r"\forall ", "∃": r"\exists ", "∠": r"\angle ",
    "△": r"\triangle ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "∖": r"\setminus ", "→": r"\to ",
    "′": "'", "’": "'", "“": '"', "”": '"', "…": r"\ldots ", "；": ";", "，": ",", "。": ".", "：": ":", "（": "(",
    "）": ")",
    "⟨": r"\langle ", "⟩": r"\rangle ", "€": r"\text{euro}", "£": r"\text{pound}", "¥": r"\text{yuan}",
}  # fmt: skip
_EATEN = {
    "\f": r"\f",
    "\b": r"\b",
    "\a": r"\a",
    "\v": r"\v",
    "\t": r"\t",
    "\r": r"\r",
}  # escapes that JSON or Python ate
_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "le": "leq",
    "leqslant": "leq",
    "leqq": "leq", "ge": "geq", "geqslant": "geq", "geqq": "geq", "ne": "neq", "lt": "<", "gt": ">", "infin": "infty",
    "cupdot": "cup", "bigcup": "cup", "land": "wedge", "lor": "vee", "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[",
    "rbrack": "]", "vert": "|", "lvert": "|", "rvert": "|", "mid": "|", "colon": ":", "dots": "ldots", "cdots": "ldots",
    "dotsc": "ldots", "dotsb": "ldots", "tg": "tan", "ctg": "cot", "arctg": "arctan", "degree": r"^\circ",
    "textdegree": r"^\circ",
    "textcirc": r"^\circ", "bmod": "mod", "epsilon": "varepsilon", "phi": "varphi", "ast": "*", "centerdot": "cdot",
    "bullet": "cdot",
    "varnothing": "emptyset", "Bbb": "mathbb", "rm": "", "bf": "", "it": "", "overline": "bar", "widehat": "hat",
    "nicefrac": "frac", "sfrac": "frac", "surd": "sqrt",
    "overrightarrow": "vec",
    "euro": r"\text{euro}",
    "pounds": r"\text{pound}", "operatorname*": "operatorname", "hspace*": "hspace", "imath": "i", "mathbbm": "mathbb",
    "rightarrow": "to", "Rightarrow": "implies", "longrightarrow": "to", "smallsetminus": "setminus",
    "backslash": "setminus",
}  # fmt: skip
_DROPPED = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle "
    "textstyle scriptstyle limits nolimits "
    "quad qquad thinspace medspace thickspace enspace enskip nobreak strut boldmath unboldmath centering hfill "
    "newline null "
    "normalsize large Large small".split()
)
_TEXTS = frozenset(
    "text mbox textrm textbf textit textsf texttt textnormal "
    "mathrm mathbf mathsf mathit mathtt hbox rm bm boldsymbol".split()
)
_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth log ln lg exp min max "
    "gcd lcm det dim deg arg sgn "
    "mod arcsec arccsc arsinh arcosh artanh arcsinh arccosh arctanh".split()
)
_ASCII = re.compile(
    r"(?<![A-Za-z\\{])(sqrt|pi|sin|cos|tan|cot|log|ln|exp|theta|alpha|beta|infty|arcsin|arccos|arctan)(?=[\s(\d/*)+^-]|$)"
)
_TOKEN = re.compile(r"\\([A-Za-z]+)\*?|\\([\s\S])|\s+|[\s\S]")
_BASES = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "{10}",
    "eleven": "{11}", "twelve": "{12}", "sixteen": "{16}",
}  # fmt: skip
_BASE = rf"(?<=\d)_\s*\{{?\s*(?:\\text\s*\{{)?\s*({'|'.join(_BASES)})\b\s*\}}?\s*\}}?"
_ROUNDS = 12  # a real answer settles in two or three


@lru_cache(maxsize=1 << 14)
def normal(text: str) -> str:
    """The normal form; `normal(normal(x)) == normal(x)`."""
    for _ in range(_ROUNDS):
        new = _once(_unicode(text))
        if new == text:
            return text
        text = new
    return _settled(text)


def _settled(text: str) -> str:
    """A text that keeps changing is not mathematics: it is kept as plain characters, which no rule touches."""
    return "".join(char for char in text if char.isalnum())


def _unicode(text: str) -> str:
    """NFKC, after the characters whose NFKC form would lose their meaning (x² is not x2) have been spelled out."""
    if text.isascii():
        return text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+", lambda run: "^{" + run.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda run: "_{" + run.group().translate(_SUBSCRIPTS) + "}", text)
    text = re.sub("[①-⑳]", lambda mark: "(" + unicodedata.normalize("NFKC", mark.group()) + ")", text)
    for char, (top, bottom) in _FRACTIONS.items():
        text = text.replace(char, rf"\frac{{{top}}}{{{bottom}}}")
    text = re.sub(r"√\s*(\d+|[A-Za-z])", r"\\sqrt{\1}", text).replace("√", r"\sqrt")
    text = unicodedata.normalize("NFKC", text)
    return "".join(_SYMBOLS.get(char, char) for char in text)


def _once(text: str) -> str:
    """One round of all rules."""
    text = _applied(_BEFORE_COMMANDS, _repair(text))
    text = _ASCII.sub(r"\\\1 ", text) if "\\text" not in text else text
    text = "".join(map(_rewrite, _TOKEN.finditer(text)))
    text = _applied(_BEFORE_ARGUMENTS, text)
    text = _applied(_AFTER_ARGUMENTS, _over(_applied(_ARGUMENTS, text)))
    text = re.sub(r" (?=\\)", "", text) if "\\text" not in text else text
    return _unwrap(text.lstrip(" ,;:~*").rstrip(" .,;:~*\\"))


def _applied(rules: list[tuple[re.Pattern, str | Callable]], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _repair(text: str) -> str:
    """Commands that lost their backslash to an escape, and doubled backslashes before a command."""
    for char, restored in _EATEN.items():
        if char in text:
            text = re.sub(re.escape(char) + r"(?=[A-Za-z])", lambda _, restored=restored: restored, text)
    if "\\begin" in text:
        return text
    return re.sub(r"(?<!\\)\\\\(?=[A-Za-z]{2}|[{}])", r"\\", text)


def _rewrite(match: re.Match) -> str:
    """One token: a command under its one name, a spacing dropped."""
    command, escaped = match.groups()
    if command:
        if command in _DROPPED:
            return " "
        if command in _TEXTS:
            return r"\text"
        name = _ALIASES.get(command, command)
        return name if name != command and not name.isalpha() else (f"\\{name}" if name else "") + (" " if name else "")
    if escaped:
        if escaped in ",;:! \n>":
            return "" if escaped == "!" else " "
        if escaped in "()[]":
            return ""
        return {"%": "%", "$": r"\text{dollar}", "&": "&", "#": "#", "_": "_"}.get(escaped, f"\\{escaped}")
    token = match.group()
    if token == "$":
        return ""
    return " " if token.isspace() or token == "~" else token


def _named(match: re.Match) -> str:
    return f"\\{match[1]} " if match[1] in _FUNCTIONS else rf"\text{{{match[1]}}}"


def _text(match: re.Match) -> str:
    """`\\text{x}` of one letter or a number is what it holds; so is a function's name; other words stay text."""
    inside = match[1].strip()
    if not inside:
        return " "
    if inside in _FUNCTIONS:
        return f"\\{inside} "
    before = match.string[max(0, match.start() - 3) : match.start()].rstrip()
    if inside in LETTER_UNITS and before[-1:] in (*"0123456789)}",):
        return rf"\text{{{inside}}}"
    if either := re.fullmatch(r"(\(?[A-Z]\)?|\d+) (and|or) (\(?[A-Z]\)?|\d+)", inside):
        return rf"{either[1]}\text{{{either[2]}}}{either[3]}"
    if counted := re.fullmatch(r"(-?\d[\d.,]*) ([A-Za-z ]+)", inside):
        return rf"{counted[1]}\text{{{counted[2]}}}"
    if re.fullmatch(r"[A-E](?:, ?[A-E])+|[A-Za-z]|[-+]?[\d.,/]+|\([A-Za-z]\)", inside):
        return inside
    return rf"\text{{{inside}}}" if match[1] == inside else rf" \text{{{inside}}} "


def _over(text: str) -> str:
    r"""`{a\over b}` as `\frac{a}{b}`."""
    for match in reversed(list(re.finditer(r"\\over(?![a-z])", text))):
        if span := enclosing_braces(text, *match.span()):
            top, bottom = text[span[0] : match.start()], text[match.end() : span[1]]
            text = f"{text[: span[0] - 1]}\\frac{{{top}}}{{{bottom}}}{text[span[1] + 1 :]}"
    return text


def _unwrap(text: str) -> str:
    """Braces around the whole are spelling: `{x}` is x (but `{1,3}` reads the same without them)."""
    while text.startswith("{") and text.endswith("}") and is_one_bracket(text, BRACES):
        text = text[1:-1].strip()
    return text


def _rules(*pairs: tuple[str, str | Callable]) -> list[tuple[re.Pattern, str | Callable]]:
    return [(re.compile(pattern), replacement) for pattern, replacement in pairs]


_BEFORE_COMMANDS = _rules(
    (r"\\q?quad(?=[A-Za-z])", " "),
    (r", *\\! *", ","),
    (r"\\not *=|\\not *\\equal(?![a-z])", r"\\neq "),
    (r"\\(?:left|right) *\.", " "),
    (r"\.{3,}", r"\\ldots "),
    (r"<su([pb])>(.*?)</su\1>", lambda match: ("^" if match[1] == "p" else "_") + "{" + match[2] + "}"),
    (r"\\(?:begin|end)\s*\{(?:aligned|align\*?|equation\*?|gathered|split)\}", ""),
)
_BEFORE_ARGUMENTS = _rules(
    (r"\\(?:text)?color ?\{\w+\}|\\underline(?![a-z])", ""),
    (r"\\text ?(?=\{\\(?:frac|sqrt|binom|pi)(?![a-z]))", ""),
    (r"\\(?:hspace|vspace|phantom|label|tag)\{[^{}]*\}", ""),
    (r"\\operatorname\s*\{\s*([A-Za-z]+)\s*\}", _named),
    (r"\\text\s*\{([^{}]*)\}", _text),
    (r"(?<=\d)\{([,:.])\}(?=\d)", r"\1"),
    (r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)", lambda number: number.group().replace(" ", "")),
    (r"\{\s*([A-Za-z0-9])\s*\}(?=\s*$)", r"{\1}"),
)
_ARGUMENTS = _rules(  # `\frac12`, `\frac1{2}`, `\sqrt3` with braces; `\sqrt[3]{x}` keeps its index
    (r"\\frac\s*([A-Za-z0-9])(?=\s*[A-Za-z0-9{\\])", r"\\frac{\1}"),
    (r"(\\frac\s*\{[^{}]*\})\s*([A-Za-z0-9])", r"\1{\2}"),
    (r"\\(sqrt|pmod)\s*([A-Za-z0-9])", r"\\\1{\2}"),
    (r"\\mathbb\s*([A-Z])", r"\\mathbb{\1}"),
    (r"\\(vec|hat|bar|dot)\s+([A-Za-z])", r"\\\1{\2}"),
    (r"\\sqrt\s*(\\pi)", r"\\sqrt{\1}"),
)
_AFTER_ARGUMENTS = _rules(
    (r"(?<![\d.}/])(\d+) (\d+)/(\d+)(?![\d.])", r"\1\\frac{\2}{\3}"),
    (r"\\pi ?\{\}", r"\\pi "),
    (r"_\{\\text\{base\}? ?\}? ?(\d+)\}?\}", r"_{\1}"),
    (r"\\dot ?\{(\d)\}(\d*)\\dot ?\{(\d)\}", r"\\dot{\1\2\3}"),
    (_BASE, lambda match: f"_{_BASES[match[1]]}"),
    (r"\^\s*\{\s*\\circ\s*\}|(?<=\d)\^(?:o|\{o\})(?![A-Za-z])", r"^\\circ "),
    (r"\{(\d+)\}/\{(\d+)\}", r"\1/\2"),
    (r"\^\s*\{\s*\\prime\s*\}|\^\s*\\prime(?![A-Za-z])", "'"),
    (r"([\^_])\s*\{\s*([A-Za-z0-9])\s*\}(?!\s*\d)", r"\1\2"),
    (r"\s+", " "),
    (r"(?<=\d), (?=\d)", ",~"),  # a separator: no comma of a number has a space after it
    (r" ?([-+*/^_=<>(),;:|{}\[\]!]) ?", r"\1"),
    (r",~", ", "),
    (r"(?<![A-Za-z\d.}])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?![\d.])", r"\1\\times10^{\2}"),
    (r"\((\w+)\)_(?=\d|\{)", r"\1_"),
    (r"(?<![A-Za-z\\])C\(([^(),]+),([^(),]+)\)", r"\\binom{\1}{\2}"),
    (r"\(\\mod ?([^()]+)\)", r"\\pmod{\1}"),
    (r"(\\[A-Za-z]+) (?![A-Za-z])", r"\1"),
)

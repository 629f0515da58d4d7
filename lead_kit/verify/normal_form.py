"""The normal form of an answer: one spelling for each of the many that mean the same. Idempotent; no algebra.

Every rule rewrites spelling, never value: a base subscript, a unit, a percent sign and an interval's brackets all
survive.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from lead_kit.verify.latex_scan import BRACES, argument, is_one_bracket
from lead_kit.verify.units import DIGITS, LETTER_UNITS, NAMES

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_COMMANDS = (  # characters that are commands
    "×times ÷div ·cdot ⋅cdot ∙cdot ±pm ∓mp ≤leq ⩽leq ≥geq ⩾geq ≠neq ≈approx ∈in ∪cup ∩cap ∞infty ∅emptyset πpi θtheta "
    "αalpha βbeta γgamma λlambda μmu φvarphi ωomega ρrho σsigma τtau δdelta εvarepsilon ΔDelta ΩOmega ΣSigma ∀forall "
    "∃exists ∠angle △triangle ∖setminus →to …ldots ⟨langle ⟩rangle ηeta ξxi ψpsi χchi νnu κkappa ΦPhi ΓGamma ∑sum "
    "∫int ⊂subset ⇒implies ≡equiv ↦mapsto "
)
_SYMBOLS = {pair[0]: f"\\{pair[1:]} " for pair in _COMMANDS.split()} | {
    "−": "-", "–": "-", "—": "-", "‐": "-", "∗": "*", "°": r"^\circ ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "′": "'", "’": "'", "“": '"', "”": '"', "；": ";", "，": ",", "。": ".",
    "：": ":", "（": "(", "）": ")", "€": r"\text{euro}", "£": r"\text{pound}", "¥": r"\text{yuan}",
    "₹": r"\text{rupee}", "¢": r"\text{cent}", "„": '"', "«": '"', "»": '"', "‘": "'", "`": '"',
}  # fmt: skip
_ALIASES = dict(pair.split("=", 1) for pair in (
    r"dfrac=frac tfrac=frac cfrac=frac dbinom=binom tbinom=binom le=leq leqslant=leq leqq=leq ge=geq geqslant=geq "
    r"geqq=geq ne=neq lt=< gt=> infin=infty cupdot=cup bigcup=cup land=wedge lor=vee lbrace=\{ rbrace=\} lbrack=[ "
    r"rbrack=] vert=| lvert=| rvert=| mid=| colon=: dots=ldots cdots=ldots dotsc=ldots dotsb=ldots tg=tan ctg=cot "
    r"arctg=arctan degree=^\circ textdegree=^\circ textcirc=^\circ bmod=mod epsilon=varepsilon phi=varphi ast=* "
    r"centerdot=cdot bullet=cdot varnothing=emptyset Bbb=mathbb overline=bar widehat=hat longmapsto=mapsto "
    r"nicefrac=frac sfrac=frac surd=sqrt overrightarrow=vec euro=\text{euro} pounds=\text{pound} "
    r"mathbbm=mathbb rightarrow=to Rightarrow=implies longrightarrow=to smallsetminus=setminus backslash=setminus "
).split())  # fmt: skip
_DROPPED = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle "
    "limits nolimits quad qquad thinspace medspace thickspace enspace enskip nobreak strut boldmath unboldmath "
    "centering hfill newline null noindent normalsize large Large LARGE huge Huge small footnotesize bf it rm sf tt "
    "bfseries itshape em therefore because checkmark blacksquare square Box qed bigstar".split()
)
# commands that only change the look: of words, of what they enclose, and those whose argument is not read
_ROMAN = "operatorname|text|mbox|hbox|textrm|textnormal|textup|textsc|textmd|mathrm"
_STYLED = "textbf|textit|textsf|texttt|mathbf|mathsf|mathit|mathtt|mathnormal|bm|boldsymbol|pmb|emph"
_FRAMES = (
    "bbox|underline|underbrace|overbrace|smash|ensuremath|framebox|fbox|mathstrut|mathord|mathop|mathclose|mathopen"
)
_HIDDEN = "hspace|vspace|phantom|hphantom|vphantom|label|tag|mspace|color|footnote"
_PAINTED = "textcolor|colorbox|fcolorbox|scalebox|enclose"
_LOOK = re.compile(rf"\\(?:({_ROMAN}|{_STYLED})|({_FRAMES})|({_HIDDEN})|({_PAINTED}))(?![A-Za-z])\*?(?:\[[^\]]*\])?")
_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth log ln lg exp min max gcd lcm det dim "
    "deg arg sgn mod arcsec arccsc arsinh arcosh artanh arcsinh arccosh arctanh".split()
)
_ASCII = re.compile(
    r"(?<![A-Za-z\\{])(sqrt|pi|sin|cos|tan|cot|log|ln|exp|theta|alpha|beta|infty|arcsin|arccos|arctan)(?=[\s(\d/*)+^-]|$)"
)
_SHORT = "is|or|no|to|in|at|of|am|pm|if|it|as|be|by|we|cm|mm|km|kg|mg|ml|mL|ft|yd|mi|hr|hrs|lb|lbs|oz|AND|OR"
_SHORT_WORDS = rf"(?<![^\s}}~])(?:{_SHORT})(?![^\s~.,])"
_LETTERS = r"[^\W\d_]"
_WORD = re.compile(rf"{_LETTERS}{{2,}}")
_SENTENCE = 8  # words beyond which a text is prose, whatever else stands in it
# what makes mathematics of a text; a hyphen between letters does not
_SYMBOL = re.compile(r"[\d\\=+*/^_<>|(){}\[\]%$&#]|(?<![^\W\d_])-|^\W+$|(?<![a-z]{2})!")
_GAP = r"(?:\s|~|/|\\cdot(?![a-z])|\\[,;: ]|\^\{?-?\d\}?)"
_UNITS = re.compile(rf"(?:\s|~|\\[,;: ])*[A-Za-z]{{1,10}}(?:{_GAP}+[A-Za-z]{{1,10}})*(?:\^\{{?-?\d\}}?)?\s*")
_PLAIN_WORD = (
    rf"(?:(?![A-Za-z]*[A-Z]{{2}})(?=[^\W\d_]*[aeiouyAEIOU]|[^\x00-\x7f]){_LETTERS}{{3,}}|{_SHORT_WORDS})(?!{_LETTERS})"
)
_WORDS = rf"(?<!{_LETTERS})({_PLAIN_WORD}(?:[ ,.'’-]+{_PLAIN_WORD})*[.:]?)"
_RUN = re.compile(rf"\\text\{{[^{{}}]*\}}|\\[A-Za-z]+(?:\{{[A-Za-z*]+\}})?|\\.|{_WORDS}")
# words of another script
_FOREIGN = re.compile(rf"\\text\{{[^{{}}]*\}}|{_LETTERS}*[^\W\d_A-Za-z]{_LETTERS}*(?:[ -]{_LETTERS}{{2,}})*")
_STATED = re.compile(r"(?<=\d) *\\?%")  # a percent sign in one text with its number may not be left out
_QUOTED = re.compile(r"^\s*(?:[\"`']|'')+([^\"`]*?)(?:[\"`']|'')+\.?\s*$")
_TWO = frozenset("is or no to in at of am pm if it as be by we so th nd rd st".split())  # words, no products
_TOKEN = re.compile(r"\\([A-Za-z]+)\*?|\\([\s\S])|\s+|[\s\S]")
_BASES = {word: f"{{{number}}}" for number, word in enumerate(DIGITS) if number > 1} | {"sixteen": "{16}"}
_BASE = rf"(?<=\d)_\s*\{{?\s*(?:\\text\s*\{{)?\s*({'|'.join(_BASES)})\b\s*\}}?\s*\}}?"
_ESCAPED = dict.fromkeys(",;: \n>", " ") | dict.fromkeys("!()[]", "") | {x: x for x in "%&#_"} | {"$": r"\text{dollar}"}
_ROUNDS = 12  # a real answer settles in two or three


@lru_cache(maxsize=1 << 14)
def normal(text: str) -> str:
    """The normal form; `normal(normal(x)) == normal(x)`. Empty if none is reached: such a text is no mathematics."""
    for _ in range(_ROUNDS):
        new = _respelled(_without_look(_unicode(text)))
        if new == text:
            return text
        text = new
    return ""


def _without_look(text: str) -> str:
    """The text without the commands that only change its look, each where its argument is whole; innermost first."""
    for match in reversed(list(_LOOK.finditer(text))):
        words, frame, hidden, painted = match.groups()
        span = argument(text, match.end())
        for _ in range((painted is not None) + (painted == "fcolorbox")):
            span = span and argument(text, span[2])
        if span is None:
            continue
        before, inside, after = text[: match.start()], text[span[0] : span[1]], text[span[2] :]
        if words:
            stated = _STATED.sub(r"\\text{pct}", inside) if words.startswith("text") else inside
            inside = _worded(stated, before)
        elif hidden:
            inside = " "
        elif frame and frame.endswith("brace") and after[:1] in ("_", "^") and (note := argument(after, 1)):
            after = after[note[2] :]
        bare, behind = inside.strip(), after.lstrip()[:1] in ("^", "_", "!") and not inside.strip().isdigit()
        if len(bare) > 1 and not bare.startswith("\\text{") and (behind or before[-1:] in ("^", "_")):
            inside = f"{{{bare}}}"
        text = before + inside + after
    return text


def _worded(inside: str, before: str) -> str:
    r"""What a command for words or for bold type holds: words as `\text{...}`, and mathematics as it is."""
    measured = before.rstrip(" ~\\,;").endswith((*"0123456789)}",))
    if measured and "\\text" not in inside and re.search(r"[\\~^/]", inside) and (units := _UNITS.fullmatch(inside)):
        return re.sub(r"[A-Za-z]+", r"\\text{\g<0>}", re.sub(r"\\cdot(?![a-z])|\\[,;: ]|~", " ", units.group()))
    if not inside.strip():
        return " "
    if not _SYMBOL.search(inside) or len(_WORD.findall(inside)) > _SENTENCE and "\\" not in inside:
        return rf"\text{{{inside}}}"
    return f" {_RUN.sub(_word_run, inside)} "


def _word_run(match: re.Match) -> str:
    """Words between the formulas of one text; "and" and "or" stand alone."""
    if not match[1]:
        return match.group()
    words = re.split(r" *\b(and|or|AND|OR)\b *", match[1])
    return "".join(rf"\text{{{word.strip()}}}" for word in words if word.strip())


def _unicode(text: str) -> str:
    """NFKC, after the characters whose NFKC form would lose their meaning (x² is not x2) have been spelled out."""
    if text.isascii():
        return text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+", lambda run: "^{" + run.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda run: "_{" + run.group().translate(_SUBSCRIPTS) + "}", text)
    text = re.sub("[✓✔✅☑■□▪∎∴∵]|\ufe0f", " ", text)
    text = re.sub("[µμ](?=[msgLAFC](?![A-Za-z]))", "u", text).replace("º", "°").replace("˚", "°")
    text = re.sub("[①-⑳]", lambda mark: "(" + unicodedata.normalize("NFKC", mark.group()) + ")", text)
    for char in set(re.findall("[¼-¾⅐-⅞]", text)):
        value = Fraction(unicodedata.numeric(char)).limit_denominator(10)
        text = text.replace(char, rf"\frac{{{value.numerator}}}{{{value.denominator}}}")
    text = re.sub(r"√\s*(\d+|[A-Za-z])", r"\\sqrt{\1}", text).replace("√", r"\sqrt")
    text = unicodedata.normalize("NFKC", text)
    text = "".join(_SYMBOLS.get(char, char) for char in text)
    return _FOREIGN.sub(lambda word: word.group() if word.group()[0] == "\\" else rf"\text{{{word.group()}}}", text)


def _respelled(text: str) -> str:
    """One round of all rules."""
    text = _QUOTED.sub(r"\1", text)
    for pattern, replacement in _BEFORE_COMMANDS:
        text = pattern.sub(replacement, text)
    text = text if "\\begin" in text else re.sub(r"(?<!\\)\\\\(?=[A-Za-z]{2}|[{}])", r"\\", text)
    text = _ASCII.sub(r"\\\1 ", text) if "\\text" not in text else text
    text = "".join(map(_rewrite, _TOKEN.finditer(text)))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = re.sub(r" (?=\\)", "", text) if "\\text" not in text else text
    text = text.lstrip(" ,;:~*").rstrip(" .,;:~*\\")
    while text.startswith("{") and text.endswith("}") and is_one_bracket(text, BRACES):
        text = text[1:-1].strip()  # `{x}` is x (and `{1,3}` reads the same without them)
    return text


def _rewrite(match: re.Match) -> str:
    """One token: a command under its one name, a spacing dropped."""
    command, escaped = match.groups()
    if command:
        if command in _DROPPED:
            return " "
        name = _ALIASES.get(command, command)
        return f"\\{name} " if name.isalpha() else name
    if escaped:
        return _ESCAPED.get(escaped, f"\\{escaped}")
    token = match.group()
    return "" if token == "$" else " " if token.isspace() or token == "~" else token


def _text(match: re.Match) -> str:
    """`\\text{x}` of one letter or a number is what it holds; so is a function's name; other words stay text."""
    inside = match[1].strip()
    if not inside:
        return " "
    before, after = match.string[: match.start()].rstrip(), match.string[match.end() :].lstrip()
    measured = before[-1:] in (*"0123456789)}/",)
    if inside in _FUNCTIONS and not (measured and inside in NAMES and after[:1] not in ("(", "{", "\\", "_")):
        return f"\\{inside} "
    if inside in LETTER_UNITS and measured:
        return rf"\text{{{inside}}}"
    words = [word for word in re.split(r",? *\b(and|or)\b *", inside) if word]
    if len(words) > 1:
        return "".join(rf"\text{{{word}}}" for word in words)
    product = re.fullmatch("[A-Za-z]{2}", inside) and inside not in NAMES and inside.lower() not in _TWO
    if product or re.fullmatch(r"[A-Z]{1,4}(?:, ?[A-Z]{1,4})+|[A-Za-z]", inside):
        return inside
    return rf"\text{{{inside}}}" if match[1] == inside else rf" \text{{{inside}}} "


_ROW = re.compile(r"\\\\(?!\s*&?\s*=)")  # one that starts with = goes on with the last
_ALIGNED = r"(?:aligned|align\*?|equation\*?|gathered|split)"
_BEFORE_COMMANDS = [(re.compile(pattern), replacement) for pattern, replacement in (
    # escapes that JSON or Python ate
    ("[\f\b\a\v\t\r](?=[A-Za-z])", lambda eaten: "\\" + "fbavtr"["\f\b\a\v\t\r".index(eaten.group())]),
    (r"\\(?:hskip|kern|mskip|vskip) ?-?[\d.]+ ?(?:em|ex|pt|mu|cm|mm)", " "),
    (r"(?<=\d) *(?:\\[,;: ])* *\\Omega *$", r"\\text{ohm}"),
    (r"^\s*\](.+,.+)\[\s*$", r"(\1)"),
    (r"\\mu *\\text\{ *([msgLAFC]) *\}", r"\\text{u\1}"),
    (r"(?<=\d) ?[xX] ?(?=10 ?(?:\^|\*\*))", r"\\times "),
    (r"(?<=[\w)}\]])\*\*(?=[-+\w({\\])", "^"),
    (r"\+ ?/ ?-|(?:^|(?<==)|(?<== )) *\+ ?-(?=[\d\\A-Za-z(])", r"\\pm "),
    (r"(?<![\w\\^}])\{([-+])\}", r"\1"),
    (r"(^|\\times|\\cdot|\*) *\{(\d+)\} *(?=\^)", r"\1 \2"),
    (r"(\d+)'(\d+)(?:''|\"|'?\s*$)", r"\1\\text{ft}\2\\text{in}"),
    (r"(?<![\"`'].)(?<=\d)(?:''|\")(?=\s*$)", r"\\text{in}"),
    (r"\\q?quad(?=[A-Za-z])", " "),
    (r", *\\! *", ","),
    (r"\\not *=|\\not *\\equal(?![a-z])", r"\\neq "),
    (r"\\(?:left|right) *\.", " "),
    (r"\.{3,}", r"\\ldots "),
    (r"<su([pb])>(.*?)</su\1>", lambda match: ("^" if match[1] == "p" else "_") + "{" + match[2] + "}"),
    (r"\\([ij])math(?![a-z])", r"\1"),
    (rf"(?s)\\begin\s*\{{{_ALIGNED}\}}(.*?)\\end\s*\{{{_ALIGNED}\}}",
     lambda rows: _ROW.sub(", ", rows[1]).replace("&", "").replace("\\\\", " ")),
)]  # fmt: skip
_GROUP = r"(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*"  # what braces enclose, up to two more within
_RULES = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"\\text\s*\{([^{}]*)\}", _text),
    (r"(?<=\d)\{([,:.])\}(?=\d)", r"\1"),
    (r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)", lambda number: number.group().replace(" ", "")),
    (r"\{\s*([A-Za-z0-9])\s*\}(?=\s*$)", r"{\1}"),
    # `\frac12`, `\frac1{2}`, `\sqrt3` with braces; `\sqrt[3]{x}` keeps its index
    (r"\\frac\s*([A-Za-z0-9])(?=\s*[A-Za-z0-9{\\])", r"\\frac{\1}"),
    (r"(\\frac\s*\{[^{}]*\})\s*([A-Za-z0-9])", r"\1{\2}"),
    (r"\\(sqrt|pmod)\s*([A-Za-z0-9])", r"\\\1{\2}"),
    (r"\\mathbb\s*([A-Z])", r"\\mathbb{\1}"),
    (r"\\(vec|hat|bar|dot)\s+([A-Za-z])", r"\\\1{\2}"),
    (r"\\sqrt\s*(\\pi)", r"\\sqrt{\1}"),
    (rf"\{{({_GROUP}?)\\over(?![a-z])({_GROUP})\}}", r"\\frac{\1}{\2}"),
    (r"_ ?(\\(?!text)[A-Za-z]+)(?![A-Za-z{])", r"_{\1}"),
    (r"(?<=\d) ?\\text\{to\} ?(?=\d)", ":"),
    (r"\\(hat|vec|bar)\{ ?([ij]) ?\}", r"\\\1{\2}"),
    (r"(?<![\d.}/])(\d+) (\d+)/(\d+)(?![\d.])", r"\1\\frac{\2}{\3}"),
    (r"\\pi ?\{\}", r"\\pi "),
    (r"_\{\\text\{base\}? ?\}? ?(\d+)\}?\}", r"_{\1}"),
    (r"_\{ ?\((\d+)\) ?\}", r"_{\1}"),
    (r"(?<=\d) ?\(? ?(?:\\text\{)?(?:in )?base ?\}? ?(\d+) ?\)?$", r"_{\1}"),
    (r"\\frac ?\{ ?(\\text\{[^{}]*\}) ?\} ?\{ ?(\\text\{[^{}]*\}) ?\}", r"\1/\2"),
    (r"(?:(?<=\\frac)|(?<=\}))\{\d{1,3}(?:,\d{3})+\}", lambda number: number.group().replace(",", "")),
    (r"(?<![A-Za-z\\])([A-Za-z]):([A-Za-z]) ?\\mapsto ?", r"\1(\2)="),
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
    (r"(?<![A-Za-z\d.])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?![\d.])", r"\1\\times10^{\2}"),
    (r"\((\w+)\)_(?=\d|\{)", r"\1_"),
    (r"(?<![A-Za-z\\])C\(([^(),]+),([^(),]+)\)", r"\\binom{\1}{\2}"),
    (r"\(\\mod ?([^()]+)\)", r"\\pmod{\1}"),
    (r"(\\[A-Za-z]+) (?![A-Za-z])", r"\1"),
)]  # fmt: skip

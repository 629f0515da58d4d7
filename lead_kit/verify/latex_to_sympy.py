"""LaTeX expressions in normal form, as sympy objects, by recursive descent; runs in workers only.

Every token becomes a constructor call from a fixed table: model text is never evaluated. What this grammar does not
know (integrals, sums, limits) goes to latex2sympy2_extended, whose grammar is wider and slower.
"""

import re
from contextlib import suppress
from functools import lru_cache

import sympy
from latex2sympy2_extended import latex2sympy
from sympy import E, Function, I, Integer, Rational, Symbol, oo, pi

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\[{}|]|\*\*|!!|[A-Za-z]|[-+*/^_=!'|()\[\]{},])")
_GROUPING = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])")


_FUNCTIONS = {
    **{name: getattr(sympy, name) for name in "sin cos tan cot sec csc sinh cosh tanh coth exp arg log".split()},
    **{f"arc{name}": getattr(sympy, f"a{name}") for name in "sin cos tan cot sec csc sinh cosh tanh".split()},
    **{f"ar{name}": getattr(sympy, f"a{name}") for name in "sinh cosh tanh".split()},
    "ln": sympy.log, "lg": lambda x: sympy.log(x, 10), "det": Function("det"), "deg": Function("deg"),
    "sgn": sympy.sign, "min": sympy.Min, "max": sympy.Max,  # gcd and lcm are of a set of numbers
    **{n: lambda *values, n=n: Function(n)(*sorted(values, key=str)) for n in ("gcd", "lcm")},
}  # fmt: skip
_INVERSE = {sympy.sin: sympy.asin, sympy.cos: sympy.acos, sympy.tan: sympy.atan, sympy.cot: sympy.acot}
_CONSTANTS = {"\\pi": pi, "\\infty": oo, "e": E, "i": I}
_FACTORIALS = {"!": sympy.factorial, "!!": sympy.factorial2}
_TIMES = frozenset(("*", "\\times", "\\cdot"))
_OVER = frozenset(("/", "\\div"))
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_APPLIED = frozenset(("f", "g", "h", "F", "G", "H", "\\varphi", "\\Phi", "\\psi", "\\Psi"))
_ENDS = frozenset([*") ] } \\} , + - = | \\rfloor \\rceil \\mod \\|".split(), *_TIMES, *_OVER])
_MAX_POWER = 10**4  # an exponent beyond this stays unevaluated by being refused
_MAX_BITS = 2**17  # of a power of numbers
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")


class Unreadable(ValueError):
    """Not an expression of this grammar."""


class _Reader:
    """One pass over one expression."""

    def __init__(self, text: str):
        text = _GROUPING.sub(lambda number: number.group().replace(",", ""), text).strip()
        self.tokens, self.position, end = [], 0, 0
        while end < len(text):
            if (match := _TOKEN.match(text, end)) is None:
                raise Unreadable(f"{text[end : end + 10]!r}")
            self.tokens.append(match[1])
            end = match.end()

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or expected and token != expected:
            raise Unreadable(f"{token!r} where {expected or 'a term'} was expected")
        self.position += 1
        return token

    def complete(self) -> sympy.Expr:
        value = self.sum()
        if self.peek() == "\\mod":
            self.take()
            value = sympy.Mod(value, self.sum())
        if self.peek():
            raise Unreadable(f"{self.peek()!r} is left over")
        return value

    def sum(self) -> sympy.Expr:
        value = self.product()
        while self.peek() in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self) -> sympy.Expr:
        value = self.signed()
        while True:
            token = self.peek()
            if token in _TIMES:
                self.take()
                value = value * self.signed()
            elif token in _OVER:
                self.take()
                value = value / self.signed()
            elif token and token not in _ENDS:
                value = value * self.power()
            else:
                return value

    def signed(self) -> sympy.Expr:
        if self.peek() in ("+", "-"):
            return self.signed() if self.take() == "+" else -self.signed()
        return self.power()

    def power(self) -> sympy.Expr:
        base = self.postfix()
        if self.peek() not in ("^", "**"):
            return base
        self.take()
        if self.peek() == "\\circ":
            self.take()
            return base * pi / 180
        exponent = self.signed() if self.peek() not in ("{",) else self.group()
        if self.peek() in ("^", "**"):
            self.take()
            exponent = _power(exponent, self.signed())
        return _power(base, exponent)

    def postfix(self) -> sympy.Expr:
        number = self.peek()
        value = self.atom()
        if number.isdigit() and self.peek() == "\\frac" and self.fraction_of_integers():
            value = value + self.atom()
        while self.peek() in _FACTORIALS:
            factorial = _FACTORIALS[self.take()]
            if not (0 <= value <= 2000 if value.is_Integer else value.free_symbols):
                raise Unreadable("a factorial of that")
            value = factorial(value)
        return value

    def fraction_of_integers(self) -> bool:
        shape = self.tokens[self.position + 1 : self.position + 7]
        return ["0" if token.isdigit() else token for token in shape] == ["{", "0", "}", "{", "0", "}"]

    def group(self) -> sympy.Expr:
        opening = self.take()
        if opening not in _CLOSING:
            self.position -= 1
            return self.atom()
        value = self.sum()
        self.take(_CLOSING[opening])
        return value

    def atom(self) -> sympy.Expr:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return self.numeral(token)
        if token in _CLOSING:
            self.position -= 1
            return self.group()
        if token == "|":
            value = self.sum()
            self.take("|")
            return sympy.Abs(value)
        if token in _COMMANDS:
            return _COMMANDS[token](self)
        if token[0] == "\\" and token[1:] in _FUNCTIONS:
            return self.function(token[1:])
        if token.isalpha() or token[0] == "\\" and token[1:].isalpha() and token not in _UNKNOWN:
            return self.symbol(token)
        raise Unreadable(repr(token))

    def numeral(self, token: str) -> sympy.Expr:
        if self.peek() == "_":
            self.take()
            return Symbol(f"{token}_{self.group()}")
        return Rational(token)

    def symbol(self, token: str) -> sympy.Expr:
        name = token
        if self.peek() == "_":
            self.take()
            name = f"{token}_{self.subscript()}"
        while self.peek() == "'":
            name += self.take()
        if self.peek() == "(" and (token in _APPLIED or token.isupper() and self._numeral_in_brackets()):
            self.take()
            return Symbol(f"{name}({', '.join(map(str, self.listed(')')))})")
        return _CONSTANTS.get(name, None) or Symbol(name)

    def subscript(self) -> str:
        """An index as it is worked out, else the words that name a quantity."""
        start, words = self.position, self.raw().replace("\\", "")
        end = self.position
        if not words.isalpha():  # ij is no product
            self.position = start
            with suppress(Unreadable):
                return str(self.group())
        self.position = end
        return words

    def raw(self) -> str:
        """The tokens of a group in braces, or one token, as text."""
        if self.peek() != "{":
            return self.take()
        tokens, depth = [], 0
        while not tokens or depth:
            tokens.append(self.take())
            depth += {"{": 1, "}": -1}.get(tokens[-1], 0)
        return "".join(tokens[1:-1])

    def _numeral_in_brackets(self) -> bool:
        """`I(0)`, `V(2)`: the value of a function, not a product."""
        following = self.tokens[self.position + 1 : self.position + 3]
        return len(following) == 2 and following[0].isdigit() and following[1] == ")"

    def function(self, name: str) -> sympy.Expr:
        base, power = None, Integer(1)
        while self.peek() in ("_", "^"):
            if self.take() == "_":
                base = self.group()
            else:
                power = self.group() if self.peek() in _CLOSING else self.signed()
        function = _FUNCTIONS[name]
        if name == "log" and base is not None:
            return _power(sympy.log(self.argument(), base), power)
        if power == -1 and function in _INVERSE:
            return _INVERSE[function](self.argument())
        return _power(function(*self.arguments()), power)

    def arguments(self) -> list[sympy.Expr]:
        start = self.position
        if self.peek() in ("(", "\\{"):
            values = self.listed(_CLOSING[self.take()])
            if len(values) > 1 or self.peek() != "^":
                return values
        self.position = start
        return [self.argument()]

    def listed(self, closing: str) -> list[sympy.Expr]:
        """Expressions with commas between them, and the bracket behind them."""
        values = [self.sum()]
        while self.peek() == ",":
            self.take()
            values.append(self.sum())
        self.take(closing)
        return values

    def argument(self) -> sympy.Expr:
        r"""A bracket, else the factors up to the next operator or function (`\sin 2x\cos x`)."""
        if self.peek() in ("(", "{", "["):
            return self.group()
        value = self.signed()
        while (token := self.peek()) and token not in _ENDS and token not in "([" and token[1:] not in _FUNCTIONS:
            value = value * self.power()
        return value

    def root(self) -> sympy.Expr:
        index = Integer(2)
        if self.peek() == "[":
            index = self.group()
        inside = self.group()
        if index.is_Integer and index % 2 and inside.is_negative:
            return -_power(-inside, 1 / index)
        return _power(inside, 1 / index)

    def binomial(self) -> sympy.Expr:
        top = self.group()
        if top.is_number and abs(top) > 5000:
            raise Unreadable("a binomial of that")
        return sympy.binomial(top, self.group())

    def between(self, closing: str, function: object) -> sympy.Expr:
        value = self.sum()
        self.take(closing)
        return function(value)

    def opaque(self) -> sympy.Expr:
        """`\\text{word}` and accents: a symbol of that name."""
        return self.symbol(self.raw())

    def marked(self) -> sympy.Expr:
        """A letter under an accent is another letter; a bar over two is the segment."""
        accent = self.tokens[self.position - 1]
        inside = re.sub(r"_\{(\w+)\}", r"_\1", self.raw())
        return self.symbol(inside if accent == "\\bar" and re.fullmatch("[A-Z]{2,}", inside) else accent + inside)


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """base^exponent, refusing what could not be written out."""
    large = exponent.is_number and exponent.is_real and abs(exponent) > _MAX_POWER and base != E
    if exponent.is_Integer and base.is_Rational:
        large = large or abs(exponent) * max(base.p.bit_length(), base.q.bit_length()) > _MAX_BITS
    if exponent.is_number and base.is_Pow and base.exp.is_number:
        large = large or abs(base.exp * exponent) > _MAX_POWER
    if large:
        raise Unreadable("a power of that size")
    return base**exponent


_COMMANDS = {
    "\\frac": lambda reader: reader.group() / reader.group(), "\\sqrt": _Reader.root, "\\binom": _Reader.binomial,
    "\\lfloor": lambda reader: reader.between("\\rfloor", sympy.floor),
    "\\lceil": lambda reader: reader.between("\\rceil", sympy.ceiling),
    "\\ldots": lambda reader: Symbol("..."),
    "\\dot": _Reader.marked, "\\ddot": _Reader.marked, "\\tilde": _Reader.marked, "\\bar": _Reader.marked,
    "\\hat": _Reader.marked, "\\text": _Reader.opaque, "\\vec": _Reader.opaque, "\\mathbb": _Reader.opaque,
    "\\mathcal": _Reader.opaque,
}  # fmt: skip
_UNKNOWN = frozenset(
    r"\int \sum \prod \lim \begin \end \iint \oint \partial \nabla \cup \cap \setminus \leq \geq \neq \in \pm \mp "
    r"\circ \forall \exists \to \rfloor \rceil \approx \equiv \subset \emptyset \times \cdot \div \langle \rangle \mod "
    r"\angle".split()
)


@lru_cache(maxsize=1 << 12)
def parse(text: str) -> sympy.Expr:
    """The expression of a text in normal form. Raises Unreadable."""
    if not text:
        raise Unreadable("nothing")
    try:
        return _Reader(text).complete()
    except Unreadable:
        wider = re.search(r"\\(?:int|sum|prod|lim|iint|oint)", text)  # the grammar of latex2sympy
        if not wider or _WORD.search(text) or _TOKEN.sub("", text).strip():
            raise
    try:
        value = latex2sympy(text)
    except Exception as problem:  # the parser raises bare Exception for any text it does not know
        raise Unreadable(str(problem)[:80]) from problem
    if not isinstance(value, sympy.Expr):
        raise Unreadable(type(value).__name__)
    return value.doit() if value.has(sympy.Limit) else value

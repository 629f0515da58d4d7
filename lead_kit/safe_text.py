"""How untrusted text is shown: completions of models, cells of data files, names that a user chose.

Such text never acts. Control characters and terminal codes become visible signs, long text loses its middle, HTML is
escaped and nothing is typeset as mathematics. Whatever prints or displays such text calls one of these functions.
"""

import html
import re
import unicodedata

LONG, SHORT, _LABEL = 2000, 160, 60  # characters shown of a text, of a cell of a table, of a label in a figure
_NOTE = 40  # a text that is longer by less than the note on what was left out is shown whole
_ACTS_IN_MARKDOWN = re.compile(r"[$`*\\&\n]|<[a-zA-Z/!?]|\]\(|__|~~|^\s*(#|>|[-+] |\d+[.)] )")
NO_MATHEMATICS = "mathjax_ignore tex2jax_ignore"  # classes whose elements MathJax leaves alone


def _sign(character: str) -> str:
    """A character as it is shown: itself, or a sign for one that has no glyph or changes how others are read."""
    unseen = unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
    return f"⟨U+{ord(character):04X}⟩" if unseen else character


def safe_text(text, most: int = LONG) -> str:
    """The text with every control character visible; lines and tabs stay, as does the head and tail of a long text.

    About `most` characters are shown, and a note on how many were left out between them.
    """
    text = text if isinstance(text, str) else str(text)
    if len(text) > most + _NOTE:
        tail = most // 3
        left_out = f"… {len(text) - most:,} characters left out …"
        text = f"{text[: most - tail]}\n{left_out}\n{text[len(text) - tail :]}"
    return "".join(c if c in "\n\t" or " " <= c <= "~" else _sign(c) for c in text)


def safe_line(text, most: int = SHORT) -> str:
    """The text as one line: `safe_text`, with ⏎ where a line ended.

    >>> safe_line("two\\nlines")
    'two⏎lines'
    """
    return safe_text(text, most).replace("\n", "⏎")


def safe_label(text) -> str:
    """The text as a label of a figure. matplotlib hides a label that begins with an underscore."""
    shown = safe_line(text, _LABEL).replace("\t", " ")
    return f" {shown}" if shown.startswith("_") else shown


def as_html(text) -> str:
    """The text as HTML: escaped, its lines kept, and not typeset. MathJax leaves `code` alone in every version."""
    return f'<code class="{NO_MATHEMATICS}" style="white-space: pre-wrap">{html.escape(safe_text(text))}</code>'


def as_markdown(text) -> str:
    """The text on one line of Markdown: in a code span where a reader of Markdown could act on it."""
    shown = safe_line(text)
    if not _ACTS_IN_MARKDOWN.search(shown):
        return shown
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{space}{shown}{space}{fence}"

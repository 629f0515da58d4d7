"""The style of every figure: the sheet with its caption, one look for each method, limits and labels of metrics.

A figure is one column (3.3 inches) to two columns (7 inches) wide, with its caption below it. A method has one colour,
marker and line style everywhere. Okabe and Ito's colours can be told apart by colour-blind readers, markers and line
styles in grey print. The figures are in `training_figures` and `evaluation_figures`, one function each.
"""

import textwrap
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.figure import Figure

from lead_kit.safe_text import LONG, safe_line

_WIDTH, _HEIGHT = 3.3, 2.3  # inches: one column, without the caption
PAGE = 7.0  # inches: two columns, the widest figure
CAPTION_SIZE, CAPTION_LINE, CAPTION_LETTERS = 6.5, 0.115, 62  # points, inches a line, letters a line of one column
STYLE = {  # over matplotlib's defaults, so that a user's matplotlibrc changes no figure
    **{name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")},
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.axisbelow", "axes.grid"), True),
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "figure.dpi": 150,
    "text.parse_math": False,  # a $ in the name of an arm is a $
    "pdf.fonttype": 42,  # letters stay letters in the PDF
}


class Sheet(Figure):
    """A figure that displays in a notebook without pyplot's global state, and is saved in the kit's style.

    A notebook shows the PNG that was saved, unless the figure has changed since.
    """

    saved: bytes = b""

    @rc_context(STYLE)
    def savefig(self, target, **options):
        super().savefig(target, **options)
        if options.get("format") == "png" and isinstance(target, Path):
            self.saved, self.stale = target.read_bytes(), False  # matplotlib calls it stale with the next change

    def png(self, **options) -> bytes:
        image = BytesIO()
        self.savefig(image, format="png", **options)
        return image.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict]:
        image = self.saved if self.saved and not self.stale else self.png(bbox_inches="tight")
        return image, {"width": round(self.get_figwidth() * self.dpi)}  # as wide on the screen, however many pixels


class _Look(NamedTuple):
    """How a method looks in every figure."""

    colour: str
    line: str | tuple
    marker: str
    hatch: str


_METHOD_LOOKS = {
    "sft": _Look("#7F7F7F", (0, (4, 1, 1, 1)), "H", "\\\\////"),
    "random": _Look("#999999", (0, (1, 1)), "x", "//"),  # control arms: grey
    "format_only": _Look("#CCCCCC", (0, (3, 2)), "+", "\\\\"),
    "grpo": _Look("#0072B2", "-", "o", ""),
    "length": _Look("#E69F00", "--", "s", "////"),
    "lead": _Look("#009E73", "-.", "^", "...."),
    "length_reweighting": _Look("#CC79A7", ":", "D", "xxxx"),
    "dr_grpo": _Look("#56B4E9", (0, (5, 1)), "v", "----"),
    "dapo": _Look("#D55E00", (0, (3, 1, 1, 1)), "P", "\\\\\\\\"),
    "rloo": _Look("#000000", (0, (1, 1)), "X", "++++"),
    "lead_code": _Look("#7A5195", (0, (5, 2, 1, 2)), "<", "oo"),
    # the graders of 07_verifier_audit
    "string": _Look("#BBBBBB", "--", "1", "////"),
    "sympy": _Look("#BB5566", "-.", "2", "...."),
    "verifier": _Look("#004488", "-", "3", ""),
}
_SPARE_LOOKS = [
    _Look("#8C564B", "-", "h", "//"),
    _Look("#A6761D", "--", "*", ".."),
    _Look("#BCBD22", "-.", ">", "xx"),
    _Look("#117733", ":", "d", "--"),
    _Look("#882255", (0, (5, 1)), "p", "\\\\"),
    _Look("#332288", (0, (1, 2)), "8", "++"),
]
_METHOD_LOOKS["reflection"] = _SPARE_LOOKS[0]
_FREE_COLOURS = [look.colour for look in _SPARE_LOOKS[1:]]  # of methods that are not in _METHOD_LOOKS
_FREE_COLOURS += ["#44AA99", "#AA4499", "#999933", "#661100", "#6699CC", "#4B6A00"]
REWARD_LOOKS = [_SPARE_LOOKS[place] for place in (0, 3, 1, 5, 2, 4)]  # the order in which neighbours differ most
HOLLOW = {"linewidth": 0.7, "markerfacecolor": "white", "markeredgewidth": 0.6, "markersize": 3}
_SHARES = ("pass@1", "truncated", "correct", "reward_correct", "reward_format", "zero_variance", "zero_advantage")
_SHARES += ("zero-advantage groups", "clipped tokens", "cut off", "advantage mass outside mixed groups")  # in figures
LIMITS = dict.fromkeys(_SHARES, (0, 1)) | {"length": (0, np.inf)}
LABELS = {
    "pass@1": "validation Pass@1",
    "length": "mean length (tokens)",
    "truncated": "share of answers cut at the limit",
    "correct": "share correct",
    "zero_variance": "equal-reward groups",
    "entropy": "entropy (nats per token)",
    "loss": "loss (nats per token)",
}


def keep_in_range(axes, metric: str) -> None:
    """Cuts the y axis to the values that the metric can have; lines on the border need clip_on=False."""
    (low, high), (bottom, top) = LIMITS.get(metric, (-np.inf, np.inf)), axes.get_ylim()
    axes.set_ylim(max(low, bottom), min(high, top))


def method_styles(methods) -> dict[str, _Look]:
    """The look of each method. The colour of a name that is not in _METHOD_LOOKS follows from the name alone; names
    that share a colour differ in line style and marker.
    """
    styles = {method: _METHOD_LOOKS[method] for method in methods if method in _METHOD_LOOKS}
    for method in sorted(set(methods) - set(_METHOD_LOOKS)):
        turn, index = divmod(zlib.crc32(method.encode("utf-8", "replace")), len(_FREE_COLOURS))
        first, colour = turn % len(_SPARE_LOOKS), _FREE_COLOURS[index]
        taken = {look.marker for look in styles.values() if look.colour == colour}
        spare = _SPARE_LOOKS[first:] + _SPARE_LOOKS[:first]
        look = next((look for look in spare if look.marker not in taken), spare[0])
        styles[method] = look._replace(colour=colour)
    return {method: styles[method] for method in methods}


def line_kwargs(look: _Look) -> dict:
    """Keyword arguments for axes.plot."""
    return {"color": look.colour, "linestyle": look.line, "marker": look.marker}


def figure_with_caption(
    caption: str, panels: int = 1, height: float = _HEIGHT, width: float = _WIDTH, across: bool = False
) -> tuple[Figure, np.ndarray]:
    """A figure with its caption, and its axes (panels,): one below the other, or `across`.

    `height` is that of one panel, `width` that of the figure, in inches; the width is kept within one and two columns.
    """
    width = float(np.clip(width, _WIDTH, PAGE))
    lines = textwrap.wrap(safe_line(caption, LONG), int(CAPTION_LETTERS * width / _WIDTH))
    below = CAPTION_LINE * (len(lines) + 0.8)
    rows, columns = (1, panels) if across else (panels, 1)
    figure = Sheet(figsize=(width, height * rows + below), layout="constrained")
    share = below / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    figure.text(0.02, 0.01, "\n".join(lines), fontsize=CAPTION_SIZE, va="bottom", linespacing=1.25)
    figure.set_label(" ".join(caption.split()))  # the caption as text, which is saved beside the image
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def legend_above(figure: Figure, axes) -> None:
    """The legend of `axes` above the data, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    labels = [textwrap.fill(label, 46) for label in labels]
    entry = 0.42 + 0.06 * min(46, max(map(len, labels)))  # inches
    columns = max(1, min(len(labels), int(figure.get_figwidth() / entry)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)

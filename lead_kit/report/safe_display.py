"""Tables on the screen whose texts may come from a model or a file."""

from numbers import Number

import numpy as np
import pandas as pd

from lead_kit.safe_text import SHORT, safe_line

_WIDTH = 160  # letters of a line in a terminal


class Table:
    """A data frame to look at: HTML in a notebook, plain text in a terminal; its texts are escaped."""

    def __init__(self, frame: pd.DataFrame):
        """`frame` holds nothing but numbers and texts that are safe on one line."""
        self.frame = frame
        self.options = ("display.html.use_mathjax", False, "display.max_colwidth", None, "display.max_columns", None)
        self.options += ("display.width", _WIDTH)

    def __repr__(self) -> str:
        with pd.option_context(*self.options):
            return repr(self.frame)

    def _repr_html_(self) -> str:
        with pd.option_context(*self.options):
            return self.frame._repr_html_()


class Page:
    """HTML for a notebook and plain text for a terminal; the caller must escape the text."""

    def __init__(self, html: str, text: str):
        self.html, self.text = html, text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def table(frame: pd.DataFrame | pd.Series, digits: int | None = None, most: int = SHORT) -> Table:
    """The frame (or series, as one column) to look at, with every text as `safe_line` shows it.

    `digits`: decimals of the numbers that are not whole, – for a missing one; without it pandas chooses. `most`:
    characters of a cell.
    """

    def safe(value):
        return value if value is None or isinstance(value, Number | np.bool_) else safe_line(value, most)

    def number(value):
        return "–" if pd.isna(value) else f"{value:.{digits}f}"

    frame = frame.to_frame() if isinstance(frame, pd.Series) else frame
    columns = []
    for index in range(frame.shape[1]):  # by index, as names may occur twice
        column = frame.iloc[:, index]
        if digits is not None and pd.api.types.is_float_dtype(column):
            column = column.map(number)
        elif not pd.api.types.is_numeric_dtype(column):
            column = column.map(safe)
        columns.append(column)
    shown = pd.concat(columns, axis=1) if columns else frame
    return Table(shown.rename(index=safe, columns=safe).rename_axis(index=safe, columns=safe))

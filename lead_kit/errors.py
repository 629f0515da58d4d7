"""InputError and the hints that go with it: what a user reads after a mistake, or after an interruption."""

import difflib
from collections.abc import Iterable, Mapping


class InputError(ValueError):
    """A mistake of the user's, described in one sentence; `lead` prints the sentence and exits with code 2."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in the place of a traceback."""
        return [f"InputError: {self}"]


class Interrupted(KeyboardInterrupt):
    """An interruption of a cell whose run can go on; the sentence says how far the run is and how it goes on."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def shorten(value, most: int = 80) -> str:
    """A value as it stands in a message: its text, or the beginning of a long one."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the name closest to `name`, or an empty string when none is close."""
    matches = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def nearest_or_all(name: str, names: Iterable[str]) -> str:
    """The closest name as `nearest` gives it, or the list of all names when none is close."""
    return nearest(name, names) or f"; there are: {', '.join(names) or 'none'}"


def lookup(table: Mapping, name: str, parameter: str):
    """The entry `name` of a table such as ESTIMATORS. Raises InputError naming the parameter and the closest entry."""
    if not isinstance(name, str) or name not in table:
        expected = f"expected one of {', '.join(table)}{nearest(name, table)}"
        raise InputError(f"{parameter} is {shorten(repr(name))}, {expected}")
    return table[name]

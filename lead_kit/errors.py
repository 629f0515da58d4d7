"""InputError, and the choice of a named entry: what a user reads after a mistake."""

import difflib
from collections.abc import Iterable, Mapping


class InputError(ValueError):
    """A mistake of the user's, told in one sentence; `lead` prints the sentence and exits with code 2."""


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the name most like `name`, or an empty string when none is like it."""
    found = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def chosen(table: Mapping, name: str, parameter: str):
    """The entry `name` of a table such as ESTIMATORS. Raises InputError naming the parameter and the nearest entry."""
    if name not in table:
        raise InputError(f"{parameter} is {name!r}, expected one of {', '.join(table)}{nearest(name, table)}")
    return table[name]

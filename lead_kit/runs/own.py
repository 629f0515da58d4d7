"""Your own rewards and estimators from a file, kept in the record of the run that used them."""

import importlib.util
from collections.abc import Callable, Iterable

from lead_kit.errors import InputError, nearest
from lead_kit.params import call_name
from lead_kit.runs.paths import ROOT, resolve, shown


def own_functions(texts: Iterable[str], run) -> dict[str, Callable]:
    """`file.py:function` → that function, for every text of this form; other texts are skipped.

    A text may carry arguments, as in `mine.py:short(limit=40)`. The file lies below the repository, and the run records
    it with its hash. Importing it runs it, as any module. Raises InputError naming the file or the nearest function.
    """
    found = {}
    for name in (call_name(text, "a name") for text in texts if ":" in text):
        file, _, function = name.rpartition(":")
        path = resolve(file)
        if not path.resolve().is_relative_to(ROOT) or path.suffix != ".py":
            raise InputError(f"{name!r}: expected FILE.py:FUNCTION with a file below {shown(ROOT) or ROOT}")
        spec = importlib.util.spec_from_file_location(path.stem, run.input(path))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        known = [one for one, value in vars(module).items() if callable(value) and value.__module__ == path.stem]
        if function not in known:
            hint = nearest(function, known) or f"; it has: {', '.join(known) or 'none'}"
            raise InputError(f"{shown(path)} has no function {function!r}{hint}")
        found[name] = getattr(module, function)
    return found

"""Your own rewards and estimators from a file, which becomes an input of the run."""

import importlib.util
from collections.abc import Callable, Iterable

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.params import call_name
from lead_kit.runs.paths import ROOT, resolve, shown


def own_functions(texts: Iterable[str], run) -> dict[str, Callable]:
    """The function for each text of the form `file.py:function`; other texts are skipped.

    A text may carry arguments, as in `mine.py:short(limit=40)`. The file must lie below the repository and is executed,
    as by an import; the run keeps its hash. Raises InputError naming the file or the closest function.
    """
    functions = {}
    for name in (call_name(text, "a name") for text in texts if ":" in text):
        file, _, function = name.rpartition(":")
        path = resolve(file)
        if not path.resolve().is_relative_to(ROOT) or path.suffix != ".py":
            raise InputError(f"{name!r}: expected FILE.py:FUNCTION with a file below {shown(ROOT) or ROOT}")
        spec = importlib.util.spec_from_file_location(path.stem, run.input(path))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        own = [key for key, value in vars(module).items() if callable(value) and value.__module__ == path.stem]
        if function not in own:
            raise InputError(f"{shown(path)} has no function {function!r}{nearest_or_all(function, own)}")
        functions[name] = getattr(module, function)
    return functions

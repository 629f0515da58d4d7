"""The executed cells of a notebook: which one declares the parameters, and what others assign."""

import ast
import difflib
from collections.abc import Iterable
from itertools import takewhile

# what `ast` raises for a text that is no Python, no literal, or nested too deeply
UNREADABLE = (TypeError, ValueError, SyntaxError, RecursionError, MemoryError)
_ALIKE = 0.8  # similarity of two names above which one is taken for the other, misspelt


def injected_names(cells: Iterable[str]) -> list[str]:
    """The names assigned by the newest cell that papermill injected, whose first line is `# Parameters`."""
    for source in reversed(list(cells)):
        if source.split("\n", 1)[0].strip() != "# Parameters":
            continue
        targets = [t for node in ast.parse(source).body if isinstance(node, ast.Assign) for t in node.targets]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def declared_names(source: str) -> list[str]:
    """The names that a cell annotates at its top level; none for a cell that is no Python, as one with a magic."""
    try:
        nodes = ast.parse(source).body
    except UNREADABLE:
        return []
    return [node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]


def misspelt_name(cells: Iterable[str], declared: Iterable[str]) -> tuple[str, str] | None:
    """The first name, assigned without an annotation in a cell before `settle`, that is almost a parameter's; and that
    parameter's name.
    """
    for source in takewhile(lambda cell: "settle(" not in cell, cells):
        try:
            nodes = ast.parse(source).body
        except UNREADABLE:
            continue
        targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
        for name in [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]:
            if name not in declared and (close := difflib.get_close_matches(name, declared, n=1, cutoff=_ALIKE)):
                return name, close[0]
    return None


def parameters_cell(cells: list[str], before: int, names: Iterable[str]) -> int:
    """The place of the parameters cell among the executed cells: since the place `before`, which was settled last with
    these `names`, the newest with at least half as many declarations as any; `before` when no later cell is like it.
    """
    sizes = {}
    for place in range(before + 1, len(cells)):
        here = declared_names(cells[place])
        if here and (not names or "run_name" in here or 2 * len({*here} & {*names}) >= len(here)):
            sizes[place] = len(here)
    return max((place for place, size in sizes.items() if 2 * size >= max(sizes.values())), default=before)

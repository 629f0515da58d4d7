"""User functions, from a cell of the notebook or from a file. What runs is the source that the run folder keeps.

`own/NAME.py` in the run folder holds it, run.json its hash. A run that is continued must have the same source.
"""

import ast
import builtins
import linecache
import symtable
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, ModuleType

from lead_kit.errors import InputError, nearest_or_all
from lead_kit.parameters import call_name
from lead_kit.runs.files import ROOT, resolve, shown


def user_functions(texts: Iterable[str], run, cells: Mapping = MappingProxyType({})) -> dict[str, Callable]:
    """The function for each text that is `file.py:function` or names a function of `cells`; other texts are skipped.

    `cells` is the notebook's `globals()`: a function counts if a cell defines it. A text may carry arguments, as in
    `short(limit=40)`. A file must lie below the repository and is executed, as by an import. `run` keeps each source.
    Raises InputError naming the file, the closest function, or what is missing in the cell.
    """
    functions = {}
    for name in (call_name(text, "a name") for text in texts if text):
        if ":" in name:
            file, _, function = name.rpartition(":")
            path, origin = resolve(file), shown(resolve(file))
            if not path.resolve().is_relative_to(ROOT) or path.suffix != ".py":
                raise InputError(f"{name!r}: expected FILE.py:FUNCTION with a file below the repository root")
            source, where = run.input(path).read_text(encoding="utf-8"), origin  # the file becomes an input of the run
        elif getattr(cells.get(name), "__module__", "") == "__main__" and callable(cells[name]):
            function, where, origin = name, f"the cell of {name!r}", ""
            source = _cell_source(cells[name], name)
        else:
            continue
        functions[name] = _function_from_source(source, function, where)
        run.keep_source(function, source, origin)
    return functions


def _function_from_source(source: str, function: str, where: str) -> Callable:
    """The function of that name in the source, which is executed. Raises InputError naming the closest one."""
    module = ModuleType("own")
    filename = f"<{where}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)  # for tracebacks
    exec(compile(source, filename, "exec"), vars(module))
    defined = [key for key, value in vars(module).items() if callable(value) and value.__module__ == "own"]
    if function not in defined:
        raise InputError(f"{where} has no function {function!r}{nearest_or_all(function, defined)}")
    return getattr(module, function)


def _cell_source(function: Callable, name: str) -> str:
    """The part of a cell that defines a function: its source and what it needs of the same cell.

    Raises InputError where the function needs something that the cell does not define, so that the source would not
    run from a file.
    """
    code = getattr(function, "__code__", None)
    text = "".join(linecache.getlines(code.co_filename)) if code else ""
    statements = {}
    for node in ast.parse(text).body:
        statements |= dict.fromkeys(_names_defined(node), node)
    if not isinstance(statements.get(name), ast.FunctionDef):
        raise InputError(f"{name!r} is no function that a cell defines with `def`")
    wanted, kept = [name], []
    while wanted:
        node = statements[wanted.pop()]
        if node not in kept:
            kept.append(node)
            wanted += [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in statements]
    lines = text.splitlines()
    parts = ["\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in sorted(kept, key=_first_line)]
    source = "\n\n".join(parts) + "\n"
    known = {n for node in kept for n in _names_defined(node)} | set(dir(builtins))
    if missing := sorted(_free_names(symtable.symtable(source, name, "exec")) - known):
        raise InputError(f"the cell of {name!r} does not define {missing[0]!r}: import or define it in the same cell")
    return source


def _first_line(node: ast.stmt) -> int:
    """The line where a statement begins, with its decorators."""
    return min([node.lineno, *(n.lineno for n in getattr(node, "decorator_list", []))])


def _names_defined(node: ast.stmt) -> list[str]:
    """The names that a top-level statement defines; empty for one that only does something."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _free_names(table: symtable.SymbolTable) -> set[str]:
    """The global names that a source uses, in functions too."""
    names = {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
    return names.union(*map(_free_names, table.get_children()))

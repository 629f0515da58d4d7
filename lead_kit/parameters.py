"""The parameters cell of a notebook: which parameters there are, of which type, and which were set.

A parameter is declared once, as `name: type = literal  # help` in the notebook's tagged cell. A text may list choices
with their arguments, one argument a line:

    schedule: str = '''constant | linear | cosine(
        lr_floor=0.1,  # minimum rate as a share of the peak
    )'''  # course of the learning rate

The first choice is the default. Each argument is a parameter of its own: `-p lr_floor 0.8` and
`-p schedule "cosine(lr_floor=0.8)"` are the same. A choice takes those arguments that it has, whichever choice they
stand at.

`lead run` reads that cell without executing it (`read_parameters`, `convert_values`). Inside the kernel, `settle`
checks the values, however the notebook was started. `bind` passes them to a formula by name. Only the standard library
is imported, so that a typo is reported at once.
"""

import ast
import difflib
import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

from lead_kit.errors import InputError, lookup, nearest, nearest_or_all, shorten

_SECRET_NAME = re.compile(
    r"(?:(?:api|access|secret|private|auth)_?key|secret|password|(?:^|api_|auth_|access_|hf_|hub_)token)$"
)
SECRET_VALUE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20}|sk-[\w-]{16}|gh[pousr]_[A-Za-z0-9]{20}|github_pat_\w{20}|AKIA[0-9A-Z]{16})|://[^/@\s:]+:[^/@\s]+@"
)
# what `ast` raises for a text that is no Python, no literal, or nested too deeply
_UNREADABLE = (TypeError, ValueError, SyntaxError, RecursionError, MemoryError)
_ALIKE = 0.8  # similarity of two names above which one is taken for the other, misspelt
_SETTLED = "__settled__"  # in a notebook's namespace: the names of the parameters cell settled last


class Parameter(NamedTuple):
    """A parameter, or an argument of the choices of another one."""

    name: str
    type: str  # one of TYPES
    default: object
    help: str
    choices: str = ""  # the text that lists its choices, where they have arguments
    argument_of: str = ""  # the parameter whose choices have this argument


class Config(dict):
    """Settled parameters by name, arguments of choices among them; `passed` holds those that `-p` or papermill set."""

    def __init__(self, values: Mapping, passed: Mapping, declared: Mapping[str, Parameter] = MappingProxyType({})):
        super().__init__(values)
        self.passed, self._declared = dict(passed), declared

    def arguments_of(self, parameter: str) -> SimpleNamespace:
        """The arguments of a parameter's choices, as attributes."""
        names = [name for name, known in self._declared.items() if known.argument_of == parameter]
        return SimpleNamespace(**{name: self[name] for name in names})


def _as_bool(value) -> bool:
    return value if isinstance(value, bool) else {"true": True, "false": False}[value.lower()]


def _as_number(value, kind: type) -> float:
    if isinstance(value, bool) or (kind is int and isinstance(value, float)) or not math.isfinite(kind(value)):
        raise ValueError
    return kind(value)


def _as_str(value) -> str:
    value.encode()  # refuses bytes of a command line that are no text, and what is no text at all
    return value


_KINDS = {  # of a value: how it is read, and what is expected
    "bool": (_as_bool, "true or false"),
    "int": (functools.partial(_as_number, kind=int), "a whole number"),
    "float": (functools.partial(_as_number, kind=float), "a finite number"),
    "str": (_as_str, "text in UTF-8; with plain papermill, pass a number as text with `-r name value`"),
}
TYPES = (*_KINDS, "list[str]", "list[int]", "list[float]")


def _entries(value) -> list:
    """The entries of `a,b`, of JSON or of a list."""
    if isinstance(value, str):
        text = value.strip()
        return json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise ValueError
    return value


def _convert(name: str, kind: str, value):
    """`value` converted to the declared type `kind`. Raises InputError when it does not fit; a bool is no int."""
    if kind not in TYPES:
        raise InputError(f"parameter {name!r} is declared as {kind}; expected one of {', '.join(TYPES)}")
    is_list = kind.startswith("list")
    read, expected = _KINDS[kind[5:-1] if is_list else kind]
    try:
        return [read(entry) for entry in _entries(value)] if is_list else read(value)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        expected = f"a list, each entry {expected}" if is_list else expected
        got = shorten(repr(value))
        raise InputError(f"parameter {name!r} must be {kind}, got {got}: expected {expected}") from None


def _refuse_undeclared(names: Iterable[str], declared: Mapping, where: str) -> None:
    """Raises InputError for a parameter that is not declared."""
    for name in names:
        if name not in declared:
            raise InputError(f"{where} has no parameter {shorten(repr(name))}{nearest_or_all(name, declared)}")


def _statements(source: str) -> list[ast.stmt]:
    """The statements of a cell; none for a cell that is no Python, which has not been executed either."""
    try:
        return ast.parse(source).body
    except _UNREADABLE:
        return []


def _declared_names(source: str) -> list[str]:
    """The names that a cell annotates at its top level."""
    targets = [node.target for node in _statements(source) if isinstance(node, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _assigned_names(cells: Iterable[str]) -> list[str]:
    """The names that these cells may assign outside functions."""
    nodes = [node for source in cells for node in _statements(source)]
    nodes = [node for node in nodes if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    names = [part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


def _refuse_misspelt(cells: Iterable[str], declared: Iterable[str]) -> None:
    """Raises InputError for a name, assigned before the cell of `settle`, that is almost a parameter's."""
    for name in _assigned_names(takewhile(lambda cell: "settle(" not in cell, cells)):
        close = [] if name in declared else difflib.get_close_matches(name, declared, n=1, cutoff=_ALIKE)
        if close:
            raise InputError(f"a cell assigns {name!r}, which is no parameter (did you mean {close[0]!r}?)")


def _parameters_cell(cells: list[str]) -> int:
    """The index of the parameters cell among the executed cells: the newest that declares run_name, else the newest
    with a declaration; 0 without one.
    """
    declared = {index: names for index, source in enumerate(cells) if (names := _declared_names(source))}
    return max([index for index, names in declared.items() if "run_name" in names] or declared, default=0)


def settle(namespace: dict) -> Config:
    """The notebook's parameters, checked and converted to their declared types.

    `namespace` is the notebook's `globals()`. The parameters cell that was executed last is used: a name that
    an earlier version of the cell declared is removed. Converted values are written back, so that later cells use the
    values that the run keeps; arguments of choices are only in the result. Such an argument may be assigned in a cell
    after the parameters cell, too. Raises InputError for a name that was passed but not declared, for a line that is no
    declaration, for a name that stands in place of a similar one, and for a wrong type.
    """
    cells, settled = namespace.get("In", [""]), namespace.get(_SETTLED, ())
    index = _parameters_cell(cells)
    declared, later = _declarations(cells[index], "the parameters cell", settled), cells[index + 1 :]
    passed = _assigned_names([cell for cell in later if cell.startswith("# Parameters\n")][-1:])  # by papermill
    _refuse_undeclared(passed, declared, "this notebook")
    _refuse_misspelt(later, declared)
    gone = [name for name in settled if name not in declared]
    for name in declared:
        if name not in settled and (hint := nearest(name, gone)):
            raise InputError(f"this notebook has no parameter {name!r}{hint}; if you renamed it, restart the kernel")
    arguments = {name for name, known in declared.items() if known.argument_of}
    listed = {name for name, known in declared.items() if known.choices and namespace.get(name) == known.choices}
    names = declared.keys() - arguments - listed | arguments & {*_assigned_names(later)}
    set_now = {name: namespace[name] for name in declared if name in names and name in namespace}
    values = {name: known.default for name, known in declared.items()} | _converted(set_now, declared)
    for name in gone:
        namespace.pop(name, None)
    namespace |= {name: value for name, value in values.items() if name not in arguments}
    namespace[_SETTLED] = tuple(declared)
    passed = _split_arguments({name: set_now[name] for name in passed if name in set_now}, declared)
    return Config(values, {name: values[name] for name in passed}, declared)


class _Bound(functools.partial):
    """A function with its keyword-only arguments fixed; its repr shows their values."""

    def __repr__(self):
        return f"{self.func.__name__}({', '.join(f'{name}={value!r}' for name, value in self.keywords.items())})"


def bind(function: Callable, config: Mapping, arguments: Mapping = MappingProxyType({})) -> _Bound:
    """`function` with every keyword-only argument fixed: from `arguments`, else from the parameter of the same name.

    Raises InputError for an argument that the function does not have, for one whose type differs from its annotation,
    and for a missing parameter. The result keeps the function's `__name__`.
    """
    keyword_only = {n: a for n, a in inspect.signature(function).parameters.items() if a.kind is a.KEYWORD_ONLY}
    for name in arguments:
        if name not in keyword_only:
            raise InputError(f"{function.__name__} has no argument {name!r}{nearest_or_all(name, keyword_only)}")
    values = {name: argument.default for name, argument in keyword_only.items()} | dict(arguments)
    values |= {name: config[name] for name in keyword_only if name in config and name not in arguments}
    for name, value in values.items():
        annotation = keyword_only[name].annotation
        kind = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        if value is inspect.Parameter.empty:
            ways = f"a parameter of this notebook, or {function.__name__}({name}=...){nearest(name, config)}"
            raise InputError(f"{function.__name__} needs {name!r}: {ways}")
        if name in arguments and kind in TYPES:
            values[name] = _convert(f"{name} of {function.__name__}", kind, value)
    bound = _Bound(function, **values)
    bound.__name__ = function.__name__
    return bound


_CALL = re.compile(r"\s*([^()]+?)\s*(\(.*\))?\s*", re.DOTALL)


def read_call(text: str, parameter: str) -> tuple[str, dict]:
    """The name and the literal arguments in `name` or `name(argument=literal, ...)`; nothing is executed.

    Raises InputError naming the parameter when the text has another form.

    >>> read_call("cosine(max_length=4096)", "rewards")
    ('cosine', {'max_length': 4096})
    """
    match = _CALL.fullmatch(text)
    try:
        call = ast.parse(f"_{match[2] or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        return match[1], {argument.arg: ast.literal_eval(argument.value) for argument in call.keywords}
    except _UNREADABLE:
        expected = "expected a name, or a name with literal arguments such as cosine(max_length=4096)"
        raise InputError(f"{parameter} has {shorten(repr(text))}: {expected}") from None


def call_name(text: str, parameter: str) -> str:
    """The name in `name` or `name(...)`. Raises InputError as `read_call` does."""
    return read_call(text, parameter)[0]


def with_user_functions(
    table: Mapping[str, Callable], functions: Mapping[str, Callable], parameter: str
) -> dict[str, Callable]:
    """The entries of a table and the user's functions. Raises InputError for one of these with a name of the table."""
    if taken := [name for name in functions if name in table]:
        raise InputError(f"{parameter}: {taken[0]!r} is a name of the kit; give your own function another one")
    return {**table, **functions}


def select_function(
    text: str, table: Mapping[str, Callable], parameter: str, config: Mapping = MappingProxyType({})
) -> _Bound:
    """The entry of `table` that `name` or `name(argument=literal, ...)` names, with its arguments fixed by `bind`.

    Raises InputError for an unknown name, an unknown argument, or a value of the wrong type.
    """
    name, arguments = read_call(text, parameter)
    return bind(lookup(table, name, parameter), config, arguments)


def load_notebook(path: Path) -> dict:
    """The notebook as a dict. Raises InputError when it does not exist or is not a notebook."""
    path = Path(path)
    if not path.is_file():
        names = [other.name for other in path.parent.glob("*.ipynb")]
        raise InputError(f"no notebook {str(path)!r}{nearest(path.name, names)}")
    try:
        notebook = json.loads(path.read_bytes().decode("utf-8-sig"))
        if notebook.get("nbformat", 4) == 4 and all(_is_cell(cell) for cell in notebook["cells"]):
            return notebook
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise InputError(f"{str(path)!r} is not a Jupyter notebook (version 4): expected JSON with a list of cells")


def _is_cell(cell) -> bool:
    """Whether a value has the form of a notebook's cell: its source is text or lines of text, its tags are texts."""
    source, tags = cell["source"], cell.get("metadata", {}).get("tags", [])
    lines = source if isinstance(source, list) else [source]
    return isinstance(tags, list) and all(isinstance(text, str) for text in [cell["cell_type"], *lines, *tags])


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, in order. Its source is read; nothing is executed.

    Raises InputError unless exactly one cell is tagged `parameters` and each of its lines is a declaration.
    """
    cells = [c for c in load_notebook(notebook)["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(cells) != 1:
        raise InputError(f"{str(notebook)!r} has {len(cells)} cells tagged 'parameters', expected one")
    where = f"the parameters cell of {str(notebook)!r}"
    return _declarations("".join(cells[0]["source"]), where)


def _declarations(source: str, where: str, earlier: Iterable[str] = ()) -> dict[str, Parameter]:
    """The parameters that the source of a parameters cell declares, in order.

    Raises InputError for a line that is no declaration, with the nearest name of this cell or of `earlier` ones where
    that is a misspelt one.
    """
    source = re.sub(r"\r\n?", "\n", source)  # the ends of lines that Python knows, and no others
    try:
        nodes = ast.parse(source).body
    except _UNREADABLE as error:
        raise InputError(f"{where} is not a list of declarations: {shorten(str(error))}") from None
    known = {*_declared_names(source), *earlier}
    lines = [_read_declaration(node, source.split("\n"), where, known) for node in nodes]
    declared = [parameter for line in lines for parameter in _with_arguments(line, where)]
    names = [parameter.name for parameter in declared]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{where} declares {twice[0]!r} twice")
    return dict(zip(names, declared, strict=True))


def _read_declaration(node: ast.stmt, lines: list[str], where: str, known: Iterable[str]) -> Parameter:
    """One declaration `name: type = literal  # help`. Raises InputError for anything else."""
    where += f", line {node.lineno}, {shorten(repr(lines[node.lineno - 1]))}"
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
        name = node.targets[0] if isinstance(node, ast.Assign) else None
        misspelt = isinstance(name, ast.Name) and name.id not in known
        hint = nearest(name.id, known) if misspelt else ""
        raise InputError(f"{where}: expected `name: type = literal  # help`{hint}")
    try:
        value = ast.literal_eval(node.value)
    except _UNREADABLE:
        raise InputError(f"{where}: the default must be a literal") from None
    name, kind = node.target.id, ast.unparse(node.annotation).replace(" ", "")
    return Parameter(name, kind, _convert(name, kind, value), _comment(lines[node.end_lineno - 1], node))


def _read_choices(text: str) -> dict[str, dict[str, ast.expr]]:
    """The arguments of each choice of `name | name(argument=literal, ...)`; empty for a text without arguments."""
    try:
        node, others = ast.parse(f"({text}\n)", mode="eval").body, []
    except _UNREADABLE:
        return {}
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        node, others = node.left, [node.right, *others]
    choices = {}
    for choice in [node, *others]:
        call = choice if isinstance(choice, ast.Call) else ast.Call(choice, [], [])
        if not isinstance(call.func, ast.Name) or call.args or any(keyword.arg is None for keyword in call.keywords):
            return {}
        choices[call.func.id] = {keyword.arg: keyword.value for keyword in call.keywords}
    return choices if any(choices.values()) else {}


def _with_arguments(parameter: Parameter, where: str) -> list[Parameter]:
    """The parameter, and the arguments of its choices. Raises InputError for one that is no literal."""
    text = parameter.default
    choices = _read_choices(text) if parameter.type == "str" else {}
    if not choices:
        return [parameter]
    lines = f"({text}".split("\n")
    parameters = [parameter._replace(default=next(iter(choices)), choices=text)]
    for name, node in [argument for arguments in choices.values() for argument in arguments.items()]:
        try:
            value = ast.literal_eval(node)
        except _UNREADABLE:
            raise InputError(f"{where}, {parameter.name}: {name} must be a literal") from None
        kind = type(value).__name__
        kind = f"list[{type(value[0]).__name__}]" if isinstance(value, list) and value else kind
        help_text = _comment(lines[node.end_lineno - 1], node)
        parameters.append(Parameter(name, kind, _convert(name, kind, value), help_text, argument_of=parameter.name))
    return parameters


def _comment(line: str, node: ast.AST) -> str:
    """The comment behind a node that ends on this line."""
    return line.encode()[node.end_col_offset :].decode().partition("#")[2].strip()


def _split_arguments(passed: Mapping, declared: Mapping[str, Parameter]) -> dict:
    """The values, where `choice(argument=value)` is the choice and its arguments.

    A function of your own keeps its arguments in its text. Raises InputError for an argument with two values, and for
    one that a choice of the notebook does not have.
    """
    values = dict(passed)
    for name, text in passed.items():
        if not declared[name].choices or not isinstance(text, str) or "(" not in text:
            continue
        choice, arguments = read_call(text, name)
        known = [key for key, other in declared.items() if other.argument_of == name]
        for key, value in arguments.items():
            if key not in known and choice in _read_choices(declared[name].choices):
                raise InputError(f"{name}: {choice} has no argument {key!r}{nearest_or_all(key, known)}")
            if key in known and key in passed:
                raise InputError(f"{key} has two values: {passed[key]!r}, and {value!r} in {name}")
        if arguments.keys() <= {*known}:
            values |= {name: choice} | arguments
    return values


def _converted(passed: Mapping, declared: Mapping[str, Parameter]) -> dict:
    """The values of declared parameters, converted to their types. Raises InputError, for a key or password too:
    parameters are written to disk with the run, so it would leak."""
    values = _split_arguments(passed, declared)
    values = {name: _convert(name, declared[name].type, value) for name, value in values.items()}
    for name, value in values.items():
        if value and (_SECRET_NAME.search(name.lower()) or SECRET_VALUE.search(str(value))):
            expected = "use an environment variable"
            raise InputError(f"parameter {name!r} looks like a secret, which the run would store: {expected}")
    return values


def convert_values(passed: Mapping, declared: Mapping[str, Parameter]) -> dict:
    """The passed values converted to their declared types. Raises InputError for a wrong name or value."""
    _refuse_undeclared(passed, declared, "the notebook")
    return _converted(passed, declared)

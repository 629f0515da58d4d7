"""The tables of the method wing by name, read from its source: importing it would load torch, which takes seconds."""

import ast
from collections.abc import Mapping
from pathlib import Path

_METHOD = Path(__file__).resolve().parents[1] / "method"
TABLES = {  # title of `lead list`: module and table
    "estimators": ("estimators", "ESTIMATORS"),
    "shapes (group_shape)": ("advantages", "SHAPES"),
    "baselines (group_baseline); each alone is an estimator, too": ("advantages", "BASELINES"),
    "weights (group_weight)": ("advantages", "WEIGHTS"),
    "rewards": ("rewards", "REWARDS"),
    "keep rules": ("keep", "KEEP"),
}


def _assigned(module: str, name: str) -> ast.expr:
    """The expression assigned to a name at the top level of a module."""
    for node in ast.parse((_METHOD / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    raise ValueError(f"{module}.py assigns no {name}")


def entries(module: str, table: str) -> dict[str, str]:
    """The names of a table, each with the first docstring line of its function or, for an estimator, its parts."""
    literal = _assigned(module, table)
    nodes = [node for path in _METHOD.glob("*.py") for node in ast.parse(path.read_text(encoding="utf-8")).body]
    texts = {n.name: (ast.get_docstring(n) or "").split("\n")[0] for n in nodes if isinstance(n, ast.FunctionDef)}
    descriptions = {}
    for key, value in zip(literal.keys, literal.values, strict=True):
        if isinstance(value, ast.Call):
            *parts, source = (argument.value for argument in value.args)
            descriptions[key.value] = f"{source}: " + " → ".join(parts)
        else:
            descriptions[key.value] = texts.get(ast.unparse(value), "")
    return descriptions


def pays_kl(parameters: Mapping) -> bool:
    """Whether the chosen baseline uses the KL of every token to the start, and so needs a frozen copy of the model."""
    rows = _assigned("estimators", "ESTIMATORS")
    parts = {k.value: v.args[1].value for k, v in zip(rows.keys, rows.values, strict=True)}
    name = str(parameters.get("estimator", "")).partition("(")[0]
    baseline = str(parameters.get("group_baseline") or parts.get(name, name)).partition("(")[0]
    price = ast.literal_eval(_assigned("advantages", "PAY_KL")).get(baseline)
    return bool(price and parameters.get(price))

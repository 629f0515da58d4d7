"""YAML files of bounded size, whose values have the types that their reader expects."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from lead_kit.errors import InputError, shorten
from lead_kit.runs.files import shown

_MOST_VALUES = 100_000  # in one file, with what its aliases repeat; the largest recipe has under 300
_TYPES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
_TYPES |= {dict: "a mapping"}


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file. Raises InputError for anything else, and for aliases that repeat too much."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is not None and count(node, {}) > _MOST_VALUES:
            raise InputError(f"{shown(path)}: its aliases (*name) repeat more than {_MOST_VALUES} values")
        content = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InputError(f"{shown(path)} is not YAML: {shorten(' '.join(str(error).split()), 200)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise InputError(f"{shown(path)}: lists and mappings are nested too deeply") from None
    except ValueError as error:  # a date such as 2020-13-45, a number of thousands of digits
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown(path)}: a value cannot be read ({shorten(str(error))})") from None
    if not isinstance(content, dict):
        raise InputError(f"{shown(path)}: expected keys and values, found {shorten(content)}")
    return content


def count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node stands for, each alias counted as a copy of what it names."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if node not in known:
        known[node] = _MOST_VALUES + 1  # what an alias finds that stands inside of what it names
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[node] = 1 + sum(count(part, known) for part in parts)
    return known[node]


def fit(value, shape, where: str) -> None:
    """Raises InputError naming the place where a value differs from a shape.

    A shape is a type; a list [shape of each item]; a dict {key: shape}, in which the key `str` stands for all other
    keys; or a tuple of shapes, one of which the value must have; `object` takes anything.
    """
    if isinstance(shape, tuple):
        kinds = [kind_of(each) for each in shape]
        if not any(is_a(value, kind) for kind in kinds):
            raise InputError(f"{where} is {said(value)}, expected {' or '.join(_TYPES[kind] for kind in kinds)}")
        fit(value, next(each for each, kind in zip(shape, kinds, strict=True) if is_a(value, kind)), where)
    elif shape is not object and not is_a(value, kind_of(shape)):
        raise InputError(f"{where} is {said(value)}, expected {_TYPES[kind_of(shape)]}")
    elif isinstance(shape, list):
        for number, item in enumerate(value, 1):
            fit(item, shape[0], f"{where}, item {number}")
    elif isinstance(shape, dict):
        for key, item in value.items():
            fit(key, str, f"{where}: the name {said(key)}")
            fit(item, shape.get(key, shape.get(str, object)), f"{where}, {shorten(key)}")


def kind_of(shape) -> type:
    return shape if isinstance(shape, type) else type(shape)


def is_a(value, kind: type) -> bool:
    """Whether a value of YAML is of a type; true is no number, and a whole number is also a number."""
    if kind in (int, float):
        return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, Mapping if kind is dict else kind)


def said(value) -> str:
    return "empty" if value is None else shorten(repr(value))

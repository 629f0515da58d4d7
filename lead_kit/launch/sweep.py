"""`lead sweep`: one or two parameters over lists of values, as a recipe that is made in memory and runs like any other.

Each value, or pair of values, is an arm, and what an arm sets wins over the scale. Start, data, evaluation and figures
are those of the recipe that the sweep takes; 05_figures then also draws the effect of the parameters.
"""

import itertools
import json
import re
from collections.abc import Mapping

from lead_kit.errors import InputError, shorten
from lead_kit.launch.recipe_model import Arm, Recipe, Values, load_recipe, refuse_unknown
from lead_kit.launch.recipes import as_text
from lead_kit.launch.run_notebook import find_notebook
from lead_kit.launch.run_recipe import reproduce_recipe
from lead_kit.parameters import Parameter, convert_values, read_parameters
from lead_kit.runs.files import file_name

_COMMA = re.compile(r",(?![^(\[]*[)\]])")  # outside brackets
_VALUE = re.compile(r"[^\s()\[\],]+(\(.*\))?")  # a number, a name, or a name with arguments


def sweep_command(notebook: str, parameters: Mapping, recipe: str, run_name: str | None, **options) -> int:
    """Runs the unfinished runs of a sweep; `options`, result and errors are those of `reproduce_recipe`."""
    name, made = make_recipe(notebook, parameters, recipe)
    return reproduce_recipe(run_name or name, arms=None, made=made, **options)


def make_recipe(notebook: str, parameters: Mapping, recipe_name: str) -> tuple[str, Recipe]:
    """The name and the recipe of a sweep of `notebook` in the setting of RECIPE, or with the values of RECIPE/ARM.

    `parameters` holds texts that list values; a parameter with a single value has it in all runs. The others are
    compared to the first of each. Raises InputError for a name or a value that does not fit, and for a text that does
    not show where one value ends.
    """
    path, (base, _, arm) = find_notebook(notebook), recipe_name.partition("/")
    recipe, declared = load_recipe(base), read_parameters(path)
    refuse_unknown([arm] if arm else [], recipe.arms, f"recipe {base}, arms")
    stages = {name: stage for name, stage in recipe.stages.items() if not stage.arms or arm in stage.arms}
    changed = [name for name, stage in stages.items() if stage.notebook == path.stem and "arm" in stage.per]
    if len(changed) != 1:
        raise InputError(f"recipe {recipe_name} runs {path.stem} for each arm in {len(changed)} stages, expected 1")
    refuse_unknown(parameters, declared.keys() - {"run_name", "seed", "arm"}, f"parameters of {path.stem}")
    axes = {name: _list_values(name, text, declared) for name, text in parameters.items()}
    swept = [name for name, values in axes.items() if len(values) > 1]
    if not 1 <= len(swept) <= 2:
        raise InputError(f"{len(swept)} parameters have several values, expected 1 or 2: -p length_alpha 0,0.05,0.1")
    arms = _make_arms(axes, swept, changed[0], recipe.arms[arm].stages if arm else {})
    figures = {"swept": swept, "reference": next(iter(arms))}
    figures |= {"published_curve": "", "published_table": ""}  # of the recipe's own arms
    for name, stage in stages.items():
        values = stage.parameters | (figures if stage.notebook == "05_figures" else {})
        stages[name] = stage.model_copy(update={"arms": [], "parameters": values})
    parts = [name if name in swept else f"{name}_{next(iter(values))}" for name, values in axes.items()]
    name = file_name("-".join(["sweep", recipe_name.replace("/", "-"), *parts]))
    return name, recipe.model_copy(update={"arms": arms, "stages": stages, "planned": None})


def _make_arms(axes: Mapping[str, dict], swept: list[str], stage: str, shared: Mapping) -> dict[str, Arm]:
    """An arm for each combination of values, named by those that differ. `shared`: what all arms set, by stage."""
    arms: dict[str, Arm] = {}
    for labels in itertools.product(*axes.values()):
        chosen = dict(zip(axes, labels, strict=True))
        pairs = [pair for name, label in chosen.items() for pair in axes[name][label].items()]
        if len(dict(pairs)) < len(pairs):
            raise InputError(f"{', '.join(axes)} set one argument twice: name it in one of them")
        arm = file_name("-".join(f"{name}_{chosen[name]}" for name in swept)).rstrip("_")
        if arm in arms:
            raise InputError(f"two values of {' and '.join(swept)} give the file name {arm}: leave one out")
        arms[arm] = Arm.model_validate({**shared, "exact": {stage: dict(pairs)}})
    return arms


def _list_values(name: str, text: str, declared: Mapping[str, Parameter]) -> dict[str, Values]:
    """Each value that a text lists, by its label: what it sets. Commas outside brackets separate values, or it is JSON.

    Raises InputError where it is not clear where one value ends, and for one that is named twice.
    """
    is_list, is_json = declared[name].type.startswith("list"), text.lstrip().startswith("[")
    try:
        values = json.loads(text) if is_json else [part.strip() for part in _COMMA.split(text)]
    except (ValueError, RecursionError):
        values = []
    fits = all(isinstance(value, list) == is_list if is_json else _VALUE.fullmatch(value) for value in values)
    if not values or (not fits if is_json else len(values) > 1 and (is_list or not fits)):
        example = '[["correct"], ["correct", "format"]]' if is_list else '["a text, with a comma", "another"]'
        raise InputError(f"-p {name} {shorten(text)!r} does not show where a value ends: write JSON, as in {example}")
    labels: dict[str, Values] = {}
    for value in values:
        sets = convert_values({name: value}, declared)
        shown = value if len(sets) > 1 else sets[name]
        label = f"{shown:.12g}" if isinstance(shown, float) else as_text(shown)
        if label in labels:
            raise InputError(f"-p {name} {shorten(text)!r} names {label!r} twice")
        labels[label] = sets
    return labels

"""A recipe as a table: each value, the arms that differ, and the source that stands behind the value in the file."""

import yaml

from lead_kit.launch import recipes
from lead_kit.launch.recipes import as_text, load_recipe
from lead_kit.parameters import read_parameters


def sources(recipe_name: str) -> dict[tuple[str, ...], str]:
    """The comment behind each value of a recipe, by the value's path of keys."""
    text = (recipes.EXPERIMENTS / "recipes" / f"{recipe_name}.yaml").read_text(encoding="utf-8")
    lines, comments = text.splitlines(), {}

    def visit(node: yaml.Node, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                visit(value, path if key.value == "<<" else (*path, key.value))
        else:
            comments[path] = lines[node.end_mark.line][node.end_mark.column :].partition("#")[2].strip()

    visit(yaml.compose(text, Loader=yaml.SafeLoader), ())
    return comments


def table(recipe_name: str) -> list[list[str]]:
    """Rows of stage, parameter, the value of all arms or of each arm, source. Brackets mark the notebook's default."""
    recipe, comments = load_recipe(recipe_name), sources(recipe_name)
    written = {name: arm for name, arm in recipe["arms"].items() if not arm.get("control")}
    rows = [["stage", "parameter", "value", *written, "source"]]
    for stage, content in recipe["stages"].items():
        declared = read_parameters(recipes.ROOT / "notebooks" / f"{content['notebook']}.ipynb")
        shared = content.get("parameters", {})
        arms = {arm: block.get(stage, {}) for arm, block in written.items()}
        for name in dict.fromkeys([*shared, *(name for block in arms.values() for name in block)]):
            default = f"({as_text(declared[name].default)})" if name in declared else "(?)"
            each = [as_text(block.get(name, shared.get(name, default))) for block in arms.values()]
            common = as_text(shared[name]) if name in shared and len(set(each)) < 2 else ""
            notes = [comments.get(("stages", stage, "parameters", name), "")]
            notes += [comments.get(("arms", arm, stage, name), "") for arm in arms]
            source = "; ".join(dict.fromkeys(filter(None, notes)))
            rows.append([stage, name, common, *([""] * len(each) if common else each), source])
    return rows

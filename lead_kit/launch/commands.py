"""Short commands: `lead list`, `lead recipe`, `lead runs` and `lead diff` print what there is; `lead check` and `lead
replay` run a notebook."""

import glob
import inspect
import json
import re
import shutil
import string
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

import yaml

from lead_kit.errors import InputError
from lead_kit.launch import recipe_model
from lead_kit.launch.recipe_model import load_recipe, read_experiment
from lead_kit.launch.recipes import as_text
from lead_kit.launch.run_notebook import find_notebook, run_command
from lead_kit.method.estimators import ESTIMATORS
from lead_kit.parameters import read_parameters
from lead_kit.runs import find, manifest
from lead_kit.runs.files import ROOT, RUNS, file_name, resolve, run_folder, shown, write_text
from lead_kit.runs.log_files import read_metrics
from lead_kit.safe_text import safe_line

_UNITS = {"d": 86400, "h": 3600, "min": 60}  # of an age, in seconds
_WIDEST = 32  # letters of a column whose cells have words
_CELL = 60  # characters of a value in `lead diff`
_SET_BY_STAGES = ("run_name", "seed", "arm", "model", "train_data", "validation_data")  # of a new recipe


def show_list() -> None:
    """`lead list`: recipes, scales, and the method's tables, one line for each entry."""
    from lead_kit.method import advantages, curricula, losses, rewards  # numpy, which no other command here needs

    sections = {}
    for kind in ("recipes", "scales"):
        names = sorted(path.stem for path in (recipe_model.EXPERIMENTS / kind).glob("*.yaml"))
        sections[kind] = {name: read_experiment(kind, name).get("title", "") for name in names}
    sections["estimators"] = {n: f"{e.source}: {e.shape} → {e.baseline} → {e.weight}" for n, e in ESTIMATORS.items()}
    tables = {"shapes (group_shape)": advantages.SHAPES}
    tables["baselines (group_baseline); each alone is an estimator, too"] = advantages.BASELINES
    tables |= {"weights (group_weight)": advantages.WEIGHTS, "rewards": rewards.REWARDS}
    tables["group filters (group_filter)"] = advantages.GROUP_FILTERS
    tables |= {"curricula (curriculum)": curricula.CURRICULA, "losses beside TRL's (loss_type)": losses.LOSSES}
    for title, table in tables.items():
        sections[title] = {name: inspect.getdoc(function).split("\n")[0] for name, function in table.items()}
    for title, entries in sections.items():
        print(title)
        _print_columns([[f"  {name}", str(text)] for name, text in entries.items()])


def recipe_command(name: str, new: bool = False) -> None:
    """`lead recipe NAME`: each parameter of a recipe; `--new`: a commented recipe to change, from 03_grpo's parameters.

    Raises InputError where the new one's name is taken or no name of a file.
    """
    if not new:
        return show_recipe(name)
    path = recipe_model.EXPERIMENTS / "recipes" / f"{name}.yaml"
    if path.exists() or not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"recipe {name!r} cannot be made: expected a new name of letters, digits, '.', '_' and '-'")
    lines = []
    for key, declared in read_parameters(ROOT / "notebooks" / f"{recipe_model.TRAINING}.ipynb").items():
        if key not in _SET_BY_STAGES:
            value = yaml.safe_dump(declared.default, default_flow_style=True).removesuffix("...\n").strip()
            lines.append(f"      # {key}: {value} # {declared.help}")
    text = string.Template((recipe_model.EXPERIMENTS / "new_recipe.yaml").read_text(encoding="utf-8"))
    today, parameters = datetime.now(UTC).date(), "\n".join(lines)
    write_text(path, text.substitute(name=name, today=today, parameters=parameters))
    print(f"wrote {shown(path)}; lead reproduce {name} --dry-run shows its runs")


def show_recipe(name: str) -> None:
    """Prints each parameter of a recipe, its value in each arm, its source."""
    recipe = load_recipe(name)
    print(recipe.title)
    for arm, content in recipe.arms.items():
        note = " (only when named with --arms)" if content.optional else ""
        print(f"  {arm}: {content.label or arm}{note}")
    print("a value holds for the arms in its line, or for all; in brackets stands the notebook's default\n")
    _print_columns(_recipe_table(name))


def _recipe_table(recipe_name: str) -> list[list[str]]:
    """Rows of stage, parameter, arms (empty: all), their value, source. Brackets mark the notebook's default."""
    recipe, comments = load_recipe(recipe_name), _comments(recipe_name)
    arms = recipe.arms
    rows = [["stage", "parameter", "arms", "value", "source"]]
    for name, stage in recipe.stages.items():
        declared = read_parameters(ROOT / "notebooks" / f"{stage.notebook}.ipynb")
        blocks = [arm.stages.get(name, {}) for arm in arms.values()]
        for parameter in dict.fromkeys([*stage.parameters, *(key for block in blocks for key in block)]):
            default = f"({as_text(declared[parameter].default)})" if parameter in declared else "(?)"
            shared = stage.parameters.get(parameter, default)
            values = [as_text(block.get(parameter, shared)) for block in blocks]
            notes = [comments.get(("stages", name, "parameters", parameter), "")]
            notes += [comments.get(("arms", arm, name, parameter), "") for arm in arms]
            source = "; ".join(dict.fromkeys(filter(None, notes)))
            everywhere = parameter in stage.parameters and len(set(values)) < 2
            for value in dict.fromkeys(values or [as_text(shared)]):
                chosen = [arm for arm, of_arm in zip(arms, values, strict=True) if of_arm == value and not everywhere]
                rows.append([name, parameter, ", ".join(chosen), value, source])
    return rows


def list_runs(part: str) -> None:
    """`lead runs`: a line for each run whose name contains `part`, the newest first."""
    rows, now = [], datetime.now(UTC)
    for folder in find.run_folders():
        name = folder.relative_to(RUNS).as_posix()
        if part not in name:
            continue
        try:
            kept = manifest.read_manifest(folder, complete=True)
            logged = read_metrics(folder) if (folder / "metrics.jsonl").is_file() else []
        except InputError:
            rows.append(("", [name, "unreadable", "", "", "", "", ""]))
            continue
        start, values = kept["attempts"][-1].get("start") or "", kept["parameters"]
        axes = [str(values.get(axis, "")) for axis in ("arm", "seed")]
        steps = f"{logged[-1]['step']}/{values.get('steps', '?')}" if logged else ""
        age = _age((now - datetime.fromisoformat(start)).total_seconds()) if start else ""
        rows.append((start, [name, manifest.state(folder, kept), *axes, steps, _last_value(kept, logged), age]))
    lines = [cells for _, cells in sorted(rows, key=lambda row: row[0], reverse=True)]
    _print_columns([["run", "state", "arm", "seed", "step", "last value", "age"], *lines])


def _last_value(kept: Mapping, logged: list[dict]) -> str:
    """The newest validation Pass@1 of a run, else its newest reward or loss, else the first number of its summary."""
    newest = {name: value for row in logged for name, value in row.items()}
    known = {name: newest[name] for name in ("pass@1", "reward", "loss") if name in newest} | kept.get("summary", {})
    return next((f"{name} {value:.4g}" for name, value in known.items() if isinstance(value, int | float)), "")


def _age(seconds: float) -> str:
    """A time in the largest unit of which it has one, as 5 min."""
    name, unit = next((pair for pair in _UNITS.items() if seconds >= pair[1]), ("s", 1))
    return f"{seconds / unit:.0f} {name}"


def show_differences(run_a: str, run_b: str) -> None:
    """`lead diff`: the parameters, inputs, code and versions in which two runs differ."""
    sides = [_facts(find.recorded_run(run)) for run in (run_a, run_b)]
    pairs = {name: [side.get(name, "–") for side in sides] for name in {**sides[0], **sides[1]}}
    rows = [[name, *map(as_text, pair)] for name, pair in pairs.items() if pair[0] != pair[1]]
    rows = [[safe_line(cell, _CELL) for cell in row] for row in [["", run_a, run_b], *rows]]
    _print_columns(rows if len(rows) > 1 else [["the runs have the same parameters, inputs and code"]])


def _facts(folder: Path) -> dict:
    """What decides a run's numbers, by name: parameters, hashes of inputs and code, versions, machine."""
    kept = manifest.read_manifest(folder, complete=True)
    last = kept["attempts"][-1]
    facts = {"notebook": kept["notebook"]} | kept["parameters"] | {"SHA-256 of the notebook's code": last["code"]}
    facts |= {f"input {name}": (mark or {}).get("sha256") for name, mark in kept.get("inputs", {}).items()}
    facts |= {f"own {name}": source["sha256"] for name, source in kept.get("own", {}).items()}
    for part in ("git", "packages", "machine"):
        facts |= {f"{part} {name}": value for name, value in last.get(part, {}).items()}
    return {name: value for name, value in facts.items() if name != "run_name"}


def _comments(recipe_name: str) -> dict[tuple[str, ...], str]:
    """The comment behind each value of a recipe, by the value's path of keys."""
    text = (recipe_model.EXPERIMENTS / "recipes" / f"{recipe_name}.yaml").read_text(encoding="utf-8")
    lines, comments = text.splitlines(), {}

    def visit(node: yaml.Node, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                visit(value, path if key.value == "<<" else (*path, key.value))
        else:
            comments[path] = lines[node.end_mark.line][node.end_mark.column :].partition("#")[2].strip()

    visit(yaml.compose(text, Loader=yaml.SafeLoader), ())
    return comments


def _print_columns(rows: list[list[str]]) -> None:
    """Prints rows as columns. Words of a cell wrap at _WIDEST letters, those of the last at the terminal's width."""
    cells = [[textwrap.wrap(cell, _WIDEST, break_long_words=False) or [""] for cell in row[:-1]] for row in rows]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(*cells, strict=True)]
    left = max(shutil.get_terminal_size((120, 24)).columns - sum(widths) - 2 * len(widths), 30)
    for row, wrapped in zip(rows, cells, strict=True):
        lines = zip_longest(*wrapped, textwrap.wrap(row[-1], left), fillvalue="")
        for *line, last in lines:
            print("  ".join([*(part.ljust(width) for part, width in zip(line, widths, strict=True)), last]).rstrip())


def replay_command(
    rollouts: str,
    parameters: Mapping,
    golds: str | None = None,
    variants: Sequence[str] | None = None,
    run_name: str | None = None,
    again: bool = False,
    replace: bool = False,
) -> int:
    """Runs 06_replay on a run folder, a file or a glob; its numbers and figures go to runs/replay/NAME.

    Paths start where the command was given, or at the repository root. Raises InputError before anything starts.
    """
    if Path(rollouts).is_dir() and not resolve(rollouts).exists():  # a bare name of a folder here, which is no run's
        rollouts = str(Path(rollouts).absolute())
    for path in [rollouts, *([golds] if golds and Path(golds).suffix else [])]:  # golds may be the name of a set
        if not (glob.has_magic(path) or resolve(path).exists() or "runs" in Path(path).parts):
            raise InputError(f"{path} does not exist, neither here nor below the repository root")
    values = dict(parameters) | {"rollouts": rollouts} | ({"golds": golds} if golds else {})
    if variants:
        values["variants"] = json.dumps(list(variants))
    name = run_name or values.pop("run_name", None) or f"replay/{_name_of_rollouts(rollouts)}"
    return run_command("06_replay", values, run_name=name, again=again, replace=replace)


def _name_of_rollouts(pattern: str) -> str:
    """The name of a run that replays these rollouts: the last part of their path."""
    return file_name(Path(pattern).stem).strip("._") or "rollouts"


def check_command(notebook: str, parameters: Mapping, run_name: str | None = None, **ranks) -> int:
    """Checks the run that `lead run` with these arguments would start. Returns 1 if an item says stop, 0 if none does.

    Other codes are those of `lead run`. Raises InputError as that does.
    """
    declared = read_parameters(find_notebook(notebook))
    if "preflight" not in declared:
        raise InputError(f"{notebook} has no parameter 'preflight', so there is nothing to check: expected 03_grpo")
    name = f"{run_name or parameters.get('run_name', declared['run_name'].default)}-check"
    values = dict(parameters) | {"preflight": "only", "run_name": name}
    code = run_command(notebook, values, again=True, replace=True, **ranks)
    return code or int(bool(manifest.read_manifest(run_folder(name))["summary"].get("stop")))

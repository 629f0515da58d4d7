"""Recipes (what a paper fixed) and scales (what a machine allows), and the jobs that the two make together.

A recipe is a YAML file in experiments/recipes/:

    title: one line
    lengths: [max_tokens, ...]       parameters that count tokens; a scale shortens them all in one proportion
    benchmarks: [AIME24, ...]        what a stage `per: [benchmark]` fans out over; a scale may name others
    arms:
      NAME: {label: ..., optional: true, STAGE: {parameter: value}}     an optional arm runs only when it is named
    stages:                          in the order in which they run
      NAME:
        notebook: 03_grpo
        per: [arm, seed]             one run for each (also: benchmark); without it there is one run
        arms: [NAME, ...]            only these arms (default: all)
        parameters: {parameter: value}
    scales:                          what this recipe, at that scale, sets beside what the scale sets
      SCALE: {STAGE: {parameter: value}}

A comment behind a value is its source. `{STAGE}` in a value is the run folder of that stage's job with the same arm,
seed and benchmark (a list parameter takes all that match), `{arm}`, `{seed}` and `{benchmark}` are the job's own.

A scale (experiments/scales/) sets sizes by notebook, and may bring stages of its own that stand in for what the recipe
would download; they run after the recipe's first stage, and only if something needs them. Later wins: notebook, stage,
arm, scale, the recipe's own block for the scale. But where the recipe names a stage, a scale's value stays out: it
replaces what comes from outside, not what the recipe makes. Lengths and warm-up shrink in proportion (see `shrunk`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml

from lead_kit.errors import InputError, nearest
from lead_kit.params import Parameter, check, read_parameters
from lead_kit.runs.paths import ROOT, run_folder, shown

EXPERIMENTS = ROOT / "experiments"
RECIPE_KEYS = {"title", "lengths", "benchmarks", "arms", "stages", "scales"}
STAGE_KEYS = {"notebook", "per", "arms", "parameters"}
SCALE_KEYS = {
    "like",
    "title",
    "seeds",
    "jobs",
    "threads",
    "lengths",
    "parameters",
    "nproc",
    "accelerate",
    "gpu_memory",
    "snakemake",
    "benchmarks",
    "stages",
}
TRAINING = "03_grpo"  # its max_tokens decides how lengths shrink
REFERENCE = re.compile(r"\{(\w+)\}")


class Job(NamedTuple):
    """One run of one stage."""

    name: str  # run folder below runs/
    stage: str
    arm: str | None
    seed: int | None
    notebook: Path
    parameters: dict
    needs: list[str]  # names of the jobs whose folders it reads
    nproc: int
    accelerate: str
    benchmark: str | None = None


def refuse_unknown(keys: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raises InputError for a key that is not among those allowed."""
    for key in keys:
        if key not in allowed:
            raise InputError(
                f"{where}: no {key!r} here{nearest(key, allowed) or '; expected ' + ', '.join(sorted(allowed))}"
            )


def load(kind: str, name: str) -> dict:
    """The YAML file experiments/<kind>/<name>.yaml. Raises InputError with the nearest name when there is none."""
    path = EXPERIMENTS / kind / f"{name}.yaml"
    names = sorted(p.stem for p in path.parent.glob("*.yaml"))
    if name not in names:
        raise InputError(f"no {kind[:-1]} {name!r}{nearest(name, names) or '; there are: ' + ', '.join(names)}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{shown(path)} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{shown(path)}: expected keys and values")
    return content


def load_recipe(name: str) -> dict:
    """A recipe whose keys, stages and arms fit together. Raises InputError otherwise."""
    recipe = {"title": "", "lengths": [], "benchmarks": [], "arms": {}, "scales": {}} | load("recipes", name)
    refuse_unknown(recipe, RECIPE_KEYS, f"recipe {name}")
    if not recipe.get("stages"):
        raise InputError(f"recipe {name}: it has no stages")
    for stage, content in recipe["stages"].items():
        refuse_unknown(content, STAGE_KEYS, f"recipe {name}, stage {stage}")
        refuse_unknown(content.get("per", []), {"arm", "seed", "benchmark"}, f"recipe {name}, stage {stage}, per")
        refuse_unknown(content.get("arms", []), recipe["arms"], f"recipe {name}, stage {stage}, arms")
    for arm, content in recipe["arms"].items():
        refuse_unknown(content, {"label", "optional", *recipe["stages"]}, f"recipe {name}, arm {arm}")
    for scale, content in recipe["scales"].items():
        refuse_unknown(content, recipe["stages"], f"recipe {name}, scale {scale}")
    return recipe


def load_scale(name: str) -> dict:
    """A scale whose keys are known, with what it takes over from the scale that it is `like`. Raises InputError."""
    defaults = {"title": "", "seeds": [0], "jobs": 0, "threads": 1, "lengths": {}, "parameters": {}}
    defaults |= {"nproc": {}, "accelerate": {}, "gpu_memory": 0, "snakemake": [], "benchmarks": [], "stages": {}}
    scale = load("scales", name)
    refuse_unknown(scale, SCALE_KEYS, f"scale {name}")
    origin = load_scale(scale["like"]) if "like" in scale else defaults
    blocks = {name: origin["parameters"].get(name, {}) | block for name, block in scale.get("parameters", {}).items()}
    scale = defaults | origin | scale | {"parameters": origin["parameters"] | blocks}
    refuse_unknown(scale["lengths"], {"longest", "factor", "most"}, f"scale {name}, lengths")
    for stage, content in scale["stages"].items():
        refuse_unknown(content, {"notebook", "parameters"}, f"scale {name}, stage {stage}")
    return scale


def with_stand_ins(recipe: dict, scale: dict) -> dict:
    """The recipe with the scale's own stages behind its first one. Raises InputError where a name is taken."""
    if taken := set(recipe["stages"]) & set(scale["stages"]):
        raise InputError(f"the scale's stage {min(taken)!r} is also one of the recipe: rename one of them")
    (first, content), *others = recipe["stages"].items()
    return recipe | {"stages": {first: content} | scale["stages"] | dict(others)}


def numbers(recipe: dict, names: Iterable[str], notebook: str = "") -> list[float]:
    """Every number that the recipe gives to one of the parameters, in the stages of `notebook` (empty: in all)."""
    stages = {name: s for name, s in recipe["stages"].items() if not notebook or s["notebook"] == notebook}
    blocks = [stage.get("parameters", {}) for stage in stages.values()]
    blocks += [arm.get(stage, {}) for arm in recipe["arms"].values() for stage in stages]
    return [float(value) for block in blocks for name, value in block.items() if name in names]


def length_factor(recipe: dict, scale: dict) -> float:
    """By what lengths in tokens shrink: the scale's `factor`, or so that the longest rollout in training (without
    training, the longest completion) becomes `longest`."""
    if "factor" in scale["lengths"]:
        return float(scale["lengths"]["factor"])
    longest = numbers(recipe, ["max_tokens"], TRAINING) or numbers(recipe, ["max_tokens"])
    longest = longest or numbers(recipe, recipe["lengths"])
    return scale["lengths"]["longest"] / max(longest) if longest and "longest" in scale["lengths"] else 1.0


def shrunk(values: dict, recipe: dict, scale: dict) -> dict:
    """The values with lengths in tokens in proportion, none above the scale's `most`."""
    factor, most = length_factor(recipe, scale), scale["lengths"].get("most", float("inf"))
    lengths = {n: float(values[n]) for n in recipe["lengths"] if n in values}
    return values | {n: max(1, round(min(value * factor, max(most, 1)))) for n, value in lengths.items() if value > 0}


def outside(given, value):
    """A scale's value in the place of the recipe's: what names a stage stays, in a list each entry that does."""
    if isinstance(given, list) and any(REFERENCE.search(str(one)) for one in given):
        inside = [one for one in given if REFERENCE.search(str(one))]
        return inside if len(inside) == len(given) else [*value, *inside]
    return given if isinstance(given, str) and REFERENCE.search(given) else value


def stage_values(recipe: dict, scale: dict, scale_name: str, stage: str, arm: str | None) -> dict:
    """The parameters of a stage in an arm, before folders are filled in; later sources win."""
    content = recipe["stages"][stage]
    given = dict(content.get("parameters", {})) | (recipe["arms"][arm].get(stage, {}) if arm else {})
    values = shrunk(given, recipe, scale)
    if stage in scale["stages"]:
        return scale["parameters"].get(content["notebook"], {}) | values
    for name, value in scale["parameters"].get(content["notebook"], {}).items():
        values[name] = outside(given.get(name), value)
    values |= recipe["scales"].get(scale_name, {}).get(stage, {})
    if given.get("warmup_steps", 0) and "steps" in given:  # the warm-up stays the same share of the run
        values["warmup_steps"] = max(1, round(given["warmup_steps"] * values["steps"] / given["steps"]))
    return values


def plan(recipe_name: str, scale_name: str, seeds: list[int] | None = None, arms: list[str] | None = None) -> list[Job]:
    """The jobs of a recipe at a scale, each checked against its notebook, in an order in which they can run.

    Raises InputError for whatever does not fit, before anything runs.
    """
    scale = load_scale(scale_name)
    recipe = with_stand_ins(load_recipe(recipe_name), scale)
    for arm in arms or []:
        if arm not in recipe["arms"]:
            raise InputError(f"recipe {recipe_name} has no arm {arm!r}{nearest(arm, recipe['arms'])}")
    arms = arms or [name for name, arm in recipe["arms"].items() if not arm.get("optional")]
    axes = {
        "seed": scale["seeds"] if seeds is None else seeds,
        "arm": arms,
        "benchmark": scale["benchmarks"] or recipe["benchmarks"],
    }
    jobs: list[Job] = []
    for stage, content in recipe["stages"].items():
        notebook = ROOT / "notebooks" / f"{content['notebook']}.ipynb"
        declared, per = read_parameters(notebook), content.get("per", [])
        chosen = axes | {"arm": [arm for arm in arms if arm in content.get("arms", arms)]}
        for seed, arm, benchmark in product(*(chosen[axis] if axis in per else [None] for axis in axes)):
            values = stage_values(recipe, scale, scale_name, stage, arm)
            parts = [stage, *filter(None, (arm, benchmark)), *([f"s{seed}"] if seed is not None else [])]
            name = f"{recipe_name}/{scale_name}/{'-'.join(parts)}"
            job = Job(name, stage, arm, seed, notebook, values, [], 1, "", benchmark)
            jobs.append(settle_job(job, jobs, set(recipe["stages"]), declared, scale))
    needed = {name for job in jobs for name in job.needs}
    return [job for job in jobs if job.stage not in scale["stages"] or job.name in needed]


def settle_job(job: Job, earlier: list[Job], stages: set[str], declared: Mapping[str, Parameter], scale: dict) -> Job:
    """The job with folders filled in for references, its own seed, arm and run name, and every value checked."""
    own = {"run_name": job.name, "seed": job.seed, "arm": job.arm, "benchmark": job.benchmark}
    values = {name: value for name, value in own.items() if name in declared and value is not None} | job.parameters
    needs: list[str] = []
    for name, value in values.items():
        if name in declared:
            values[name] = fill(value, declared[name].type.startswith("list"), job, earlier, stages, needs)
    try:
        values = check(values, declared)
    except InputError as error:
        raise InputError(f"{job.name} ({job.notebook.name}): {error}") from None
    run_folder(job.name)  # raises for a name that is no path
    stem = job.notebook.stem
    return job._replace(
        parameters=values,
        needs=list(dict.fromkeys(needs)),
        nproc=scale["nproc"].get(stem, 1),
        accelerate=scale["accelerate"].get(stem, ""),
    )


def fill(value, many: bool, job: Job, earlier: list[Job], stages: set[str], needs: list[str]):
    """A value with `{stage}` replaced by run folders and `{arm}`, `{seed}` by the job's own; adds to `needs`.

    With `many`, one text becomes as many as there are matching jobs. Raises InputError when none or too many match.
    """
    if isinstance(value, list):
        filled = [fill(one, many, job, earlier, stages, needs) for one in value]
        return [part for one in filled for part in (one if isinstance(one, list) else [one])]
    if not isinstance(value, str):
        return value
    for axis in ("arm", "seed", "benchmark"):
        value = value.replace(f"{{{axis}}}", str(getattr(job, axis)))
    references = REFERENCE.findall(value)
    if not references:
        return value
    (stage,) = references if len(references) == 1 else [", ".join(references)]
    if stage not in stages:
        raise InputError(f"{job.name}: {value!r} names no stage{nearest(stage, stages)}")
    found = [e.name for e in earlier if e.stage == stage and agree(e, job)]
    if not found or (len(found) > 1 and not many):
        raise InputError(
            f"{job.name}: {value!r} matches {len(found)} runs of stage {stage}, expected {'some' if many else 'one'}"
        )
    needs += found
    texts = [value.replace(f"{{{stage}}}", f"runs/{name}") for name in found]
    return texts if many else texts[0]


def agree(one: Job, other: Job) -> bool:
    """Whether two jobs have the same arm, seed and benchmark, as far as both have them."""
    pairs = ((one.arm, other.arm), (one.seed, other.seed), (one.benchmark, other.benchmark))
    return all(a is None or b is None or a == b for a, b in pairs)


def as_text(value) -> str:
    """A value as it is written after `-p name`."""
    return value if isinstance(value, str) else json.dumps(value)


def sources(recipe_name: str) -> dict[tuple[str, ...], str]:
    """The comment behind each value of a recipe, by its path of keys."""
    text = (EXPERIMENTS / "recipes" / f"{recipe_name}.yaml").read_text(encoding="utf-8")
    lines, found = text.splitlines(), {}

    def walk(node: yaml.Node, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, path if key.value == "<<" else (*path, key.value))
        else:
            behind = lines[node.end_mark.line][node.end_mark.column :]
            found[path] = behind.partition("#")[2].strip()

    walk(yaml.compose(text, Loader=yaml.SafeLoader), ())
    return found


def table(recipe_name: str) -> list[list[str]]:
    """Rows of stage, parameter, the value of every arm or that of each, source; in brackets is the notebook's own."""
    recipe, comments = load_recipe(recipe_name), sources(recipe_name)
    rows = [["stage", "parameter", "value", *recipe["arms"], "source"]]
    for stage, content in recipe["stages"].items():
        declared = read_parameters(ROOT / "notebooks" / f"{content['notebook']}.ipynb")
        shared = content.get("parameters", {})
        arms = {arm: block.get(stage, {}) for arm, block in recipe["arms"].items()}
        for name in dict.fromkeys([*shared, *(name for block in arms.values() for name in block)]):
            usual = f"({as_text(declared[name].default)})" if name in declared else "(?)"
            values = [as_text(block.get(name, shared.get(name, usual))) for block in arms.values()]
            one = as_text(shared[name]) if name in shared and len(set(values)) < 2 else ""
            notes = [comments.get(("stages", stage, "parameters", name), "")]
            notes += [comments.get(("arms", arm, stage, name), "") for arm in arms]
            each = [""] * len(values) if one else values
            rows.append([stage, name, one, *each, "; ".join(dict.fromkeys(note for note in notes if note))])
    return rows

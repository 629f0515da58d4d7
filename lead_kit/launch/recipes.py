"""Recipes (what a paper fixed), scales (what a machine allows), and the jobs that the two give together.

A recipe is a YAML file in experiments/recipes/:

    title: one line
    task: words                      the embedded task that a small scale takes (default: arithmetic)
    lengths: [max_tokens, ...]       parameters that count tokens; a scale shortens them all in one proportion
    benchmarks: [AIME24, ...]        a stage `per: [benchmark]` runs once for each; a scale may name others;
                                     or NAME: {parameter: value}, what 04_evaluate does with that benchmark
    arms:
      NAME: {label: ..., optional: true, STAGE: {parameter: value}}     an optional arm runs only when it is named
    stages:                          in the order in which they run
      NAME:
        notebook: 03_grpo
        per: [arm, seed]             one run for each (also: benchmark); without it there is one run
        arms: [NAME, ...]            only these arms (default: all)
        parameters: {parameter: value}
    scales:                          what this recipe sets at that scale, beside what the scale sets
      SCALE: {STAGE: {parameter: value, accelerate: FILE}}     accelerate: the paper's way to share out the weights

A comment behind a value is its source. `{STAGE}` in a value becomes the run folder of that stage's job with the same
arm, seed and benchmark; a list parameter takes all matching jobs. `{arm}`, `{seed}`, `{benchmark}` are the job's own.

A scale (experiments/scales/) sets sizes by notebook, and under `tasks` what another embedded task needs; `rates` are
its speed on a CPU, from which --dry-run tells minutes. It may have
stages of its own that replace what the recipe would download; they run after the recipe's first stage, and only if a
job needs them. Later values win: notebook, stage, arm, scale, the recipe's block for the scale. A value that refers to
a stage is kept: a scale replaces what comes from outside, not what the recipe makes. Lengths and warm-up shrink in
proportion.
"""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.launch import controls
from lead_kit.launch.shape import fit, is_a, read_yaml
from lead_kit.parameters import Parameter, convert_values, read_parameters
from lead_kit.runs.files import ROOT, run_folder

EXPERIMENTS = ROOT / "experiments"
_RECIPE_DEFAULTS = {
    "title": "",
    "task": "arithmetic",
    "lengths": [],
    "benchmarks": [],
    "arms": {},
    "scales": {},
    "stages": {},
}
_SCALE_DEFAULTS = {"title": "", "seeds": [0], "jobs": 0, "threads": 1, "lengths": {}, "parameters": {}}
_SCALE_DEFAULTS |= {
    "nproc": {},
    "accelerate": {},
    "gpu_memory": 0,
    "rates": {},
    "snakemake": [],
    "benchmarks": [],
    "stages": {},
    "tasks": {},
}
_VALUES = {str: object}  # parameter: value, checked against the notebook
RECIPE = {"title": str, "task": str, "lengths": [str], "benchmarks": ([str], {str: _VALUES}), "scales": {str: {}}}
RECIPE |= {"arms": {str: {}}}
RECIPE |= {"stages": {str: {"notebook": str, "per": [str], "arms": [str], "parameters": _VALUES}}}
SCALE = {"title": str, "like": str, "seeds": [int], "jobs": int, "threads": int, "gpu_memory": float}
SCALE |= {"lengths": {str: float}, "parameters": {str: _VALUES}, "nproc": {str: int}, "accelerate": {str: str}}
SCALE |= {"snakemake": [(str, float)], "benchmarks": [str], "stages": {str: {"notebook": str, "parameters": _VALUES}}}
SCALE |= {"rates": {str: float}, "tasks": {str: {"benchmarks": [str], "parameters": {str: _VALUES}}}}
RATES = ("training", "sampling", "prompt", "answer", "longest")  # tokens a second, and tokens; see memory.minutes
_AXES = ("seed", "arm", "benchmark")  # in the order in which runs are listed
TRAINING = "03_grpo"  # its max_tokens decides how lengths shrink
_EVALUATION = "04_evaluate"
_REFERENCE = re.compile(r"\{(\w+)\}")


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
    """Raises InputError for a key that is not allowed."""
    for key in keys:
        if key not in allowed:
            raise InputError(f"{where}: no {key!r} here{nearest_or_all(key, sorted(allowed))}")


def load(kind: str, name: str) -> dict:
    """The content of experiments/<kind>/<name>.yaml. Raises InputError with the nearest name when there is none."""
    path = EXPERIMENTS / kind / f"{name}.yaml"
    names = sorted(p.stem for p in path.parent.glob("*.yaml"))
    if name not in names:
        raise InputError(f"no {kind[:-1]} {shorten(repr(name))}{nearest_or_all(name, names)}")
    return read_yaml(path)


def load_recipe(name: str) -> dict:
    """A recipe whose keys, stages and arms fit together, with its control arms. Raises InputError otherwise."""
    recipe = _RECIPE_DEFAULTS | load("recipes", name)
    refuse_unknown(recipe, _RECIPE_DEFAULTS, f"recipe {name}")
    fit(recipe, RECIPE, f"recipe {name}")
    if not recipe["stages"]:
        raise InputError(f"recipe {name} has no stages")
    for stage, content in recipe["stages"].items():
        refuse_unknown(content, {"notebook", "per", "arms", "parameters"}, f"recipe {name}, stage {stage}")
        _require_notebook(content, f"recipe {name}, stage {stage}")
        refuse_unknown(content.get("per", []), _AXES, f"recipe {name}, stage {stage}, per")
        refuse_unknown(content.get("arms", []), recipe["arms"], f"recipe {name}, stage {stage}, arms")
    for arm, content in recipe["arms"].items():
        refuse_unknown(content, {"label", "optional", *recipe["stages"]}, f"recipe {name}, arm {arm}")
        fit(content, {"label": str, "optional": bool, str: _VALUES}, f"recipe {name}, arm {arm}")
    given = recipe["benchmarks"]
    recipe["benchmarks"] = given if isinstance(given, dict) else {benchmark: {} for benchmark in given}
    for scale, content in recipe["scales"].items():
        refuse_unknown(content, recipe["stages"], f"recipe {name}, scale {scale}")
        fit(content, {str: _VALUES}, f"recipe {name}, scale {scale}")
    return controls.with_controls(recipe, TRAINING)


def _require_notebook(stage: dict, where: str) -> None:
    """Raises InputError for a stage that names no notebook."""
    if "notebook" not in stage:
        raise InputError(f"{where}: no notebook, expected a name in notebooks/, e.g. {TRAINING}")


def load_scale(name: str, task: str = "arithmetic", above: tuple[str, ...] = ()) -> dict:
    """A scale with the values of the scale that it is `like`, and what it sets for an embedded task. Raises InputError
    for an unknown key or a wrong type. `above`: the scales that are `like` this one.
    """
    if name in above:
        raise InputError(f"scale {name} is like itself: {' → '.join([*above, name])}")
    scale = load("scales", name)
    refuse_unknown(scale, {"like", *_SCALE_DEFAULTS}, f"scale {name}")
    fit(scale, SCALE, f"scale {name}")
    base = load_scale(scale["like"], task, (*above, name)) if "like" in scale else _SCALE_DEFAULTS
    own, blocks = scale.get("tasks", {}).get(task, {}), dict(base["parameters"])
    for part in (scale, own):
        for notebook, values in part.get("parameters", {}).items():
            blocks[notebook] = blocks.get(notebook, {}) | values
    scale = base | scale | {"parameters": blocks}
    scale["benchmarks"] = own.get("benchmarks", scale["benchmarks"])
    refuse_unknown(scale["lengths"], {"longest", "factor", "most"}, f"scale {name}, lengths")
    if scale["rates"]:
        refuse_unknown(scale["rates"], RATES, f"scale {name}, rates")
        if missing := [rate for rate in RATES if rate not in scale["rates"]]:
            raise InputError(f"scale {name}, rates: no {missing[0]!r} here; expected all of {', '.join(RATES)}")
    for group in ("lengths", "nproc", "rates"):
        for key, value in scale[group].items():
            if not number(value, f"scale {name}, {group}, {key}") > 0:
                raise InputError(f"scale {name}, {group}, {key} is {value}, expected a number above 0")
    for stage, content in scale["stages"].items():
        refuse_unknown(content, {"notebook", "parameters"}, f"scale {name}, stage {stage}")
        _require_notebook(content, f"scale {name}, stage {stage}")
    return scale


def _add_stages(recipe: dict, scale: dict) -> dict:
    """The recipe with the scale's own stages after its first one. Raises InputError when both use a name."""
    if shared := set(recipe["stages"]) & set(scale["stages"]):
        raise InputError(f"the scale's stage {min(shared)!r} is also one of the recipe: rename one of them")
    (first, content), *others = recipe["stages"].items()
    return recipe | {"stages": {first: content} | scale["stages"] | dict(others)}


def numbers(recipe: dict, names: Iterable[str], notebook: str = "") -> list[float]:
    """Every number that the recipe gives to these parameters in the stages of `notebook` (empty: in all stages)."""
    stages = {name: s for name, s in recipe["stages"].items() if not notebook or s["notebook"] == notebook}
    blocks = [stage.get("parameters", {}) for stage in stages.values()]
    blocks += [arm.get(stage, {}) for arm in recipe["arms"].values() for stage in stages]
    return [number(value, name) for block in blocks for name, value in block.items() if name in names]


def number(value, name: str) -> float:
    """A recipe's value that others are in proportion to. Raises InputError when it is not a finite number."""
    if not is_a(value, float) or not abs(value) < 1e15:
        raise InputError(f"{name} is {shorten(value)}, expected a number")
    return float(value)


def length_factor(recipe: dict, scale: dict) -> float:
    """The factor for lengths in tokens: the scale's `factor`, or the one that makes the longest rollout in training
    (without training, the longest completion) `longest` tokens long."""
    if "factor" in scale["lengths"]:
        return float(scale["lengths"]["factor"])
    longest = numbers(recipe, ["max_tokens"], TRAINING) or numbers(recipe, ["max_tokens"])
    longest = longest or numbers(recipe, recipe["lengths"])
    scaled = "longest" in scale["lengths"] and max(longest, default=0) > 0
    return scale["lengths"]["longest"] / max(longest) if scaled else 1.0


def _scale_lengths(values: dict, recipe: dict, scale: dict) -> dict:
    """The values with all lengths in tokens scaled in proportion, none above the scale's `most`."""
    factor, most = length_factor(recipe, scale), scale["lengths"].get("most", float("inf"))
    lengths = {n: number(values[n], n) for n in recipe["lengths"] if n in values}
    return values | {n: max(1, round(min(value * factor, max(most, 1)))) for n, value in lengths.items() if value > 0}


def replace_external(given, value):
    """A scale's value instead of the recipe's, except that the recipe's references to stages stay, in lists too."""
    if isinstance(given, list) and any(_REFERENCE.search(str(entry)) for entry in given):
        references = [entry for entry in given if _REFERENCE.search(str(entry))]
        return references if len(references) == len(given) else [*value, *references]
    return given if isinstance(given, str) and _REFERENCE.search(given) else value


def _stage_values(recipe: dict, scale: dict, scale_name: str, stage: str, arm: str | None) -> dict:
    """The parameters of a stage in an arm, with references to stages not yet replaced; later sources win."""
    content = recipe["stages"][stage]
    given = dict(content.get("parameters", {})) | (recipe["arms"][arm].get(stage, {}) if arm else {})
    values = _scale_lengths(given, recipe, scale)
    by_notebook = scale["parameters"].get(content["notebook"], {})
    if stage in scale["stages"]:
        return by_notebook | values
    values |= {name: replace_external(given.get(name), value) for name, value in by_notebook.items()}
    block = recipe["scales"].get(scale_name, {}).get(stage, {})
    values |= {name: value for name, value in block.items() if name != "accelerate"}
    if given.get("warmup_steps", 0) and given.get("steps", 0):  # the warm-up stays the same share of the run
        warmup, before = number(given["warmup_steps"], "warmup_steps"), number(given["steps"], "steps")
        after = number(values["steps"], "steps")
        values["warmup_steps"] = max(1, round(warmup * after / before))
    return values


def plan(recipe_name: str, scale_name: str, seeds: list[int] | None = None, arms: list[str] | None = None) -> list[Job]:
    """The jobs of a recipe at a scale, each checked against its notebook, in an order in which they can run.

    Raises InputError before anything runs when something does not fit.
    """
    recipe = load_recipe(recipe_name)
    scale = load_scale(scale_name, recipe["task"])
    recipe = _add_stages(recipe, scale)
    arms = controls.expanded(arms, recipe)
    refuse_unknown(arms, [*recipe["arms"], controls.ALL], f"recipe {recipe_name}, arms")
    seeds, benchmarks = scale["seeds"] if seeds is None else seeds, scale["benchmarks"] or recipe["benchmarks"]
    jobs: list[Job] = []
    for stage, content in recipe["stages"].items():
        notebook = ROOT / "notebooks" / f"{content['notebook']}.ipynb"
        declared, per = read_parameters(notebook), content.get("per", [])
        axes = (seeds, [arm for arm in arms if arm in content.get("arms", arms)], benchmarks)  # as in AXES
        chosen = [values if axis in per else [None] for axis, values in zip(_AXES, axes, strict=True)]
        for seed, arm, benchmark in product(*chosen):
            values = _stage_values(recipe, scale, scale_name, stage, arm)
            values |= recipe["benchmarks"].get(benchmark, {}) if content["notebook"] == _EVALUATION else {}
            parts = [stage, *filter(None, (arm, benchmark)), *([f"s{seed}"] if seed is not None else [])]
            name = f"{recipe_name}/{scale_name}/{'-'.join(parts)}"
            nproc, accelerate = scale["nproc"].get(notebook.stem, 1), scale["accelerate"].get(notebook.stem, "")
            accelerate = recipe["scales"].get(scale_name, {}).get(stage, {}).get("accelerate", accelerate)
            job = Job(name, stage, arm, seed, notebook, values, [], nproc, accelerate, benchmark)
            jobs.append(_settle_job(job, jobs, set(recipe["stages"]), declared))
    needed = {name for job in jobs for name in job.needs}
    jobs = [job for job in jobs if job.stage not in scale["stages"] or job.name in needed]
    if not jobs:
        raise InputError(f"recipe {recipe_name} at {scale_name} has no runs: seeds {seeds}, arms {arms}")
    return jobs


def _settle_job(job: Job, earlier: list[Job], stages: set[str], declared: Mapping[str, Parameter]) -> Job:
    """The job with its own run name, seed, arm and benchmark, with references replaced and every value checked."""
    run_folder(job.name)  # raises InputError for an invalid name
    own = {"run_name": job.name, "seed": job.seed, "arm": job.arm, "benchmark": job.benchmark}
    values = {name: value for name, value in own.items() if name in declared and value is not None} | job.parameters
    needs: list[str] = []
    for name, value in values.items():
        if name in declared:
            values[name] = _fill_references(value, declared[name].type.startswith("list"), job, earlier, stages, needs)
    try:
        values = convert_values(values, declared)
    except InputError as error:
        raise InputError(f"{job.name} ({job.notebook.name}): {error}") from None
    return job._replace(parameters=values, needs=list(dict.fromkeys(needs)))


def _fill_references(value, many: bool, job: Job, earlier: list[Job], stages: set[str], needs: list[str]):
    """A value with `{stage}` replaced by run folders and `{arm}`, `{seed}`, `{benchmark}` by the job's own.

    With `many`, a text becomes one text for each matching job. The names of the matching jobs are appended to `needs`.
    Raises InputError when no job or too many jobs match.
    """
    if isinstance(value, list):
        filled = [_fill_references(entry, many, job, earlier, stages, needs) for entry in value]
        return [part for entry in filled for part in (entry if isinstance(entry, list) else [entry])]
    if not isinstance(value, str):
        return value
    for axis in _AXES:
        value = value.replace(f"{{{axis}}}", str(getattr(job, axis)))
    stage = ", ".join(_REFERENCE.findall(value))  # two references in one value name no stage
    if not stage:
        return value
    if stage not in stages:
        raise InputError(f"{job.name}: {value!r} names no stage{nearest(stage, stages)}")
    names = [other.name for other in earlier if other.stage == stage and _same_axes(other, job)]
    if not names or (len(names) > 1 and not many):
        expected = "at least one" if many else "one"
        raise InputError(f"{job.name}: {value!r} matches {len(names)} runs of stage {stage}, expected {expected}")
    needs += names
    texts = [value.replace(f"{{{stage}}}", f"runs/{name}") for name in names]
    return texts if many else texts[0]


def _same_axes(job: Job, other: Job) -> bool:
    """Whether two jobs agree in arm, seed and benchmark, as far as both have them."""
    pairs = [(getattr(job, axis), getattr(other, axis)) for axis in _AXES]
    return all(a is None or b is None or a == b for a, b in pairs)


def settled(job: Job) -> dict:
    """All parameters of a job, including those at the notebook's defaults."""
    return {name: parameter.default for name, parameter in read_parameters(job.notebook).items()} | job.parameters


def as_text(value) -> str:
    """A value as it is written after `-p name`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)

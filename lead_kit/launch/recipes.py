"""The jobs that a recipe and a scale give together, and the parameters of each.

Later values win: notebook, stage, arm, scale, the recipe's block for the scale. A scale that is `like` another comes
after it and after the recipe's block for it. `{STAGE}` in a value becomes the run
folder of that stage's job with the same arm, seed and benchmark; a list parameter takes all matching jobs. `{arm}`,
`{seed}`, `{benchmark}` are the job's own. A value that refers to a stage is kept: a scale replaces what comes from
outside, not what the recipe makes. Lengths and the warm-up shrink in proportion. A scale's stages run after the
recipe's first one, and only if a job needs them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

from lead_kit.errors import InputError, nearest, nearest_or_all, shorten
from lead_kit.launch import recipe_model
from lead_kit.launch.recipe_model import TRAINING, Recipe, Scale, Task, Values, load_recipe, load_scale, refuse_unknown
from lead_kit.method.estimators import bind_estimator
from lead_kit.parameters import Parameter, convert_values, read_parameters
from lead_kit.runs.files import ROOT, run_folder

_AXES = ("seed", "arm", "benchmark")  # in the order in which runs are listed
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


def plan(
    recipe_name: str,
    scale_name: str,
    seeds: list[int] | None = None,
    arms: list[str] | None = None,
    made: Recipe | None = None,
) -> list[Job]:
    """The jobs of a recipe at a scale, each checked against its notebook, in an order in which they can run.

    `made`: a recipe that is in no file. Raises InputError before anything runs when something does not fit.
    """
    recipe = made or load_recipe(recipe_name)
    scale, layers = load_scale(scale_name, recipe.task), recipe_model.load_layers(scale_name)
    if shared := set(recipe.stages) & set(scale.stages):
        raise InputError(f"the scale's stage {min(shared)!r} is also one of the recipe: rename one of them")
    (name, first), *others = recipe.stages.items()
    recipe = recipe.model_copy(update={"stages": {name: first} | scale.stages | dict(others)})
    refuse_unknown(arms or [], recipe.arms, f"recipe {recipe_name}, arms")
    arms = list(dict.fromkeys(arms or [name for name, arm in recipe.arms.items() if not arm.optional]))
    seeds, benchmarks = scale.seeds if seeds is None else seeds, scale.benchmarks or recipe.benchmarks
    jobs: list[Job] = []
    for name, stage in recipe.stages.items():
        notebook = ROOT / "notebooks" / f"{stage.notebook}.ipynb"
        declared = read_parameters(notebook)
        axes = (seeds, [arm for arm in arms if arm in (stage.arms or arms)], benchmarks)  # as in _AXES
        choices = [values if axis in stage.per else [None] for axis, values in zip(_AXES, axes, strict=True)]
        for seed, arm, benchmark in product(*choices):
            values = _stage_values(recipe, scale, layers, name, arm)
            values |= recipe.benchmarks.get(benchmark, {}) if stage.notebook == _EVALUATION else {}
            values |= recipe.arms[arm].exact.get(name, {}) if arm else {}
            parts = [name, *filter(None, (arm, benchmark)), *([f"s{seed}"] if seed is not None else [])]
            run = f"{recipe_name}/{scale_name}/{'-'.join(parts)}"
            nproc, accelerate = scale.nproc.get(stage.notebook, 1), values.pop("accelerate", "")
            job = Job(run, name, arm, seed, notebook, values, [], nproc, accelerate, benchmark)
            jobs.append(_settle_job(job, jobs, set(recipe.stages), declared))
    needed = {name for job in jobs for name in job.needs}
    jobs = [job for job in jobs if job.stage not in scale.stages or job.name in needed]
    if not jobs:
        raise InputError(f"recipe {recipe_name} at {scale_name} has no runs: seeds {seeds}, arms {arms}")
    _refuse_equal_arms(jobs, f"recipe {recipe_name} at {scale_name}")
    return jobs


def _refuse_equal_arms(jobs: list[Job], where: str) -> None:
    """Raises InputError for two arms that the scale has made the same run, which a table would compare with itself."""
    arms: dict[str, list[tuple[str, str]]] = {}
    for job in [job for job in jobs if job.arm]:
        values = {name: v for name, v in _decisive(job).items() if name not in ("arm", "run_name", "preflight")}
        arms.setdefault(job.arm, []).append((job.stage, as_text(values).replace(f"-{job.arm}-", "-")))
    for first, second in combinations(arms, 2):
        if arms[first] == arms[second]:
            raise InputError(f"{where}: the arms {first} and {second} are the same run here, leave one out with --arms")


def _decisive(job: Job) -> dict:
    """All parameters of a job; of the estimator's arguments those that it uses. Raises InputError as its run would."""
    values, declared = settled(job), read_parameters(job.notebook)
    if any(":" in values.get(part, ":") for part in ("estimator", "group_shape", "group_baseline", "group_weight")):
        return values  # no training, or with a function from a file
    others = {name: value for name, value in values.items() if declared[name].argument_of != "estimator"}
    return others | {"estimator": repr(bind_estimator(values))}


def training_parameters(text: str) -> Values:
    """What RECIPE/ARM gives to 03_grpo, or RECIPE/ARM/STAGE where the arm trains in stages; a variant of a replay.

    Raises InputError for an unknown recipe, arm or stage, and where several stages train.
    """
    recipe_name, _, rest = text.partition("/")
    arm, _, stage = rest.partition("/")
    recipe = load_recipe(recipe_name)
    refuse_unknown([arm], recipe.arms, f"recipe {recipe_name}, arms")
    stages = {name: s for name, s in recipe.stages.items() if s.notebook == TRAINING and arm in (s.arms or [arm])}
    stage = next(iter(stages)) if not stage and len(stages) == 1 else stage
    if stage not in stages:
        raise InputError(f"{text}: expected RECIPE/ARM/STAGE with a training stage{nearest_or_all(stage, stages)}")
    return stages[stage].parameters | recipe.arms[arm].stages.get(stage, {})


def settled(job: Job) -> dict:
    """All parameters of a job, including those at the notebook's defaults."""
    return {name: parameter.default for name, parameter in read_parameters(job.notebook).items()} | job.parameters


def as_text(value) -> str:
    """A value as it is written after `-p name`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _number(value, name: str) -> float:
    """A recipe's value that others are in proportion to. Raises InputError when it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise InputError(f"{name} is {shorten(value)}, expected a number")
    return float(value)


def _numbers(recipe: Recipe, names: Iterable[str], notebook: str = "") -> list[float]:
    """Every number that the recipe gives to these parameters in the stages of `notebook` (empty: in all stages)."""
    stages = {name: stage for name, stage in recipe.stages.items() if not notebook or stage.notebook == notebook}
    blocks = [stage.parameters for stage in stages.values()]
    blocks += [arm.stages.get(stage, {}) for arm in recipe.arms.values() for stage in stages]
    return [_number(value, name) for block in blocks for name, value in block.items() if name in names]


def _length_factor(recipe: Recipe, scale: Scale) -> float:
    """The factor for lengths in tokens that makes the longest rollout in training (without training, the longest
    completion; without either, the longest of all lengths) as long as the scale's `longest`."""
    numbers = _numbers(recipe, ["max_tokens"], TRAINING) or _numbers(recipe, ["max_tokens"])
    longest = max(numbers or _numbers(recipe, recipe.lengths), default=0)
    return scale.lengths.longest / longest if scale.lengths.longest and longest > 0 else 1.0


def _replace_external(old, new):
    """A scale's value instead of the recipe's, except that the recipe's references to stages stay, in lists too."""
    if isinstance(old, list) and any(_REFERENCE.search(str(entry)) for entry in old):
        references = [entry for entry in old if _REFERENCE.search(str(entry))]
        return references if len(references) == len(old) else [*new, *references]
    return old if isinstance(old, str) and _REFERENCE.search(old) else new


def _stage_values(recipe: Recipe, scale: Scale, layers: Mapping[str, Scale], stage: str, arm: str | None) -> Values:
    """The parameters of a stage in an arm (without its exact ones), with references to stages not yet replaced, and the
    stage's `accelerate` file; later sources win. `layers` are those of load_layers."""
    content = recipe.stages[stage]
    original = content.parameters | (recipe.arms[arm].stages.get(stage, {}) if arm else {})
    factor, most = _length_factor(recipe, scale), scale.lengths.most
    lengths = {name: _number(original[name], name) for name in recipe.lengths if name in original}
    scaled = original | {name: max(1, round(min(n * factor, most))) for name, n in lengths.items() if n > 0}
    values = dict(scaled)
    for name, layer in layers.items():
        of_task = layer.tasks.get(recipe.task, Task())
        for by_notebook in (layer.parameters, of_task.parameters):
            changes = by_notebook.get(content.notebook, {})
            values |= {key: _replace_external(original.get(key), value) for key, value in changes.items()}
        if content.notebook in layer.accelerate:
            values["accelerate"] = layer.accelerate[content.notebook]
        values |= recipe.scales.get(name, {}).get(stage, {})
    if stage in scale.stages:
        return values | scaled
    if original.get("warmup_steps", 0) and original.get("steps", 0):  # the warm-up stays the same share of the run
        warmup, before = _number(original["warmup_steps"], "warmup_steps"), _number(original["steps"], "steps")
        values["warmup_steps"] = max(1, round(warmup * _number(values["steps"], "steps") / before))
    return values


def _settle_job(job: Job, earlier: list[Job], stages: set[str], declared: Mapping[str, Parameter]) -> Job:
    """The job with its own run name, seed, arm and benchmark, with references replaced and every value checked."""
    run_folder(job.name)  # raises InputError for an invalid name
    fixed = {"run_name": job.name, "seed": job.seed, "arm": job.arm, "benchmark": job.benchmark}
    values = {name: value for name, value in fixed.items() if name in declared and value is not None} | job.parameters
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

"""The files of experiments/: recipes (what a paper fixed) and scales (what a machine allows).

The models are the format. For a recipe:

    title: one line
    lengths: [max_tokens, ...]
    arms:
      NAME: {label: ..., STAGE: {parameter: value}}
    stages:
      NAME: {notebook: 03_grpo, per: [arm, seed], parameters: {parameter: value}}     # one run for each arm and seed
    scales:
      SCALE: {STAGE: {parameter: value}}
    planned: {question: ..., primary: "METRIC: LATER − EARLIER", ...}     # see Planned

A comment behind a value is its source. Values are never converted: true is no number, and a number is no text. What
does not fit is refused in one sentence with the key, its value and what was expected. recipes.py makes the jobs.
"""

import datetime
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lead_kit.errors import InputError, nearest_or_all, shorten
from lead_kit.runs.files import ROOT, read_yaml

EXPERIMENTS = ROOT / "experiments"
TRAINING = "03_grpo"  # its max_tokens decides how lengths shrink
Values = dict[str, object]  # parameter: value, checked against the notebook when jobs are planned
_AboveZero = Annotated[float, Field(gt=0, lt=1e15)]
_Option = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]  # a word


def refuse_unknown(keys: Iterable[str], allowed: Iterable[str], *where: str) -> None:
    """Raises InputError for a key that is not allowed; `where` stands in front of it."""
    for key in keys:
        if key not in allowed:
            raise InputError(": ".join([*where, f"no {key!r} here{nearest_or_all(key, sorted(allowed))}"]))


class _File(BaseModel):
    """A mapping whose keys are the fields of the model. Raises InputError for another key, naming the nearest field."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, content):
        if isinstance(content, dict) and cls.model_config.get("extra") != "allow":
            refuse_unknown(content, cls.model_fields)
        return content


class Stage(_File):
    """One step of a recipe: a notebook that runs once, or once for each combination of the axes in `per`."""

    notebook: str
    per: list[Literal["seed", "arm", "benchmark"]] = []
    arms: list[str] = []  # only these arms; empty: all
    parameters: Values = {}


class Arm(_File):
    """One variant of the method. Keys that are no fields are stages, with what the arm sets there."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Values]
    label: str = ""
    optional: bool = False  # it runs only when it is named
    exact: dict[str, Values] = {}  # by stage, what wins over the scale and is not shortened

    @property
    def stages(self) -> dict[str, Values]:
        return self.__pydantic_extra__


def _named(content):
    """A list of names as a mapping in which they have no values."""
    is_list = isinstance(content, list) and all(isinstance(name, str) for name in content)
    return {name: {} for name in content} if is_list else content


class Planned(_File):
    """The comparisons for which a recipe is run, each "METRIC: LATER − EARLIER" of two arms (* is any), with a date."""

    question: str
    primary: str
    secondaries: list[str] = []
    difference: str  # what counts as one
    date: datetime.date
    chosen: Literal["before the runs", "after a pilot"]

    def record(self) -> dict[str, object]:
        """The block as JSON with a hash of its content: what run.json keeps."""
        block = self.model_dump(mode="json")
        content = json.dumps(block, sort_keys=True, ensure_ascii=False)
        return block | {"hash": hashlib.sha256(content.encode()).hexdigest()[:12]}


class Recipe(_File):
    """A method of a paper: its stages in the order in which they run, and its arms."""

    title: str = ""
    task: str = "arithmetic"  # the embedded task that a small scale takes
    lengths: list[str] = []  # parameters that count tokens; a scale shortens them all in one proportion
    benchmarks: Annotated[dict[str, Values], BeforeValidator(_named)] = {}  # what 04_evaluate does with each
    arms: dict[str, Arm] = {}
    stages: dict[str, Stage] = {}
    scales: dict[str, dict[str, Values]] = {}  # by scale and stage, `accelerate` too; of all scales that are like it
    planned: Planned | None = None


class Lengths(_File):
    """How lengths in tokens shrink: so that the longest rollout has `longest`; none is above `most`."""

    longest: _AboveZero | None = None
    most: _AboveZero = float("inf")


class Rates(_File):
    """The speed of a CPU in tokens a second, and tokens; see estimates.minutes."""

    training: _AboveZero
    sampling: _AboveZero
    prompt: _AboveZero
    answer: _AboveZero
    longest: _AboveZero


class Task(_File):
    """What a scale sets for recipes of one embedded task."""

    benchmarks: list[str] = []
    parameters: dict[str, Values] = {}  # by notebook


class Scale(_File):
    """The sizes that a machine allows."""

    title: str = ""
    like: str = ""  # a scale whose values hold where this one sets none
    seeds: list[int] = [0]
    jobs: int = 0  # runs at a time; 0: one on each core
    threads: int = 1
    gpu_memory: float = 0.0  # GiB
    gpu_flops: float = 0.0  # of dense bfloat16 products, a second
    gpu_bandwidth: float = 0.0  # bytes of its memory, a second
    lengths: Lengths = Lengths()
    parameters: dict[str, Values] = {}  # by notebook, as nproc and accelerate
    nproc: dict[str, Annotated[int, Field(gt=0)]] = {}
    accelerate: dict[str, str] = {}
    snakemake: list[_Option] = []  # of its command line
    resources: dict[str, _Option] = {}  # that each job asks of a cluster
    benchmarks: list[str] = []  # in place of a recipe's
    stages: dict[str, Stage] = {}  # in place of what a recipe would download
    rates: Rates | None = None  # only of a CPU
    tasks: dict[str, Task] = {}


def load_recipe(name: str) -> Recipe:
    """A recipe whose keys, stages and arms fit together. Raises InputError otherwise."""
    content = read_experiment("recipes", name)
    stages, arms = (content[key] if isinstance(content.get(key), dict) else {} for key in ("stages", "arms"))
    for arm, values in arms.items():  # before the model takes a misspelt key for a stage
        keys = values if isinstance(values, dict) else {}
        refuse_unknown(keys, [*Arm.model_fields, *stages], f"recipe {name}, arms, {shorten(arm)}")
    recipe = _validated(Recipe, content, f"recipe {name}")
    if not recipe.stages:
        raise InputError(f"recipe {name} has no stages")
    for stage, values in recipe.stages.items():
        refuse_unknown(values.arms, recipe.arms, f"recipe {name}, stages, {stage}, arms")
    for scale, values in recipe.scales.items():
        refuse_unknown(values, recipe.stages, f"recipe {name}, scales, {scale}")
    for comparison in [recipe.planned.primary, *recipe.planned.secondaries] if recipe.planned else []:
        pair = comparison.partition(": ")[2].split(" − ")
        refuse_unknown(pair, ["*", *recipe.arms], f"recipe {name}, planned, {comparison!r} (METRIC: LATER − EARLIER)")
    return recipe


def load_layers(name: str, above: tuple[str, ...] = ()) -> dict[str, Scale]:
    """The scale by name behind those that it is `like`, the first of all at the front, each as its file says.

    Raises InputError for an unknown key or a wrong type. `above`: the scales that are `like` this one.
    """
    if name in above:
        raise InputError(f"scale {name} is like itself: {' → '.join([*above, name])}")
    scale = _validated(Scale, read_experiment("scales", name), f"scale {name}")
    return (load_layers(scale.like, (*above, name)) if scale.like else {}) | {name: scale}


def load_scale(name: str, task: str = "arithmetic") -> Scale:
    """A scale with what it takes from those that it is `like`, except `parameters`, which are its own file's."""
    merged = Scale()
    for scale in load_layers(name).values():
        changes = {field: getattr(scale, field) for field in scale.model_fields_set}
        of_task = scale.tasks.get(task, Task()).benchmarks
        merged = merged.model_copy(update=changes | ({"benchmarks": of_task} if of_task else {}))
    return merged


def read_experiment(kind: str, name: str) -> dict:
    """The content of experiments/<kind>/<name>.yaml. Raises InputError with the nearest name when there is none."""
    path = EXPERIMENTS / kind / f"{name}.yaml"
    names = sorted(p.stem for p in path.parent.glob("*.yaml"))
    if name not in names:
        raise InputError(f"no {kind[:-1]} {shorten(repr(name))}{nearest_or_all(name, names)}")
    return read_yaml(path)


def _validated(model: type[_File], content: dict, where: str) -> _File:
    """The content as a model. Raises InputError for the first mistake in it: the keys to it, and what was expected."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
    keys = [f"item {key + 1}" if isinstance(key, int) else shorten(key) for key in mistake["loc"]]
    if mistake["type"] == "value_error":  # an InputError of a validator here
        sentence = str(mistake["ctx"]["error"])
    else:
        expected = re.sub(" or instance of .*", "", mistake["msg"])
        sentence = f"{expected}, found {shorten(repr(mistake['input']))}"
    raise InputError(f"{', '.join([where, *keys])}: {sentence}")

"""What a recipe would need, and whether it can run: memory for each GPU or process, time, numbers of rollouts, and what
its runs would refuse. Estimates, not measurements."""

import contextlib
import datetime
import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lead_kit.data import named_sets
from lead_kit.errors import InputError
from lead_kit.launch import recipe_model
from lead_kit.launch.recipe_model import Rates, Scale, load_scale
from lead_kit.launch.recipes import Job, settled
from lead_kit.method.estimators import needs_reference
from lead_kit.runs import manifest
from lead_kit.runs.files import RUNS, resolve, run_folder, shown
from lead_kit.train import batch_sizes

GIB = 1 << 30
_PROGRAM = 0.7 * GIB  # Python with torch, transformers and TRL, on a CPU
_LIBRARIES = 2 * GIB  # CUDA's context and the buffers of cuBLAS and NCCL, on a GPU
_USE_OF_PEAK = 0.5  # share of a GPU's peak that training reaches
_LINK = 1e11  # bytes a second between the trainer and vLLM
_DISK = 1e9  # bytes a second of a checkpoint
_GRAPHS = 1 * GIB  # of vLLM: its graphs, and activations of the 4,096 prompt tokens that TRL lets it take at once
_LOGIT = 16  # bytes of vLLM for a logit of each of its rows: four tensors in float32, to scale and to draw
_ASLEEP = 2 * GIB  # what vLLM keeps while it sleeps
_SPARE = 0.05  # share of a GPU that `share_cards` leaves free
PROMPT_TOKENS = 1024  # the prompt limit of GRPO-LEAD's released script
WITH_MODEL = ("02_sft", "03_grpo", "04_evaluate")  # notebooks that need a GPU
_SHARDED = {"fsdp2": (True, True), "zero3": (True, True), "zero2": (False, True)}  # (weights, gradients and moments)
_DATA = ("dataset", "data_path", "added_data", "validation_data", "evaluation_sets", "train_data")  # name sets or files
_NOT_NEGATIVE = ("learning_rate", "temperature", "clip_low", "clip_high", "beta", "weight_decay", "warmup_steps")
_KINDS = {"fsdp2": "fsdp2", "zero2": "deepspeed", "zero3": "deepspeed"}  # as provenance.sharded says it
_PROBLEMS = {"AIME24": 30, "AIME24-sea-snell": 30, "AIME25-opencompass": 30, "AMC23": 40}  # of validation sets
_PROBLEMS |= {"MATH-500": 500, "OlympiadBench": 674, "GSM8K": 1319, "GRPO-LEAD-combined-27": 27}


class Shape(NamedTuple):
    """The sizes of a model that decide its memory and its speed."""

    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    keys: int = 0  # units of a token's keys in a layer, and of its values
    positions: int = 0  # of the context, where the name tells it


_TINY = Shape(1.13e5, 2, 64, 98, 64, 512)
NAMED = {"tiny-bytes": _TINY._replace(positions=8192), "tiny": _TINY}  # by the beginning of a name
NAMED |= {"smollm2": Shape(1.345e8, 30, 576, 49152, 192, 8192)}
SHAPES = [  # the Qwen2.5 family, from which all models of the papers descend
    Shape(0.5e9, 24, 896, 151936, 128),
    Shape(1.5e9, 28, 1536, 151936, 256),
    Shape(3.1e9, 36, 2048, 151936, 256),
    Shape(7.6e9, 28, 3584, 152064, 512),
    Shape(14.8e9, 48, 5120, 152064, 1024),
    Shape(32.8e9, 64, 5120, 152064, 1024),
]


def shape_of(model: str) -> Shape | None:
    """The shape of a model by the size in its name (…-7B)."""
    if known := [shape for name, shape in NAMED.items() if model.startswith(name)]:
        return known[0]
    if (size := re.search(r"(\d+(?:\.\d+)?)[bB]\b", model)) is None:
        return None
    shape = min(SHAPES, key=lambda s: abs(s.parameters - float(size[1]) * 1e9))
    return shape._replace(positions=4096 * ("Qwen2.5-Math" in model))


def training_bytes(
    shape: Shape, job: Job, plugin: str, prompt: float = PROMPT_TOKENS, row: float = 0
) -> tuple[float, float]:
    """Bytes on one GPU while training with AdamW, without vLLM: those that stay between updates (weights, moments,
    copy, program), and the others. `plugin` cpu: of a process. `prompt` and `row` are tokens of a prompt and of a row
    of 02_sft (0: its max_length). In all:

    - weights, gradients and two moments in float32 (LoRA: weights in `dtype`, gradients and moments of 1% of them;
      QLoRA: weights of half a byte; DeepSpeed: masters too, and weights in `dtype`; its gradients last), and a frozen
      copy where a KL to the start is used; `plugin` shards them, and gathers two layers in bfloat16 and the gradient
      of one
    - for the tokens of one forward (a micro-batch, or a pack, which holds one rollout at least): the inputs of every
      layer and the activations of one layer: 34 bytes for each hidden unit and token (Korthikanti et al. 2022, eq. 1,
      without scores). On a CPU there is no gradient checkpointing: the activations of all layers in float32
    - on a GPU the gradient of the output head in float32, since TRL's fused head makes no logits; on a CPU the logits
      of the completions in fp32, their gradient and their softmax
    - on a CPU the program itself, on a GPU its libraries
    """
    values = job.parameters
    adapter = values.get("adapter", "full")
    half = values.get("dtype", "float32") == "bfloat16"
    master = 2 if half and adapter != "full" else 4  # trained: float32 masters
    width = 2 if half and plugin.startswith("zero") else master  # DeepSpeed keeps them beside a model in bfloat16
    weights = shape.parameters * (0.5 if adapter == "qlora" else width)
    gradients = master * shape.parameters * (1 if adapter == "full" else 0.01)
    moments = (2 + (width < master)) * gradients
    reference = (values.get("beta", 0) > 0 and adapter == "full") or needs_reference(values)
    weights += reference * shape.parameters * width
    length = values.get("max_length") or values.get("max_tokens", 0)  # 02_sft counts the prompt, 03_grpo does not
    row = row if row and "max_length" in values else length + prompt * ("max_length" not in values)
    packed = values.get("pack_tokens", 0)
    tokens = max(packed, row) if packed else values.get("micro_batch_size", 1) * row
    if plugin == "cpu":
        logits = tokens * min(1, length / row) * shape.vocabulary * 12
        return weights + moments + _PROGRAM, gradients + tokens * shape.hidden * 68 * shape.layers + logits
    is_spread = _SHARDED.get(plugin, (False, False))
    spread, learned_spread = (job.nproc if part else 1 for part in is_spread)
    gathered = is_spread[0] * shape.parameters / shape.layers * 6
    head = 4 * shape.hidden * shape.vocabulary * (adapter == "full")
    lasting = weights / spread + moments / learned_spread + _LIBRARIES
    passing = gathered + tokens * shape.hidden * 2 * (shape.layers + 17) + head
    stays = plugin.startswith("zero") * gradients / learned_spread
    return lasting + stays, passing + gradients / learned_spread - stays


def _on_card(shape: Shape, job: Job, card: float) -> tuple[float, float]:
    """GiB on one GPU while training and sampling, and vLLM's part of them while it is awake."""
    values = job.parameters
    lasting, passing = training_bytes(shape, job, Path(job.accelerate).stem)
    engine = values["vllm_memory"] * card * GIB if values.get("engine") == "vllm_colocate" else 0
    sleeps = engine and values["vllm_sleep"]
    total = lasting + (max(passing + _ASLEEP, engine) if sleeps else passing + engine)
    return total / GIB, engine / GIB


def _engine_bytes(shape: Shape, job: Job) -> float:
    """Bytes on each GPU of a vLLM engine beside the trainer, without its cache: weights in bfloat16, logits, graphs."""
    cards = job.parameters["vllm_tensor_parallel"]
    rows = job.parameters["batch_size"] * cards // job.nproc
    return 2 * shape.parameters / cards + _LOGIT * rows * shape.vocabulary + _GRAPHS


def _rollout_bytes(shape: Shape, length: float) -> float:
    """Bytes of the keys and values of a rollout with so many tokens, in bfloat16."""
    return 4 * shape.layers * shape.keys * (PROMPT_TOKENS + length)


def _at_once(shape: Shape, job: Job, card: float, memory: float) -> tuple[int, int]:
    """How many rollouts with half of max_tokens fit at once into the cache of one vLLM engine that has the share
    `memory` of its GPUs, and how many it samples of a batch."""
    cards = job.parameters["vllm_tensor_parallel"]
    cache = cards * (memory * card * GIB - _engine_bytes(shape, job))
    fit = int(cache / _rollout_bytes(shape, job.parameters["max_tokens"] / 2))
    return max(0, fit), job.parameters["batch_size"] * cards // job.nproc


def share_cards(jobs: list[Job], scale: Scale) -> list[Job]:
    """The jobs, those with vLLM beside the trainer with vllm_memory and vllm_sleep where they leave vllm_memory out.

    vLLM gets what training leaves, at most what whole rollouts of max_tokens need. It sleeps during training where
    otherwise not all rollouts with half of max_tokens would fit at once.
    """
    pairs = zip(jobs, _complete(jobs, scale), strict=True)
    shares = [{} if "vllm_memory" in job.parameters else _share(full, scale.gpu_memory) for job, full in pairs]
    return [job._replace(parameters=job.parameters | share) for job, share in zip(jobs, shares, strict=True)]


def _share(job: Job, card: float) -> dict:
    """vllm_memory, in hundredths, and vllm_sleep of a complete job that trains beside vLLM; else nothing."""
    values, shape = job.parameters, shape_of(job.parameters["model"])
    if not shape or not card or values.get("engine") != "vllm_colocate":
        return {}
    lasting, passing = (part / (card * GIB) for part in training_bytes(shape, job, Path(job.accelerate).stem))
    fit, rows = _at_once(shape, job, card, 1 - _SPARE - lasting - passing)
    left = 1 - _SPARE - lasting - passing * (fit >= rows)
    cache = rows * _rollout_bytes(shape, values["max_tokens"]) / values["vllm_tensor_parallel"]
    needed = (cache + _engine_bytes(shape, job)) / (card * GIB)
    return {"vllm_memory": max(1, min(int(100 * left), math.ceil(100 * needed))) / 100, "vllm_sleep": fit < rows}


def _check_memory(shape: Shape, job: Job, scale: Scale, plan_at: Callable[[str], list[Job]] | None) -> None:
    """Raises InputError where a job needs more memory than a GPU has, or vLLM's part of it cannot hold the weights."""
    card, values = scale.gpu_memory, job.parameters
    total, engine = _on_card(shape, job, card)
    if total > card:
        ways = f"; {_way_out(job, shape, scale, plan_at)}" if plan_at else ""
        raise InputError(f"it needs about {total:.0f} GiB a GPU, and the scale has {card:g}{ways}")
    if engine and not _at_once(shape, job, card, values["vllm_memory"])[0]:
        takes = f"vLLM takes {_engine_bytes(shape, job) / GIB:.3g} GiB a GPU without its cache"
        raise InputError(f"{takes}, and vllm_memory gives it {engine:.3g}; raise it or vllm_tensor_parallel")


def describe(job: Job, card: float, rates: Rates | None = None) -> str:
    """The memory of one process of a complete job, in words. `rates`: of a scale for CPUs, as in `minutes`."""
    stem, values = job.notebook.stem, job.parameters
    if stem not in WITH_MODEL or not values["model"]:
        return "no model"
    shape = shape_of(values["model"])
    if shape is None:
        return f"unknown: the name {values['model']!r} does not contain the size"
    if rates:
        if stem == "04_evaluate":
            return f"about {(shape.parameters * 4 + _PROGRAM) / GIB:.2g} GiB, plus the cache of its batch"
        return f"about {sum(training_bytes(shape, job, 'cpu', rates.prompt, rates.longest)) / GIB:.2g} GiB"
    if stem == "04_evaluate":
        is_cut = 0 < shape.positions <= values["max_tokens"]
        ends = f"; the model's {shape.positions:,} positions end its answers" if is_cut else ""
        return f"{shape.parameters * 2 / GIB:.2g} GiB of weights in bf16, plus the engine's cache{ends}"
    total, engine = _on_card(shape, job, card)
    if not engine:
        return f"about {total:.2g} GiB a GPU"
    fit, rows = _at_once(shape, job, card, values["vllm_memory"])
    sleeps = ", which sleeps during training" if values["vllm_sleep"] else ""
    fits = f"{min(fit, rows):,} of its {rows:,} rollouts fit at once"
    return f"about {total:.2g} GiB a GPU, {engine:.2g} of them vLLM's{sleeps}; {fits}"


def _complete(jobs: list[Job], scale: Scale) -> list[Job]:
    """The jobs with all parameters, with the model from which the plan's first training begins as their model, and
    with the processes of all hosts as their nproc."""
    hosts, starts, complete = int(scale.resources.get("nodes", 1)), {}, []
    for job in jobs:  # a job stands behind those that it needs
        values = settled(job)
        model = values.get("model") or next(iter(values.get("models", [])), "")
        model = starts.setdefault(f"runs/{job.name}", starts.get(model.removesuffix("/model"), model))
        nproc = job.nproc * (hosts if job.nproc > 1 else 1)
        complete.append(job._replace(parameters=values | {"model": model}, nproc=nproc))
    return complete


def _check_parameters(job: Job, shape: Shape | None, prompt: int) -> None:
    """Raises InputError for what the run of a complete job would refuse: sizes, engine, optimiser, and the context
    after a prompt of so many tokens."""
    values, kind, adapter = job.parameters, _KINDS.get(Path(job.accelerate).stem, ""), job.parameters["adapter"]
    if job.notebook.stem == "02_sft":
        batch_sizes.require_divisor("the number of processes", job.nproc, "batch_size", values["batch_size"])
        share = values["batch_size"] // job.nproc
        micro = min(values["micro_batch_size"], share)
        batch_sizes.require_divisor("micro_batch_size", micro, "the rows of one update and process", share)
        batch_sizes.optimizer_by_name(values["optimizer"], kind)
        batch_sizes.check_saved_modules(adapter, values["lora_saved"], kind)
        return
    if negative := [name for name in _NOT_NEGATIVE if values[name] < 0]:
        raise InputError(f"{negative[0]} is {values[negative[0]]:g}, expected 0 or more")
    names = inspect.signature(batch_sizes.sizes).parameters
    batch_sizes.sizes(**{name: values[name] for name in names if name != "world"}, world=job.nproc)
    batch_sizes.check_engine(values["engine"], kind, pays_kl=needs_reference(values), four_bits=adapter == "qlora")
    if shape and 0 < shape.positions < prompt + values["max_tokens"]:
        lengths = f"max_tokens {values['max_tokens']} after a prompt of {prompt}"
        raise InputError(f"{lengths} is more than the model's {shape.positions} positions: lower max_tokens")


def require(jobs: list[Job], scale: Scale, plan_at: Callable[[str], list[Job]] | None = None) -> None:
    """Raises InputError for the first job that its run would refuse, or that needs more memory than a GPU of the scale
    has. With `plan_at`, which makes the plan of another scale by name, the error says what fits."""
    jobs = _complete(jobs, scale)
    prompt = max((job.parameters.get("max_prompt_tokens", 0) for job in jobs), default=0)
    for job in [job for job in jobs if job.notebook.stem in WITH_MODEL[:2]]:
        shape = shape_of(job.parameters["model"])
        try:
            _check_parameters(job, shape, prompt)
            if shape and scale.gpu_memory:
                _check_memory(shape, job, scale, plan_at)
        except InputError as error:
            raise InputError(f"{job.name}: {error}") from None


def missing_data(job: Job) -> str:
    """What a job lacks of the data sets and files that it names outside runs/, in a sentence; empty if nothing."""
    values = job.parameters | ({"dataset": ""} if job.parameters.get("data_path") else {})
    for value in map(values.get, _DATA):
        for name in [value] if isinstance(value, str) else value or []:
            try:
                named_sets.downloaded_files(name)
            except InputError as error:
                return str(error)
            path = resolve(name)
            if name.endswith(named_sets.SUFFIXES) and not path.exists() and not path.is_relative_to(RUNS):
                return f"data file {shown(path)} does not exist"
    return ""


def _way_out(job: Job, shape: Shape, scale: Scale, plan_at: Callable[[str], list[Job]]) -> str:
    """The smallest scale, and the adapter, with which a job fits that does not fit its scale, in words."""
    scales = {path.stem: load_scale(path.stem) for path in (recipe_model.EXPERIMENTS / "scales").glob("*.yaml")}
    ways, size = [], lambda name: (max(scales[name].nproc.values(), default=1), scales[name].gpu_memory)
    for name in sorted(filter(lambda name: scales[name].gpu_memory, scales), key=size):
        with contextlib.suppress(InputError):
            require(share_cards(plan_at(name), scales[name]), scales[name])
            ways.append(f"--scale {name} fits")
            break
    lora = job._replace(parameters=job.parameters | {"adapter": "lora"})
    lora = lora._replace(parameters=lora.parameters | _share(lora, scale.gpu_memory))
    total, _ = _on_card(shape, lora, scale.gpu_memory)
    if total <= scale.gpu_memory:
        ways.append(f"adapter lora in the scale's {job.notebook.stem} takes {total:.0f} GiB")
    return ", ".join(ways) or "no scale fits"


def rollouts(job: Job) -> int:
    """The completions that one run samples for training (04_evaluate: for each problem)."""
    values = job.parameters
    if job.notebook.stem == "03_grpo":
        return values["steps"] * values["batch_size"]
    return values["n"] * len(values["models"]) if job.notebook.stem == "04_evaluate" else 0


def minutes(job: Job, rates: Rates, held_out: int) -> float:
    """Minutes that a job takes at a scale's `rates`, with `held_out` validation problems.

    The rates are tokens a second: `training`, forward and backward, and `sampling`; `prompt` and `answer` are the mean
    tokens of a prompt and of an answer, `longest` those of the longest row of 02_sft. In packs a group shares its
    prompt. Loading, grading and writing are left out.
    """
    values, stem = job.parameters, job.notebook.stem
    prompt = rates.prompt / (values["group_size"] if values.get("pack_tokens") else 1)
    answer, row = rates.answer / rates.sampling, (prompt + rates.answer) / rates.training
    if stem == "02_sft":
        seconds = values["steps"] * values["batch_size"] * row + held_out * answer
    elif stem == "03_grpo":
        checks = values["steps"] // values["validate_every"] + 1 if values["validate_every"] else 0
        seconds = rollouts(job) * (answer + row) + checks * held_out * values["validation_samples"] * answer
    else:
        seconds = rollouts(job) * held_out * answer
    return seconds / 60


def _seconds_a_batch(shape: Shape, job: Job, scale: Scale, held_out: int = 0) -> dict[str, float]:
    """The least seconds of a rollout batch (02_sft: of an update) on the scale's GPUs, by part; answers have half of
    max_tokens on average, rows of 02_sft half of max_length.

    Training takes 8 operations for each parameter and token (one forward is for gradient checkpointing) at half of the
    peak. Sync sends float32 weights. A validation of `held_out` problems and a checkpoint of float32 weights and two
    moments count with their share in a batch.
    """
    values = job.parameters
    length = values.get("max_length") or values["max_tokens"]
    packed, prompt = values.get("pack_tokens"), 0 if "max_length" in values else PROMPT_TOKENS
    is_full = not packed if prompt else values["packing"] != "none"  # padded rows count as long as the longest
    row = prompt / (values["group_size"] if packed else 1) + length * (1 if is_full else 0.5)
    tokens = values["batch_size"] * row * values.get("num_iterations", 1)
    parts = {"training": 8 * shape.parameters * tokens / (job.nproc * scale.gpu_flops * _USE_OF_PEAK)}
    if values.get("engine") == "vllm_colocate":
        parts["generation"] = _generation(shape, job, scale, values["batch_size"])
        parts["sync"] = 4 * shape.parameters / _LINK
        if held_out and values["validate_every"]:
            validation = _generation(shape, job, scale, held_out * values["validation_samples"])
            parts["validation"] = validation / values["validate_every"]
    if values["save_steps"]:
        updates = values.get("updates_per_batch", 1) * values.get("num_iterations", 1)
        share = 1 if values["adapter"] == "full" else 0.01
        parts["checkpoints"] = 12 * shape.parameters * share / _DISK * updates / values["save_steps"]
    return parts


def _generation(shape: Shape, job: Job, scale: Scale, rollouts: int) -> float:
    """The least seconds in which vLLM beside the trainer samples so many rollouts on all GPUs.

    A step reads the weights, and for each unfinished row its cache; there are as many steps as the longest answer has
    tokens, or more where rows take turns.
    """
    values, length = job.parameters, job.parameters["max_tokens"]
    fit, _ = _at_once(shape, job, scale.gpu_memory, values["vllm_memory"])
    drawn = rollouts * values["vllm_tensor_parallel"] / job.nproc * length / 2  # tokens of one engine
    steps = max(length, drawn / max(1, fit))
    read = steps * 2 * shape.parameters + drawn * _rollout_bytes(shape, length / 4)
    return read / (values["vllm_tensor_parallel"] * scale.gpu_bandwidth)


def _time(job: Job, scale: Scale, held_out: int) -> str:
    """The time of a job on a CPU, and of a training on GPUs, in words; empty where it cannot be estimated."""
    values, shape = job.parameters, shape_of(job.parameters["model"])
    if scale.rates and job.notebook.stem in WITH_MODEL:
        return f"about {minutes(job, scale.rates, held_out):.0f} min each on two idle cores"
    if job.notebook.stem not in WITH_MODEL[:2] or not scale.gpu_flops or shape is None:
        return ""
    parts = _seconds_a_batch(shape, job, scale, held_out)
    total, words = sum(parts.values()), ", ".join(f"{name} {seconds:,.1f}" for name, seconds in parts.items())
    hours = "" if values.get("epochs") else f", {total * values['steps'] / 3600:,.1f} h for {values['steps']} batches"
    return f"at least {total:,.1f} s a batch ({words}){hours}"


def _measured(jobs: list[Job]) -> str:
    """The time of the first of these jobs whose run was finished in one attempt with the parameters of the plan, in
    words; empty without one."""
    for job in jobs:
        record = manifest.read_manifest(run_folder(job.name))
        if record and record["status"] == "done" and len(record["attempts"]) == 1:
            start, end = (datetime.datetime.fromisoformat(record[name]) for name in ("start", "end"))
            if not manifest.changes_from_run(record, settled(job), job.notebook):
                return f"{(end - start).total_seconds() / 60:,.1f} min each, measured in runs/{job.name}"
    return ""


def dry_run(jobs: list[Job], scale: Scale, commands: list[str]) -> str:
    """For each stage: the number of runs, memory, time, missing data, rollouts, and the command of its first run."""
    complete = _complete(jobs, scale)
    data = next((job.parameters for job in complete if job.notebook.stem == "01_preprocess"), {})
    sets = data.get("validation_data")  # of a set of unknown size no problem is counted
    held_out = sum(_PROBLEMS.get(name, 0) for name in sets) if sets else data.get("validation_size", 0)
    how = "" if scale.rates else " with gradient checkpointing"
    what = "Memory and time are" if scale.gpu_flops else "Memory is"
    lines = [scale.title, f"{what} estimated for AdamW{how}, except where a run is named as measured."]
    for stage in dict.fromkeys(job.stage for job in jobs):
        group = [number for number, job in enumerate(jobs) if job.stage == stage]
        first, each = complete[group[0]], rollouts(complete[group[0]])
        count = {"03_grpo": f"{sum(rollouts(complete[number]) for number in group):,} ({each:,} a run)"}
        count["04_evaluate"] = f"{each:,} for each problem" if each else "the benchmark's number for each problem"
        s, es = "s" * (len(group) > 1), "es" * (first.nproc > 1)
        lines += ["", f"{stage}: {len(group)} run{s} on {first.nproc} process{es} each"]
        lines.append(f"  memory    {describe(first, scale.gpu_memory, scale.rates)}")
        if time := _measured([jobs[number] for number in group]) or _time(first, scale, held_out):
            lines.append(f"  time      {time}")
        if missing := missing_data(first):
            lines.append(f"  data      {missing}")
        lines.append(f"  rollouts  {count.get(first.notebook.stem, 'none')}")
        lines.append(f"  command   {commands[group[0]]}")
        lines += [f"            and {len(group) - 1} more"] if len(group) > 1 else []
    return "\n".join(lines)

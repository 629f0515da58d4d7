"""What a recipe would need: memory for each GPU or process, numbers of rollouts, and minutes where a scale gives its
speed. Estimates, not measurements."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from lead_kit.errors import InputError
from lead_kit.launch.recipe_model import Rates, Scale
from lead_kit.launch.recipes import Job, settled
from lead_kit.method.named_estimators import needs_reference

GIB = 1 << 30
_PROGRAM = 0.7 * GIB  # Python with torch, transformers and TRL, on a CPU
PROMPT_TOKENS = 1024  # the prompt limit of GRPO-LEAD's released script
WITH_MODEL = ("02_sft", "03_grpo", "04_evaluate")  # notebooks that need a GPU
_SHARDED = {"fsdp2": (True, True), "zero3": (True, True), "zero2": (False, True)}  # (weights, gradients and moments)


class Shape(NamedTuple):
    """The sizes of a model that decide its memory."""

    parameters: float
    layers: int
    hidden: int
    vocabulary: int


NAMED = {"tiny": Shape(1.13e5, 2, 64, 98), "smollm2": Shape(1.345e8, 30, 576, 49152)}  # by the beginning of a name
SHAPES = [  # the Qwen2.5 family, from which all models of the papers descend
    Shape(0.5e9, 24, 896, 151936),
    Shape(1.5e9, 28, 1536, 151936),
    Shape(3.1e9, 36, 2048, 151936),
    Shape(7.6e9, 28, 3584, 152064),
    Shape(14.8e9, 48, 5120, 152064),
    Shape(32.8e9, 64, 5120, 152064),
]


def shape_of(model: str, made: Mapping[str, str]) -> Shape | None:
    """The shape of a model by the size in its name (…-7B); `made` maps a run folder to the model it started from."""
    for _ in made:  # a run may name its own folder
        model = made.get(model.removesuffix("/model"), model)
    if known := [shape for name, shape in NAMED.items() if model.startswith(name)]:
        return known[0]
    size = re.search(r"(\d+(?:\.\d+)?)[bB]\b", model)
    return min(SHAPES, key=lambda s: abs(s.parameters - float(size[1]) * 1e9)) if size else None


def training_bytes(shape: Shape, job: Job, plugin: str, prompt: float = PROMPT_TOKENS, row: float = 0) -> float:
    """Bytes on one GPU while training with AdamW, without vLLM; `plugin` cpu: of a process. `prompt` and `row` are
    tokens of a prompt and of a row of 02_sft (0: its max_length). The sum of:

    - weights, gradients and two moments in float32 (LoRA: weights in `dtype`, gradients and moments of 1% of them;
      QLoRA: weights of half a byte; DeepSpeed: masters too, and weights in `dtype`), and a frozen copy where a KL to
      the start is used; `plugin` shards them
    - for the tokens of one forward (a micro-batch, or a pack, which holds one rollout at least): the inputs of every
      layer and the activations of one layer: 34 bytes for each hidden unit and token (Korthikanti et al. 2022, eq. 1,
      without scores). On a CPU there is no gradient checkpointing: the activations of all layers in float32
    - the logits of the completions in fp32, and once more for their gradient; on a CPU their softmax, too
    - on a CPU the program itself
    """
    values = job.parameters
    adapter = values.get("adapter", "full")
    half = values.get("dtype", "float32") == "bfloat16"
    master = 2 if half and adapter != "full" else 4  # trained: float32 masters
    width = 2 if half and plugin.startswith("zero") else master  # DeepSpeed keeps them beside a model in bfloat16
    weights = shape.parameters * (0.5 if adapter == "qlora" else width)
    learned = (3 + (width < master)) * master * shape.parameters * (1 if adapter == "full" else 0.01)
    reference = (values.get("beta", 0) > 0 and adapter == "full") or needs_reference(values)
    weights += reference * shape.parameters * width
    length = values.get("max_length") or values.get("max_tokens", 0)  # 02_sft counts the prompt, 03_grpo does not
    row = row if row and "max_length" in values else length + prompt * ("max_length" not in values)
    packed = values.get("pack_tokens", 0)
    tokens = max(packed, row) if packed else values.get("micro_batch_size", 1) * row
    on_cpu = plugin == "cpu"
    activations = tokens * shape.hidden * (68 * shape.layers if on_cpu else 2 * (shape.layers + 17))
    logits = tokens * min(1, length / row) * shape.vocabulary * (12 if on_cpu else 8)
    weight_shards, learned_shards = (job.nproc if sharded else 1 for sharded in _SHARDED.get(plugin, (False, False)))
    return weights / weight_shards + learned / learned_shards + activations + logits + on_cpu * _PROGRAM


def describe(job: Job, made: Mapping[str, str], card: float, rates: Rates | None = None) -> str:
    """The memory of one process of a job, in words. `rates`: of a scale for CPUs, as in `minutes`."""
    stem, values = job.notebook.stem, job.parameters
    model = values.get("model") or next(iter(values.get("models", [])), "")
    if stem not in WITH_MODEL or not model:
        return "no model"
    shape = shape_of(model, made)
    if shape is None:
        return f"unknown: the name {model!r} does not contain the size"
    if rates:
        if stem == "04_evaluate":
            return f"about {(shape.parameters * 4 + _PROGRAM) / GIB:.2g} GiB, plus the cache of its batch"
        return f"about {training_bytes(shape, job, 'cpu', rates.prompt, rates.longest) / GIB:.2g} GiB"
    if stem == "04_evaluate":
        return f"{shape.parameters * 2 / GIB:.2g} GiB of weights in bf16, plus the engine's cache"
    engine = values.get("vllm_memory", 0) * card if values.get("engine") == "vllm_colocate" else 0
    vllm_weights = shape.parameters * 2 / values.get("vllm_tensor_parallel", 1) / GIB
    if engine and vllm_weights > engine:
        raise InputError(
            f"{job.name}: vllm_memory {values['vllm_memory']:g} of {card:g} GiB is {engine:.3g} GiB, but vLLM's "
            f"weights take {vllm_weights:.3g} GiB a GPU; raise vllm_memory or vllm_tensor_parallel"
        )
    total = training_bytes(shape, job, job.accelerate.rpartition("/")[2].removesuffix(".yaml")) / GIB + engine
    text = f"about {total:.2g} GiB a GPU" + (f", {engine:.2g} of them vLLM's" if engine else "")
    return text + (f": more than the card's {card:g}" if card and total > card else "")


def rollouts(job: Job) -> int:
    """The completions that one run samples for training (04_evaluate: for each problem)."""
    values = job.parameters
    if job.notebook.stem == "03_grpo":
        return values.get("steps", 0) * values.get("batch_size", 0)
    return values.get("n", 0) * len(values.get("models", [])) if job.notebook.stem == "04_evaluate" else 0


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


def dry_run(jobs: list[Job], scale: Scale, commands: list[str]) -> str:
    """For each stage: the number of runs, memory for each GPU, rollouts, and the command of its first run."""
    jobs = [job._replace(parameters=settled(job)) for job in jobs]
    made = {f"runs/{job.name}": job.parameters["model"] for job in jobs if "model" in job.parameters}
    rates, how = scale.rates, "" if scale.rates else " with gradient checkpointing"
    lines = [scale.title, f"Memory is estimated for AdamW{how}, not measured.", ""]
    held_out = max((job.parameters.get("validation_size", 0) for job in jobs), default=0)
    for stage in dict.fromkeys(job.stage for job in jobs):
        group = [(job, command) for job, command in zip(jobs, commands, strict=True) if job.stage == stage]
        first, command = group[0]
        each = rollouts(first)
        count = {"03_grpo": f"{sum(rollouts(job) for job, _ in group):,} ({each:,} a run)"}
        count["04_evaluate"] = f"{each:,} for each problem" if each else "the benchmark's number for each problem"
        s, es = "s" * (len(group) > 1), "es" * (first.nproc > 1)
        lines.append(f"{stage}: {len(group)} run{s} on {first.nproc} process{es} each")
        lines.append(f"  memory    {describe(first, made, scale.gpu_memory, rates)}")
        if rates and first.notebook.stem in WITH_MODEL:
            lines.append(f"  time      about {minutes(first, rates, held_out):.0f} min each on two idle cores")
        lines.append(f"  rollouts  {count.get(first.notebook.stem, 'none')}")
        lines.append(f"  command   {command}")
        lines += [f"            and {len(group) - 1} more", ""] if len(group) > 1 else [""]
    return "\n".join(lines).rstrip()

"""What a recipe would need: memory for each GPU and numbers of rollouts. Estimates, not measurements."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from lead_kit.errors import InputError
from lead_kit.launch import catalog
from lead_kit.launch.recipes import Job, settled

GIB = 1 << 30
PROMPT_TOKENS = 1024  # the prompt limit of GRPO-LEAD's released script
WITH_MODEL = ("02_sft", "03_grpo", "04_evaluate")  # notebooks that need a GPU
SHARDED = {"fsdp2": (True, True), "zero3": (True, True), "zero2": (False, True)}  # (weights, gradients and moments)


class Shape(NamedTuple):
    """The sizes of a model that decide its memory."""

    parameters: float
    layers: int
    hidden: int
    vocabulary: int


TINY = Shape(1.13e5, 2, 64, 98)
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
    if model.startswith("tiny"):
        return TINY
    size = re.search(r"(\d+(?:\.\d+)?)[bB]\b", model)
    return min(SHAPES, key=lambda s: abs(s.parameters - float(size[1]) * 1e9)) if size else None


def training_bytes(shape: Shape, job: Job, plugin: str) -> float:
    """Bytes on one GPU while training with AdamW and gradient checkpointing, without vLLM. The sum of:

    - weights, gradients and two moments in float32 (LoRA: weights in `dtype`, gradients and moments of 1% of them;
      QLoRA: weights of half a byte; DeepSpeed: masters too, and weights in `dtype`), and a frozen copy where a KL to
      the start is used; `plugin` shards them
    - for the tokens of one forward (a micro-batch, or a pack, which holds one rollout at least): the inputs of every
      layer and the activations of one layer: 34 bytes for each hidden unit and token (Korthikanti et al. 2022, eq. 1,
      without scores)
    - the logits of the completions in fp32, and once more for their gradient
    """
    values = job.parameters
    adapter = values.get("adapter", "full")
    half = values.get("dtype", "float32") == "bfloat16"
    master = 2 if half and adapter != "full" else 4  # trained: float32 masters
    width = 2 if half and plugin.startswith("zero") else master  # DeepSpeed keeps them beside a model in bfloat16
    weights = shape.parameters * (0.5 if adapter == "qlora" else width)
    learned = (3 + (width < master)) * master * shape.parameters * (1 if adapter == "full" else 0.01)
    pays_kl = (values.get("beta", 0) > 0 and adapter == "full") or catalog.pays_kl(values)
    weights += pays_kl * shape.parameters * width
    length = values.get("max_length") or values.get("max_tokens", 0)  # 02_sft counts the prompt, 03_grpo does not
    row = length + PROMPT_TOKENS * ("max_length" not in values)
    packed = values.get("pack_tokens", 0)
    tokens = max(packed, row) if packed else values.get("micro_batch_size", 1) * row
    activations = tokens * shape.hidden * 2 * (shape.layers + 17)
    logits = tokens * length / row * shape.vocabulary * 8
    weight_shards, learned_shards = (job.nproc if sharded else 1 for sharded in SHARDED.get(plugin, (False, False)))
    return weights / weight_shards + learned / learned_shards + activations + logits


def describe(job: Job, made: Mapping[str, str], card: float) -> str:
    """The memory of one process of a job, in words."""
    stem, values = job.notebook.stem, job.parameters
    model = values.get("model") or next(iter(values.get("models", [])), "")
    if stem not in WITH_MODEL or not model:
        return "no model"
    shape = shape_of(model, made)
    if shape is None:
        return f"unknown: the name {model!r} does not tell the size"
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


def dry_run(jobs: list[Job], scale: Mapping, commands: list[str]) -> str:
    """For each stage: the number of runs, memory for each GPU, rollouts, and the command of its first run."""
    jobs = [job._replace(parameters=settled(job)) for job in jobs]
    made = {f"runs/{job.name}": job.parameters["model"] for job in jobs if "model" in job.parameters}
    lines = [scale["title"], "Memory is estimated for AdamW with gradient checkpointing, not measured.", ""]
    for stage in dict.fromkeys(job.stage for job in jobs):
        group = [(job, command) for job, command in zip(jobs, commands, strict=True) if job.stage == stage]
        first, command = group[0]
        each = rollouts(first)
        count = {"03_grpo": f"{sum(rollouts(job) for job, _ in group):,} ({each:,} a run)"}
        count["04_evaluate"] = f"{each:,} for each problem" if each else "the benchmark's number for each problem"
        s, es = "s" * (len(group) > 1), "es" * (first.nproc > 1)
        lines.append(f"{stage}: {len(group)} run{s} on {first.nproc} process{es} each")
        lines.append(f"  memory    {describe(first, made, scale['gpu_memory'])}")
        lines.append(f"  rollouts  {count.get(first.notebook.stem, 'none')}")
        lines.append(f"  command   {command}")
        lines += [f"            and {len(group) - 1} more", ""] if len(group) > 1 else [""]
    return "\n".join(lines).rstrip()

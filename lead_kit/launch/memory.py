"""What a recipe would need: memory for each GPU and numbers of rollouts. Estimates, not measurements."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from lead_kit.launch import catalog
from lead_kit.launch.recipes import Job
from lead_kit.params import read_parameters

GIB = 1 << 30
PROMPT_TOKENS = 1024  # the prompt limit of GRPO-LEAD's released script


class Shape(NamedTuple):
    """What of a model decides its memory."""

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
    """The shape of a model by the size in its name (…-7B); `made` says from which model a run folder started."""
    while model.removesuffix("/model") in made:
        model = made[model.removesuffix("/model")]
    if model.startswith("tiny"):
        return TINY
    size = re.search(r"(\d+(?:\.\d+)?)[bB]\b", model)
    return min(SHAPES, key=lambda s: abs(s.parameters - float(size[1]) * 1e9)) if size else None


def training_bytes(shape: Shape, job: Job, kind: str) -> float:
    """Bytes on one GPU while training with AdamW and gradient checkpointing.

    Weights, gradients and two moments in `dtype` (LoRA: gradients and moments of about one weight in a hundred; QLoRA:
    weights in half a byte), and a frozen copy where a KL to the start is paid, all spread over the processes as `kind`
    says; layer inputs and one layer's insides (34 bytes a
    hidden unit and token, Korthikanti et al. 2022, eq. 1, without scores); logits of a completion in fp32, and
    once more for their gradient. Plus what vLLM is given, which the caller adds.
    """
    values = job.parameters
    width = 2 if values.get("dtype", "float32") == "bfloat16" else 4
    adapter = values.get("adapter", "full")
    weights = shape.parameters * (0.5 if adapter == "qlora" else width)
    learned = 3 * width * shape.parameters * (1 if adapter == "full" else 0.01)
    split = {"fsdp2": (job.nproc, job.nproc), "zero3": (job.nproc, job.nproc), "zero2": (1, job.nproc)}.get(
        kind, (1, 1)
    )
    pays_kl = (values.get("beta", 0) > 0 and adapter == "full") or catalog.pays_kl(values)
    weights += pays_kl * shape.parameters * width
    length = values.get("max_length") or values.get("max_tokens", 0)  # 02_sft counts the prompt, 03_grpo does not
    tokens = values.get("micro_batch_size", 1) * (length + PROMPT_TOKENS * ("max_length" not in values))
    activations = tokens * shape.hidden * 2 * (shape.layers + 17)
    logits = values.get("micro_batch_size", 1) * length * shape.vocabulary * 8
    return weights / split[0] + learned / split[1] + activations + logits


def describe(job: Job, made: Mapping[str, str], card: float) -> str:
    """Memory of one process of a job, in words."""
    defaults_model = job.parameters.get("model") or next(iter(job.parameters.get("models", [])), "")
    shape = shape_of(defaults_model, made)
    if job.notebook.stem not in ("02_sft", "03_grpo", "04_evaluate") or not defaults_model:
        return "no model"
    if shape is None:
        return f"unknown: the name {defaults_model!r} does not tell the size"
    if job.notebook.stem == "04_evaluate":
        return f"{shape.parameters * 2 / GIB:.2g} GiB of weights in bf16, and what the engine takes for its cache"
    kind = job.accelerate.rpartition("/")[2].removesuffix(".yaml")
    need = training_bytes(shape, job, kind) / GIB
    engine = job.parameters.get("vllm_memory", 0) * card if job.parameters.get("engine") == "vllm_colocate" else 0
    total = f"about {need + engine:.2g} GiB a GPU" + (f", {engine:.2g} of them vLLM's" if engine else "")
    return total + (f": more than the card's {card:g}" if card and need + engine > card else "")


def rollouts(job: Job) -> int:
    """Completions sampled for training by one run (04_evaluate: for each problem)."""
    values = job.parameters
    if job.notebook.stem == "03_grpo":
        return values.get("steps", 0) * values.get("batch_size", 0)
    return values.get("n", 0) * len(values.get("models", [])) if job.notebook.stem == "04_evaluate" else 0


def settled(job: Job) -> dict:
    """All parameters of a job, those it leaves at the notebook's defaults included."""
    return {name: one.default for name, one in read_parameters(job.notebook).items()} | job.parameters


def dry_run(jobs: list[Job], scale: Mapping, commands: list[str]) -> str:
    """For each stage: how many runs, the command of the first, memory for each GPU, rollouts."""
    jobs = [job._replace(parameters=settled(job)) for job in jobs]
    made = {f"runs/{job.name}": job.parameters["model"] for job in jobs if "model" in job.parameters}
    lines = [f"{scale['title']}", "Memory is estimated for AdamW with gradient checkpointing, not measured.", ""]
    for stage in dict.fromkeys(job.stage for job in jobs):
        group = [(job, text) for job, text in zip(jobs, commands, strict=True) if job.stage == stage]
        first, text = group[0]
        each = rollouts(first)
        count = {"03_grpo": f"{sum(rollouts(job) for job, _ in group):,} ({each:,} a run)"}
        count["04_evaluate"] = f"{each:,} for each problem" if each else "as many a problem as the benchmark says"
        lines += [
            f"{stage}: {len(group)} run{'s' * (len(group) > 1)} on {first.nproc} process{'es' * (first.nproc > 1)} each"
        ]
        lines += [
            f"  memory    {describe(first, made, scale['gpu_memory'])}",
            f"  rollouts  {count.get(first.notebook.stem, 'none')}",
        ]
        lines += [f"  command   {text}", *([f"            and {len(group) - 1} more"] if len(group) > 1 else []), ""]
    return "\n".join(lines).rstrip()

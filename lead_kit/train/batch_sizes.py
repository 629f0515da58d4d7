"""Batch sizes: from those of the notebooks to those of TRL's trainer."""

import importlib.util
from typing import NamedTuple

from lead_kit.errors import InputError, lookup
from lead_kit.runs.provenance import processes, sharded


def require_divisor(part_name: str, part: int, total_name: str, total: int) -> None:
    """Raises InputError, naming the nearest valid value, when `part` does not divide `total`."""
    if part < 1 or total % part:
        divisors = [divisor for divisor in range(1, total + 1) if total % divisor == 0]
        closest = min(divisors, key=lambda divisor: abs(divisor - part))
        raise InputError(
            f"{part_name} must divide {total_name}: {total} % {part} is not 0; the nearest that does is "
            f"{part_name} {closest}"
        )


class _Sizes(NamedTuple):
    """The sizes of one process and of the run, as TRL counts them."""

    micro_batch: int  # rows that TRL hands on at once
    accumulation: int  # micro-batches per optimiser update
    forwards: int  # micro-batches per rollout batch
    updates_per_batch: int  # optimiser updates per rollout batch, over all its iterations
    updates: int  # optimiser updates of the run


def sizes(
    *,
    batch_size: int,
    group_size: int,
    updates_per_batch: int,
    micro_batch_size: int,
    steps: int,
    save_steps: int,
    num_iterations: int = 1,
    pack_tokens: int = 0,
    world: int = 0,
) -> _Sizes:
    """The sizes for `steps` rollout batches of batch_size rollouts over all processes, group_size of each prompt.

    Each batch is split into updates_per_batch optimiser updates and used num_iterations times; a forward has at most
    micro_batch_size rollouts of a process. With pack_tokens, all rollouts of an update are handed on at once, and
    LeadTrainer splits them into packs. `world` is the number of processes, 0 for those of this run. Raises InputError
    where the numbers do not fit.

    >>> sizes(batch_size=64, group_size=8, updates_per_batch=2, micro_batch_size=16, steps=10, save_steps=0).updates
    20
    """
    if batch_size < 2 or steps < 1:
        raise InputError(f"batch_size must be at least 2 and steps at least 1, got {batch_size} and {steps}")
    if group_size < 2:
        raise InputError(f"group_size is {group_size}, expected 2 or more: a rollout is compared with its group")
    require_divisor("group_size", group_size, "batch_size", batch_size)
    shares = updates_per_batch * (world or processes())
    require_divisor("updates_per_batch × processes", shares, "batch_size", batch_size)
    rows = batch_size // shares
    micro = rows if pack_tokens else min(micro_batch_size, rows)
    require_divisor("micro_batch_size", micro, "the rollouts of one update and process", rows)
    buffer = updates_per_batch * num_iterations
    if save_steps % buffer:
        raise InputError(
            f"save_steps is {save_steps}, which falls inside a generation buffer of {buffer} updates, so a resumed run "
            f"would differ; the nearest multiple is {max(1, round(save_steps / buffer)) * buffer}"
        )
    accumulation = rows // micro
    return _Sizes(micro, accumulation, updates_per_batch * accumulation, buffer, steps * buffer)


def use_one_gpu(arguments) -> None:
    """Trains a process on one GPU where it sees several: TRL refuses transformers' copies of the model on all."""
    if arguments.n_gpu > 1:
        print(f"this process trains on one of {arguments.n_gpu} GPUs; `lead run --nproc {arguments.n_gpu}` uses all")
        arguments._n_gpu = 1


_OPTIMIZERS = {"muon": "adamw_torch", "adamw": "adamw_torch", "adamw_8bit": "adamw_8bit"}
PACKINGS = dict.fromkeys(("none", "bfd", "wrapped"))  # SFT rows as they are, whole solutions together, one stream
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine_with_min_lr"}


def optimizer_by_name(name: str, kind: str | None = None) -> str:
    """The name by which transformers knows the optimiser. Raises InputError for Muon on shares of a matrix. `kind` is
    what spreads weights, as `sharded` says it; None: of this run."""
    known, kind = lookup(_OPTIMIZERS, name, "optimizer"), sharded() if kind is None else kind
    if name == "muon" and kind:
        raise InputError(f"optimizer 'muon' needs whole matrices, and {kind} spreads them: use 'adamw' or ddp.yaml")
    return known


def check_engine(engine: str, kind: str, *, pays_kl: bool, four_bits: bool) -> None:
    """Raises InputError for an engine or a reference that does not go with what spreads the weights (`kind`, empty when
    nothing does), and for vLLM with four-bit weights."""
    if engine == "sampler" and kind:
        raise InputError(
            "engine 'sampler' needs the whole model on each process; with FSDP or ZeRO-3 use 'vllm_colocate', "
            "'vllm_server' or 'generate'"
        )
    if engine.startswith("vllm") and four_bits:
        raise InputError(
            f"engine {engine!r} cannot take four-bit weights (TRL #3654, #4973): use engine 'sampler' or 'generate', "
            "or adapter 'lora'"
        )
    if pays_kl and kind:
        raise InputError("baseline 'whitened' copies the model as its reference, which FSDP and DeepSpeed split")


def check_saved_modules(adapter: str, lora_saved: list[str], kind: str | None = None) -> None:
    """Raises InputError for an output head that would train beside an adapter under FSDP2.

    TRL's loss reads the weights of such a head itself, and the gradient of each process's share of them would be that
    of its own rows, not the mean over all processes.
    """
    if adapter != "full" and "lm_head" in lora_saved and (sharded() if kind is None else kind) == "fsdp2":
        raise InputError(
            "lora_saved has 'lm_head', whose gradient FSDP2 would not average over the processes: leave it out, or "
            "use zero2.yaml, zero3.yaml or ddp.yaml"
        )


def schedule_arguments(schedule: str, lr_floor: float) -> dict:
    """The schedule as transformers' arguments; a cosine falls to `lr_floor` times the peak. Raises InputError."""
    kind = lookup(_SCHEDULES, schedule, "schedule")
    return {"lr_scheduler_type": kind, "lr_scheduler_kwargs": {"min_lr_rate": lr_floor} if schedule == "cosine" else {}}


def require_liger(liger: bool) -> None:
    """Raises InputError when liger's kernels are asked for and not installed."""
    if liger and importlib.util.find_spec("liger_kernel") is None:
        raise InputError("liger is true, but liger-kernel is not installed: install it, or set liger to false")

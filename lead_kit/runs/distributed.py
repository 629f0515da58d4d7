"""The processes of one training run, as torchrun or accelerate started them."""

import os

from lead_kit.errors import InputError, lookup

_DISTRIBUTED = {"ddp": ("MULTI_CPU", "MULTI_GPU"), "fsdp2": ("FSDP",), "deepspeed": ("DEEPSPEED",)}


def rank() -> int:
    """The rank of this process; 0 when it is the only one."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many processes train together, as the launcher set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharded() -> str:
    """What spreads weights or optimiser state over the processes, fsdp2 or deepspeed; empty when nothing does."""
    kind = os.environ.get("LEAD_DISTRIBUTED", "ddp")
    return "" if kind == "ddp" else kind


def check_processes(accelerator=None) -> None:
    """Raises InputError unless the number and the kind of processes are those that `lead run --nproc` promised.

    Run checks the environment. Call it again with the trainer's accelerator, which knows whether FSDP or DeepSpeed is
    on: when a backend is missing, accelerate falls back silently.
    """
    expected = int(os.environ.get("LEAD_NPROC", "0"))
    started = accelerator.num_processes if accelerator else processes()
    if expected and started != expected:
        raise InputError(f"{expected} processes were expected and {started} started: check --nproc and the launcher")
    kind = os.environ.get("LEAD_DISTRIBUTED")
    if not kind or accelerator is None:
        return
    allowed, actual = lookup(_DISTRIBUTED, kind, "LEAD_DISTRIBUTED"), accelerator.distributed_type.value
    if actual not in allowed or (kind == "fsdp2" and accelerator.state.fsdp_plugin.fsdp_version != 2):
        raise InputError(f"{kind} was asked for, but accelerate runs {actual}: check the plugin file and the backend")

"""The processes of one training run, as torchrun or accelerate started them."""

import os

from lead_kit.errors import InputError, nearest

DISTRIBUTED = {"ddp": ("MULTI_CPU", "MULTI_GPU"), "fsdp2": ("FSDP",), "deepspeed": ("DEEPSPEED",)}


def rank() -> int:
    """This process's place among those of torchrun; 0 when there is only one."""
    return int(os.environ.get("RANK", "0"))


def check_processes(accelerator=None) -> None:
    """Raises InputError unless there are as many processes, spread in the way, as `lead run --nproc` promised.

    Run calls it with the environment alone; call it again with the trainer's accelerator, which can tell whether
    FSDP or DeepSpeed is really on (a missing backend makes accelerate fall back without a word).
    """
    asked = int(os.environ.get("LEAD_NPROC", "0"))
    found = accelerator.num_processes if accelerator else int(os.environ.get("WORLD_SIZE", "1"))
    if asked and found != asked:
        raise InputError(f"{asked} processes were asked for and {found} came: check --nproc and the launcher")
    kind = os.environ.get("LEAD_DISTRIBUTED")
    if not kind or accelerator is None:
        return
    if kind not in DISTRIBUTED:
        raise InputError(f"LEAD_DISTRIBUTED {kind!r} is none of {', '.join(DISTRIBUTED)}{nearest(kind, DISTRIBUTED)}")
    real = accelerator.distributed_type.value
    if real not in DISTRIBUTED[kind] or (kind == "fsdp2" and accelerator.state.fsdp_plugin.fsdp_version != 2):
        raise InputError(f"{kind} was asked for, but accelerate runs {real}: check the plugin file and the backend")

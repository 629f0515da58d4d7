"""From the sizes a researcher thinks in to those that TRL's trainer takes."""

import os
from typing import NamedTuple

from lead_kit.errors import InputError


def closest_divisor(number: int, wanted: int) -> int:
    """The divisor of `number` nearest to `wanted`."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - wanted), d))


def divides(part_name: str, part: int, whole_name: str, whole: int) -> None:
    """Raises InputError, naming the nearest valid value, when `part` does not divide `whole`."""
    if part < 1 or whole % part:
        raise InputError(
            f"{part_name} must divide {whole_name}: {whole} % {part} is not 0; "
            f"the nearest that does is {part_name} {closest_divisor(whole, part)}"
        )


class Sizes(NamedTuple):
    """One process's part of a rollout batch, and the run, counted as TRL counts."""

    micro_batch: int  # rows of one forward
    accumulation: int  # forwards of one optimiser update
    forwards: int  # forwards of one rollout batch
    updates_per_batch: int  # optimiser updates of one rollout batch, all its iterations
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
) -> Sizes:
    """The sizes of `steps` rollout batches of batch_size rollouts (all processes), group_size a prompt.

    Each batch is split into updates_per_batch optimiser updates and used num_iterations times; a process takes
    micro_batch_size rollouts at a time. Raises InputError where the numbers do not fit, before anything is loaded.
    """
    if batch_size < 2 or steps < 1:
        raise InputError(f"batch_size must be at least 2 and steps at least 1, got {batch_size} and {steps}")
    divides("group_size", group_size, "batch_size", batch_size)
    divides("updates_per_batch × processes", updates_per_batch * processes(), "batch_size", batch_size)
    rows = batch_size // (updates_per_batch * processes())
    micro = min(micro_batch_size, rows)
    divides("micro_batch_size", micro, "the rollouts of one update and process", rows)
    buffer = updates_per_batch * num_iterations
    if save_steps % buffer:
        raise InputError(
            f"save_steps is {save_steps}, which falls inside a generation buffer of {buffer} updates, so a resumed run "
            f"would differ; the nearest that does not is {max(1, round(save_steps / buffer)) * buffer}"
        )
    accumulation = rows // micro
    return Sizes(micro, accumulation, updates_per_batch * accumulation, buffer, steps * buffer)


OPTIMIZERS = {"muon": "adamw_torch", "adamw": "adamw_torch", "adamw_8bit": "adamw_8bit"}
SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine_with_min_lr"}


def floor(schedule: str, lr_floor: float) -> dict:
    """Arguments of the schedule: the least share of the peak rate, which only the cosine has."""
    return {"min_lr_rate": lr_floor} if schedule == "cosine" else {}


def processes() -> int:
    """How many processes train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))

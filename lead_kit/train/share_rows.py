"""The rows of an update that have an advantage, dealt out so that every process has about as many tokens."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import torch
from accelerate import Accelerator
from torch.nn.functional import pad

from lead_kit.train.packing import by_prompt, rows_of


def equal_parts(lengths: Sequence[int], count: int) -> list[range]:
    """Consecutive parts of about equal sums, none of them empty. `lengths` has at least `count` entries."""
    sums, cuts = list(accumulate(lengths, initial=0)), [0]
    for part in range(1, count):
        goal = sums[-1] * part / count
        at = bisect_left(sums, goal)
        at -= goal - sums[at - 1] < sums[at] - goal
        cuts.append(min(max(at, cuts[-1] + 1), len(lengths) - (count - part)))
    return [range(*ends) for ends in zip(cuts, [*cuts[1:], len(lengths)], strict=True)]


def trained_rows(advantages: torch.Tensor, least: int) -> torch.Tensor:
    """(rows,) whether the row trains. Rows without advantage stand in where fewer than `least` have one."""
    rows = advantages.view(len(advantages), -1).any(-1)
    missing = max(0, least - int(rows.sum()))
    rows[(~rows).nonzero()[:missing, 0]] = True
    return rows


def gather_rows(inputs: dict, accelerator: Accelerator) -> dict:
    """TRL's batch with the rows of all processes, in their order, as wide as the widest; two exchanges."""
    rows = inputs["completion_mask"].shape[:1]
    fields = {name: values for name, values in inputs.items() if torch.is_tensor(values) and values.shape[:1] == rows}
    wide = [name for name, values in fields.items() if values.dim() == 2]
    own = torch.tensor([[fields[name].shape[1] for name in wide]], device=accelerator.device)
    for name, width in zip(wide, accelerator.gather(own).amax(0).tolist(), strict=True):
        missing = width - fields[name].shape[1]  # TRL pads prompts on the left and the rest on the right
        fields[name] = pad(fields[name], (missing, 0) if name.startswith("prompt") else (0, missing))
    flat = [(v.flatten(1) if v.dim() > 1 else v[:, None]).contiguous().view(torch.uint8) for v in fields.values()]
    both = accelerator.gather(torch.cat(flat, 1)).split([part.shape[1] for part in flat], 1)
    whole = dict(inputs)
    for (name, values), part in zip(fields.items(), both, strict=True):
        whole[name] = part.contiguous().view(values.dtype).reshape(-1, *values.shape[1:])
    return whole


def share_rows(inputs: dict, accelerator: Accelerator) -> dict:
    """This process's part of the rows of all processes that have an advantage; rows of one prompt stay together."""
    whole = gather_rows(inputs, accelerator)
    whole = rows_of(whole, trained_rows(whole["advantages"], accelerator.num_processes))
    ids, mask = (torch.cat([whole[f"prompt_{part}"], whole[f"completion_{part}"]], 1) for part in ("ids", "mask"))
    order = by_prompt(ids, mask, whole["completion_mask"].shape[1])
    mine = equal_parts(mask.sum(1)[order].tolist(), accelerator.num_processes)[accelerator.process_index]
    return rows_of(whole, torch.tensor([order[place] for place in mine], device=mask.device))

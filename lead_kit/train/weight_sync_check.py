"""Whether vLLM samples with the weights that are trained: its log-probabilities beside the trainer's.

Both compute log π of the same tokens. Rounding alone keeps them some thousandths apart; weights that did not arrive
drive them apart from update to update.
"""

import warnings

import torch

from lead_kit.method import tripwires
from lead_kit.train.packing import rows_of

_ROWS = 8  # rollouts of each process that are compared


@torch.no_grad()
def gap(trainer, output: dict) -> float:
    """The mean of |log π_vLLM − log π| over the tokens of some rollouts of TRL's scored batch, on all processes."""
    few = rows_of(output, torch.arange(min(_ROWS, len(output["completion_mask"]))))
    ids = torch.cat([few["prompt_ids"], few["completion_ids"]], 1)
    mask = torch.cat([few["prompt_mask"], few["completion_mask"]], 1)
    scored = few["completion_mask"].bool()
    own = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, scored.shape[1])[0]
    apart = (own - few["sampling_per_token_logps"]).abs()[scored].nan_to_num()
    sums = torch.stack([apart.sum(), scored.sum()])
    total, tokens = trainer.accelerator.gather(sums).view(-1, 2).sum(0).tolist()
    return total / max(tokens, 1)


class InStep:
    """Warns once when the gap has left that of the first batch, for which the weights had just been sent."""

    def __init__(self):
        self.first, self.warned = None, False

    def check(self, now: float) -> None:
        self.first = now if self.first is None else self.first
        if not self.warned and tripwires.gap_is_suspicious(now, self.first):
            self.warned = True
            warnings.warn(
                f"vLLM's log-probabilities differ from the trainer's by {now:.3g} a token, by {self.first:.3g} at the "
                "start: its weights may not follow the training",
                stacklevel=2,
            )

"""The sampler's log-probabilities: the old ones of the loss where a forward would give the same numbers, and the sign
that vLLM does not sample with the weights that are trained.

vLLM and the trainer compute log π of the same tokens. Rounding alone keeps them some thousandths apart; weights that do
not reach vLLM drive them apart from update to update.
"""

import warnings
from contextlib import contextmanager

import torch

from lead_kit.method import tripwires
from lead_kit.train.packing import rows_of

_ROWS = 8  # rollouts of each process that are compared


def can_reuse(model: torch.nn.Module, arguments) -> bool:
    """Whether a forward in training gives the numbers of one in evaluation: in float32 and without dropout."""
    dropout = [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)]
    dropout.append(getattr(model.config, "attention_dropout", 0.0))
    float32 = {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    return float32 and not any(dropout) and not (arguments.bf16 or arguments.fp16)


@contextmanager
def without_old_forward(trainer):
    """Spares TRL the forward for the old log-probabilities where `trainer.sampler_scores`; yields a function that puts
    the sampler's into the scored batch.

    TRL needs none, since the policy has not moved, where the micro-batches of an update are a multiple of those of a
    generation; so it is given 0 micro-batches here. Breaks when TRL decides by other numbers (test_rollouts counts the
    forwards).
    """
    accumulation = trainer.args.gradient_accumulation_steps
    needed = accumulation % (trainer.args.steps_per_generation * trainer.num_iterations) != 0

    def replace(output: dict) -> dict:
        if needed and trainer.sampler_scores:
            return output | {"old_per_token_logps": output["sampling_per_token_logps"]}
        return output

    if trainer.sampler_scores:
        trainer.args.gradient_accumulation_steps = 0
    try:
        yield replace
    finally:
        trainer.args.gradient_accumulation_steps = accumulation


@torch.no_grad()
def gap_to_trainer(trainer, output: dict) -> float:
    """The mean of |log π_vLLM − log π| over the tokens of some rollouts of TRL's scored batch, on all processes."""
    few = rows_of(output, torch.arange(min(_ROWS, len(output["completion_mask"]))))
    ids = torch.cat([few["prompt_ids"], few["completion_ids"]], 1)
    mask = torch.cat([few["prompt_mask"], few["completion_mask"]], 1)
    scored = few["completion_mask"].bool()
    trained = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, scored.shape[1])[0]
    gaps = (trained - few["sampling_per_token_logps"]).abs()[scored].nan_to_num()
    sums = torch.stack([gaps.sum(), scored.sum()])
    total, tokens = trainer.accelerator.gather(sums).view(-1, 2).sum(0).tolist()
    return total / max(tokens, 1)


class WeightSyncCheck:
    """Warns once when the gap has left that of the first batch, for which the weights had just been sent."""

    def __init__(self):
        self.first, self.warned = None, False

    def check(self, gap: float) -> None:
        self.first = gap if self.first is None else self.first
        if not self.warned and tripwires.gap_is_suspicious(gap, self.first):
            self.warned = True
            warnings.warn(
                f"vLLM's log-probabilities differ from the trainer's by {gap:.3g} a token, by {self.first:.3g} at the "
                "start: its weights may not follow the training",
                stacklevel=2,
            )

"""The sampler's log-probabilities as the old ones of the loss, where a forward would give the same numbers."""

from contextlib import contextmanager

import torch


def can_reuse(model: torch.nn.Module, arguments) -> bool:
    """Whether a forward in training gives the numbers of one in evaluation: in float32 and without dropout."""
    dropout = [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)]
    dropout.append(getattr(model.config, "attention_dropout", 0.0))
    whole = {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    return whole and not any(dropout) and not (arguments.bf16 or arguments.fp16)


@contextmanager
def without_old_forward(trainer):
    """Spares TRL the forward for the old log-probabilities where `trainer.sampler_scores`; yields a function that puts
    the sampler's into the scored batch.

    TRL 1.16 needs none, since the policy has not moved, where the micro-batches of an update are a multiple of those of
    a generation; it is told of 0 here.
    """
    accumulation = trainer.args.gradient_accumulation_steps
    needed = accumulation % (trainer.args.steps_per_generation * trainer.num_iterations) != 0

    def replace(output: dict) -> dict:
        own = {"old_per_token_logps": output["sampling_per_token_logps"]} if needed and trainer.sampler_scores else {}
        return output | own

    if trainer.sampler_scores:
        trainer.args.gradient_accumulation_steps = 0
    try:
        yield replace
    finally:
        trainer.args.gradient_accumulation_steps = accumulation

"""Saving a trained model as a folder, with its adapter merged into the weights."""

from pathlib import Path

import torch

from lead_kit.runs.files import atomic
from lead_kit.runs.ranks import rank


@torch.no_grad()
def merged(model, ids: torch.Tensor, tolerance: float = 1e-3):
    """The model with its adapter merged into the weights, and the largest change of a logit on `ids` (rows, tokens).

    A model without adapter is returned unchanged, with 0. Raises ValueError when the change exceeds `tolerance` times
    the largest logit: the saved model would then differ from the trained one.
    """
    if not hasattr(model, "merge_and_unload"):
        return model, 0.0
    model.eval()
    adapted = model(ids.to(model.device)).logits.float()
    plain = model.merge_and_unload()
    change = (plain(ids.to(plain.device)).logits.float() - adapted).abs().max().item()
    if change > tolerance * adapted.abs().max().item():
        raise ValueError(f"merging the adapter changed a logit by {change:.2g}, more than {tolerance:g} of the largest")
    return plain, change


def save_model(model, tokenizer, folder: Path) -> None:
    """Writes weights (safetensors), configuration, tokenizer and chat template as a folder for `load_model`.

    The write is atomic, and only the first process writes.
    """
    if rank():
        return
    with atomic(Path(folder)) as part:
        model.save_pretrained(part, safe_serialization=True)
        tokenizer.save_pretrained(part)


def hand_over(trainer, tokenizer, example: torch.Tensor, folder: Path):
    """Writes a trainer's model as a folder for `load_model`; returns the model and the change of `merged`.

    An adapter is merged into the weights. Sharded weights are gathered and saved by the trainer, without merging.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        trainer.save_model(str(folder))
        return model, 0.0
    model, change = merged(model, example)
    save_model(model, tokenizer, folder)
    return model, change

"""Saving a trained model as a folder, with its adapter merged into the weights."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from lead_kit.runs.distributed import rank
from lead_kit.runs.files import atomic, shown

BARS = {torch.float32: 1e-3, torch.bfloat16: 0.05}  # largest change by merging, as a share of the largest logit


@torch.no_grad()
def merge_adapter(base, adapter: Path, ids: torch.Tensor, adapted: torch.Tensor, bar: float):
    """`base` with the adapter of a folder merged into its weights, and the largest change of a logit on `ids`.

    `adapted` are the logits of the trained model on `ids` (rows, tokens). Quantised weights are first expanded to the
    numbers with which the adapter was trained: merging into four bits, or into the weights before quantisation, gives
    another model. Raises ValueError when the change exceeds `bar` times the largest logit.
    """
    if getattr(base, "is_loaded_in_4bit", False):
        base = base.dequantize(base.dtype)
    plain = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().eval()
    change = (plain(ids.to(plain.device)).logits.float().cpu() - adapted).abs().max().item()
    if not change <= bar * adapted.abs().max().item():
        raise ValueError(
            f"merging the adapter changed a logit by {change:.2g}, more than {bar:g} of the largest; it is kept in "
            f"{shown(adapter)}"
        )
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


def save_gathered(trainer, folder: Path) -> None:
    """Writes what the trainer trained, weights or adapter, with the parts of all processes put together."""
    with nullcontext(folder) if rank() else atomic(folder) as part:
        trainer.save_model(str(part))
        (part / "training_args.bin").unlink(missing_ok=True)


def save_trained(trainer, tokenizer, example: torch.Tensor, folder: Path, load: Callable) -> str:
    """Writes a trainer's model as a folder for `load_model`; returns what was written, in words.

    An adapter is first kept in PEFT's format in the folder `adapter` beside it. Then it is merged into the weights
    that `load` reads again, as load_model does: those in memory may be quantised, or spread over the processes. The
    merged logits on `example` (rows, tokens) are compared with the trained model's, as `merged` says.
    """
    if not isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        save_gathered(trainer, folder)
        return f"the model is in {shown(folder)}"
    adapter = folder.with_name("adapter")
    save_gathered(trainer, adapter)
    adapted = logits(trainer.model, example)
    unset_hf_deepspeed_config()  # else ZeRO-3 would wait for the other processes to load their parts
    note = ""
    if rank() == 0:
        half = trainer.accelerator.mixed_precision == "bf16" or trainer.model.dtype == torch.bfloat16
        bar = BARS[torch.bfloat16 if half else torch.float32]
        plain, change = merge_adapter(load(backend="transformers")[0], adapter, example, adapted, bar)
        save_model(plain, tokenizer, folder)
        note = f"largest change of a logit by merging: {change:.2g} (at most {bar:g} of the largest is accepted)"
    trainer.accelerator.wait_for_everyone()
    return note


@torch.no_grad()
def logits(model, ids: torch.Tensor) -> torch.Tensor:
    """The model's logits on `ids` (rows, tokens), on the CPU; every process takes part where weights are spread."""
    return model.eval()(ids.to(model.device)).logits.float().cpu()

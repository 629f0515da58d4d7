"""Run by `accelerate launch` on two processes, or alone: packed updates on rollouts that are the same in any case.

Arguments: the model's folder, the output's, the loss.
"""

import copy
import sys
from pathlib import Path

import torch
from torch.distributed.fsdp import FSDPModule

from bench import small_trainer
from lead_kit.models import loading
from lead_kit.models.sampler import generate
from lead_kit.runs.provenance import check_processes
from lead_kit.train.trainer import LeadTrainer

SIZES = {"batch_size": 56, "group_size": 8, "updates_per_batch": 1, "steps": 2, "pack_tokens": 64}


class FromTheStart(LeadTrainer):
    """Samples from the starting model, which each process has whole; engine 'sampler' needs the trained one."""

    def __init__(self, *args, model, **others):
        self.start = copy.deepcopy(model).eval()
        super().__init__(*args, model=model, **others)

    def _check_engine(self):
        assert self.engine == "sampler"

    def _weighted_loss(self, model, *others):
        """Before each pack, no more than this process's share of the gradients of earlier packs waits."""
        shares = [getattr(p, "_local_tensor", p) for p in model.parameters()]
        waiting = sum(gradient.nbytes for gradient in waiting_gradients(model))
        assert waiting <= 1.5 * sum(share.nbytes for share in shares), waiting
        return super()._weighted_loss(model, *others)

    def complete(self, ids, seeds, sampling):
        return generate(
            self.start, ids, seeds, sampling, eos=list(self.eos_token_ids), pad=self._tokenizer.pad_token_id
        )


def waiting_gradients(model) -> list[torch.Tensor]:
    """The gradients that a process holds: its own shares, and under FSDP2 those not yet exchanged."""
    held = [p.grad for p in model.parameters() if p.grad is not None]
    groups = [part._get_fsdp_state()._fsdp_param_group for part in model.modules() if isinstance(part, FSDPModule)]
    parts = [part for group in groups if group for part in group.fsdp_params]
    held += [part.unsharded_accumulated_grad for part in parts if part.unsharded_accumulated_grad is not None]
    unsharded = [part._unsharded_param for part in parts if hasattr(part, "_unsharded_param")]
    held += [parameter.grad for parameter in unsharded if parameter.grad is not None]
    return [getattr(gradient, "_local_tensor", gradient) for gradient in held]


def main() -> None:
    small_trainer.LeadTrainer = FromTheStart
    model_folder, out, loss_type = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    trainer = small_trainer.trainer(model_folder, out, estimator="grpo", loss_type=loss_type, **SIZES)
    if not trainer.accelerator.is_main_process:
        trainer.run = small_trainer.Notes(out / "other")
    trainer.train()
    loading.save_gathered(trainer, out / "model")
    check_processes(trainer.accelerator)


if __name__ == "__main__":
    main()

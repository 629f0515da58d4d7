"""Run by `accelerate launch` on two processes, or alone: packed updates on rollouts that are the same in any case.

Arguments: the model's folder, the output's, the loss.
"""

import copy
import sys
from pathlib import Path

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

    def complete(self, ids, seeds, sampling):
        return generate(
            self.start, ids, seeds, sampling, eos=list(self.eos_token_ids), pad=self._tokenizer.pad_token_id
        )


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

"""Run by torchrun: one packed step of seven groups, the middle one on both processes. Arguments: model and output."""

import sys
from pathlib import Path

from tests import apprentice

ESTIMATORS = ("lead", "whitened")  # an advantage a rollout, and one a token

if __name__ == "__main__":
    for name in ESTIMATORS:
        out = Path(sys.argv[2]) / name
        sizes = {"batch_size": 56, "group_size": 8, "steps": 1, "pack_tokens": 64}
        trainer = apprentice.trainer(Path(sys.argv[1]), out, estimator=name, loss_type="grpo", **sizes)
        trainer.train()
    if trainer.accelerator.is_main_process:
        print("processes", trainer.accelerator.num_processes, trainer.accelerator.distributed_type)

"""Run by torchrun: packed steps of seven groups, the middle one on both processes. Arguments: model and output."""

import sys
from pathlib import Path

from tests import apprentice

SIZES = {"batch_size": 56, "group_size": 8, "steps": 1}
CASES = {  # an advantage a rollout, and one a token; rows shared out anew, in packs and each in a pack of its own
    "lead": {"estimator": "lead", "loss_type": "grpo"} | SIZES,
    "whitened": {"estimator": "whitened", "loss_type": "grpo"} | SIZES,
    "shared": {"estimator": "grpo", "loss_type": "dapo"} | SIZES,
    "single": {"estimator": "lead", "loss_type": "dapo"} | SIZES,
}
PACKS = {"single": 1}

if __name__ == "__main__":
    for name, case in CASES.items():
        out = Path(sys.argv[2]) / name
        trainer = apprentice.trainer(Path(sys.argv[1]), out, pack_tokens=PACKS.get(name, 64), **case)
        trainer.train()
    if trainer.accelerator.is_main_process:
        print("processes", trainer.accelerator.num_processes, trainer.accelerator.distributed_type)

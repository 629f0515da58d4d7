"""Run by torchrun: packed steps of seven groups, the middle one on both processes. Arguments: model and output."""

import json
import sys
from pathlib import Path

import torch

from lead_kit.train import balance
from tests import apprentice

SIZES = {"batch_size": 56, "group_size": 8, "steps": 1}
CASES = {  # an advantage a rollout, and one a token; rows shared out anew, in packs and each in a pack of its own
    "lead": {"estimator": "lead", "loss_type": "grpo"} | SIZES,
    "whitened": {"estimator": "whitened", "loss_type": "grpo"} | SIZES,
    "shared": {"estimator": "grpo", "loss_type": "dapo"} | SIZES,
    "single": {"estimator": "lead", "loss_type": "dapo"} | SIZES,
    "vespo": {"estimator": "grpo", "loss_type": "vespo"} | SIZES,
}
PACKS = {"single": 1}

if __name__ == "__main__":
    for name, case in CASES.items():
        out = Path(sys.argv[2]) / name
        trainer = apprentice.trainer(Path(sys.argv[1]), out, pack_tokens=PACKS.get(name, 64), **case)
        trainer.train()
    rank = trainer.accelerator.process_index
    own = {"prompt_ids": torch.full((1, 1 + rank), 7), "completion_mask": torch.ones(1, 2 - rank)}
    own |= {"advantages": torch.tensor([rank / 2]), "ratio": torch.full((1, 1), 1.0 + rank)}
    whole = balance.gathered(own | {"items": torch.tensor(3)}, trainer.accelerator)
    if trainer.accelerator.is_main_process:
        print("gathered", json.dumps({name: values.tolist() for name, values in whole.items()}))
        print("processes", trainer.accelerator.num_processes, trainer.accelerator.distributed_type)

"""Run by torchrun: one step whose middle group lies on two processes. Arguments: model folder, output folder."""

import sys
from pathlib import Path

from tests import apprentice

if __name__ == "__main__":
    trainer = apprentice.trainer(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=24, group_size=8, steps=1)
    print("processes", trainer.accelerator.num_processes, trainer.accelerator.distributed_type)
    trainer.train()

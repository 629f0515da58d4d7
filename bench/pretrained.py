"""A GRPO batch of a pretrained model on this machine: LeadTrainer beside stock TRL, seconds and peak memory.

    python -m bench.pretrained            # smollm2, 48 rollouts of 40 tokens, two batches of each side

Each side runs in a process of its own. Rewards are random, so that every row has an advantage and none is left out. The
bars are those of a machine with two idle cores: 20 s and 5 GiB a batch.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDES = ("lead_kit", "TRL")
BARS = {"seconds": 20.0, "GiB": 5.0}


def trainer_of(options, folder: Path):
    """The trainer of one side; TRL's takes micro-batches of 8 rows."""
    from bench import sides
    from lead_kit.models.smollm2 import resolve_model

    model = resolve_model(options.model)
    sizes = {"rollouts": options.rollouts, "tokens": options.tokens, "batches": options.batches, "pack": options.pack}
    ours = sides.lead_trainer(model, folder, rewards=("random",), **sizes)
    return ours if options.side == "lead_kit" else sides.stock_trainer(model, ours, 8)


def measure(options) -> dict[str, float]:
    """Seconds a batch and the peak memory of this process, for one side."""
    import torch
    from transformers import PrinterCallback

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(options, Path(folder))
        trainer.remove_callback(PrinterCallback)
        torch.set_num_threads(options.threads)
        start = time.perf_counter()
        trainer.train()
        seconds = (time.perf_counter() - start) / options.batches
    return {"seconds": seconds, "GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rollouts", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--pack", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    found = {}
    for side in SIDES:
        command = [sys.executable, "-m", "bench.pretrained", *sys.argv[1:], "--side", side]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[side] = json.loads(out.splitlines()[-1])
        print(f"{side}: {found[side]['seconds']:.1f} s a batch, peak {found[side]['GiB']:.2f} GiB", flush=True)
    ratio = found["TRL"]["seconds"] / found["lead_kit"]["seconds"]
    held = all(found["lead_kit"][name] <= bar for name, bar in BARS.items())
    print(f"{options.rollouts} rollouts of {options.tokens} tokens: {ratio:.2f} times TRL's speed; ", end="")
    print("within" if held else "over", f"the bars of {BARS['seconds']:g} s and {BARS['GiB']:g} GiB")


if __name__ == "__main__":
    main()

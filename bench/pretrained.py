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
from random import Random

SIDES = ("lead_kit", "TRL")
BARS = {"seconds": 20.0, "GiB": 5.0}


def lead_trainer(options, folder: Path):
    """LeadTrainer on the model, with prompts of the arithmetic task."""
    from lead_kit.models.packaged import resolved
    from tests import apprentice

    sizes = {"batch_size": options.rollouts, "group_size": 8, "steps": options.batches, "pack_tokens": options.pack}
    machine = {"max_completion_length": options.tokens}
    return apprentice.trainer(
        Path(resolved(options.model)), folder, estimator="grpo", rewards=("random",), machine=machine, **sizes
    )


def stock_trainer(options, folder: Path):
    """TRL's own trainer with the same arguments: padded, with `generate`, in micro-batches of 8 rows."""
    from datasets import Dataset
    from trl import GRPOTrainer

    from lead_kit.models.loading import load_model

    ours, draw = lead_trainer(options, folder), Random(0)
    arguments = ours.args
    arguments.per_device_train_batch_size = 8
    arguments.gradient_accumulation_steps = arguments.steps_per_generation = options.rollouts // 8
    rows = Dataset.from_list([{"prompt": row["prompt"]} for row in ours.train_dataset])
    del ours
    model, tokenizer = load_model(options.model)

    def random(completions, **_):
        return [draw.random() for _ in completions]

    data = {"train_dataset": rows, "processing_class": tokenizer}
    return GRPOTrainer(model=model, args=arguments, reward_funcs=[random], **data)


def measure(options) -> dict[str, float]:
    """Seconds a batch and the peak memory of this process, for one side."""
    import torch
    from transformers import PrinterCallback

    with tempfile.TemporaryDirectory() as folder:
        trainer = (lead_trainer if options.side == "lead_kit" else stock_trainer)(options, Path(folder))
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

"""What only a GPU shows: does training run in bf16, does its loss agree with the CPU, what does it cost.


    python -m bench.gpu --steps 20

Prints the numbers that docs/gpu-checks.md keeps. Needs one CUDA device and the tests' requirements.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
import trl

from lead_kit.runs.log import read_metrics
from lead_kit.runs.paths import RUNS
from tests import apprentice

BF16_TOLERANCE = 0.02  # relative; bf16 keeps 8 bits of a number, about 0.4% at each step of the forward
ROOT = Path(__file__).resolve().parents[1]
ARMS = {
    "full": [],
    "packing": ["-p", "pack_tokens", "2048"],
    "lora": ["-p", "adapter", "lora", "-p", "learning_rate", "0.002"],
}


def loss_on(trainer, inputs: dict, device: str, dtype: torch.dtype) -> float:
    """The trainer's loss of the batch with the model on `device`, under autocast to `dtype`."""
    model = trainer.model.to(device)
    moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
    trainer.current_gradient_accumulation_steps = 1
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        return trainer._compute_loss(model, moved).item()


def agreement() -> None:
    """One scored batch, its loss on the CPU in fp32 and on the GPU in fp32 and bf16."""
    with tempfile.TemporaryDirectory() as folder:
        model = apprentice.train(Path(folder) / "model")
        trainer = apprentice.trainer(model, Path(folder) / "run", estimator="grpo")
        trainer.model.to(trainer.accelerator.device).train()
        rows = [trainer.train_dataset[i] for i in range(8) for _ in range(trainer.num_generations)]
        inputs = trainer._generate_and_score_completions(rows)
        losses = {
            "cpu fp32": loss_on(trainer, inputs, "cpu", torch.float32),
            "gpu fp32": loss_on(trainer, inputs, "cuda", torch.float32),
            "gpu bf16": loss_on(trainer, inputs, "cuda", torch.bfloat16),
        }
    scale = inputs["advantages"].abs().mean().item()
    for name, loss in losses.items():
        gap = abs(loss - losses["cpu fp32"]) / scale
        print(f"loss {name}: {loss:+.6f}  difference from the CPU's over mean |A|: {gap:.2e}")
        assert gap < BF16_TOLERANCE


def lead(*arguments: str) -> None:
    command = [sys.executable, "-m", "lead_kit.cli", *arguments]
    print("$ lead", *arguments, flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print("\n".join(done.stdout.splitlines()[-4:]), flush=True)
    if done.returncode:
        print(done.stderr[-3000:])
        raise SystemExit(f"exit code {done.returncode}")


def training(steps: int) -> None:
    """02_sft, then 03_grpo in bf16 with all weights, with packs and with an adapter: curve and peak memory."""
    lead("run", "notebooks/02_sft.ipynb")
    for arm, extra in ARMS.items():
        name = f"gpu-{arm}"
        sizes = ["-p", "steps", str(steps), "-p", "dtype", "bfloat16", "-p", "run_name", name, "-p", "arm", arm]
        lead("run", "notebooks/03_grpo.ipynb", *sizes, *extra)
        rows = read_metrics(RUNS / name / "metrics.jsonl")
        curve = {row["step"]: round(row["pass@1"], 3) for row in rows if row["split"] == "validation"}
        last = [row for row in rows if row["split"] == "train"][-1]
        print(
            f"{arm}: Pass@1 {json.dumps(curve)}, {last['seconds']:.3f} s an update, peak {last['memory_gib']:.3f} GiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="rollout batches of each training run")
    options = parser.parse_args()
    device = torch.cuda.get_device_name()
    print(f"{device}; torch {torch.__version__}, transformers {transformers.__version__}, trl {trl.__version__}")
    agreement()
    training(options.steps)


if __name__ == "__main__":
    main()

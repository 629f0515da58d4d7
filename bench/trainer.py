"""Seconds of a GRPO batch by LeadTrainer beside stock TRL's GRPOTrainer, part by part: same model, data and rewards.

    python -m bench.trainer                          # 128 and 512 rollouts a batch, 10 pairs of batches each
    python -m bench.trainer --rollouts 128 --pairs 3 --tokens 384
    python -m bench.trainer --lora                   # both train a LoRA adapter
    python -m bench.trainer --ranks 2 --pairs 4      # LeadTrainer alone: two gloo ranks beside one process

Both trainers live in one process and take turns, a batch each; the ratio is the median over the pairs. Stock TRL
samples by transformers' `generate`, as it does without vLLM. The learning rate is 0, so that all batches are alike. The
gradients are compared on the same rollouts after the same small change of the weights, so that the old
log-probabilities count; one token whose ratio stands at the bound of the clip can fall on either side of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback

from bench import sides
from bench.table import Row, failed, judged, line, show
from lead_kit.data import arithmetic
from lead_kit.runs.find import run_notebook_if_missing
from lead_kit.train.dynamic_sampling import LOGPROBS

BARS = {128: 3.0, 512: 4.0}  # LeadTrainer's speed in stock TRL's, by rollouts a batch
RANK_BAR = 1.7  # two ranks in one process's speed, on two idle cores
ROUNDS = 3  # in which one process and the ranks take turns
APART = 1e-5  # of the gradients, relative
GRADIENTS = 5  # batches whose gradients are compared
UPDATES = 2  # optimiser updates a batch
PARTS = ("generation", "reward", "old log-probs", "forward", "loss", "backward", "optimizer", "rest")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TRAINING = [8, 4, 2, 1, 0.5, 0.5]  # weights of 1 to 6 steps, as the demo trains


class Turns(TrainerCallback):
    """One side: lets its trainer do a batch when it is its turn, and keeps the seconds of each part, nested calls
    apart."""

    def __init__(self, trainer, clock: str):
        self.trainer, self.clock = trainer, CLOCKS[clock]
        self.turn, self.other = threading.Semaphore(0), None
        self.batches: list[dict[str, float]] = []
        self._inner, self._parts, self._start = [0.0], Counter(), 0.0
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(self)
        self._time(trainer, "_generate", "generation")
        self._time(trainer, "_calculate_rewards", "reward")
        self._time(trainer, "_get_per_token_logps_and_entropies", "forward")
        self._time(trainer, "compute_loss", "loss")
        self._time(trainer.accelerator, "backward", "backward")

    def _time(self, holder, method: str, part: str) -> None:
        call = getattr(holder, method)

        def timed(*args, **kwargs):
            scoring = part == "forward" and not torch.is_grad_enabled()
            with self._part("old log-probs" if scoring else part):
                return call(*args, **kwargs)

        setattr(holder, method, timed)

    @contextmanager
    def _part(self, name: str):
        start = self.clock()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = self.clock() - start
            self._parts[name] += took - self._inner.pop()
            self._inner[-1] += took

    def _wait(self) -> None:
        if self.other:
            self.turn.acquire()
        self._parts.clear()
        self._start = self.clock()

    def leave(self) -> None:
        """The other side goes on alone."""
        if self.other:
            self.other.other = None
            self.other.turn.release()

    def on_train_begin(self, args, state, control, **kwargs):
        self._wait()

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self._parts["optimizer"] -= self.clock()

    def on_optimizer_step(self, args, state, control, **kwargs):
        self._parts["optimizer"] += self.clock()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % UPDATES:
            return
        whole = self.clock() - self._start
        parts = {name: self._parts[name] for name in PARTS[:-1]}
        self.batches.append(parts | {"rest": whole - sum(parts.values()), "all": whole})
        if self.other and state.global_step < args.max_steps:
            self.other.turn.release()
            self._wait()
        else:
            self._parts.clear()
            self._start = self.clock()


def train(side: Turns) -> None:
    try:
        side.trainer.train()
    finally:
        side.leave()


def taking_turns(ours: Turns, theirs: Turns) -> list[tuple[dict, dict]]:
    """The parts of each pair of batches, after a first pair to warm up."""
    ours.other, theirs.other = theirs, ours
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(train, side) for side in (ours, theirs)]
        ours.turn.release()
        for one in running:
            one.result()
    return list(zip(ours.batches, theirs.batches, strict=True))[1:]


def lead(options, rollouts: int, folder: Path):
    """LeadTrainer on problems as in the demo."""
    machine = {"learning_rate": 0.0}
    sizes = {"rollouts": rollouts, "tokens": options.tokens, "batches": options.pairs + 1, "pack": options.pack}
    sizes |= {"updates_per_batch": UPDATES, "rollouts_every": 10}
    problems = arithmetic.draw(2000, 1, TRAINING)
    return sides.lead_trainer(options.model, folder, machine=machine, problems=problems, **adapter(options), **sizes)


def adapter(options) -> dict:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    return {"peft_config": LoraConfig(r=16, lora_alpha=64, target_modules=targets)} if options.lora else {}


def gradients_apart(ours, theirs) -> list[float]:
    """‖g − g'‖/‖g'‖ of the two trainers on the rollouts of each of some batches, which LeadTrainer samples."""
    groups = ours.args.generation_batch_size // ours.num_generations
    sample, kept = ours._generate, []

    def sampled(prompts):
        kept.append(sample(prompts))
        return kept[-1]

    def given(prompts):  # stock TRL has no log-probabilities of its sampler
        return tuple(None if place == LOGPROBS else value for place, value in enumerate(kept[-1]))

    ours._generate, theirs._generate = sampled, given
    apart = []
    for start in range(0, GRADIENTS * groups, groups):
        rows = [ours.train_dataset[start + i] for i in range(groups) for _ in range(ours.num_generations)]
        found = [gradient(trainer, rows) for trainer in (ours, theirs)]
        apart.append(((found[0] - found[1]).norm() / found[1].norm()).item())
    return apart


def gradient(trainer, rows: list[dict]) -> torch.Tensor:
    """The gradient of a batch as one update, at weights that have moved a little since it was sampled."""
    learned = [p for p in trainer.model.parameters() if p.requires_grad]
    before, noise = [p.detach().clone() for p in learned], torch.Generator().manual_seed(0)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([dict(row) for row in rows])
    with torch.no_grad():
        for p in learned:
            p.add_(torch.randn(p.shape, generator=noise), alpha=2e-3)
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation  # the batch is one update
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    with torch.no_grad():
        torch._foreach_copy_(learned, before)
    return torch.cat([p.grad.flatten() for p in learned])


def compare(options, rollouts: int, folder: Path) -> tuple[str, list[Row]]:
    """The two sides at this batch size: the parts as text, and the rows with the bars."""
    ours = lead(options, rollouts, folder)
    theirs = sides.stock_trainer(options.model, ours, min(options.micro, rollouts // UPDATES), **adapter(options))
    torch.set_num_threads(options.threads)
    pairs = taking_turns(Turns(ours, options.clock), Turns(theirs, options.clock))
    lines = [f"{rollouts} rollouts of at most {options.tokens} tokens, {len(pairs)} pairs; {options.clock} ms a batch"]
    lines.append(f"{'(median)':15}{'TRL':>10}{'LeadTrainer':>14}")
    for name in (*PARTS, "all"):
        kit, peer = (1000 * median(one[name] for one in side) for side in zip(*pairs, strict=True))
        lines.append(f"{name:15}{peer:10.0f}{kit:14.0f}")
    ratios = [peer["all"] / kit["all"] for kit, peer in pairs]
    ratio, apart, bar = median(ratios), gradients_apart(ours, theirs), BARS.get(rollouts)
    name = f"LeadTrainer / TRL, {rollouts} rollouts"
    value = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f} in {len(pairs)} pairs)"
    speed = judged(name, value, f"≥ {bar:g}", ratio >= bar) if bar else Row(name, value)
    value = f"{median(apart):.1e} apart ({min(apart):.1e} to {max(apart):.1e} in {len(apart)} batches)"
    gradients = judged(f"gradients of both, {rollouts} rollouts", value, f"≤ {APART:g}", median(apart) <= APART)
    return "\n".join(lines), [speed, gradients]


def alone(options) -> None:
    """One rank of LeadTrainer; the first prints the seconds of its batches, without the first of them."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        side = Turns(lead(options, options.rollouts[0], Path(folder)), "wall")
        train(side)
        if side.trainer.accelerator.is_main_process:
            print(json.dumps([batch["all"] for batch in side.batches[1:]]))


def batch_seconds(count: int, rollouts: int, given: list[str]) -> float:
    """The median batch of a training on so many ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    command += ["-m", "bench.trainer", *given, "--alone", "--rollouts", str(rollouts)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return median(json.loads(out.splitlines()[-1]))


def ranks(options, given: list[str]) -> list[Row]:
    """LeadTrainer's speed on several gloo ranks beside one process; `given` are the words of the command line."""
    rows = []
    for rollouts in options.rollouts:
        rounds = [[batch_seconds(count, rollouts, given) for count in (1, options.ranks)] for _ in range(ROUNDS)]
        one, several = (1000 * median(side) for side in zip(*rounds, strict=True))
        ratios = [alone / shared for alone, shared in rounds]
        value = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; {one:.0f} and {several:.0f} ms a batch)"
        name = f"{options.ranks} gloo ranks / one process, {rollouts} rollouts"
        rows.append(judged(name, value, f"≥ {RANK_BAR:g}", median(ratios) >= RANK_BAR))
    return rows


def rows() -> list[Row]:
    """Both batch sizes, and two ranks at the larger one and at four times as many rollouts."""
    found, options = [], arguments([])
    options.model = str(run_notebook_if_missing(options.model))
    with tempfile.TemporaryDirectory() as folder:
        for rollouts in options.rollouts:
            found += compare(options, rollouts, Path(folder) / str(rollouts))[1]
    given = ["--model", options.model, "--ranks", "2", "--pairs", "4", "--rollouts", "512", "2048"]
    return found + ranks(arguments(given), given)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="runs/02_sft/model", help="folder of an embedded model after SFT")
    parser.add_argument("--rollouts", type=int, nargs="+", default=list(BARS), help="rollouts a batch")
    parser.add_argument("--pairs", type=int, default=10, help="batches of each side")
    parser.add_argument("--tokens", type=int, default=96, help="limit of a completion")
    parser.add_argument("--micro", type=int, default=64, help="rows of a forward, for TRL")
    parser.add_argument("--pack", type=int, default=4096, help="tokens of a forward, for LeadTrainer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall, or CPU seconds without the verifier's")
    parser.add_argument("--lora", action="store_true", help="both train a LoRA adapter")
    parser.add_argument("--ranks", type=int, default=0, help="LeadTrainer on so many ranks beside one process")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main() -> int:
    options = arguments()
    options.model = str(run_notebook_if_missing(options.model))
    if options.alone:
        alone(options)
        return 0
    if options.ranks:
        found = ranks(options, sys.argv[1:])
        return show(found)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for rollouts in options.rollouts:
            parts, compared = compare(options, rollouts, Path(folder) / str(rollouts))
            print(f"\n{parts}\n\n" + "\n".join(map(line, compared)), flush=True)
            found += compared
    return int(failed(found))


if __name__ == "__main__":
    raise SystemExit(main())

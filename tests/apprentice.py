"""A tiny model that is right some of the time, trained in seconds, and a trainer on it, for tests with rollouts."""

import json
from pathlib import Path
from random import Random

import torch
from datasets import Dataset
from trl import GRPOConfig

from lead_kit import verify
from lead_kit.data import arithmetic
from lead_kit.method import advantages, rewards
from lead_kit.models.chat import prompted
from lead_kit.models.embedded import embedded_model
from lead_kit.models.loading import load_model
from lead_kit.models.saving import save_model
from lead_kit.params import bind
from lead_kit.runs.files import append_line, plain
from lead_kit.train import batching, sft
from lead_kit.train.optim import MuonAdamW
from lead_kit.train.trainer import LeadTrainer

WEIGHTS = [1.0, 1.0]  # problems of one and two steps
KNOBS = {
    "length_alpha": 0.05,
    "wrong_reward": -1.0,
    "weight_low": 0.4,
    "weight_high": 1.5,
    "weight_midpoint": 0.75,
    "weight_steepness": 10.0,
    "std_ddof": 1,
    "std_epsilon": 1e-6,
    "lone_keeps_reward": False,
    "length_floor": 0.0,
    "unfinished_reward": 0.0,
    "repetitive_reward": -2.0,
    "kl_reward_coef": 0.01,
    "reward_seed": 0,
}


def train(folder: Path, steps: int = 200) -> Path:
    """Imitates the teacher for a few steps; the result answers about half of the problems of one or two steps."""
    torch.set_num_threads(1)
    model, tokenizer = embedded_model("tiny", seed=0)
    records, rng = arithmetic.draw(2000, 2, WEIGHTS, distinct=False), Random(0)
    for record in records:
        record["solution"] = arithmetic.trace(record["problem"], rng)
    rows, _ = sft.tokenised(records, tokenizer, "plain", 128)
    rows = sft.bucketed(rows, 32, steps, seed=0)
    optimizer = MuonAdamW(model, muon_lr=0.03, adam_lr=0.01)
    for start in range(0, len(rows), 32):
        batch = tokenizer.pad(
            {"input_ids": [row["input_ids"] for row in rows[start : start + 32]]},
            padding_side="right",
            return_tensors="pt",
        )
        width = batch["input_ids"].shape[1]
        labels = [row["labels"] + [sft.IGNORED] * (width - row["length"]) for row in rows[start : start + 32]]
        model(**batch, labels=torch.tensor(labels)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, tokenizer, folder)
    return folder


class Notes:
    """The part of a Run that a trainer writes to, without the claim on a folder below runs/."""

    def __init__(self, path: Path):
        self.path = path

    def log(self, step: int, split: str, **metrics) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        append_line(self.path / "metrics.jsonl", json.dumps(plain({"step": step, "split": split, **metrics})))

    def progress(self, step: int, total: int, **values) -> None:
        pass


def trainer(
    model_folder: Path,
    out: Path,
    *,
    estimator: str = "lead",
    reward_names: tuple[str, ...] = ("correct",),
    batch_size: int = 32,
    group_size: int = 4,
    updates_per_batch: int = 1,
    micro_batch_size: int = 64,
    num_iterations: int = 1,
    steps: int = 2,
    save_steps: int = 0,
    beta: float = 0.0,
    loss_type: str = "dapo",
    **others,
) -> LeadTrainer:
    """A LeadTrainer on problems of one and two steps that keeps every rollout."""
    model, tokenizer = load_model(str(model_folder))
    records = arithmetic.draw(64, 7, WEIGHTS)
    arguments = GRPOConfig(
        learning_rate=1e-3,
        loss_type={"prompt_mean": "dr_grpo"}.get(loss_type, loss_type),
        beta=beta,
        temperature=1.0,
        max_completion_length=24,
        scale_rewards="none",
        seed=0,
        **batching.plan(
            batch_size=batch_size,
            group_size=group_size,
            updates_per_batch=updates_per_batch,
            micro_batch_size=micro_batch_size,
            num_iterations=num_iterations,
            steps=steps,
            save_steps=save_steps,
            processes=batching.processes(),
        ),
        **batching.sampling("sampler", "", 0.0),
        **batching.saving(out / "checkpoints", save_steps),
        **batching.hardware("float32"),
    )
    return LeadTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list([prompted(r, tokenizer, "plain") for r in records]),
        processing_class=tokenizer,
        estimate=bind(advantages.ESTIMATORS[estimator], KNOBS),
        reward_table={name: bind(rewards.REWARDS[name], KNOBS) for name in reward_names},
        verifier=verify.shared(),
        run=Notes(out),
        rollouts_every=1,
        loss_type=loss_type,
        **others,
    )

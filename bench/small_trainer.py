"""A tiny model that is right some of the time, trained in seconds, and a trainer on it, for tests with rollouts."""

from pathlib import Path
from random import Random

import torch
from datasets import Dataset
from trl import GRPOConfig

from lead_kit import verify
from lead_kit.data import arithmetic, word_problems
from lead_kit.method.advantages import every_group
from lead_kit.method.estimators import bind_estimator
from lead_kit.method.losses import trl_loss
from lead_kit.method.rewards import bind_rewards
from lead_kit.models.chat import training_row
from lead_kit.models.loading import load_model, save_model
from lead_kit.models.tiny_models import embedded_model
from lead_kit.runs.files import append_jsonl
from lead_kit.train import batch_sizes, sft_rows
from lead_kit.train.grading import Grader
from lead_kit.train.muon_optimizer import MuonAdamW
from lead_kit.train.trainer import LeadTrainer

CPU = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "dataloader_pin_memory": False}
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
    "length_floor": 0.0,
    "truncated_reward": 0.0,
    "repetitive_reward": -2.0,
    "kl_reward_coef": 0.01,
}
SIZES = {"batch_size": 32, "group_size": 4, "updates_per_batch": 1, "micro_batch_size": 64}
SIZES |= {"num_iterations": 1, "steps": 2, "save_steps": 0}


def train(folder: Path, steps: int = 200, model: str = "tiny", longest: int = 128, **dials: float) -> Path:
    """Imitates the teacher of `tiny` or `tiny-words` for a few steps, on problems of one or two steps; `tiny` then
    answers about half of them. `dials` are the teacher's."""
    torch.set_num_threads(1)
    task = word_problems if model == "tiny-words" else arithmetic
    model, tokenizer = embedded_model(model, seed=0)
    records, rng = task.draw(2000, 2, WEIGHTS, distinct=False), Random(0)
    for record in records:
        record["solution"] = task.solve_noisily(record["problem"], rng, **dials)
    rows, _ = sft_rows.tokenise_solutions(records, tokenizer, "plain", longest)
    rows = sft_rows.bucket_by_length(rows, 32, steps, seed=0)
    optimizer = MuonAdamW(model, muon_lr=0.03, adam_lr=0.01)
    for start in range(0, len(rows), 32):
        batch = tokenizer.pad(
            {"input_ids": [row["input_ids"] for row in rows[start : start + 32]]},
            padding_side="right",
            return_tensors="pt",
        )
        width = batch["input_ids"].shape[1]
        labels = [row["labels"] + [sft_rows.IGNORED] * (width - row["length"]) for row in rows[start : start + 32]]
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
        append_jsonl(self.path / "metrics.jsonl", [{"step": step, "split": split, **metrics}])

    def record_tripwire(self, step: int, wire: str, sentence: str) -> None:
        append_jsonl(self.path / "tripwires.jsonl", [{"step": step, "wire": wire, "sentence": sentence}])

    def progress(self, step: int, total: int, **values) -> None:
        pass


def trainer(
    model_folder: Path,
    out: Path,
    *,
    estimator: str = "lead",
    rewards: tuple[str, ...] = ("correct",),
    beta: float = 0.0,
    loss_type: str = "dapo",
    end_marker: str = "",
    **others,
) -> LeadTrainer:
    """A LeadTrainer that keeps every rollout; `others` are sizes, its arguments, `problems`, and `machine` for
    GRPOConfig."""
    model, tokenizer = load_model(str(model_folder))
    machine = {"max_completion_length": 24, "learning_rate": 1e-3, "temperature": 1.0} | CPU | others.pop("machine", {})
    problems = others.pop("problems", None) or arithmetic.draw(64, 7, WEIGHTS)
    asked = SIZES | {name: others.pop(name) for name in SIZES if name in others}
    sizes = batch_sizes.sizes(**asked, pack_tokens=others.get("pack_tokens", 0))
    arguments = GRPOConfig(
        loss_type=trl_loss(loss_type),
        beta=beta,
        scale_rewards="none",
        seed=0,
        per_device_train_batch_size=sizes.micro_batch,
        gradient_accumulation_steps=sizes.accumulation,
        steps_per_generation=sizes.forwards,
        num_generations=asked["group_size"],
        num_iterations=asked["num_iterations"],
        max_steps=sizes.updates,
        logging_steps=sizes.updates_per_batch,
        top_k=0,
        output_dir=str(out / "checkpoints"),
        save_strategy="steps" if asked["save_steps"] else "no",
        save_steps=asked["save_steps"] or sizes.updates,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        **machine,
    )
    return LeadTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list([training_row(problem, tokenizer, "plain") for problem in problems]),
        processing_class=tokenizer,
        estimate=bind_estimator(KNOBS | {"estimator": estimator}),
        grader=Grader(bind_rewards(list(rewards)), verify.shared(), end_marker),
        run=Notes(out),
        loss_type=loss_type,
        **{"group_filter": every_group, "rollouts_every": 1} | others,
    )

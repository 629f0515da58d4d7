"""The sides of a comparison: LeadTrainer, and TRL's trainer with the same arguments, model, problems and rewards."""

import copy
from pathlib import Path

from trl import GRPOTrainer

from bench import small_trainer
from lead_kit.method.estimators import bind_estimator
from lead_kit.models.loading import load_model
from lead_kit.train.grading import Grader

TRL_EPSILON = 1e-4  # beside the spread of a group, in TRL


def lead_trainer(model: str, folder: Path, *, rollouts: int, tokens: int, batches: int, pack: int, **others):
    """LeadTrainer with TRL's own advantages, groups of 8; `others` are arguments of bench.small_trainer.trainer."""
    sizes = {"batch_size": rollouts, "group_size": 8, "steps": batches, "pack_tokens": pack}
    machine = {"max_completion_length": tokens} | others.pop("machine", {})
    ours = small_trainer.trainer(Path(model), folder, estimator="grpo", machine=machine, **sizes, **others)
    ours.estimate = bind_estimator(small_trainer.KNOBS | {"estimator": "grpo", "std_epsilon": TRL_EPSILON})
    return ours


def stock_trainer(model: str, ours, micro: int, **others) -> GRPOTrainer:
    """TRL's own trainer with the data, rewards and arguments of LeadTrainer `ours`, which handed on the rows of an
    update at once: padded, in micro-batches of `micro` rows, with transformers' `generate`."""
    arguments, grader, ends, data = copy.copy(ours.args), ours.grader, ours.eos_token_ids, ours.train_dataset
    del ours  # its model need not stand beside TRL's
    parts = arguments.per_device_train_batch_size // micro
    arguments.scale_rewards = "group"
    arguments.per_device_train_batch_size = micro
    arguments.gradient_accumulation_steps = parts
    arguments.steps_per_generation *= parts
    policy, tokenizer = load_model(model)
    rewards = [trl_reward(grader, name, ends) for name in grader.reward_table]
    return GRPOTrainer(
        model=policy, args=arguments, reward_funcs=rewards, train_dataset=data, processing_class=tokenizer, **others
    )


def trl_reward(grader: Grader, name: str, ends: list[int]):
    """A reward of the grader as a reward function of TRL's; both sides verify alike."""

    def reward(completions, completion_ids, **columns):
        columns = {name: columns[name] for name in ("id", "problem", "gold", "level", "thinking")}
        records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        rows = zip(completions, completion_ids, records, strict=True)
        whole = [grader.completion(text[0]["content"], ids, ends, one["thinking"]) for text, ids, one in rows]
        return [grader.reward_table[name](rollout) for rollout in grader.grade(records, whole)]

    reward.__name__ = name
    return reward

"""Dynamic sampling (DAPO, 2503.14476, §3.2): generate until every group has correct and wrong answers."""

from random import Random

import torch
from accelerate.utils import gather_object

from lead_kit.errors import InputError

# Positions in the eight values that TRL's _generate returns (1.16); those named here are lists with one item a row.
_PROMPT_IDS, _COMPLETION_IDS, _COMPLETIONS, LOGPROBS = 0, 1, 3, 4


def draw_order(problems: list[str], used: set[str], seed: str) -> list[int]:
    """Row numbers in random order, one of each different problem; those in `used` come last."""
    rows = list({problem: row for row, problem in enumerate(problems)}.values())
    Random(seed).shuffle(rows)
    return sorted(rows, key=lambda row: problems[row] in used)


def cyclic_part(order: list[int], count: int, number: int) -> list[int]:
    """Part `number` of parts of `count` items; at its end the order begins again."""
    count = min(count, len(order))
    return [order[(number * count + i) % len(order)] for i in range(count)]


class DynamicSampling:
    """Fills a process's batch with groups that pass the rule 0 < correct < G.

    Every process generates whole batches until all processes are full, so that collective calls match. After `cap`
    generation batches, all-right or all-wrong groups fill the rest, and a message says so.
    """

    def __init__(self, trainer, cap: int):
        self.trainer, self.cap, self.round, self.report = trainer, cap, 0, {}
        rows = trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation
        if rows % trainer.num_generations:
            raise InputError(
                f"dynamic sampling needs whole groups on each process: {rows} rollouts are no multiple of group_size "
                f"{trainer.num_generations}"
            )

    def fill(self, inputs: list[dict]) -> list[dict]:
        """The rows to train on; the trainer gets their completions, so it does not sample again."""
        size = self.trainer.num_generations
        wanted, candidates = len(inputs) // size, inputs
        good, spare = [], []
        for attempt in range(self.cap):
            self.round = attempt
            for piece, hits in self.groups(candidates, size):
                (good if 0 < hits < size else spare).append(piece)
            if self.all_processes_full(wanted - len(good)):
                break
            candidates = self.draw_problems(inputs)
        self.report = {
            "mixed_groups_filled": min(len(good), wanted) / wanted,
            "mixed_groups_sampled": len(good) / (len(good) + len(spare)),
            "extra_generations": float(attempt),
        }
        if len(good) < wanted:
            print(
                f"dynamic sampling: after {self.cap} generation batches {len(good)} of {wanted} groups had correct and "
                "wrong answers; the rest of the batch are all-right or all-wrong groups. Raise refill_batches or take "
                "other problems."
            )
        self.round = 0
        chosen = (good + spare)[:wanted]
        self.set_completions([part for _, part in chosen])
        return [row for rows, _ in chosen for row in rows]

    def groups(self, candidates: list[dict], size: int):
        """Samples the candidates and yields for each group (its rows, what was generated for them), number correct."""
        trainer = self.trainer
        trainer._rows = candidates
        generated = trainer._generate([row["prompt"] for row in candidates])
        rollouts = trainer.grade(candidates, generated[_COMPLETIONS], generated[_COMPLETION_IDS])
        for first in range(0, len(candidates), size):
            rows = slice(first, first + size)
            positions = [p for p in (_PROMPT_IDS, _COMPLETION_IDS, _COMPLETIONS, LOGPROBS) if generated[p] is not None]
            part = {position: generated[position][rows] for position in positions}
            yield (candidates[rows], part), sum(r.verdict.status == "correct" for r in rollouts[rows])

    def all_processes_full(self, missing: int) -> bool:
        accelerator = self.trainer.accelerator
        return not accelerator.gather(torch.tensor([max(0, missing)], device=accelerator.device)).any()

    def draw_problems(self, inputs: list[dict]) -> list[dict]:
        """As many random problems as `inputs` has, group_size rows each, none of them yet in this batch.

        Each process takes its share, in each round the next, of an order that is the same on all. A problem comes twice
        only when the training set has no other left.
        """
        trainer, accelerator = self.trainer, self.trainer.accelerator
        dataset, size = trainer.train_dataset, trainer.num_generations
        used = set(gather_object([row["problem"] for row in inputs]))
        order = draw_order(list(dataset["problem"]), used, str((trainer.args.seed, trainer.batches_done)))
        number = self.round * accelerator.num_processes + accelerator.process_index
        return [dataset[i] for i in cyclic_part(order, len(inputs) // size, number) for _ in range(size)]

    def set_completions(self, parts: list[dict]) -> None:
        """Gives the trainer these completions, so that its next call to `_generate` does not sample."""
        merged: list = [None] * 8
        for position in parts[0]:
            merged[position] = [item for part in parts for item in part[position]]
        merged[5], merged[7] = {}, []  # no extra fields, no tool images
        self.trainer._completions = tuple(merged)

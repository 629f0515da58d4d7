"""Draws the problems of a rollout batch by a curriculum, in the place of shuffled passes over the training set."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback

from lead_kit.errors import InputError
from lead_kit.method.curricula import History
from lead_kit.runs.files import parse_json, read_bytes

_FILE = "curriculum.json"  # in a checkpoint


def weighted_order(weights: list[float], seed: str) -> list[int]:
    """All positions in random order without replacement, each next one by its weight among the rest
    (Efraimidis and Spirakis 2006); those of weight 0 come last."""
    rng = Random(seed)
    keys = [(weight <= 0, -math.log(1 - rng.random()) / (weight if weight > 0 else 1)) for weight in weights]
    return sorted(range(len(weights)), key=keys.__getitem__)


class ProblemDraw(TrainerCallback):
    """The different problems of the training set, their History, and the draw of each batch from it.

    All processes keep the same history and draw the same problems, of which each takes its rows.
    """

    def __init__(self, trainer, curriculum: Callable[[History], torch.Tensor]):
        self.trainer, self.curriculum = trainer, curriculum
        different = {problem: row for row, problem in enumerate(trainer.train_dataset["problem"])}
        self.rows, self.position = list(different.values()), {text: row for row, text in enumerate(different)}
        known = trainer.train_dataset["level"]
        level = torch.tensor([math.nan if known[row] is None else known[row] for row in self.rows])
        zeros = torch.zeros(len(self.rows))
        self.history = History(zeros, zeros.clone(), zeros + math.nan, zeros - 1, level)
        self.weights()  # raises at once where the curriculum cannot read these problems

    def weights(self) -> torch.Tensor:
        """(problems,): how likely each is to be drawn next. Raises InputError for what is no weight of each."""
        weights = self.curriculum(self.history)
        if weights.shape != self.history.share.shape or not (weights >= 0).all():
            problems = f"each of the {len(self.rows)} problems"
            raise InputError(f"curriculum {self.curriculum.__name__!r} must give {problems} a weight of 0 or more")
        return weights

    def draw(self, inputs: list[dict]) -> list[dict]:
        """This process's rows, as many as `inputs`, of the problems that the curriculum draws for this batch."""
        trainer, size, rows = self.trainer, self.trainer.num_generations, len(inputs)
        first, count = trainer.accelerator.process_index * rows, trainer.accelerator.num_processes * rows // size
        order = weighted_order(self.weights().tolist(), f"{trainer.args.seed}/{trainer.batches_done}")
        drawn = [self.rows[order[number % len(order)]] for number in range(count) for _ in range(size)]
        return [trainer.train_dataset[row] for row in drawn[first : first + rows]]

    def note(self, inputs: list[dict], correct: torch.Tensor) -> dict[str, float]:
        """Adds a batch, `correct` (prompts, group) of all processes; the share of problems left to draw."""
        problems = gather_object([row["problem"] for row in inputs])[:: self.trainer.num_generations]
        for problem, right in zip(problems, correct.cpu(), strict=True):
            position, history = self.position[problem], self.history
            history.samples[position] += len(right)
            history.right[position] += right.sum()
            history.share[position], history.batch[position] = right.mean(), self.trainer.batches_done
        return {"open_problems": (self.weights() > 0).float().mean().item()}

    def on_save(self, args, state, control, **kwargs):
        """Writes what was seen, by problem, into the checkpoint."""
        if state.is_world_process_zero:
            values = zip(self.position, torch.stack(self.history[:4], 1).tolist(), strict=True)
            seen = {problem: numbers for problem, numbers in values if numbers[0]}
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / _FILE).write_text(json.dumps(seen), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Continues the history of a checkpoint, as far as the training set has its problems."""
        file = checkpoint / _FILE
        seen = parse_json(read_bytes(file), file) if file.is_file() else {}  # another run's may be without curriculum
        for text in seen.keys() & self.position.keys():
            for field, value in zip(self.history[:4], seen[text], strict=True):
                field[self.position[text]] = value

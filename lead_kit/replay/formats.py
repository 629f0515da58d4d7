"""Which column plays which part in the records of each tool. A role that a record lacks is absent, never guessed.

Roles: run, step, table (a log within a step), group, id, prompt, completion, reward (the total), correct, gold, length
(tokens), truncated, advantage; `reward_NAME` is one part of the total.
"""

from typing import NamedTuple

ROLES = (
    "run", "step", "table", "group", "id", "prompt", "completion", "reward", "correct", "gold", "length", "truncated",
    "advantage",
)  # fmt: skip


class Format(NamedTuple):
    """The record of one tool."""

    name: str
    marks: tuple[str, ...]  # columns that only this tool's files have, of those listed above it
    columns: dict[str, str]  # role: column, where the column is not named as its role
    a_file_a_step: bool  # its files are parts of one run, which is their folder
    source: str


FORMATS = (
    Format(
        "ledger of lead_kit",
        ("step", "group", "completion", "reward", "shaped"),
        {"prompt": "problem"},
        True,
        "runs/log_files.py and train/trainer.py",
    ),
    Format(
        "TRL completions",
        ("step", "prompt", "completion", "advantage"),
        {},
        True,
        "TRL 1.16, GRPOTrainer.log: one column for each reward, and no total",
    ),
    Format(
        "verl dump",
        ("input", "output", "score"),
        {"prompt": "input", "completion": "output", "reward": "score", "gold": "gts", "correct": "acc", "group": "uid"},
        True,
        "verl, ray_trainer.py, _dump_generations: rollout_data_dir and validation_data_dir",
    ),
    Format(
        "cs2916 samples",
        ("prompt", "response", "reward"),
        {"completion": "response", "length": "response_length"},
        True,
        "cs2916 2025 homework 1, ppo_trainer.py: samples_save_path/train/step_N.json",
    ),
    Format(
        "verifiers results",
        ("example_id", "prompt", "completion", "reward"),
        {"id": "example_id", "gold": "answer", "truncated": "is_truncated"},
        False,
        "verifiers (prime-rl), eval_utils.py, make_dataset: results.jsonl",
    ),
    Format(
        "OpenRLHF samples",
        ("input", "output", "reward"),
        {"prompt": "input", "completion": "output"},
        False,
        "OpenRLHF, batch_inference.py: generated and scored samples",
    ),
    Format("named columns", ("completion",), {}, False, "columns named as the roles, or given by parameters"),
)
# Names of a reward that is the accuracy: ours, TRL's and open-r1's, verl's.
ACCURACY = ("correct", "accuracy_reward", "accuracy", "acc")


def format_of(columns: set[str]) -> Format | None:
    """The first format whose marks are all there; None where no format fits."""
    return next((one for one in FORMATS if set(one.marks) <= columns), None)

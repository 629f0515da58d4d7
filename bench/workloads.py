"""The work whose cost `bench.growth` follows: made samples, runs and rows, and the kit's own functions on them.

Each function takes a size and a folder and returns CPU seconds of this process by part; making the data is not
counted.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from lead_kit.evaluate import graded_samples
from lead_kit.evaluate.score import score_command
from lead_kit.replay import logged_batches
from lead_kit.report import curves, evaluation_figures, read_rollouts, tables, training_figures
from lead_kit.runs import files, log_files
from lead_kit.runs.files import write_jsonl
from lead_kit.verify import clusters, compare, normal_form, units

ARMS, SEEDS = ("grpo", "lead"), (0, 1)
EACH = 5  # samples of a problem
ANSWERS = 12  # different answers to a problem
STEPS, BATCH, GROUP = 30, 64, 8  # of a made training run
ROLLOUTS, TOKENS = 256, 32  # of a measured training step, where they are not what grows


class Clock:
    """CPU seconds since the last call, by the name of the part that has just ended."""

    def __init__(self):
        self.parts, self.last = {}, time.process_time()

    def __call__(self, part: str) -> None:
        now = time.process_time()
        self.parts[part], self.last = now - self.last, now


def forget() -> None:
    """Clears what the verifier remembers of answers: a new kernel has seen none."""
    for module in (clusters, compare, normal_form, units):
        for one in vars(module).values():
            if hasattr(one, "cache_clear"):
                one.cache_clear()


def sample_rows(problems: int, each: int, random) -> list[dict]:
    """Samples of one evaluation; answers are whole numbers, other ones in each problem, and need no algebra."""
    rows = []
    for problem, ease in enumerate(random.random(problems)):
        gold = ANSWERS * problem
        answers = gold + np.where(random.random(each) < ease, 0, random.integers(1, ANSWERS, each))
        lengths = random.integers(50, 2000, each)
        for sample, (answer, length) in enumerate(zip(answers.tolist(), lengths.tolist(), strict=True)):
            rows.append(
                {"id": f"p{problem}", "sample": sample, "level": problem % 5, "gold": str(gold), "answer": str(answer)}
                | {"completion": f"so it is \\boxed{{{answer}}}", "length": length, "truncated": length > 1900}
                | {"correct": answer == gold, "status": "correct" if answer == gold else "wrong", "reason": ""}
            )
    return rows


def evaluations(folder: Path, problems: int, each: int, seeds: tuple[int, ...]) -> list[str]:
    """One samples file for each arm and seed; made once for each size."""
    files = []
    for number, (arm, seed) in enumerate((arm, seed) for arm in ARMS for seed in seeds):
        path = folder / f"{problems}x{each}" / f"{arm}-s{seed}.jsonl"
        if not path.is_file():
            tags = {"benchmark": "made", "model": arm, "arm": arm, "seed": seed}
            rows = sample_rows(problems, each, np.random.default_rng(number))
            write_jsonl(path, (tags | row for row in rows))
        files.append(str(path))
    return files


def suites_of(files: list[str], clock: Clock) -> tuple[pd.DataFrame, dict]:
    """What 04_evaluate and 05_figures begin with: samples read, checked and turned into arrays."""
    forget()
    frame = graded_samples.load_samples(files)
    clock("read")
    frame, _ = graded_samples.require_rectangular(frame)
    clock("check")
    suites = graded_samples.suites(frame)
    clock("answers into classes")
    return frame, suites


def told(files: list[str]) -> dict[str, float]:
    """The numbers, figures and sentences of 04_evaluate."""
    clock = Clock()
    frame, suites = suites_of(files, clock)
    tables.evaluation(suites)
    clock("tables")
    evaluation_figures.budget_curve(tables.budget_points(suites), tables.evaluation_setting(suites)).png()
    clock("figures")
    read_rollouts.caveats(frame, 1.0)
    frame.sort_values("length")
    clock("sentences")
    return clock.parts


def evaluate(samples: int, folder: Path) -> dict[str, float]:
    """More problems in 04_evaluate: two arms, EACH samples of each problem."""
    return told(evaluations(folder, samples // (len(ARMS) * EACH), EACH, SEEDS[:1]))


def looks(each: int, folder: Path) -> dict[str, float]:
    """More samples of the same 40 problems in 04_evaluate: two arms."""
    return told(evaluations(folder, 40, each, SEEDS[:1]))


def figures(samples: int, folder: Path) -> dict[str, float]:
    """More problems in 05_figures: two arms of two seeds, EACH samples of each problem."""
    files = evaluations(folder, samples // (len(ARMS) * len(SEEDS) * EACH), EACH, SEEDS)
    clock = Clock()
    _, suites = suites_of(files, clock)
    evaluation_figures.budget_curve(tables.budget_points(suites), tables.evaluation_setting(suites)).png()
    evaluation_figures.by_difficulty(tables.difficulty_points(suites, [])).png()
    clock("figures")
    values, notes = tables.cluster_values(pd.DataFrame(), suites)
    tables.report(values, notes, seed=0)
    clock("tables")
    return clock.parts


def training_run(folder: Path, arm: str, seed: int) -> None:
    """The folder of a made training run: manifest, metrics, and the rollouts and validation of some steps."""
    random = np.random.default_rng(seed)
    parameters = {"arm": arm, "seed": seed, "batch_size": BATCH, "group_size": GROUP, "validation_samples": 1}
    manifest = {"parameters": parameters | {"validation_temperature": 1.0}, "start": "2026-01-01T00:00:00+00:00"}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(manifest))
    lines = []
    for step in range(1, STEPS + 1):
        mean, length = step / STEPS * random.random(), float(random.integers(20, 90))
        rewards = {f"reward_{name}{part}": mean for name in ("correct", "format") for part in ("", "_std")}
        lines.append({"step": step, "split": "train", "reward": mean, "loss": mean, "length": length} | rewards)
        if step % 5 == 0:
            lines.append({"step": step, "split": "validation", "pass@1": mean, "length": length, "truncated": 0.0})
    write_jsonl(folder / "metrics.jsonl", lines)
    validated = [{"id": f"p{number}", "correct": True} for number in range(64)]
    log_files.write_samples(validated, folder / "validation" / "step_000005.parquet")
    for step in (10, 20, 30):
        rows = sample_rows(BATCH // GROUP, GROUP, random)
        scores = random.standard_normal(len(rows)).tolist()
        logged = [
            {"step": step, "group": at // GROUP, "reward": score, "advantage": score, "advantage_before": score}
            | {"reward_correct": float(one["correct"]), "reward_format": score}
            for at, (one, score) in enumerate(zip(rows, scores, strict=True))
        ]
        rows = [one | more for one, more in zip(rows, logged, strict=True)]
        log_files.write_samples(rows, folder / "rollouts" / f"step_{step:06d}.parquet")


@contextmanager
def rooted(root: Path) -> Iterator[None]:
    """Paths that the kit reads begin here: 05_figures looks for runs below the repository."""
    before, files.ROOT = files.ROOT, root
    try:
        yield
    finally:
        files.ROOT = before


def runs(count: int, folder: Path) -> dict[str, float]:
    """More seeds of three arms in 05_figures, from the choice of the runs to the table."""
    root = folder / str(count)
    if not root.is_dir():
        for number in range(count):
            arm, seed = (*ARMS, "length")[number % 3], number // 3
            training_run(root / "runs" / "made" / f"{arm}-s{seed}", arm, seed)
    with rooted(root):
        return drawn_runs()


def drawn_runs() -> dict[str, float]:
    clock = Clock()
    chosen, _ = curves.newest_experiment("pass@1")
    clock("choice of runs")
    trained = curves.runs_that_logged(curves.load_runs(chosen), "pass@1")
    clock("read")
    values, apart = curves.logged_values(trained, "pass@1"), curves.differing_settings(trained, "pass@1")
    sentences = [*curves.describe_gaps(values), curves.settings_caption(apart), curves.validation_setting(trained)]
    clock("sentences")
    training_figures.trend(trained, note=" ".join(sentences)).png()
    training_figures.trend(trained, ["length"]).png()
    training_figures.trend(trained, curves.rewards_in(trained), "train").png()
    clock("figures")
    paid = logged_batches.load(trained)
    training_figures.trend(paid, logged_batches.shown(paid), logged_batches.SPLIT).png()
    logged_batches.sentences(paid)
    clock("rollouts")
    by_cluster, notes = tables.cluster_values(trained, {})
    tables.report(by_cluster, notes, seed=0)
    clock("tables")
    return clock.parts


def score(rows: int, folder: Path) -> dict[str, float]:
    """More rows of `lead score`, of which each problem has 64; answers repeat, so that checking them is cheap."""
    path = folder / f"{rows}.jsonl"
    if not path.is_file():
        made = (
            {"id": f"p{at // 64}", "answer": "0", "completion": f"it is \\boxed{{{at % ANSWERS}}}"}
            for at in range(rows)
        )
        write_jsonl(path, made)
    forget()
    clock = Clock()
    score_command(str(path))
    clock("lead score")
    return clock.parts


def step(folder: Path, *, rollouts: int, tokens: int, group: int, pack: int = 4096) -> dict[str, float]:
    """One batch of LeadTrainer on the embedded byte model: random rewards, every completion `tokens` tokens long.

    With `pack` 0 forwards have 64 rollouts, padded.
    """
    from datasets import Dataset

    from bench import small_trainer
    from lead_kit.data import arithmetic
    from lead_kit.models.chat import training_row

    sizes = {"batch_size": rollouts, "group_size": group, "updates_per_batch": 2, "steps": 1}
    sizes |= {"pack_tokens": pack, "micro_batch_size": rollouts if pack else 64}  # as 03_grpo: packs share one hand-on
    machine = {"max_completion_length": tokens}
    trainer = small_trainer.trainer(
        Path("tiny-bytes"), folder, estimator="grpo", rewards=("random",), machine=machine, **sizes
    )
    trainer.eos_token_ids = [-1]  # no token ends a completion
    problems = arithmetic.draw(rollouts // group, 7)
    rows = [training_row(problem, trainer.processing_class, "plain") for problem in problems]
    trainer.train_dataset = Dataset.from_list(rows)
    clock = Clock()
    trainer.train()
    clock("a batch")
    return clock.parts


def rollouts(size: int, folder: Path) -> dict[str, float]:
    return step(folder, rollouts=size, tokens=TOKENS, group=8)


def unpacked(size: int, folder: Path) -> dict[str, float]:
    return step(folder, rollouts=size, tokens=TOKENS, group=8, pack=0)


def tokens(size: int, folder: Path) -> dict[str, float]:
    return step(folder, rollouts=32, tokens=size, group=8)


def group(size: int, folder: Path) -> dict[str, float]:
    return step(folder, rollouts=ROLLOUTS, tokens=TOKENS, group=size)

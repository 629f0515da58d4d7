"""Callbacks of a trainer: validation at fixed steps, metrics and progress of each logged step, whole checkpoints."""

from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback

from lead_kit.models.engines import ENGINES
from lead_kit.models.sampler import Completion, GeneratedTokens, SamplingSettings, row_seed
from lead_kit.runs import checkpoints, log_files


def equal_part(records: list, index: int, processes: int) -> tuple[list, int]:
    """The records of one process, and how many of them are not filled up.

    Every process gets the same number, as TRL's vLLM server expects; the last ones are filled up with first records.
    """
    size = -(-len(records) // processes)
    part = records[index * size : (index + 1) * size]
    return part + records[: size - len(part)], len(part)


class Validation(TrainerCallback):
    """Samples `samples` completions of each record before the first step and every `every` rollout batches.

    A sample's seed depends on its problem and number only, so curves of different arms are paired. Writes
    validation/step_*.parquet and one line of metrics, with a pass@1 of each source where there are several. Set
    `trainer` once the trainer, which takes the callback, exists.
    """

    def __init__(
        self, records: list[dict], *, max_tokens: int, temperature: float, every: int, samples: int, seed: int
    ):
        self.records, self.sampling = records, SamplingSettings(max_tokens, temperature)
        self.every, self.samples, self.seed = every, samples, seed
        self.trainer = None

    def on_train_begin(self, args, state, control, **kwargs):
        if self.every and state.global_step == 0:
            self.measure()

    def on_step_end(self, args, state, control, **kwargs):
        step, rest = divmod(state.global_step, args.logging_steps)
        last = args.max_steps // args.logging_steps
        if self.every and not rest and (step % self.every == 0 or step == last):
            self.measure()

    def measure(self) -> None:
        """One pass over the held-out problems, split over the processes."""
        trainer, accelerator = self.trainer, self.trainer.accelerator
        mine, count = equal_part(self.records, accelerator.process_index, accelerator.num_processes)
        rows = gather_object(self.rows(mine)[: count * self.samples])
        step = trainer.batches_done
        if accelerator.is_main_process:
            log_files.write_samples(rows, trainer.run.path / "validation" / f"step_{step:06d}.parquet")
        columns = {"pass@1": "correct", "length": "length", "truncated": "truncated"}
        scores = {name: sum(row[column] for row in rows) / max(len(rows), 1) for name, column in columns.items()}
        sources = {record["id"]: record["source"] for record in self.records}
        for source in sorted({*sources.values()}) if len({*sources.values()}) > 1 else ():
            part = [row["correct"] for row in rows if sources[row["id"]] == source]
            scores[f"pass@1 {source}"] = sum(part) / max(len(part), 1)
        trainer.run.log(step=step, split="validation", **scores)
        trainer.run.progress(step, trainer.args.max_steps // trainer.args.logging_steps, **{"pass@1": scores["pass@1"]})

    def rows(self, records: list[dict]) -> list[dict]:
        """The ledger's rows of the samples of these records; the samples of a record stand together."""
        pairs = [(record, k) for record in records for k in range(self.samples)]
        sampled = self.sample(pairs)
        texts = self.trainer.processing_class.batch_decode([s.ids for s in sampled], skip_special_tokens=True)
        parts = zip(texts, sampled, pairs, strict=True)
        completions = [Completion(text, len(s.ids), s.truncated, record["thinking"]) for text, s, (record, _) in parts]
        verdicts = self.trainer.grader.verdicts([record for record, _ in pairs], completions)
        return [
            log_files.sample_row(record, k, completion, verdict)
            for (record, k), completion, verdict in zip(pairs, completions, verdicts, strict=True)
        ]

    def sample(self, pairs: list[tuple[dict, int]]) -> list[GeneratedTokens]:
        """The sample of each record and its number: in one call, or where an engine has one seed for all rows of a
        call, so that equal prompts would be answered alike, in one for each number."""
        calls = [range(self.samples)] if ENGINES[self.trainer.engine].seeds_rows else [[k] for k in range(self.samples)]
        by_place: dict[int, GeneratedTokens] = {}
        for numbers in calls:
            places = [place for place, (_, k) in enumerate(pairs) if k in numbers]
            ids = [pairs[place][0]["prompt_ids"] for place in places]
            seeds = [row_seed(self.seed, pairs[place][0]["id"], pairs[place][1]) for place in places]
            by_place |= zip(places, self.trainer.complete(ids, seeds, self.sampling), strict=True)
        return [by_place[place] for place in range(len(pairs))]


class LogMetrics(TrainerCallback):
    """Metrics and progress of a trainer that logs none itself, such as SFT's; a step is an optimiser update."""

    def __init__(self, run):
        self.run = run

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            numbers = {name: logs[name] for name in ("loss", "grad_norm", "learning_rate") if name in logs}
            self.run.log(step=state.global_step, split="train", **numbers)
            self.run.progress(state.global_step, state.max_steps, loss=logs["loss"])


class SealCheckpoint(TrainerCallback):
    """Seals each checkpoint once every process has written its part."""

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            checkpoints.mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")

"""Rows for supervised fine-tuning: a problem and its worked solution as tokens, and which of them carry the loss."""

import math
from pathlib import Path
from random import Random

from datasets import Dataset
from trl import pack_dataset

from lead_kit.data import prompts
from lead_kit.data.load import load_problems
from lead_kit.errors import InputError, lookup
from lead_kit.models import chat
from lead_kit.runs import log_files

IGNORED = -100  # label of a token that carries no loss
LOSS_ON = dict.fromkeys(("completion", "all"))  # tokens of a row that carry loss; all: the prompt's too
_TOO_LONG = dict.fromkeys(("drop", "truncate"))  # what becomes of a row above max_length


def read_solutions(run, path: Path, rollouts_per_problem: int, notes: list[str]) -> list[dict]:
    """Records with a solution, which `run` reads from a data file or from another run's folder.

    Of a run, the right rollouts that it logged are the solutions (RFT, rejection-sampling fine-tuning, 2308.01825): for
    each problem at most `rollouts_per_problem` different ones that were not cut off, the shortest first. `notes` gets
    sentences on what was read. Raises InputError where none is right.
    """
    if not log_files.has_rollouts(path):
        return load_problems(run.input(path), need_gold=False, notes=notes)
    run.input(path / "rollouts")
    frame = log_files.read_rollouts(path)
    right = frame[frame["correct"] & ~frame["truncated"]].drop_duplicates(["problem", "completion"])
    best = right.sort_values("length", kind="stable").groupby("problem").head(max(rollouts_per_problem, 0))
    if best.empty:
        raise InputError(f"of {len(frame)} rollouts in {path}, none is right and whole: there is nothing to imitate")
    notes.append(f"{len(best)} right rollouts of {best['problem'].nunique()} problems, of {len(frame)} logged")
    return best.rename(columns={"completion": "solution"})[["id", "problem", "gold", "solution"]].to_dict("records")


def tokenise_solutions(
    records: list[dict], tokenizer, template: str, max_length: int | None, too_long="drop", loss_on="completion"
) -> tuple[list[dict], dict[str, int]]:
    """Rows {input_ids, labels, length} of the records {problem, solution}, and how many were "dropped" or "shortened".

    Those longer than max_length are dropped, or with `truncate` cut to max_length tokens, so that they have no end
    token (GRPO_reflection's LoRA script). A row whose prompt alone fills max_length is dropped either way. None: no row
    is too long.
    The prompt is the problem in `template` and the chat template; the completion is the solution and the end token.
    The completion has a loss; with `loss_on` "all" the prompt does too, as in GRPO_reflection. Raises InputError for a
    record without a solution, one with a special token in its text, and a tokenizer without an end token.
    """
    lookup(_TOO_LONG, too_long, "too_long")
    lookup(LOSS_ON, loss_on, "loss_on")
    if tokenizer.eos_token_id is None:
        raise InputError(prompts.NO_END)
    rows, counts, refitted = [], {"dropped": 0, "shortened": 0}, 0
    for record in records:
        if not record.get("solution"):
            raise InputError(f"record {record['id']} has no solution: SFT needs a worked solution in every row")
        prompts.refuse_special_tokens(tokenizer, record["solution"])
        prompt, thinking = chat.chat_prompt(tokenizer, template, record["problem"], record.get("target_tokens"))
        solution = chat.fit_thought(record["solution"], thinking)
        refitted += solution != record["solution"]
        completion = tokenizer(solution, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        if max_length and len(prompt) + len(completion) > max_length:
            drop = too_long == "drop" or len(prompt) >= max_length
            counts["dropped" if drop else "shortened"] += 1
            if drop:
                continue
            completion = completion[: max_length - len(prompt)]
        ids = prompt + completion
        labels = ids if loss_on == "all" else [IGNORED] * len(prompt) + completion
        rows.append({"input_ids": ids, "labels": labels, "length": len(ids)})
    if refitted:
        opened = "opens" if thinking else "does not open"
        print(f"the chat template {opened} a thought: <think> or </think> was changed in {refitted} solutions")
    if not rows:
        raise InputError(f"max_length is {max_length}, but every one of the {len(records)} solutions is longer")
    return rows, counts


def pack_solutions(rows: list[dict], max_length: int, packing: str, seed: int) -> Dataset:
    """Rows of up to max_length tokens {input_ids, labels} with several solutions each, by TRL.

    `bfd` keeps solutions whole and apart; `wrapped` cuts one stream of all solutions, in random order, into rows that
    attend across solutions, as TRL did up to 0.15 (GRPO_reflection).
    """
    separate = Dataset.from_list([{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows])
    return pack_dataset(separate.shuffle(seed=seed), max_length, packing)


def updates(rows: int, batch_size: int, epochs: float) -> int:
    """The optimiser updates of `epochs` passes over so many rows, the last batch filled. InputError for epochs < 0."""
    if epochs < 0:
        raise InputError(f"epochs is {epochs:g}, expected 0 (as many updates as steps) or more")
    return math.ceil(round(rows * epochs / batch_size, 6))


def bucket_by_length(rows: list[dict], batch_size: int, steps: int, seed: int) -> list[dict]:
    """Exactly steps × batch_size rows in batches of similar length, the batches in random order.

    Rows are drawn epoch by epoch and sorted by length within every 50 batches, which halves the padding.
    """
    rng, needed, window = Random(seed), steps * batch_size, 50 * batch_size
    drawn: list[dict] = []
    while len(drawn) < needed:
        drawn += rng.sample(rows, len(rows))
    ordered: list[dict] = []
    for start in range(0, needed, window):
        part = sorted(drawn[start : min(start + window, needed)], key=lambda row: row["length"])
        batches = [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        rng.shuffle(batches)
        ordered += [row for batch in batches for row in batch]
    return ordered

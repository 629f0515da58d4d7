"""Padded against packed scoring, forward and backward, on the lengths of recorded rollouts; both in one run.

    python -m bench.packing --rollouts runs/03_grpo/rollouts/step_000010.parquet

Lengths come from the column `length`, or from `completion` at four characters a token, shrunk so that the longest is
--longest. A random Llama of the given size; on a CUDA device by default where there is one. With --attention
flash_attention_2 (or a kernel of kernels-community) packs go through a variable-length kernel; with sdpa each pack has
a dense block-diagonal mask, so --budget should be a few sequences.
"""

import argparse
import time
from statistics import median
from typing import NamedTuple

import pandas
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.table import Row, show
from lead_kit.runs.find import run_notebook_if_missing
from lead_kit.train.packing import packed_logps

PROMPT, VOCABULARY = 32, 4096


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", default="", help="parquet with a column length or completion; else 03_grpo's own")
    parser.add_argument("--rows", type=int, default=32, help="rollouts in the batch")
    parser.add_argument("--micro", type=int, default=8, help="rollouts in a padded forward")
    parser.add_argument("--longest", type=int, default=512, help="tokens of the longest completion drawn")
    parser.add_argument("--budget", type=int, default=1024, help="tokens in a pack")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(given)


def drawn_lengths(path: str, rows: int, longest: int, seed: int) -> list[int]:
    """Completion lengths in tokens of `rows` recorded rollouts, in their recorded proportions."""
    frame = pandas.read_parquet(path).sample(rows, random_state=seed)
    tokens = frame["length"] if "length" in frame else frame["completion"].str.len() / 4
    return (tokens * longest / tokens.max()).round().clip(lower=1).astype(int).tolist()


def rollouts(lengths: list[int], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random token ids (rows, width) with prompts of equal length, and their mask."""
    mask = (torch.arange(PROMPT + max(lengths)) < PROMPT + torch.tensor(lengths)[:, None]).long()
    return (torch.randint(1, VOCABULARY, mask.shape) * mask).to(device), mask.to(device)


def padded_logps(model, ids, mask, keep: int) -> torch.Tensor:
    """(rows, keep): the ordinary forward, logits of the completion only."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep + 1).logits[:, :-1]
    chosen = logits.float().log_softmax(-1).gather(2, ids[:, -keep:, None]).squeeze(2)
    return chosen * mask[:, -keep:]


def step(score, model) -> torch.Tensor:
    """One forward and backward over all parts; the log-probabilities, for the comparison."""
    model.zero_grad()
    parts = []
    for logps in score():
        logps.sum().backward()
        parts.append(logps.detach())
    return torch.cat(parts)


def seconds(score, model, device: str, repeats: int) -> float:
    """Median wall time of a step after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        step(score, model)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[1:])


class Compared(NamedTuple):
    """Seconds of a step by padding and by packing, and the largest difference of a log-probability in nats."""

    padded: float
    packed: float
    apart: float
    tokens: int
    share: float  # of the padded rectangle


def compare(lengths: list[int], options) -> Compared:
    """Both on rollouts of these lengths; `options` has the fields of `arguments` from micro to repeats."""
    ids, mask = rollouts(lengths, options.device)
    keep = max(lengths)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=options.hidden,
        intermediate_size=3 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        attn_implementation=options.attention,
    )
    model = LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype))

    def padded():
        for i, m in zip(ids.split(options.micro), mask.split(options.micro), strict=True):
            width = int(m.sum(1).max())  # as TRL does, cut to the longest of the micro-batch
            logps = padded_logps(model, i[:, :width], m[:, :width], width - PROMPT)
            yield torch.nn.functional.pad(logps, (0, keep - logps.shape[1]))

    def packed():
        yield packed_logps(model, ids, mask, keep, 1.0, options.budget)[0]

    apart = (step(padded, model) - step(packed, model)).abs().max().item()
    by_padding, by_packing = (seconds(s, model, options.device, options.repeats) for s in (padded, packed))
    return Compared(by_padding, by_packing, apart, int(mask.sum()), int(mask.sum()) / mask.numel())


def measure(options) -> list[Row]:
    torch.manual_seed(options.seed)
    recorded = options.rollouts or max(run_notebook_if_missing("runs/03_grpo/rollouts").glob("*.parquet"))
    found = compare(drawn_lengths(recorded, options.rows, options.longest, options.seed), options)
    times = f"{found.padded:.3f} and {found.packed:.3f} s"
    told = f"{found.padded / found.packed:.2f} ({times}; {found.share:.0%} of the rectangle, apart {found.apart:.0e})"
    return [Row(f"padded / packed, {options.rows} rollouts, {found.tokens:,} tokens", told)]


def rows() -> list[Row]:
    return measure(arguments(["--repeats", "3"]))


if __name__ == "__main__":
    raise SystemExit(show(measure(arguments())))

"""Tokens per second of the kit's sampler beside a plain `model.generate` loop: same model, prompts and batch, one run.

    python -m bench.sampler --model runs/02_sft/model

The bar is 2×: rows that have finished must stop costing. Both sample at temperature 1; tokens are counted up to and
with the end token. The two take turns, and the ratio is of each pair.
"""

import argparse
import time
from statistics import median

import torch

from bench.table import Row, judged, show
from lead_kit.data import arithmetic
from lead_kit.models import chat, sampler
from lead_kit.models.loading import load_model

BAR = 2.0


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="embedded model, folder or hub id")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128, help="rows a forward")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(given)


def ours(model, tokenizer, prompts, options) -> int:
    sampled = sampler.generate(
        model,
        prompts,
        list(range(len(prompts))),
        sampler.SamplingSettings(options.max_tokens),
        eos=[tokenizer.eos_token_id],
        pad=tokenizer.pad_token_id,
        batch_size=options.batch,
    )
    return sum(len(one.ids) for one in sampled)


@torch.inference_mode()
def plain(model, tokenizer, prompts, options) -> int:
    tokens = 0
    for start in range(0, len(prompts), options.batch):
        rows = prompts[start : start + options.batch]
        batch = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt").to(model.device)
        out = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=options.max_tokens)
        new = out[:, batch["input_ids"].shape[1] :]
        ended = new == tokenizer.eos_token_id
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, new.shape[1])
        tokens += int(lengths.sum())
    return tokens


def rate(side, *inputs) -> float:
    start = time.perf_counter()
    return side(*inputs) / (time.perf_counter() - start)


def measure(options) -> list[Row]:
    """The median rates of both sides, and the median of their ratios pair by pair."""
    torch.manual_seed(0)
    model, tokenizer = load_model(options.model)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    records = arithmetic.draw(options.prompts, seed=0)
    prompts = [chat.chat_prompt(tokenizer, "plain", record["problem"]).ids for record in records]
    rate(ours, model, tokenizer, prompts[: options.batch], options)
    pairs = [
        (rate(ours, model, tokenizer, prompts, options), rate(plain, model, tokenizer, prompts, options))
        for _ in range(options.repeats)
    ]
    kit, peer = (median(column) for column in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    name = f"sampler / model.generate, {options.prompts} prompts"
    return [judged(name, f"{ratio:.2f} ({kit:,.0f} and {peer:,.0f} tokens/s)", f"≥ {BAR:g}", ratio >= BAR)]


def rows() -> list[Row]:
    return measure(arguments([]))


def main() -> int:
    options = arguments()
    found = measure(options)
    print(f"{options.batch} rows a forward, up to {options.max_tokens} tokens, {options.repeats} pairs")
    return show(found)


if __name__ == "__main__":
    raise SystemExit(main())

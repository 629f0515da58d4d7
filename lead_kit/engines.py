"""Where completions come from: a model in this process, vLLM in this process, or a server.

An engine's `sample(requests)` yields (request, Answer) as completions are ready, in any order. A request carries the
record, the sample's number and its seed, so that what is sampled does not depend on the order of the requests.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from lead_kit import models, prompts, sample
from lead_kit.params import chosen


class Request(NamedTuple):
    """One completion to be sampled."""

    record: dict
    sample: int
    seed: int


class Answer(NamedTuple):
    """One completion as text; `tokens` counts what was generated, `finished` is False at the token limit."""

    text: str
    tokens: int
    finished: bool


class Local:
    """A transformers model in this process, by the kit's sampler: rows that have finished stop costing."""

    def __init__(
        self,
        model,
        tokenizer,
        template: str,
        *,
        max_tokens: int,
        temperature: float,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        batch_size: int = 256,
    ):
        self.model, self.tokenizer, self.template, self.batch_size = model, tokenizer, template, batch_size
        self.settings = dict(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        self._ids: dict[str, list[int]] = {}

    def prompt_ids(self, record: dict) -> list[int]:
        """Token ids of the record's problem in the template's chat form, ready for the assistant's turn."""
        if record["id"] not in self._ids:
            self._ids[record["id"]] = prompt_ids(self.tokenizer, self.template, record["problem"])
        return self._ids[record["id"]]

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Answer]]:
        self.model.eval()
        ordered = sorted(requests, key=lambda r: len(self.prompt_ids(r.record)))
        for start in range(0, len(ordered), self.batch_size):
            part = ordered[start : start + self.batch_size]
            sampled = sample.generate(
                self.model,
                [self.prompt_ids(r.record) for r in part],
                [r.seed for r in part],
                eos=end_tokens(self.model, self.tokenizer),
                pad=self.tokenizer.pad_token_id,
                batch_size=self.batch_size,
                **self.settings,
            )
            texts = self.tokenizer.batch_decode([s.ids for s in sampled], skip_special_tokens=True)
            for request, text, s in zip(part, texts, sampled, strict=True):
                yield request, Answer(text, len(s.ids), s.finished)


def opened(engine: str, model: str, settings, config: dict):
    """The engine `engine` for a model (folder or name) with a benchmark's settings.

    `config` holds dtype, batch_size, server and concurrency. Raises InputError for an unknown engine.
    """
    return chosen(ENGINES, engine, "engine")(model, settings, config)


def open_transformers(model: str, settings, config: dict) -> Local:
    policy, tokenizer = models.load(model, dtype=config["dtype"])
    if torch.cuda.is_available():
        policy = policy.to("cuda")
    cuts = settings._asdict()
    cuts.pop("n")
    return Local(policy, tokenizer, cuts.pop("template"), batch_size=config["batch_size"], **cuts)


def prompt_ids(tokenizer, template: str, problem: str) -> list[int]:
    """Token ids of a problem as the user's turn, ready for the assistant's."""
    text = tokenizer.apply_chat_template(
        prompts.messages(template, problem), add_generation_prompt=True, tokenize=False
    )
    return tokenizer(text, add_special_tokens=False).input_ids


def prompted(record: dict, tokenizer, template: str) -> dict:
    """The record as a trainer's row: prompt as chat messages and as token ids."""
    kept = {name: record[name] for name in ("id", "problem", "answer", "level")}
    messages = prompts.messages(template, record["problem"])
    return kept | {"prompt": messages, "prompt_ids": prompt_ids(tokenizer, template, record["problem"])}


def end_tokens(model, tokenizer) -> list[int]:
    """Every token that ends a completion: the tokenizer's and those of the model's generation settings."""
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [] if named is None else [named]
    return sorted({tokenizer.eos_token_id, *several})


ENGINES = {"transformers": open_transformers}

"""Problems as prompts in a model's chat template."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lead_kit.data import prompts
from lead_kit.models.sampler import Request

_OPEN_THOUGHT = re.compile(r"<think>\s*\Z")


class _Prompt(NamedTuple):
    """A problem as the user's turn, up to the start of the assistant's turn."""

    ids: list[int]
    thinking: bool  # the chat template ends in <think>: the completion begins inside a thought


class Chat:
    """The prompts of records in the tokenizer's chat template; each is tokenised once."""

    def __init__(self, tokenizer, template: str):
        self.tokenizer, self.template = tokenizer, template
        self._prompts: dict[str, _Prompt] = {}

    def prompt(self, record: dict) -> _Prompt:
        if record["id"] not in self._prompts:
            self._prompts[record["id"]] = chat_prompt(self.tokenizer, self.template, record["problem"])
        return self._prompts[record["id"]]

    def ids(self, record: dict) -> list[int]:
        return self.prompt(record).ids

    def parts(self, requests: list[Request], size: int) -> Iterator[list[Request]]:
        """The requests sorted by prompt length, `size` at a time."""
        ordered = sorted(requests, key=lambda request: len(self.ids(request.record)))
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]


def chat_prompt(tokenizer, template: str, problem: str) -> _Prompt:
    """The prompt of a problem in the tokenizer's chat template."""
    messages = prompts.messages(template, problem)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return _Prompt(tokenizer(text, add_special_tokens=False).input_ids, _OPEN_THOUGHT.search(text) is not None)


def token_counter(tokenizer, template: str, counted: str) -> Callable[[str], int]:
    """The number of tokens of a problem: of its prompt, or with `counted` "problem" of its text alone (cs2916)."""
    if counted == "problem":
        return lambda problem: len(tokenizer(problem).input_ids)
    return lambda problem: len(chat_prompt(tokenizer, template, problem).ids)


def training_row(record: dict, tokenizer, template: str) -> dict:
    """The record as a trainer's row, with its prompt as chat messages and as token ids."""
    kept = {name: record[name] for name in ("id", "problem", "gold", "level")} | {"source": record.get("source", "")}
    ids, thinking = chat_prompt(tokenizer, template, record["problem"])
    messages = prompts.messages(template, record["problem"])
    return kept | {"prompt": messages, "prompt_ids": ids, "thinking": thinking}


def end_tokens(model, tokenizer) -> list[int]:
    """The tokens that end a completion: the tokenizer's and those of the model's generation settings."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({tokenizer.eos_token_id, *configured} - {None})

"""Problems as prompts in the form of a model's chat template."""

from collections.abc import Iterator

from lead_kit.data import prompts
from lead_kit.models.sampler import Request


class Chat:
    """Records as token ids in the tokenizer's chat form, ready for the assistant's turn; each is made once."""

    def __init__(self, tokenizer, template: str):
        self.tokenizer, self.template = tokenizer, template
        self._ids: dict[str, list[int]] = {}

    def ids(self, record: dict) -> list[int]:
        if record["id"] not in self._ids:
            self._ids[record["id"]] = prompt_ids(self.tokenizer, self.template, record["problem"])
        return self._ids[record["id"]]

    def parts(self, requests: list[Request], size: int) -> Iterator[list[Request]]:
        """The requests by length of their prompt, `size` at a time."""
        ordered = sorted(requests, key=lambda request: len(self.ids(request.record)))
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]


def prompt_ids(tokenizer, template: str, problem: str) -> list[int]:
    """Token ids of a problem as the user's turn, ready for the assistant's."""
    text = tokenizer.apply_chat_template(
        prompts.messages(template, problem), add_generation_prompt=True, tokenize=False
    )
    return tokenizer(text, add_special_tokens=False).input_ids


def prompted(record: dict, tokenizer, template: str) -> dict:
    """The record as a trainer's row: prompt as chat messages and as token ids."""
    kept = {name: record[name] for name in ("id", "problem", "gold", "level")}
    messages = prompts.messages(template, record["problem"])
    return kept | {"prompt": messages, "prompt_ids": prompt_ids(tokenizer, template, record["problem"])}


def end_tokens(model, tokenizer) -> list[int]:
    """Every token that ends a completion: the tokenizer's and those of the model's generation settings."""
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [] if named is None else [named]
    return sorted({tokenizer.eos_token_id, *several})

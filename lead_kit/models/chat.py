"""Problems as prompts in a model's chat template."""

from collections.abc import Iterator

from lead_kit.data import prompts
from lead_kit.models.sampler import Request


class Chat:
    """The prompts of records as token ids in the tokenizer's chat template; each is tokenised once."""

    def __init__(self, tokenizer, template: str):
        self.tokenizer, self.template = tokenizer, template
        self._ids: dict[str, list[int]] = {}

    def ids(self, record: dict) -> list[int]:
        if record["id"] not in self._ids:
            self._ids[record["id"]] = prompt_ids(self.tokenizer, self.template, record["problem"])
        return self._ids[record["id"]]

    def parts(self, requests: list[Request], size: int) -> Iterator[list[Request]]:
        """The requests sorted by prompt length, `size` at a time."""
        ordered = sorted(requests, key=lambda request: len(self.ids(request.record)))
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]


def prompt_ids(tokenizer, template: str, problem: str) -> list[int]:
    """Token ids of a problem as the user's turn, up to the start of the assistant's turn."""
    messages = prompts.messages(template, problem)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(text, add_special_tokens=False).input_ids


def prompted(record: dict, tokenizer, template: str) -> dict:
    """The record as a trainer's row, with its prompt as chat messages and as token ids."""
    kept = {name: record[name] for name in ("id", "problem", "gold", "level")}
    messages = prompts.messages(template, record["problem"])
    return kept | {"prompt": messages, "prompt_ids": prompt_ids(tokenizer, template, record["problem"])}


def end_tokens(model, tokenizer) -> list[int]:
    """The tokens that end a completion: the tokenizer's and those of the model's generation settings."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({tokenizer.eos_token_id, *configured} - {None})

"""Problems as prompts in a model's chat template."""

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jinja2 import TemplateError

from lead_kit.data import prompts
from lead_kit.errors import InputError
from lead_kit.models.sampler import Request
from lead_kit.runs.files import resolve

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
            asked = (self.template, record["problem"], record.get("target_tokens"))
            self._prompts[record["id"]] = chat_prompt(self.tokenizer, *asked)
        return self._prompts[record["id"]]

    def ids(self, record: dict) -> list[int]:
        return self.prompt(record).ids

    def parts(self, requests: list[Request], size: int) -> Iterator[list[Request]]:
        """The requests sorted by prompt length, `size` at a time."""
        ordered = sorted(requests, key=lambda request: len(self.ids(request.record)))
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]


CHAT_TEMPLATES = {
    "chatml": "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "plain": "{% for message in messages %}{{ message.content }}\n{% endfor %}",  # of base models: the texts alone
}


def set_chat_template(tokenizer, chat_template: str, variables: list[str]) -> None:
    """Gives the tokenizer a chat template, by its name in CHAT_TEMPLATES or by file; an empty one keeps its own.

    `variables` are values of the template's own variables, such as "enable_thinking=false". They become part of the
    template, and both are saved with the tokenizer. Raises InputError for an unknown name, for a text that is no
    `name=value`, and where the tokenizer then has no template.
    """
    if chat_template:
        file = resolve(chat_template)
        known = file.read_text(encoding="utf-8") if file.is_file() else CHAT_TEMPLATES.get(chat_template)
        if known is None:
            names = ", ".join(CHAT_TEMPLATES)
            raise InputError(f"chat_template is {chat_template!r}, expected {names} or a file with a Jinja template")
        tokenizer.chat_template = known
    for variable in variables:
        name, equals, text = variable.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"template_variables has {variable!r}, expected a text such as 'enable_thinking=false'")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        tokenizer.chat_template = f"{{%- set {name} = {json.dumps(value)} -%}}{_require_template(tokenizer)}"
    _require_template(tokenizer)


def _require_template(tokenizer) -> str:
    """The text of the tokenizer's chat template, of several the default. Raises InputError where there is none."""
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if tokenizer.chat_template is None:
        names = ", ".join(CHAT_TEMPLATES)
        raise InputError(f"the model's tokenizer has no chat template: set chat_template to {names} or a file")
    return tokenizer.chat_template


def _rendered(tokenizer, messages: list[dict]) -> str:
    """The messages in the chat template. One that refuses a system turn gets it in front of the user's text."""
    _require_template(tokenizer)
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        if messages[0]["role"] != "system":
            raise InputError(f"the chat template refuses a prompt: {error}") from None
        system, user, *later = messages
        joined = {"role": user["role"], "content": f"{system['content']}\n\n{user['content']}"}
        return _rendered(tokenizer, [joined, *later])


def fit_thought(solution: str, thinking: bool) -> str:
    """A solution whose <think> and </think> fit a prompt that has (`thinking`) or has not opened a thought.

    A thought that the prompt has opened is not opened again; a solution without </think> closes it first. A thought
    that only the solution closes is opened by it.

    >>> fit_thought("<think>a</think>b", thinking=True), fit_thought("a</think>b", thinking=False)
    ('a</think>b', '<think>a</think>b')
    """
    if thinking:
        solution = solution.removeprefix("<think>")
        return solution if "</think>" in solution else f"\n</think>\n\n{solution}"
    closed, opened = solution.find("</think>"), solution.find("<think>")
    return f"<think>{solution}" if closed >= 0 and not 0 <= opened < closed else solution


def chat_prompt(tokenizer, template: str, problem: str, target_tokens: float | None = None) -> _Prompt:
    """The prompt of a problem in the tokenizer's chat template. Raises InputError for special tokens in the problem."""
    prompts.refuse_special_tokens(tokenizer, problem)
    text = _rendered(tokenizer, prompts.messages(template, problem, target_tokens))
    return _Prompt(tokenizer(text, add_special_tokens=False).input_ids, _OPEN_THOUGHT.search(text) is not None)


def token_counter(tokenizer, template: str, counted: str) -> Callable[[str], int]:
    """The number of tokens of a problem: of its prompt, or with `counted` "problem" of its text alone (cs2916)."""
    if counted == "problem":
        return lambda problem: len(tokenizer(problem).input_ids)
    return lambda problem: len(chat_prompt(tokenizer, template, problem).ids)


def training_row(record: dict, tokenizer, template: str) -> dict:
    """The record as a trainer's row, with its prompt as chat messages and as token ids.

    Every row has the same columns, so that a table holds them: "golds" lists the gold answers, and "others" is JSON of
    the record's other columns, which a reward reads in `rollout.record`. Raises InputError without an end token.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(prompts.NO_END)
    kept = {name: record[name] for name in ("id", "problem", "gold", "level")} | {"source": record.get("source", "")}
    others = {name: value for name, value in record.items() if name not in (*kept, "golds")}
    kept |= {"golds": record.get("golds") or [record["gold"]], "others": json.dumps(others, default=str)}
    asked = (template, record["problem"], record.get("target_tokens"))
    ids, thinking = chat_prompt(tokenizer, *asked)
    messages = prompts.messages(*asked)
    return kept | {"prompt": messages, "prompt_ids": ids, "thinking": thinking}


def end_tokens(model, tokenizer) -> list[int]:
    """The tokens that end a completion: the tokenizer's and those of the model's generation settings."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({tokenizer.eos_token_id, *configured} - {None})

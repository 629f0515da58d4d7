"""The prompt templates of the four systems.

A template has a system text, which may be empty, and a user text, in which ``{problem}`` stands for the problem. The
model's chat template turns the messages into one string.
"""

import functools
from typing import NamedTuple

from lead_kit.errors import InputError, lookup, shorten

NO_END = "the tokenizer has no end token, so no completion could end: set eos_token in its tokenizer_config.json"
_THOUGHT_TAGS = ("<think>", "</think>")  # special tokens of some models that a worked solution does contain


class _Template(NamedTuple):
    """The texts of the system and the user turn; `user` contains ``{problem}`` once."""

    system: str
    user: str


_BOXED = "put your final answer within \\boxed{}."
# GRPO_reflection asks for an inner monologue, four named habits and two pairs of tags; the wording is ours.
_REFLECTION = (
    "You solve problems by thinking aloud to yourself before you answer. While you think, keep four habits: verify "
    "your work and look for errors; backtrack as soon as an approach fails and try another; set sub-goals that split "
    "the problem into smaller ones; and reason backward from the outcome you want to what it requires. Write all of "
    "this thinking between <think> and </think>, and after it only the answer between <answer> and </answer>."
)
_LAST_LINE = (
    "Solve this problem clearly and without detours. Think step by step first. End with one line that says that the "
    "final answer is $\\boxed{ANSWER}$, where ANSWER is only the number or expression asked for.\n\n{problem}"
)
_MULTIPLE_CHOICE = (
    "{problem}\n\nExactly one of the options above is right. Think step by step, and end with the letter of that "
    "option within \\boxed{}."
)


def named_template(template: str) -> _Template:
    """The template of that name; a text that holds ``{problem}`` is itself the user turn, and what stands above a line
    ``---`` in it the system turn. Raises InputError."""
    if "{problem}" not in template:
        return lookup(PROMPTS, template, "template")
    system, _, user = template.rpartition("\n---\n")
    return _Template(system, user)


def messages(template: str, problem: str, target_tokens: float | None = None) -> list[dict]:
    """The chat messages for `problem` with a template, as `named_template` reads it.

    ``{target_tokens}`` in a template stands for the problem's target length (L1, 2503.04697). Raises InputError for
    such a template without one.

    >>> messages("Solve {problem}.", "1 + 1 = x")
    [{'role': 'user', 'content': 'Solve 1 + 1 = x.'}]
    """
    system, user = named_template(template)
    if "{target_tokens}" in user:
        if target_tokens is None:
            raise InputError(f"the template has {{target_tokens}}, but {shorten(problem)!r} has no such column")
        user = user.replace("{target_tokens}", f"{target_tokens:.0f}")
    # replace, not format: templates and problems contain braces
    turns = [{"role": "user", "content": user.replace("{problem}", problem, 1)}]
    return [{"role": "system", "content": system}, *turns] if system else turns


@functools.lru_cache(maxsize=4)
def _special_tokens(tokenizer) -> tuple[str, ...]:
    """The texts that the tokenizer reads as special tokens wherever they stand."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    special = {*added, *tokenizer.all_special_tokens} - {*_THOUGHT_TAGS}
    return tuple(token for token in special if len(token) > 2)  # some tokenizers pad with "!"


def refuse_special_tokens(tokenizer, text: str) -> None:
    """Raises InputError for a text of a data set that has a special token, such as one that ends a turn, typed in."""
    if typed := [token for token in _special_tokens(tokenizer) if token in text]:
        start = shorten(text[max(0, text.index(typed[0]) - 40) :])
        raise InputError(
            f"{start!r} has {typed[0]!r}, which the tokenizer reads as a special token: edit or drop the row"
        )


PROMPTS = {
    # the embedded task: its tokenizer knows no English
    "plain": _Template("", "{problem}"),
    # GRPO-LEAD, released code (data preprocessing): user turn only
    "grpo_lead": _Template("", "{problem}\nLet's think step by step and put the final answer within \\boxed{}"),
    # Qwen2.5-Math's own system prompt; cs2916 hw1 and the clip-higher runs train on it
    "qwen_math": _Template("Please reason step by step, and " + _BOXED, "{problem}"),
    # GRPO_reflection: inner monologue and four habits, in <think> and <answer>
    "reflection": _Template(_REFLECTION, "{problem}"),
    # the same with a box, in which the kit's verifier finds the answer
    "reflection_boxed": _Template(_REFLECTION + " Put the final result within \\boxed{}.", "{problem}"),
    # RLite asks for "####", but its checker reads only \boxed{}; kept to show what that costs; the wording is ours
    "rlite": _Template("", "{problem}\nThink step by step, then write the final answer after ####"),
    "rlite_boxed": _Template("", "{problem}\nThink step by step, then " + _BOXED),
    # GRPO_reflection in evaluation (lighteval's own tasks): a last line with the boxed answer; the wording is ours
    "last_line": _Template("", _LAST_LINE),
    # GPQA: the problem's text includes the options, in the seeded order of data.load
    "multiple_choice": _Template("", _MULTIPLE_CHOICE),
}
PROMPT_PARTS = dict.fromkeys(("prompt", "problem"))  # what a limit on prompts counts

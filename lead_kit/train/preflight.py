"""What can be known before a run: does an answer in the form that the prompt asks for earn its rewards, does it fit?

Each check gives an Item: ok, look (a person should read the sentence) or stop (the run cannot do what it is for). All
of them together take a fraction of a second. `prechecks` looks at a batch of rollouts in the same way.
"""

from typing import NamedTuple

from lead_kit.data import clean, near_duplicates, prompts
from lead_kit.errors import InputError, lookup
from lead_kit.safe_text import safe_line

_MODES = dict.fromkeys(("refuse", "warn", "only"))  # of the parameter `preflight`
OK, LOOK, STOP = "ok", "look", "stop"
_FORMATS = ("format", "format_boxed", "format_only")  # rewards for a form that a prompt can ask for
_PROBLEMS = 16  # problems whose promised answers are graded
MANY_LEAKS = 0.05  # share of held-out problems in training from which a validation says little


class Item(NamedTuple):
    """One check: its name, its verdict (ok, look or stop), and a sentence."""

    name: str
    verdict: str
    sentence: str


def _ideal_completion(template: str, gold: str, thinking: bool = False, close_thought: bool = False) -> str:
    """A completion with the gold answer in the form that a prompt template asks for.

    `thinking`: the chat template has already opened <think>. `close_thought`: a thought must end with </think> even if
    the prompt does not ask for one. Where a prompt names no form, the answer is boxed.
    """
    system, user = prompts.named_template(template)
    asked = f"{system} {user}"
    answer = f"\n\\boxed{{{gold}}}"  # the line break belongs to the box in the embedded tokenizers
    if "####" in asked:
        answer = f"\n#### {gold}"
    if "<answer>" in asked:
        answer = f"<answer>{answer.strip() if 'boxed' in asked else gold}</answer>"
    if "<think>" in asked or thinking or close_thought:
        inside = "" if "<think>" in asked else answer
        opened = "<think>\n" if "<think>" in asked and not thinking else ""
        return f"{opened}{inside}\n</think>\n{answer}"
    return answer


def check_setup(problems: list[dict], held_out: list[dict], tokenizer, model, grader, settings: dict) -> list[Item]:
    """The items of a run. `problems` and `held_out` are trainer's rows (`chat.training_row`).

    `grader` is the Grader; `settings` has template, reward_weights and max_tokens, as the notebook names them.
    """
    rewards, weights = list(grader.reward_table), settings["reward_weights"]
    if len(rewards) != len(weights):
        raise InputError(
            f"reward_weights has {len(weights)} numbers for the {len(rewards)} rewards {', '.join(rewards)}"
        )
    thinking = problems[0]["thinking"]
    rollouts = grade_ideal_answers(problems, tokenizer, grader, settings["template"])
    paid = {name: grader.reward_table[name] for name, weight in zip(rewards, weights, strict=True) if weight}
    return [
        check_golds([row for row in problems + held_out if "gold" in row]),
        check_ideal_answer(rollouts, settings["template"], thinking, "correct" in paid),
        *_check_format_rewards(rollouts, paid, thinking),
        _check_context(problems + held_out, model, settings["max_tokens"]),
        check_exact_leaks(problems, held_out),
    ]


def check_golds(rows: list[dict]) -> Item:
    """Whether the verifier can grade each gold answer against itself."""
    faults = clean.lint_golds(rows)
    if not faults:
        return Item("golds", OK, f"all {len(rows):,} gold answers can be graded")
    first = ", ".join(safe_line(text) for text in faults[0][:2])
    many = f"{len(faults):,} of {len(rows):,} gold answers cannot be graded, so they could earn no reward"
    return Item("golds", STOP, f"{many}, e.g. {first} ({safe_line(faults[0].reason)})")


def grade_ideal_answers(problems: list[dict], tokenizer, grader, template: str) -> list:
    """The rollouts of promised answers to some problems, through tokenizer, extraction and verifier."""
    step = max(1, len(problems) // _PROBLEMS)
    records = list({record["gold"]: record for record in problems[::step]}.values())[:_PROBLEMS]
    close = bool(grader.end_marker) or grader.answer_region == "before_think"
    completions, ends = [], [tokenizer.eos_token_id]
    for record in records:
        text = _ideal_completion(template, record["gold"], record["thinking"], close)
        ids = tokenizer(text, add_special_tokens=False).input_ids + ends
        back = tokenizer.decode(ids, skip_special_tokens=True)
        completions.append(grader.completion(back, ids, ends, record["thinking"]))
    return grader.grade(records, completions)


def check_ideal_answer(rollouts: list, template: str, thinking: bool, paid: bool) -> Item:
    """Whether a right answer in the promised form is accepted; it stops the run only where accuracy is `paid`."""
    wrong = [rollout for rollout in rollouts if not rollout.verdict.correct]
    if not wrong:
        return Item("answer", OK, f"a right answer in the prompt's form is accepted ({len(rollouts)} golds tried)")
    first = wrong[0]
    if first.gold not in first.completion:
        written = safe_line(_ideal_completion(template, first.gold, thinking))
        return Item("answer", LOOK, f"the tokenizer cannot write {written}: it becomes {safe_line(first.completion)}")
    verdict = STOP if paid and len(wrong) > len(rollouts) / 2 else LOOK
    few = f"{len(wrong)} of {len(rollouts)} right answers in the form of template {template!r} are not accepted"
    reason = first.verdict.reason or "no answer was found"
    return Item("answer", verdict, f"{few}: {safe_line(first.completion)} is graded {first.verdict.status} ({reason})")


def _check_format_rewards(rollouts: list, paid: dict, thinking: bool) -> list[Item]:
    """Rewards for a form that an answer in the prompt's own form does not earn; `paid` are those of weight not 0."""
    items = []
    for name in [name for name in _FORMATS if name in paid]:
        if all(paid[name](rollout) for rollout in rollouts):
            items.append(Item(name, OK, "an answer in the prompt's form earns it"))
        elif thinking:
            opened = "the chat template has already opened <think>, so an answer cannot begin with it"
            items.append(Item(name, LOOK, f"an answer in the prompt's form does not earn it: {opened}"))
        else:
            items.append(Item(name, LOOK, "the prompt does not ask for the form that it pays"))
    return items


def _check_context(rows: list[dict], model, max_tokens: int) -> Item:
    """Whether the longest prompt and a completion fit into the model's positions."""
    longest = max(len(row["prompt_ids"]) for row in rows)
    positions = getattr(model.config, "max_position_embeddings", None)
    told = f"the longest prompt has {longest} tokens, a completion up to {max_tokens}"
    if positions and longest + max_tokens > positions:
        return Item("context", STOP, f"{told}, but the model has {positions} positions: lower max_tokens")
    return Item("context", OK, f"{told}" + (f", the model has {positions} positions" if positions else ""))


def check_exact_leaks(problems: list[dict], held_out: list[dict]) -> Item:
    """Whether held-out problems are trained on, compared in normal form; `lead leaks` also finds near duplicates."""
    trained = {near_duplicates.normal_form(row["problem"]) for row in problems}
    twins = [row["id"] for row in held_out if near_duplicates.normal_form(row["problem"]) in trained]
    if not twins:
        return Item("leaks", OK, "no held-out problem is in training")
    verdict = STOP if len(twins) > MANY_LEAKS * len(held_out) else LOOK
    return Item(
        "leaks",
        verdict,
        f"{len(twins)} of {len(held_out)} held-out problems are in training, e.g. {safe_line(twins[0])}",
    )


def as_lines(items: list[Item]) -> str:
    """The items as lines: verdict, name, sentence."""
    wide = max(len(item.name) for item in items)
    return "\n".join(f"{item.verdict:5} {item.name:{wide}} {item.sentence}" for item in items)


def require(items: list[Item], mode: str) -> None:
    """Raises InputError for the first item that says stop, unless `mode` is warn or only."""
    lookup(_MODES, mode, "preflight")
    stops = [item for item in items if item.verdict == STOP]
    if stops and mode == "refuse":
        more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
        raise InputError(f"the check of {stops[0].name} says stop: {stops[0].sentence}{more}; --anyway runs it")

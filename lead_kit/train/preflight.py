"""Checks before a run: does an answer in the form that the prompt asks for earn its rewards, and does it fit?

Each check gives an Item: ok, look (a person should read the sentence) or stop (the run cannot do what it is for).
`check_setup` needs no rollouts and takes a fraction of a second. `check_batch` reads one batch of rollouts: lengths,
mixed groups, rewards, memory and time.
"""

import re
import resource
import sys
from typing import NamedTuple

import pandas as pd
import torch
from scipy import stats

from lead_kit.data import clean, near_duplicates
from lead_kit.errors import InputError, lookup
from lead_kit.method.diagnostics import variance_shares
from lead_kit.method.rewards import finite
from lead_kit.runs.log_files import read_metrics, read_rollouts
from lead_kit.safe_text import safe_line

_MODES = dict.fromkeys(("refuse", "warn", "only"))  # of the parameter `preflight`
OK, LOOK, STOP = "ok", "look", "stop"
_FORMATS = ("format", "format_boxed", "format_only")  # rewards for a form that a prompt can ask for
_PROBLEMS = 16  # problems whose ideal answers are graded
_MANY_LEAKS = 0.05  # share of held-out problems in training from which a validation says little
_LEAK_SIMILARITY = 0.65  # of near leaks, as in 01_preprocess
_CUT_LOOK, _CUT_STOP = 0.1, 0.9  # share of answers that are cut off
_FEW_MIXED = 0.3  # share of mixed groups below which most of the batch is sampled for nothing
_DOMINANT = 0.8  # share of the reward's variance that is not accuracy's
_CONFIDENCE = 0.95


class Item(NamedTuple):
    """One check: its name, its verdict (ok, look or stop), and a sentence."""

    name: str
    verdict: str
    sentence: str


# Forms of a final answer: what a prompt that asks for one says, and the answer; the first that is asked for counts.
# The line break belongs to the box in the embedded tokenizers. "Answer:" at the end of a prompt only begins the answer.
_ANSWERS = {
    r"(?s)\A(?=.*<answer>)(?=.*boxed)": "<answer>\\boxed{GOLD}</answer>",
    r"\\fbox|boxed": "\n\\boxed{GOLD}",
    "<answer>": "<answer>GOLD</answer>",
    "####": "\n#### GOLD",
    r"(?i)[\"']answer[\"']\s*:": '\n{"answer": "GOLD"}',
    r"(?i)\bfinal answer\W{0,3}[:=](?!\s*\Z)": "\nFinal answer: GOLD",
    r"(?i)\banswer\W{0,3}[:=](?!\s*\Z)": "\nAnswer: GOLD",
    r"(?i)\banswer is\b": "\nThe answer is GOLD",
}
_BOX = "\n\\boxed{GOLD}"


def _form_of(rows: list[dict]) -> str:
    """The first form of _ANSWERS that most prompts of these trainer's rows ask for; empty where they name none.

    The whole prompt counts, because some data sets ask for a form in the text of each problem.
    """
    texts = [" ".join(turn["content"] for turn in row["prompt"]) for row in rows]
    asked = (form for cue, form in _ANSWERS.items() if sum(bool(re.search(cue, t)) for t in texts) > len(texts) / 2)
    return next(asked, "")


def _ideal_completion(row: dict, form: str, close_thought: bool = False) -> str:
    """A completion with the gold answer of a trainer's row in a form of _ANSWERS, or in a box where that is empty.

    A thought that the chat template has opened is closed, and any with `close_thought`.
    """
    asked, thinking = any("<think>" in turn["content"] for turn in row["prompt"]), row["thinking"]
    answer = (form or _BOX).replace("GOLD", row["gold"])
    if not (asked or thinking or close_thought):
        return answer
    opened = "<think>\n" if asked and not thinking else ""
    return f"{opened}{'' if asked else answer}\n</think>\n{answer}"


def check_golds(rows: list[dict]) -> Item:
    """Whether the verifier can grade each gold answer against itself."""
    faults = clean.lint_golds(rows)
    if not faults:
        return Item("golds", OK, f"all {len(rows):,} gold answers can be graded")
    first = ", ".join(map(safe_line, faults[0][:2]))
    many = f"{len(faults):,} of {len(rows):,} gold answers cannot be graded, so they could earn no reward"
    return Item("golds", STOP, f"{many}, e.g. {first} ({safe_line(faults[0].reason)})")


def _grade_ideal_answers(problems: list[dict], tokenizer, grader) -> tuple[str, list]:
    """The form that the prompts ask for, and rollouts of some right answers in it, graded as those of the run."""
    step = max(1, len(problems) // _PROBLEMS)
    records = list({record["gold"]: record for record in problems[::step]}.values())[:_PROBLEMS]
    form, close = _form_of(records), bool(grader.end_marker) or grader.answer_region == "before_think"
    completions, ends = [], [tokenizer.eos_token_id]
    for record in records:
        text = _ideal_completion(record, form, close)
        ids = tokenizer(text, add_special_tokens=False).input_ids + ends
        back = tokenizer.decode(ids, skip_special_tokens=True)
        completions.append(grader.completion(back, ids, ends, record["thinking"]))
    return form, grader.grade(records, completions)


def check_ideal_answer(rollouts: list, form: str, rewarded: bool) -> Item:
    """Whether a right answer in the `form` of the prompts is accepted; it stops the run only where it is `rewarded`."""
    shape, wrong = (form or _BOX).strip().replace("GOLD", "…"), [r for r in rollouts if not r.verdict.correct]
    asked = f"the prompts ask for {shape}" if form else f"the prompts name no form known here, so {shape} is tried"
    if not wrong:
        sentence = f"{asked}, and a right answer so written is accepted ({len(rollouts)} golds tried)"
        if form or all(turn["content"] == r.problem for r in rollouts for turn in r.record["prompt"]):
            return Item("answer", OK, sentence)
        return Item("answer", LOOK, f"{sentence}; answers in another form count as none: ask for \\boxed{{}}")
    first, text = wrong[0], safe_line(wrong[0].completion)
    if first.gold not in first.completion:
        written = safe_line(_ideal_completion(first.record, form))
        return Item("answer", LOOK, f"the tokenizer cannot write {written}: it becomes {text}")
    few = f"{asked}, but {len(wrong)} of {len(rollouts)} right answers so written are not accepted"
    graded = f"{text} is graded {first.verdict.status} ({first.verdict.reason or 'no answer was found'})"
    verdict = STOP if rewarded and len(wrong) > len(rollouts) / 2 else LOOK
    return Item("answer", verdict, f"{few}: {graded}; ask for \\boxed{{}} in the template")


def _check_format_rewards(rollouts: list, weighted: dict, thinking: bool) -> list[Item]:
    """Whether an answer in the prompt's own form earns the format rewards; `weighted` are the rewards in use."""
    earned = Item("", OK, "an answer in the prompt's form earns it")
    missed = Item("", LOOK, "the prompt does not ask for the format that this reward checks")
    if thinking:
        opened = "the chat template has already opened <think>, so an answer cannot begin with it"
        missed = Item("", LOOK, f"an answer in the prompt's form does not earn it: {opened}")
    used = [name for name in _FORMATS if name in weighted]
    return [(earned if all(map(weighted[name], rollouts)) else missed)._replace(name=name) for name in used]


def _check_context(rows: list[dict], model, max_tokens: int) -> Item:
    """Whether the longest prompt and a completion fit into the model's positions."""
    longest = max(len(row["prompt_ids"]) for row in rows)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    sentence = f"the longest prompt has {longest} tokens, a completion up to {max_tokens}"
    if positions and longest + max_tokens > positions:
        return Item("context", STOP, f"{sentence}, but the model has {positions} positions: lower max_tokens")
    return Item("context", OK, f"{sentence}" + (f", the model has {positions} positions" if positions else ""))


def _check_exact_leaks(problems: list[dict], held_out: list[dict]) -> Item:
    """Whether held-out problems are trained on, compared in normal form; `lead leaks` also finds near duplicates."""
    trained = {near_duplicates.normal_form(row["problem"]) for row in problems}
    twins = [row["id"] for row in held_out if near_duplicates.normal_form(row["problem"]) in trained]
    return _leak_item("leaks", twins, len(held_out), "")


def _leak_item(name: str, twins: list[str], count: int, how: str) -> Item:
    """The item of the held-out problems (ids), of so many, that training holds."""
    if not twins:
        return Item(name, OK, f"no held-out problem is in training{how}")
    sentence = f"{len(twins)} of {count} held-out problems are in training{how}, e.g. {safe_line(twins[0])}"
    return Item(name, STOP if len(twins) > _MANY_LEAKS * count else LOOK, sentence)


def as_lines(items: list[Item]) -> str:
    """The items as lines: verdict, name, sentence."""
    wide = max(len(item.name) for item in items)
    return "\n".join(f"{item.verdict:5} {item.name:{wide}} {item.sentence}" for item in items)


class Preflight:
    """The checks of one run, as its parameter `preflight` says.

    refuse: an item that says stop ends the run; warn: it is only printed; only: `lead check`, which trains one batch,
    reports all items and ends the notebook. `config` has template, reward_weights, max_tokens, steps and group_size.
    """

    def __init__(self, mode: str, run, config: dict):
        lookup(_MODES, mode, "preflight")
        self.mode, self.only, self.run, self.config, self.items = mode, mode == "only", run, config, []

    def require_gradable(self, records: list[dict]) -> None:
        """Raises InputError for a gold answer that cannot be graded; `only` reports it among the other items."""
        if not self.only:
            clean.require_gradable(records)

    def check_setup(self, problems: list[dict], held_out: list[dict], tokenizer, model, grader) -> None:
        """Checks what needs no rollouts, prints the items unless `only`, and ends the run where one says stop.

        `problems` and `held_out` are trainer's rows (`chat.training_row`).
        """
        rewards, weights = grader.reward_table, self.config["reward_weights"]
        if len(rewards) != len(weights):
            names = ", ".join(rewards)
            raise InputError(f"reward_weights has {len(weights)} numbers for the {len(rewards)} rewards {names}")
        form, rollouts = _grade_ideal_answers(problems, tokenizer, grader)
        for name, reward in rewards.items():  # one that needs a column or fails says so before any rollout
            if rollouts[0].verdict.status != "gold_unparseable":
                finite(name, reward(rollouts[0]), rollouts[0])
        weighted = {name: rewards[name] for name, weight in zip(rewards, weights, strict=True) if weight}
        golds = check_golds([row for row in problems + held_out if "gold" in row])
        self.items = [
            golds,
            check_ideal_answer(rollouts, form, "correct" in weighted),
            *_check_format_rewards(rollouts, weighted, problems[0]["thinking"]),
            _check_context(problems + held_out, model, self.config["max_tokens"]),
            _check_exact_leaks(problems, held_out),
        ]
        if not self.only:  # `conclude` prints all items
            print(as_lines(self.items))
        require(self.items, self.mode)
        if self.only and golds.verdict == STOP:  # a batch would have no rewards
            self.run.reached = (0, 0)
            conclude(self.items, self.run)

    def limit_to_one_batch(self, trainer, validation) -> None:
        """`only`: has the trainer train one batch and keep its rollouts, without validation and checkpoints."""
        if self.only:
            trainer.args.max_steps = trainer.args.logging_steps
            trainer.args.save_strategy = "no"
            trainer.rollouts_every, validation.every = 1, 0

    def check_batch(self, trainer, problems: list[dict], held_out: list[dict]) -> None:
        """`only`: adds the items of the trained batch, prints all, keeps them in run.json and leaves the notebook."""
        if not self.only:
            return
        trainer.accelerator.wait_for_everyone()
        rollouts = read_rollouts(trainer.run.path)
        metrics = read_metrics(trainer.run.path / "metrics.jsonl")[-1]
        weights = dict(zip(trainer.grader.reward_table, trainer.reward_weights.tolist(), strict=True))
        self.items += [
            check_near_leaks(problems, held_out),
            check_lengths(rollouts, self.config["max_tokens"]),
            *check_mixed_groups(rollouts, self.config["group_size"]),
            *check_rewards(rollouts, weights),
            check_cost(metrics, self.config["steps"], rollouts["length"].sum()),
        ]
        conclude(self.items, self.run)


def require(items: list[Item], mode: str) -> None:
    """Raises InputError for the first item that says stop, unless `mode` is warn or only."""
    stops = [item for item in items if item.verdict == STOP]
    if stops and mode == "refuse":
        more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
        raise InputError(f"preflight check {stops[0].name!r} failed: {stops[0].sentence}{more}; --anyway runs it")


def check_near_leaks(problems: list[dict], held_out: list[dict]) -> Item:
    """Held-out problems of which training holds the same text or the same problem in other words (`lead leaks`)."""
    leaks = near_duplicates.leaks(problems, {"validation": held_out}, _LEAK_SIMILARITY)
    same = dict.fromkeys(row["evaluation_id"] for row in leaks if row["kind"] != "variant")
    return _leak_item("near leaks", list(same), len(held_out), ", in the same or in other words")


def check_lengths(rollouts: pd.DataFrame, limit: int) -> Item:
    """Tokens of the completions against the limit."""
    truncated = float(rollouts["truncated"].mean())
    middle, long, most = rollouts["length"].quantile([0.5, 0.95, 1])
    verdict = STOP if truncated >= _CUT_STOP else LOOK if truncated >= _CUT_LOOK else OK
    sentence = f"{middle:.0f} tokens in the median, {long:.0f} at 95%, {most:.0f} at most of {limit}"
    advice = "" if verdict == OK else ": raise max_tokens"
    return Item("lengths", verdict, f"{sentence}; {truncated:.0%} are cut off{advice}")


def _share_with_interval(hits: int, of: int) -> str:
    """A share with its 95% interval of Wilson."""
    interval = stats.binomtest(hits, of).proportion_ci(_CONFIDENCE, method="wilson")
    return f"{hits / of:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def check_mixed_groups(rollouts: pd.DataFrame, group_size: int) -> list[Item]:
    """Groups with right and wrong answers, in all and by difficulty."""
    groups = rollouts.groupby(["step", "group"]).agg(right=("correct", "mean"), level=("level", "first"))
    groups["mixed"] = (groups["right"] > 0) & (groups["right"] < 1)
    hits, of = int(groups["mixed"].sum()), len(groups)
    right = f"{rollouts['correct'].mean():.0%} of the answers are right"
    verdict = STOP if not hits else LOOK if hits / of < _FEW_MIXED else OK
    sentence = f"{_share_with_interval(hits, of)} of {of} groups of {group_size} have right and wrong answers; {right}"
    items = [Item("mixed groups", verdict, sentence)]
    levels = groups.dropna(subset="level").groupby("level")["mixed"].agg(["sum", "size"])
    if len(levels) > 1:
        shares = {level: _share_with_interval(int(row["sum"]), int(row["size"])) for level, row in levels.iterrows()}
        items.append(Item("by level", OK, "; ".join(f"{level:g}: {share}" for level, share in shares.items())))
    return items


def check_rewards(rollouts: pd.DataFrame, weights: dict[str, float]) -> list[Item]:
    """Rewards that are constant, or that make most of the variance."""
    columns = {name: rollouts[f"reward_{name}"] for name, weight in weights.items() if weight}
    variances = {name: float(values.var(ddof=0)) * weights[name] ** 2 for name, values in columns.items()}
    shares, items = variance_shares(variances), []
    for name, values in columns.items():
        part = shares.get(f"reward_{name}_share", float(variances[name] > 0))
        verdict, sentence = OK, f"mean {values.mean():.3g}, {part:.0%} of the variance"
        if not variances[name]:
            verdict, sentence = LOOK, f"it is {values.iloc[0]:g} in every rollout"
        elif name != "correct" and part > _DOMINANT:
            verdict, sentence = LOOK, f"{sentence}: it decides what is learned"
        items.append(Item(f"reward {name}", verdict, sentence))
    return items


def check_cost(metrics: dict, steps: int, tokens: int) -> Item:
    """Time and memory of the batch, as measured, and the time of all batches without validation."""
    if torch.cuda.is_available():
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory at most"
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB of memory at most"
    if not (seconds := metrics.get("seconds")):
        return Item("cost", OK, memory)
    hours, rest = divmod(seconds * steps, 3600)
    all_of_it = f"{hours:.0f} h {rest / 60:.0f} min" if hours else f"{rest / 60:.1f} min"
    total = f"so {all_of_it} for {steps} batches, estimated without validation"
    return Item("cost", OK, f"{memory}; {seconds:.1f} s for {tokens:,} tokens, {total}")


def conclude(items: list[Item], run) -> None:
    """Ends a run that was only to be checked: prints every item, keeps them in run.json, and leaves the notebook."""
    if not run.silent:
        print(as_lines(items))
    run.record_fact("check", [item._asdict() for item in items])
    run.finish(**{verdict: sum(item.verdict == verdict for item in items) for verdict in (OK, LOOK, STOP)})
    sys.exit(0)

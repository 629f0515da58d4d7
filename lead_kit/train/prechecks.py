"""What one batch of rollouts tells before a run: lengths, mixed groups, rewards, memory and time."""

import resource
import sys

import pandas as pd
import torch
from scipy import stats

from lead_kit.data import near_duplicates
from lead_kit.method.diagnostics import variance_shares
from lead_kit.runs import log_files
from lead_kit.runs.log_files import read_metrics
from lead_kit.train.preflight import LOOK, MANY_LEAKS, OK, STOP, Item, as_lines

_CUT_LOOK, _CUT_STOP = 0.1, 0.9  # share of answers that are cut off
_FEW_MIXED = 0.3  # share of mixed groups below which most of the batch is sampled for nothing
_DOMINANT = 0.8  # share of the reward's variance that is not accuracy's
_CONFIDENCE = 0.95
_THRESHOLD = 0.65  # of near leaks, as in 01_preprocess


def limit_to_one_batch(trainer, validation) -> None:
    """Has the trainer train one batch only, keep its rollouts, and leave validation and checkpoints out."""
    trainer.args.max_steps = trainer.args.logging_steps
    trainer.args.save_strategy = "no"
    trainer.rollouts_every, validation.every = 1, 0


def check_near_leaks(problems: list[dict], held_out: list[dict]) -> Item:
    """Held-out problems of which training holds the same text or the same problem in other words (`lead leaks`)."""
    found = near_duplicates.leaks(problems, {"validation": held_out}, _THRESHOLD)
    same = {row["evaluation_id"] for row in found if row["kind"] != "variant"}
    told = f"{len(same)} of {len(held_out)} held-out problems are in training, in the same or in other words"
    verdict = OK if not same else LOOK if len(same) <= MANY_LEAKS * len(held_out) else STOP
    return Item("near leaks", verdict, told)


def check_batch(trainer, config: dict) -> list[Item]:
    """The items of the batch that a trainer has just trained, from its run's ledger and metrics.

    `config` has max_tokens, steps and group_size, as the notebook names them.
    """
    trainer.accelerator.wait_for_everyone()
    rollouts, metrics = (
        log_files.read_rollouts(trainer.run.path),
        read_metrics(trainer.run.path / "metrics.jsonl")[-1],
    )
    weights = dict(zip(trainer.grader.reward_table, trainer.reward_weights.tolist(), strict=True))
    return [
        check_lengths(rollouts, config["max_tokens"]),
        *check_mixed_groups(rollouts, config["group_size"]),
        *check_rewards(rollouts, weights),
        check_cost(metrics, config["steps"], rollouts["length"].sum()),
    ]


def check_lengths(rollouts: pd.DataFrame, limit: int) -> Item:
    """Tokens of the completions against the limit."""
    cut = float(rollouts["truncated"].mean())
    middle, long, most = rollouts["length"].quantile([0.5, 0.95, 1])
    verdict = STOP if cut >= _CUT_STOP else LOOK if cut >= _CUT_LOOK else OK
    told = f"{middle:.0f} tokens in the median, {long:.0f} at 95%, {most:.0f} at most of {limit}; {cut:.0%} are cut off"
    return Item("lengths", verdict, told + ("" if verdict == OK else ": raise max_tokens"))


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
    told = f"{_share_with_interval(hits, of)} of {of} groups of {group_size} have right and wrong answers; {right}"
    items = [Item("mixed groups", verdict, told)]
    levels = groups.dropna(subset="level").groupby("level")["mixed"].agg(["sum", "size"])
    if len(levels) > 1:
        each = "; ".join(
            f"{level:g}: {_share_with_interval(int(row['sum']), int(row['size']))}" for level, row in levels.iterrows()
        )
        items.append(Item("by level", OK, each))
    return items


def check_rewards(rollouts: pd.DataFrame, weights: dict[str, float]) -> list[Item]:
    """Rewards that are constant, or that make most of the variance."""
    columns = {name: rollouts[f"reward_{name}"] for name, weight in weights.items() if weight}
    variances = {name: float(values.var(ddof=0)) * weights[name] ** 2 for name, values in columns.items()}
    shares, items = variance_shares(variances), []
    for name, values in columns.items():
        part = shares.get(f"reward_{name}_share", float(variances[name] > 0))
        told = f"mean {values.mean():.3g}, {part:.0%} of the variance"
        if not variances[name]:
            items.append(Item(f"reward {name}", LOOK, f"it is {values.iloc[0]:g} in every rollout"))
        elif name != "correct" and part > _DOMINANT:
            items.append(Item(f"reward {name}", LOOK, f"{told}: it decides what is learned"))
        else:
            items.append(Item(f"reward {name}", OK, told))
    return items


def check_cost(metrics: dict, steps: int, tokens: int) -> Item:
    """Time and memory of the batch, as measured, and the time of all batches without validation."""
    if torch.cuda.is_available():
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory at most"
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB of memory at most"
    seconds = metrics.get("seconds")
    if not seconds:
        return Item("cost", OK, memory)
    hours, rest = divmod(seconds * steps, 3600)
    all_of_it = f"{hours:.0f} h {rest / 60:.0f} min" if hours else f"{rest / 60:.1f} min"
    total = f"so {all_of_it} for {steps} batches, estimated without validation"
    return Item("cost", OK, f"{memory}; {seconds:.1f} s for {tokens:,} tokens, {total}")


def conclude_ungradable(items: list[Item], run) -> None:
    """Ends a run that was only to be checked where golds cannot be graded: a batch could not be paid."""
    if any(item.name == "golds" and item.verdict == STOP for item in items):
        run.reached = (0, 0)
        conclude(items, run)


def conclude(items: list[Item], run) -> None:
    """Ends a run that was only to be checked: prints every item, keeps them in run.json, and leaves the notebook."""
    if not run.silent:
        print(as_lines(items))
    run.record_fact("check", [item._asdict() for item in items])
    run.finish(**{verdict: sum(item.verdict == verdict for item in items) for verdict in (OK, LOOK, STOP)})
    sys.exit(0)

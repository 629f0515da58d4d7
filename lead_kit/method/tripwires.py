"""Signs of a failing run, as pure functions of the numbers that a run logs for each batch.

A row is one line of metrics.jsonl without its split: step and numbers by name. A wire takes the training rows so far
(`rows`, oldest first) and the validation rows so far (`held_out`) and returns a sentence when the newest row trips it,
else an empty text. A number that a row lacks trips nothing: `unchecked` names the wires that could not look. Each wire
needs only its first and last rows, so a recorded run can be looked at again (`replay`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lead_kit.method.rewards import PENALTIES

Rows = Sequence[Mapping]
# Thresholds: ours where no source stands, set so that runs that learn trip nothing. docs/running.md says what recorded
# runs would have tripped.
TRUNCATED, TRUNCATED_FOR = 0.9, 2  # share of answers cut off, batches in a row
SILENT, SILENT_FOR = 0.95, 5  # share of groups without any advantage (DAPO, 2503.14476, §3.2: they train nothing)
BESIDE, BESIDE_FOR = 0.5, 5  # share of all advantage in groups of equal accuracy: it pays for something else
DEAD_FOR = 10  # batches in which a reward had one value only
DOMINANT, DOMINANT_FOR = 0.8, 5  # share of the reward's variance that is not accuracy's
LOW, HIGH, ENTROPY_FOR = 0.1, 3.0, 5  # times the entropy of the first batches
COLLAPSED = 0.1  # nats a token; DAPO's Figure 2 shows collapse towards 0, Skywork-OR1 (2505.22312) holds .2
REPETITIVE, REPETITIVE_FOR = 0.1, 3  # share of answers with a chain, by GRPO-LEAD's released rule
KL, KL_TIMES, KL_BEFORE = 0.5, 10.0, 20  # nats a token; times the median of the batches before
CLIPPED, CLIPPED_FOR = 0.3, 3  # share of tokens whose ratio is clipped; healthy runs stay below .1
GAP, GAP_TIMES = 0.01, 4.0  # nats a token between sampler and trainer, and times the first gap
PARTS = ("", "_std", "_share", "_min", "_max")  # of a reward's name in the metrics
BELOW_FOR, SPREADS = 2, 2.0  # validations in a row below the start by so many standard errors


class Trip(NamedTuple):
    """A wire that was tripped, and at which step first."""

    step: int
    wire: str
    sentence: str


def last(rows: Rows, name: str, count: int) -> list[float]:
    """The number of the last `count` rows; empty where there are fewer, or one lacks it."""
    values = [row.get(name) for row in rows[-count:]]
    return values if len(values) == count and all(value is not None for value in values) else []


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def truncated(rows: Rows, held_out: Rows, samples: int) -> str:
    values = last(rows, "truncated", TRUNCATED_FOR)
    if values and min(values) >= TRUNCATED:
        return f"{values[-1]:.0%} of the answers were cut off at the token limit in {TRUNCATED_FOR} batches in a row"
    return ""


def zero_advantage(rows: Rows, held_out: Rows, samples: int) -> str:
    values = last(rows, "zero_advantage", SILENT_FOR)
    if values and min(values) >= SILENT:
        return f"{values[-1]:.0%} of the groups had no advantage in {SILENT_FOR} batches in a row: nothing is learned"
    return ""


def outside_mixed_groups(rows: Rows, held_out: Rows, samples: int) -> str:
    values = last(rows, "advantage_share_flat_accuracy", BESIDE_FOR)
    if values and mean(values) > BESIDE:
        return (
            f"{mean(values):.0%} of all advantage of {BESIDE_FOR} batches came from groups that are all right or all "
            "wrong: it pays for something other than accuracy"
        )
    return ""


def rewards_in(rows: Rows) -> list[str]:
    """The rewards whose spread the newest row has."""
    names = [name.removeprefix("reward_").removesuffix("_std") for name in rows[-1] if name.startswith("reward_")]
    return [name for name in dict.fromkeys(names) if f"reward_{name}_std" in rows[-1]]


def dead_reward(rows: Rows, held_out: Rows, samples: int) -> str:
    """A reward of one value in all rollouts of the last batches; a penalty that is never due is none."""
    dead = []
    for name in rewards_in(rows) if rows else []:
        means, spreads = last(rows, f"reward_{name}", DEAD_FOR), last(rows, f"reward_{name}_std", DEAD_FOR)
        if spreads and not any(spreads) and len(set(means)) == 1 and not (name in PENALTIES and means[-1] == 0):
            dead.append(f"{name} was {means[-1]:g}")
    return f"{' and '.join(dead)} in every rollout of {DEAD_FOR} batches" if dead else ""


def dominant_reward(rows: Rows, held_out: Rows, samples: int) -> str:
    for name in rewards_in(rows) if rows else []:
        values = last(rows, f"reward_{name}_share", DOMINANT_FOR)
        if values and name != "correct" and mean(values) > DOMINANT:
            return f"{name} made {mean(values):.0%} of the reward's variance in {DOMINANT_FOR} batches"
    return ""


def entropy_collapse(rows: Rows, held_out: Rows, samples: int) -> str:
    first, now = start_and_now(rows, "entropy", ENTROPY_FOR)
    if now is not None and now < min(COLLAPSED, LOW * first):
        return f"the entropy fell from {first:.3g} to {now:.3g} nats a token: the samples of a group become one"
    return ""


def entropy_explosion(rows: Rows, held_out: Rows, samples: int) -> str:
    first, now = start_and_now(rows, "entropy", ENTROPY_FOR)
    if now is not None and now > HIGH * first:
        return f"the entropy rose from {first:.3g} to {now:.3g} nats a token: the text falls apart"
    return ""


def start_and_now(rows: Rows, name: str, count: int) -> tuple[float | None, float | None]:
    """The means of the first and of the last `count` rows; None where they overlap or lack the number."""
    first, now = last(rows[:count], name, count), last(rows, name, count)
    return (mean(first), mean(now)) if first and now and len(rows) >= 2 * count else (None, None)


def repetition(rows: Rows, held_out: Rows, samples: int) -> str:
    values = last(rows, "repetitive", REPETITIVE_FOR)
    if values and min(values) >= REPETITIVE:
        return f"{values[-1]:.0%} of the answers repeat themselves in a chain, in {REPETITIVE_FOR} batches in a row"
    return ""


def kl_explosion(rows: Rows, held_out: Rows, samples: int) -> str:
    now, before = last(rows, "kl", 1), [row["kl"] for row in rows[-KL_BEFORE - 1 : -1] if row.get("kl") is not None]
    if now and before and now[0] > max(KL, KL_TIMES * sorted(before)[len(before) // 2]):
        return f"the KL to the start jumped to {now[0]:.3g} nats a token, from {sorted(before)[len(before) // 2]:.3g}"
    return ""


def ratio_explosion(rows: Rows, held_out: Rows, samples: int) -> str:
    low, high = last(rows, "clip_low", CLIPPED_FOR), last(rows, "clip_high", CLIPPED_FOR)
    shares = [one + other for one, other in zip(low, high, strict=True)] if low and high else []
    if shares and min(shares) > CLIPPED:
        return (
            f"the ratio of {shares[-1]:.0%} of the tokens was clipped in {CLIPPED_FOR} batches: the steps are too large"
        )
    return ""


def out_of_step(rows: Rows, held_out: Rows, samples: int) -> str:
    gaps = [row["sampler_gap"] for row in (*rows[:1], *rows[-1:]) if row.get("sampler_gap") is not None]
    if len(gaps) == 2 and apart(gaps[1], gaps[0]):
        return (
            f"the sampler's log-probabilities differ from the trainer's by {gaps[1]:.3g} a token, by {gaps[0]:.3g} at "
            "the start: its weights may not follow the training"
        )
    return ""


def apart(now: float, first: float) -> bool:
    """Whether a gap of log-probabilities is suspect: rounding alone keeps it some thousandths wide."""
    return now > max(GAP, GAP_TIMES * first)


def below_start(rows: Rows, held_out: Rows, samples: int) -> str:
    """Pass@1 below its first value by two standard errors of a difference of independent binomials of `samples`."""
    first, values = last(held_out[:1], "pass@1", 1), last(held_out, "pass@1", BELOW_FOR)
    if not samples or not first or not values or len(held_out) <= BELOW_FOR:
        return ""
    start = first[0]
    errors = [((start * (1 - start) + value * (1 - value)) / samples) ** 0.5 for value in values]
    if all(start - value > SPREADS * error for value, error in zip(values, errors, strict=True)):
        return f"Pass@1 is {values[-1]:.3f}, below its start of {start:.3f}, in {BELOW_FOR} validations in a row"
    return ""


WIRES = {  # name: the function, the numbers that it looks at
    "truncated": (truncated, ("truncated",)),
    "zero_advantage": (zero_advantage, ("zero_advantage",)),
    "outside_mixed_groups": (outside_mixed_groups, ("advantage_share_flat_accuracy",)),
    "dead_reward": (dead_reward, ("reward_*_std",)),
    "dominant_reward": (dominant_reward, ("reward_*_share",)),
    "entropy_collapse": (entropy_collapse, ("entropy",)),
    "entropy_explosion": (entropy_explosion, ("entropy",)),
    "repetition": (repetition, ("repetitive",)),
    "kl_explosion": (kl_explosion, ("kl",)),
    "ratio_explosion": (ratio_explosion, ("clip_low", "clip_high")),
    "out_of_step": (out_of_step, ("sampler_gap",)),
    "below_start": (below_start, ("pass@1",)),
}


def by_split(lines: Rows, weights: Mapping[str, float]) -> tuple[list[dict], list[dict]]:
    """The training and the validation rows of metrics.jsonl, without the numbers of rewards of weight 0."""
    unpaid = {f"reward_{name}{part}" for name, weight in weights.items() if not weight for part in PARTS}
    lines = [{name: value for name, value in line.items() if name not in unpaid} for line in lines]
    return tuple([line for line in lines if line["split"] == split] for split in ("train", "validation"))


def look(rows: Rows, held_out: Rows = (), samples: int = 0) -> dict[str, str]:
    """The wires that the newest rows trip, each with its sentence. `samples`: graded answers of one validation."""
    found = {name: wire(rows, held_out, samples) for name, (wire, _) in WIRES.items()}
    return {name: sentence for name, sentence in found.items() if sentence}


def replay(rows: Rows, held_out: Rows = (), samples: int = 0) -> list[Trip]:
    """Which wires a recorded run would have tripped, and at which step first. Rows are in the order of their steps."""
    trips: dict[str, Trip] = {}
    for step in sorted({row["step"] for row in (*rows, *held_out)}):
        trained, validated = ([row for row in part if row["step"] <= step] for part in (rows, held_out))
        for name, sentence in look(trained, validated, samples).items():
            trips.setdefault(name, Trip(step, name, sentence))
    return list(trips.values())


def unchecked(rows: Rows, held_out: Rows = ()) -> list[str]:
    """The wires whose numbers no row has, in the order of WIRES."""
    present = {name for row in (*rows, *held_out) for name, value in row.items() if value is not None}
    return [name for name, (_, needed) in WIRES.items() if not all(has(present, one) for one in needed)]


def has(present: Iterable[str], pattern: str) -> bool:
    before, _, after = pattern.partition("*")
    return any(name.startswith(before) and name.endswith(after) for name in present) if after else pattern in present

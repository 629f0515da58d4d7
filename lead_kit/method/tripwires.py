"""Signs of a failing run, as pure functions of the numbers that a run logs for each batch.

A row is one line of metrics.jsonl without its split: step and numbers by name. A wire takes the training rows so far
(`rows`, oldest first) and the validation rows so far (`held_out`) and returns a sentence when the newest row trips it,
else None. A number that a row lacks trips nothing: `unchecked` names the wires that could not look. Each wire
needs only its first and last rows, so a recorded run can be looked at again (`replay`).
"""

from collections.abc import Mapping, Sequence
from fnmatch import filter as filter_names
from fnmatch import fnmatch
from math import nan
from statistics import mean, median_high
from typing import NamedTuple

from lead_kit.method.rewards import PENALTIES

_Rows = Sequence[Mapping]
# Thresholds: ours where no source stands, set so that runs that learn trip nothing. docs/running.md says what recorded
# runs would have tripped.
_TRUNCATED, _TRUNCATED_FOR = 0.9, 2  # share of answers cut off, batches in a row
_NO_ADVANTAGE, _NO_ADVANTAGE_FOR = 0.95, 5  # share of zero-advantage groups (DAPO, 2503.14476, §3.2)
_OUTSIDE_MIXED, _OUTSIDE_MIXED_FOR = 0.5, 5  # share of all advantage in all-right or all-wrong groups
_DEAD_FOR = 10  # batches in which a reward had one value only
_DOMINANT, _DOMINANT_FOR = 0.8, 5  # share of the reward's variance that is not accuracy's
_ENTROPY_FALL, _ENTROPY_RISE, _ENTROPY_FOR = 0.1, 3.0, 5  # times the entropy of the first batches
_COLLAPSED = 0.1  # nats a token; DAPO's Figure 2 shows collapse towards 0, Skywork-OR1 (2505.22312) holds .2
_REPETITIVE, _REPETITIVE_FOR = 0.1, 3  # share of answers with a chain, by GRPO-LEAD's released rule
_KL, _KL_TIMES, _KL_BEFORE = 0.5, 10.0, 20  # nats a token; times the median of the batches before
_CLIPPED, _CLIPPED_FOR = 0.3, 3  # share of tokens whose ratio is clipped; healthy runs stay below .1
_GAP, _GAP_TIMES = 0.01, 4.0  # nats a token between sampler and trainer, and times the first gap
_REWARD_COLUMNS = ("", "_std", "_share", "_min", "_max")  # of a reward's name in the metrics
_BELOW_FOR, _SPREADS = 2, 2.0  # validations in a row below the start by so many standard errors


class _Trip(NamedTuple):
    """A wire that was tripped, and at which step first."""

    step: int
    wire: str
    sentence: str


def _last_values(rows: _Rows, name: str, count: int) -> list[float]:
    """The number of the last `count` rows; empty where there are fewer, or one lacks it."""
    values = [row.get(name) for row in rows[-count:]]
    return values if len(values) == count and all(value is not None for value in values) else []


def _steady(rows: _Rows, name: str, least: float, count: int) -> float | None:
    """The newest of the last `count` numbers where all of them are at least `least`."""
    values = _last_values(rows, name, count)
    return values[-1] if values and min(values) >= least else None


def truncated(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    if share := _steady(rows, "truncated", _TRUNCATED, _TRUNCATED_FOR):
        return f"{share:.0%} of the answers were cut off at the token limit in {_TRUNCATED_FOR} batches in a row"


def zero_advantage(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    if share := _steady(rows, "zero_advantage", _NO_ADVANTAGE, _NO_ADVANTAGE_FOR):
        return f"{share:.0%} of the groups had no advantage in {_NO_ADVANTAGE_FOR} batches in a row: nothing is learned"


def outside_mixed_groups(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    values = _last_values(rows, "advantage_share_flat_accuracy", _OUTSIDE_MIXED_FOR)
    if values and mean(values) > _OUTSIDE_MIXED:
        return (
            f"{mean(values):.0%} of all advantage of {_OUTSIDE_MIXED_FOR} batches came from groups that are all right "
            "or all wrong: it rewards something other than accuracy"
        )


def _rewards_in(rows: _Rows) -> list[str]:
    """The rewards whose spread the newest row has."""
    names = rows[-1] if rows else []
    return [name[len("reward_") : -len("_std")] for name in names if fnmatch(name, "reward_*_std")]


def dead_reward(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    """A reward of one value in all rollouts of the last batches; a penalty that is never due is none."""
    dead = []
    for name in _rewards_in(rows):
        means = _last_values(rows, f"reward_{name}", _DEAD_FOR)
        spreads = _last_values(rows, f"reward_{name}_std", _DEAD_FOR)
        if spreads and not any(spreads) and len(set(means)) == 1 and not (name in PENALTIES and means[-1] == 0):
            dead.append(f"{name} was {means[-1]:g}")
    if dead:
        return f"{' and '.join(dead)} in every rollout of {_DEAD_FOR} batches"


def dominant_reward(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    for name in _rewards_in(rows):
        values = _last_values(rows, f"reward_{name}_share", _DOMINANT_FOR)
        if values and name != "correct" and mean(values) > _DOMINANT:
            return f"{name} made {mean(values):.0%} of the reward's variance in {_DOMINANT_FOR} batches"


def entropy_collapse(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    first, now = _start_and_now(rows, "entropy", _ENTROPY_FOR)
    if now < min(_COLLAPSED, _ENTROPY_FALL * first):
        return f"the entropy fell from {first:.3g} to {now:.3g} nats a token: the samples of a group become one"


def entropy_explosion(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    first, now = _start_and_now(rows, "entropy", _ENTROPY_FOR)
    if now > _ENTROPY_RISE * first:
        return f"the entropy rose from {first:.3g} to {now:.3g} nats a token: the text falls apart"


def _start_and_now(rows: _Rows, name: str, count: int) -> tuple[float, float]:
    """The means of the first and of the last `count` rows; NaN where they overlap or lack the number."""
    first, now = _last_values(rows[:count], name, count), _last_values(rows, name, count)
    return (mean(first), mean(now)) if first and now and len(rows) >= 2 * count else (nan, nan)


def repetition(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    if share := _steady(rows, "repetitive", _REPETITIVE, _REPETITIVE_FOR):
        return f"{share:.0%} of the answers repeat themselves in a chain, in {_REPETITIVE_FOR} batches in a row"


def kl_explosion(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    now = _last_values(rows, "kl", 1)
    before = sorted(row["kl"] for row in rows[-_KL_BEFORE - 1 : -1] if row.get("kl") is not None)
    if now and before and now[0] > max(_KL, _KL_TIMES * median_high(before)):
        return f"the KL to the start jumped to {now[0]:.3g} nats a token, from {median_high(before):.3g}"


def ratio_explosion(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    low, high = _last_values(rows, "clip_low", _CLIPPED_FOR), _last_values(rows, "clip_high", _CLIPPED_FOR)
    shares = [below + above for below, above in zip(low, high, strict=True)] if low and high else []
    if shares and min(shares) > _CLIPPED:
        batches = f"in {_CLIPPED_FOR} batches"
        return f"the ratio of {shares[-1]:.0%} of the tokens was clipped {batches}: the steps are too large"


def out_of_step(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    """Rounding alone keeps the gap some thousandths wide; the weights had just been sent before the first batch."""
    first, now = _last_values(rows[:1], "sampler_gap", 1), _last_values(rows, "sampler_gap", 1)
    if first and now and now[0] > max(_GAP, _GAP_TIMES * first[0]):
        return (
            f"the sampler's log-probabilities differ from the trainer's by {now[0]:.3g} a token, by {first[0]:.3g} at "
            "the start: its weights may not follow the training"
        )


def below_start(rows: _Rows, held_out: _Rows, samples: int) -> str | None:
    """Pass@1 below its first value by two standard errors of a difference of independent binomials of `samples`."""
    first, values = _last_values(held_out[:1], "pass@1", 1), _last_values(held_out, "pass@1", _BELOW_FOR)
    if not samples or not first or not values or len(held_out) <= _BELOW_FOR:
        return None
    start = first[0]
    errors = [((start * (1 - start) + value * (1 - value)) / samples) ** 0.5 for value in values]
    if all(start - value > _SPREADS * error for value, error in zip(values, errors, strict=True)):
        return f"Pass@1 is {values[-1]:.3f}, below its start of {start:.3f}, in {_BELOW_FOR} validations in a row"


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


def by_split(lines: _Rows, weights: Mapping[str, float]) -> tuple[list[dict], list[dict]]:
    """The training and the validation rows of metrics.jsonl, without the numbers of rewards of weight 0."""
    unpaid = {f"reward_{name}{part}" for name, weight in weights.items() if not weight for part in _REWARD_COLUMNS}
    lines = [{name: value for name, value in line.items() if name not in unpaid} for line in lines]
    return tuple([line for line in lines if line["split"] == split] for split in ("train", "validation"))


def tripped_by_newest(rows: _Rows, held_out: _Rows = (), samples: int = 0) -> list[_Trip]:
    """The wires that the newest rows trip. `samples`: graded answers of one validation."""
    step = max((row["step"] for row in (*rows[-1:], *held_out[-1:])), default=0)
    trips = [_Trip(step, name, wire(rows, held_out, samples)) for name, (wire, _) in WIRES.items()]
    return [trip for trip in trips if trip.sentence]


def replay(rows: _Rows, held_out: _Rows = (), samples: int = 0) -> list[_Trip]:
    """Which wires a recorded run would have tripped, and at which step first. Rows are in the order of their steps."""
    trips: dict[str, _Trip] = {}
    for step in sorted({row["step"] for row in (*rows, *held_out)}):
        trained, validated = ([row for row in part if row["step"] <= step] for part in (rows, held_out))
        for trip in tripped_by_newest(trained, validated, samples):
            trips.setdefault(trip.wire, trip)
    return list(trips.values())


def unchecked(rows: _Rows, held_out: _Rows = ()) -> list[str]:
    """The wires whose numbers no row has, in the order of WIRES."""
    present = {name for row in (*rows, *held_out) for name, value in row.items() if value is not None}
    return [name for name, (_, needed) in WIRES.items() if not all(filter_names(present, one) for one in needed)]

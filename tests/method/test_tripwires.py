"""Each tripwire trips on the batch numbers that it is for, says so, and stays silent in a run that learns."""

import pytest

from lead_kit.method import tripwires
from lead_kit.method.tripwires import replay, tripped_by_newest, unchecked

HEALTHY = {
    "truncated": 0.01, "zero_advantage": 0.2, "advantage_share_flat_accuracy": 0.1, "reward_correct": 0.5,
    "reward_correct_std": 0.5, "reward_correct_share": 0.9, "reward_format": 0.7, "reward_format_std": 0.4,
    "reward_format_share": 0.1, "entropy": 0.3, "repetitive": 0.0, "kl": 0.01, "clip_low": 0.01, "clip_high": 0.01,
    "sampler_gap": 0.004,
}  # fmt: skip


def run(steps, changed=(), start=0):
    """`steps` healthy rows, from step `start` on with the changed numbers."""
    return [{"step": s} | HEALTHY | (dict(changed) if s >= start else {}) for s in range(steps)]


def newest(*logged):
    """The sentences of the wires that the newest rows trip, by wire."""
    return {trip.wire: trip.sentence for trip in tripped_by_newest(*logged)}


FAILING = {  # wire: numbers that trip it, batches until it trips when they hold from step 20 on
    "truncated": ({"truncated": 0.95}, 2),
    "zero_advantage": ({"zero_advantage": 1.0}, 5),
    "outside_mixed_groups": ({"advantage_share_flat_accuracy": 0.9}, 3),  # mean of 5: .1, .1, .9, .9, .9
    "dead_reward": ({"reward_format": 0.0, "reward_format_std": 0.0}, 10),
    "dominant_reward": ({"reward_format_share": 0.95}, 5),
    "entropy_collapse": ({"entropy": 0.001}, 5),  # .1 · .3 = .03: the mean of five, one of them .3, is above
    "entropy_explosion": ({"entropy": 3.0}, 2),  # the mean of .3, .3, .3, 3, 3 is 1.5
    "repetition": ({"repetitive": 0.2}, 3),
    "kl_explosion": ({"kl": 2.0}, 1),
    "ratio_explosion": ({"clip_low": 0.2, "clip_high": 0.2}, 3),
    "out_of_step": ({"sampler_gap": 0.05}, 1),
}


def test_a_healthy_run_trips_nothing_and_every_wire_looks():
    held_out = [{"step": s, "pass@1": 0.4 + s / 100} for s in range(0, 40, 10)]
    assert replay(run(40), held_out, 500) == [] and unchecked(run(1), held_out) == []


@pytest.mark.parametrize("wire", FAILING)
def test_a_failing_run_trips_its_wire_when_the_window_is_full(wire):
    numbers, batches = FAILING[wire]
    trips = replay(run(40, numbers, start=20))
    assert [(trip.wire, trip.step) for trip in trips] == [(wire, 20 + batches - 1)]
    assert trips[0].sentence and trips[0].sentence == newest(run(20 + batches, numbers, start=20))[wire]


def test_every_wire_but_those_of_validation_has_a_failing_case():
    assert set(tripwires.WIRES) == set(FAILING) | {"below_start"}


def test_a_penalty_that_is_never_due_is_no_dead_reward():
    rows = run(12, {"reward_unfinished": 0.0, "reward_unfinished_std": 0.0, "reward_unfinished_share": 0.0})
    assert newest(rows) == {}
    rows = run(12, {"reward_unfinished": -1.0, "reward_unfinished_std": 0.0})
    assert "unfinished was -1 in every rollout" in newest(rows)["dead_reward"]


def test_accuracy_may_make_all_of_the_variance():
    assert newest(run(12, {"reward_correct_share": 1.0, "reward_format_share": 0.0})) == {}


def test_a_low_entropy_from_the_start_is_no_collapse():
    assert newest(run(40, {"entropy": 0.02})) == {}


def test_pass_at_1_must_fall_by_more_than_the_noise_of_its_samples():
    # 500 answers at .50 and .45: standard error √((.25 + .2475)/500) = .0315; two of them are .063
    fallen = [{"step": s, "pass@1": p} for s, p in [(0, 0.5), (10, 0.40), (20, 0.40)]]
    assert "below its start of 0.500" in newest(run(3), fallen, 500)["below_start"]
    assert newest(run(3), fallen[:2], 500) == {}  # once is not enough
    assert newest(run(3), [row | {"pass@1": min(row["pass@1"] + 0.05, 0.5)} for row in fallen], 500) == {}
    assert newest(run(3), fallen, 50) == {}  # fifty answers tell nothing


def test_numbers_that_are_missing_trip_nothing_and_are_named():
    assert newest([{"step": 1}]) == {} and replay([]) == []
    rows = [{"step": 1, "truncated": 0.1, "kl": None}]
    assert unchecked(rows) == [name for name in tripwires.WIRES if name != "truncated"]

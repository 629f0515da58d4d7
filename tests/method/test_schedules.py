"""Learning-rate factors by hand."""

import pytest
import torch
from pytest import approx

from lead_kit.parameters import bind
from tests.references.schedules import SCHEDULES, constant, cosine_floor, warmup


def test_constant_is_one():
    assert {constant(s) for s in range(100)} == {1.0}


def test_warm_up_is_a_ramp_from_zero():
    assert [warmup(s, warmup_steps=4) for s in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert warmup(0, warmup_steps=0) == 1


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.8])
def test_cosine_falls_from_the_peak_to_its_floor_and_stays_there(floor):
    # W = 10, T = 110: at 60 the cosine is 0, so half way between peak and floor
    factor = bind(cosine_floor, dict(warmup_steps=10, total_updates=110, lr_floor=floor))
    assert [factor(s) for s in (0, 5, 10, 60, 110, 200)] == approx([0, 0.5, 1, (1 + floor) / 2, floor, floor])


@pytest.mark.slow
def test_it_drives_an_optimiser():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, bind(warmup, dict(warmup_steps=2)))
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [0, 1, 2]


def test_names_in_the_table_are_the_functions_names():
    assert all(function.__name__ == name for name, function in SCHEDULES.items())


@pytest.mark.slow
def test_transformers_cosine_with_min_lr_is_the_same_schedule():
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler("cosine_with_min_lr", optimizer, 10, 110, {"min_lr_rate": 0.8})
    factor = bind(cosine_floor, dict(warmup_steps=10, total_updates=110, lr_floor=0.8))
    for step in range(111):
        assert optimizer.param_groups[0]["lr"] == approx(factor(step))
        optimizer.step()
        theirs.step()

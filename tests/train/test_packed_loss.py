"""Rows of an update dealt out to processes, and their metrics put together again."""

from itertools import chain
from math import isnan, nan
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.train.packed_loss import _reduce_metric, equal_parts, gap_to_trainer, trained_rows


def test_parts_have_about_as_many_tokens():
    assert equal_parts([4, 1, 1, 1, 1], 2) == [range(0, 1), range(1, 5)]
    assert equal_parts([9, 1, 1], 3) == [range(0, 1), range(1, 2), range(2, 3)]  # none is empty


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_every_row_is_in_one_part(lengths, count):
    count = min(count, len(lengths))
    found = equal_parts(lengths, count)
    assert list(chain(*found)) == list(range(len(lengths))) and len(found) == count and all(map(len, found))
    if len(lengths) >= count * max(lengths):  # no part had to be cut short for the others
        assert max(abs(sum(lengths[at] for at in part) - sum(lengths) / count) for part in found) <= max(lengths)


def test_rows_without_advantage_stand_in_only_where_rows_are_missing():
    assert trained_rows(torch.tensor([0.0, 0.5, 0.0, -1.0]), 2).tolist() == [False, True, False, True]
    assert trained_rows(torch.tensor([[0.0, 0.0], [0.0, 0.2], [0.0, 0.0]]), 2).tolist() == [True, True, False]
    assert trained_rows(torch.zeros(3), 1).tolist() == [True, False, False]


def test_the_gap_to_vllm_takes_old_log_probabilities_that_stand_in_the_batch():
    ones = torch.ones(2, 2, dtype=torch.long)
    output = {"prompt_ids": ones, "prompt_mask": ones, "completion_ids": ones}
    output |= {"completion_mask": torch.tensor([[1, 1], [1, 0]])}
    output |= {"old_per_token_logps": torch.tensor([[-1.0, -2.0], [-3.0, -9.0]])}
    output |= {"sampling_per_token_logps": torch.tensor([[-1.0, -2.5], [-3.1, 0.0]])}
    trainer = SimpleNamespace(accelerator=Accelerator(cpu=True))  # it has no model that could be run
    assert gap_to_trainer(trainer, output) == pytest.approx((0 + 0.5 + 0.1) / 3)


@pytest.mark.parametrize(
    "name, expected", [("low_min", 1.0), ("high_max", 4.0), ("region_mean", 2.5), ("entropy", 2.5)]
)
def test_a_metric_of_all_processes(name, expected):
    assert _reduce_metric(f"clip_ratio/{name}", torch.tensor([4.0, nan, 1.0])) == expected
    assert isnan(_reduce_metric(name, torch.tensor([nan, nan])))

"""The examples in docstrings give what they say."""

import doctest
import importlib

import pytest
import torch

MODULES = [
    "lead_kit.data.arithmetic", "lead_kit.data.clean", "lead_kit.data.near_duplicates", "lead_kit.data.prompts",
    "lead_kit.evaluate.metrics", "lead_kit.evaluate.stats", "lead_kit.method.advantages", "lead_kit.method.diagnostics",
    "lead_kit.method.estimators", "lead_kit.method.rewards", "lead_kit.parameters", "lead_kit.safe_text",
    "lead_kit.train.batch_sizes", "lead_kit.train.packing", "lead_kit.verify",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch})
    assert result.attempted and not result.failed

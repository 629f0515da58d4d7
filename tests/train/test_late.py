"""wandb is installed for TRL, and imported only by those who use it."""

import subprocess
import sys

import pytest

ASKED_BY_TRL = """
import sys
import lead_kit.train
from transformers.integrations.integration_utils import is_wandb_available
assert is_wandb_available()
import wandb
assert wandb.run is None and "wandb.sdk" not in sys.modules
"""
USED = """
before = wandb
from wandb.sdk.wandb_settings import Settings
import wandb
assert wandb is not before and before.Settings is wandb.Settings is Settings
assert before.run is None
wandb.run = "active"
assert before.run == "active"
"""


@pytest.mark.slow
def test_a_question_does_not_import_it_and_a_use_does():
    subprocess.run([sys.executable, "-c", ASKED_BY_TRL + USED], check=True)

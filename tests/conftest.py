"""Fixtures shared by all tests: where the real problems lie, if they are there."""

import os
from pathlib import Path

import pytest

from tests import small

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def lead_data() -> Path:
    """The folder of real problems and rollouts named by LEAD_DATA (default ../shared/data)."""
    folder = Path(os.environ.get("LEAD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data set: {folder} does not exist (set LEAD_DATA)")
    return folder


@pytest.fixture(autouse=True)
def nothing_outlives_its_test():
    """Ends what a test has started and left running, so that it does not starve the tests that follow."""
    yield
    small.end_started()

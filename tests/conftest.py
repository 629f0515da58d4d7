"""Fixtures shared by all tests: where the real problems lie, if they are there; and a temporary folder that goes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing import util
from pathlib import Path

import hypothesis
import pytest

from lead_kit.launch import forkserver
from tests import small

ROOT = Path(__file__).resolve().parents[1]
hypothesis.settings.register_profile("untimed", deadline=None)  # no example fails because a machine is busy
hypothesis.settings.load_profile("untimed")
TEMPORARY = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def lead_data() -> Path:
    """The folder of real problems and rollouts named by LEAD_DATA (default ../shared/data)."""
    folder = Path(os.environ.get("LEAD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data set: {folder} does not exist (set LEAD_DATA)")
    return folder


@pytest.fixture(scope="session")
def forks() -> Iterator[dict[str, str]]:
    """The variable by which the kernel of a `lead run` is a fork of one process with the libraries (forkserver.py)."""
    with forkserver.serve(small.environment()) as variables:
        yield variables


def pytest_configure(config):
    """A temporary folder for the whole session: a run that a test kills cannot remove its own. The workers of xdist
    inherit it. Its name is short, because sockets lie in it."""
    if not hasattr(config, "workerinput"):
        config.stash[TEMPORARY] = tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="lead-")


def pytest_sessionfinish(session, exitstatus):
    """Removes that folder; where a test failed, what it has written stays there."""
    if (folder := session.config.stash.get(TEMPORARY, None)) and exitstatus != pytest.ExitCode.TESTS_FAILED:
        # after multiprocessing, at -100, has removed its own folder there
        util.Finalize(None, shutil.rmtree, args=[folder, True], exitpriority=-200)


def pytest_addoption(parser):
    parser.addoption("--fault-table", action="store_true", help="print case, expected and seen of every test that ran")


def pytest_terminal_summary(terminalreporter, config):
    """The campaign of faults as a table; a test may give `expected` and `seen` as properties."""
    if not config.getoption("--fault-table"):
        return
    reports = [r for outcome in ("passed", "failed") for r in terminalreporter.getreports(outcome) if r.when == "call"]
    lines = ["| case | expected | seen |", "|---|---|---|"]
    for report in sorted(reports, key=lambda report: report.nodeid):
        case, _, variant = report.nodeid.rpartition("::")[2].removeprefix("test_").partition("[")
        case = case.replace("_", " ") + (f": {variant.removesuffix(']')}" if variant else "")
        told = dict(report.user_properties)
        seen = told.get("seen", "as expected") if report.passed else f"FAILED: {report.longreprtext[-100:]}"
        cells = (case, told.get("expected", ""), seen)
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "/") for cell in cells) + " |")
    terminalreporter.write("\n" + "\n".join(lines) + f"\n{len(reports)} cases\n")


@pytest.fixture(autouse=True)
def nothing_outlives_its_test():
    """Ends what a test has started and left running, so that it does not starve the tests that follow."""
    yield
    small.end_started()

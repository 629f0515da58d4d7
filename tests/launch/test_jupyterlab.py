"""The kernels of `make lab`: forks that JupyterLab interrupts, restarts and finds dead."""

import os
import signal
import time
from importlib.metadata import entry_points

import pytest

from lead_kit.launch import jupyterlab, kernel
from tests.laboratory import PATIENCE, Lab

pytestmark = [pytest.mark.slow, pytest.mark.fault]
PLACE = "import os; print(os.getppid(), os.getpid())"
LOADED = "import sys; print(sorted({'torch', 'trl', 'lead_kit.train'} & set(sys.modules)))"


@pytest.fixture
def lab(tmp_path, forks):
    lab = Lab(tmp_path, **forks)
    yield lab
    lab.close()


def said(lab: Lab, source: str) -> str:
    """What a cell prints."""
    lab.said = []
    assert lab.execute(source)["status"] == "ok"
    return lab.text().strip()


def test_a_kernel_is_a_fork_that_has_the_libraries_and_reads_the_kit_anew(lab):
    assert int(said(lab, PLACE).split()[0]) != os.getpid()
    assert said(lab, LOADED) == "['torch', 'trl']"


def test_it_is_interrupted_and_restarted(lab):
    first = said(lab, PLACE).split()[1]
    with lab.interrupted_when(lambda: "begun" in lab.text()):
        reply = lab.execute("print('begun', flush=True)\nimport time; time.sleep(600)")
    assert reply["ename"] == "KeyboardInterrupt"
    assert said(lab, PLACE).split()[1] == first
    lab.kernel.restart_kernel(now=True)
    lab.client.wait_for_ready(timeout=PATIENCE)
    assert said(lab, PLACE).split()[1] != first


def test_a_kernel_that_was_killed_is_found_dead(lab):
    os.kill(int(said(lab, PLACE).split()[1]), signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while lab.kernel.is_alive():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_jupyter_finds_the_provisioner():
    [found] = entry_points(group="jupyter_client.kernel_provisioners", name=jupyterlab.NAME)
    assert found.load() is kernel.Provisioner

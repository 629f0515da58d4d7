"""Whoever reaches a socket of a run could take part in it, so every way to start listens on loopback alone."""

import contextlib
import ipaddress
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lead_kit.launch import process_tree
from tests.small import FINISH, SETTLE, lead, until_logged, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]
KIT = Path(__file__).resolve().parents[2]
DDP = str(KIT / "experiments/accelerate/ddp.yaml")
MEET = """\
import accelerate
accelerate.Accelerator().wait_for_everyone()
run.progress(1, 9)
time.sleep(600)"""
RECIPE = "stages:\n  first: {notebook: meet}\n"
SCALE = "nproc: {meet: 2}\n"
WAIT = 120  # seconds for a server to come up


def listening(pid: int) -> dict[str, str]:
    """Address → command of every listening socket of a process and all below it."""
    found = {}
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended, and its sockets with it
            for connection in process.net_connections(kind="inet"):
                bound = connection.type == socket.SOCK_DGRAM and not connection.raddr  # datagrams know no listening
                if connection.status == psutil.CONN_LISTEN or bound:
                    found[f"{connection.laddr.ip} {connection.laddr.port}"] = " ".join(process.cmdline())[:80]
    return found


def public(found: dict[str, str]) -> dict[str, str]:
    return {where: who for where, who in found.items() if not ipaddress.ip_address(where.split()[0]).is_loopback}


@pytest.mark.parametrize(
    "words, at_least",
    [
        (["run", "meet"], 0),
        (["run", "meet", "--nproc", "2"], 3),  # the store, and gloo in both ranks
        pytest.param(["run", "meet", "--nproc", "2", "--accelerate", DDP], 3, marks=pytest.mark.long),
        pytest.param(["reproduce", "meeting", "--scale", "two"], 3, marks=pytest.mark.long),
    ],
)
def test_a_run_listens_on_loopback_alone(tmp_path, words, at_least):
    write_notebook(tmp_path / "notebooks/meet.ipynb", SETTLE, MEET, FINISH)
    for kind, name, text in (("recipes", "meeting", RECIPE), ("scales", "two", SCALE)):
        (tmp_path / "experiments" / kind).mkdir(parents=True)
        (tmp_path / "experiments" / kind / f"{name}.yaml").write_text(text)
    (tmp_path / "experiments/Snakefile").symlink_to(KIT / "experiments/Snakefile")
    process = lead(tmp_path, *words)
    until_logged(process, tmp_path / "runs", "step 1/9")
    found = listening(process.pid)
    assert public(found) == {} and len(found) >= at_least


def test_jupyter_lab_listens_on_loopback_alone(tmp_path):
    recipe = (KIT / "Makefile").read_text().partition("\nlab:")[2].splitlines()[1]
    words = recipe.replace("$(LAB_ARGS)", "").split("python ")[1].split()  # as `make lab` starts it
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, *words, "--no-browser", "--allow-root", "--notebook-dir", str(tmp_path)]
    server = process_tree.start(command, env=os.environ | folders, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + WAIT
        while not (found := listening(server.pid)) and time.monotonic() < end:
            time.sleep(0.5)
        assert found and public(found) == {}
    finally:
        server.terminate()
        server.wait()

"""A small repository of the test's own, and `lead` called in it as a user calls it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from lead_kit import cli
from lead_kit.launch import forkserver, process_tree

TIMEOUT = 1800.0  # for a hang, not for a slow machine
MARK = "LEAD_TEST"  # in the environment of everything that a test starts
STARTED: list[subprocess.Popen] = []  # by the test that is running
AT_START = dict(os.environ)  # importing the kit's trainer adds to it, and the forkserver then refuses to make a fork

PARAMETERS = """\
run_name: str = "small"  # folder under runs/
steps: int = 3  # how many
fail: str = ""  # what goes wrong
"""
SETTLE = """\
import os, time
from lead_kit.errors import InputError
from lead_kit.parameters import settle
from lead_kit.runs.find import run_notebook_if_missing
from lead_kit.runs.run import Run
config = settle(globals())
run = Run(config, "small")"""
WORK = """\
for step in range(1, steps + 1):
    run.log(step, "train", reward=step / steps)
    run.progress(step, steps, reward=step / steps)
    time.sleep(0.05)
if fail == "input":
    raise InputError("group_size must divide the batch: 5 % 2 != 0")
if fail == "bug":
    print(1 / 0)
if fail == "dies":
    os.kill(os.getpid(), 9)"""
RANKS = """\
import accelerate, torch
from lead_kit.runs.provenance import check_processes
accelerator = accelerate.Accelerator()
check_processes(accelerator)
total = accelerator.gather(torch.tensor([accelerator.process_index + 1.0])).sum().item()
run.log(1, "train", reward=total)
print("rank", accelerator.process_index)
if fail == "rank" and accelerator.is_last_process:
    raise KeyError("boom")
accelerator.wait_for_everyone()"""  # the sum of the ranks' numbers; `fail` makes the last one fail
FINISH = "run.save_text('result.txt', str(steps))\nrun.finish(steps=steps)"


def write_notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """A notebook whose first cell is the parameters cell."""
    tagged = [(parameters, ["parameters"]), *((cell, []) for cell in cells)]
    body = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"c{i}",
            "metadata": {"tags": t},
            "outputs": [],
            "source": s,
        }
        for i, (s, t) in enumerate(tagged)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": body, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path


def small_notebook(root: Path, *extra: str) -> Path:
    """notebooks/small.ipynb, which trains nothing but behaves like a notebook that does."""
    return write_notebook(root / "notebooks/small.ipynb", SETTLE, WORK, *extra, FINISH)


def parsed(words: list[str]) -> dict:
    """The arguments of a command of `lead`, as its function gets them."""
    return cli.lead.commands[words[0]].make_context(words[0], list(words[1:])).params


def environment() -> dict[str, str]:
    """What every `lead` of a test has in its environment."""
    outer = ("RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC", "LEAD_RUN", forkserver.VARIABLE)
    added = {name for name in os.environ if name.startswith(forkserver.READ_AT_IMPORT) and name not in AT_START}
    clean = {name: value for name, value in os.environ.items() if name not in {*outer, *added}}
    return clean | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def lead(root: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    """Starts `lead` with `root` as the repository. Whatever of it still runs when the test ends is ended."""
    own = {"LEAD_ROOT": str(root), MARK: mark()}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "lead_kit.cli", *arguments],  # -P: as the script `lead`
        cwd=root,
        env=environment() | own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def until(process: subprocess.Popen, text: str) -> str:
    """Reads the process's output up to the first line that holds `text`; returns that line."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(process.stderr.read())


def until_logged(process: subprocess.Popen, root: Path, text: str) -> None:
    """Waits until the log of a run below `root` holds `text`, as `lead reproduce` itself prints no steps."""
    while not any(text in log.read_text(errors="replace") for log in root.rglob("log.txt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def mark() -> str:
    """What this process of pytest writes into the environment of all that it starts."""
    return f"{socket.gethostname()}-{os.getpid()}"


def end_started() -> list[psutil.Process]:
    """Asks every `lead` that still runs to end its tree, then kills what is left of all trees; returns those killed."""
    running = [process for process in STARTED if process.poll() is None]
    for process in running:
        process.terminate()
    psutil.wait_procs([psutil.Process(process.pid) for process in running if process.poll() is None], timeout=30)
    left = process_tree.with_variable(MARK, mark()) if STARTED else []
    process_tree.send(signal.SIGKILL, left)
    psutil.wait_procs(left, timeout=30)
    for process in STARTED:
        process.wait()
        process.stdout.close()
        process.stderr.close()
    STARTED.clear()
    return left


def call(root: Path, *arguments: str, timeout: float = TIMEOUT, **variables: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `lead` in `root`. After `timeout` seconds its whole tree is ended."""
    process = lead(root, *arguments, **variables)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end_started()
        raise
    return process.returncode, out, err


def use_root(monkeypatch, root, *modules) -> None:
    """Makes `root` the repository of these modules of the kit."""
    for module in modules:
        for name, path in (("ROOT", root), ("RUNS", root / "runs")):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, path)

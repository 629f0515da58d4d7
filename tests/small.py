"""A small repository of the test's own, and `lead` called in it as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

PARAMETERS = """\
run_name: str = "small"  # folder under runs/
steps: int = 3  # how many
fail: str = ""  # what goes wrong
"""
SETTLE = """\
import os, time
from lead_kit.errors import InputError
from lead_kit.params import settle
from lead_kit.runs.find import ensure
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


def lead(root: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    """Starts `lead` with `root` as the repository."""
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC")}
    return subprocess.Popen(
        [sys.executable, "-m", "lead_kit.cli", *arguments],
        cwd=root,
        env=clean | {"LEAD_ROOT": str(root), "OMP_NUM_THREADS": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(root: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `lead` in `root`."""
    process = lead(root, *arguments, **variables)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

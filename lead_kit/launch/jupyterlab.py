"""`make lab`: JupyterLab on loopback. On a host without a GPU its kernels are forks of a process with the libraries, so
that the cell of imports does not take seconds.

It saves a notebook of notebooks/ without what running it adds, so that running is no change for git. The outputs are
not lost: the notebook as it was on the screen goes to runs/lab/, which git ignores.
"""

import contextlib
import copy
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import PurePosixPath

from lead_kit.launch import forkserver, process_tree, ranks
from lead_kit.runs.files import RUNS, write_text

NAME = "lead-forks"  # of the provisioner in pyproject.toml
OPTIONS = ["--ip", ranks.LOOPBACK, "--ContentsManager.pre_save_hook=lead_kit.launch.jupyterlab.on_save"]
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # of every notebook of the repository


def on_save(model: dict, path: str, **_) -> None:
    """Jupyter's hook before a save: `model` is what will be written to `path`, which is relative to the repository."""
    if model["type"] != "notebook" or PurePosixPath(path).parent.name != "notebooks":
        return
    target = RUNS / "lab" / PurePosixPath(path).name
    write_text(target, json.dumps(model["content"], indent=1, ensure_ascii=False) + "\n")
    model["content"] = _stripped(model["content"])


def _stripped(notebook: dict) -> dict:
    """The notebook without outputs, counts and what a front end writes into its metadata."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        cell["metadata"] = {"tags": tags} if (tags := cell["metadata"].get("tags")) else {}
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    notebook["metadata"] = {"kernelspec": _KERNEL, "language_info": {"name": "python"}}
    return notebook


def main() -> int:
    """Starts JupyterLab with the options of this command; returns its exit code."""
    options, variables = [*OPTIONS, *sys.argv[1:]], dict(os.environ)
    with contextlib.ExitStack() as stack:
        if forkserver.VARIABLE not in variables and not ranks.has_gpu():
            variables |= stack.enter_context(forkserver.serve(variables))
        if variables.get(forkserver.VARIABLE):
            options.append(f"--KernelProvisionerFactory.default_provisioner_name={NAME}")
        die = functools.partial(process_tree.die_with_parent, os.getpid(), signal.SIGTERM)
        lab = subprocess.Popen([sys.executable, "-P", "-m", "jupyterlab", *options], env=variables, preexec_fn=die)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches JupyterLab, which asks
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: lab.send_signal(number))
        return lab.wait()


if __name__ == "__main__":
    sys.exit(main())

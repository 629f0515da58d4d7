"""The notebook of a run that goes on in a live notebook: after each cell, what was executed so far, in its folder.

JupyterLab saves only what an open tab has received. The kernel has every cell and every output.
"""

import base64
import contextlib
import functools
import json
import sys
from pathlib import Path

from lead_kit.parameters import SETTLED
from lead_kit.runs import lock
from lead_kit.runs.files import write_text

_MOST = 1 << 20  # characters that one cell's printed output may have
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


class _Recorder:
    """Keeps the outputs of the kernel's cells, and writes them with their sources into the folder of a run."""

    def __init__(self, shell):
        self.shell, self.folder, self.lasting = shell, None, False
        self.outputs, self.cells, self.displays = {}, {}, {}  # by number of the cell; by message; by display_id
        self.begin()
        for stream in (sys.stdout, sys.stderr):
            stream.pub_thread.schedule(functools.partial(stream.register_hook, self.take))  # hooks belong to a thread
        for source in (shell.display_pub, shell.displayhook):
            source.register_hook(self.take)
        shell.events.register("pre_run_cell", lambda info: self.begin())
        shell.events.register("post_run_cell", self.end)

    def begin(self) -> None:
        """A cell begins, and is counted already: its messages will name the request that is being answered."""
        self.cells[self.shell.get_parent().get("header", {}).get("msg_id")] = self.shell.execution_count - 1

    def take(self, message: dict) -> dict:
        """Keeps one output and hands it on."""
        kind, content = message["header"]["msg_type"], message["content"]
        number = self.cells.get(message["parent_header"].get("msg_id"))
        outputs, display = self.outputs.setdefault(number, []), content.get("transient", {}).get("display_id")
        if kind == "stream":
            if not outputs or outputs[-1].get("name") != content["name"]:
                outputs.append({"output_type": kind, "name": content["name"], "text": ""})
            outputs[-1]["text"] = (outputs[-1]["text"] + content["text"])[:_MOST]
        elif kind == "update_display_data" and display in self.displays:
            self.displays[display] |= {"data": content["data"], "metadata": content["metadata"]}
        elif kind in ("display_data", "execute_result"):
            counted = {"execution_count": number} if kind == "execute_result" else {}
            outputs.append({"output_type": kind, "data": content["data"], "metadata": content["metadata"]} | counted)
            self.displays[display] = outputs[-1]
        return message

    def end(self, result) -> None:
        """A cell has ended: writes the notebook while the run is this kernel's, and once more when it has ended."""
        if self.folder is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        if error := result.error_before_exec or result.error_in_exec:
            name = type(error).__name__
            output = {"output_type": "error", "ename": name, "evalue": str(error), "traceback": [f"{name}: {error}"]}
            self.outputs.setdefault(result.execution_count, []).append(output)
        writing = lock.acquired_here(self.folder)
        if writing or self.lasting:
            with contextlib.suppress(OSError):  # the folder was deleted: the run's next line says so
                write_text(
                    self.folder / "notebook.ipynb", json.dumps(self.notebook(), indent=1, default=_as_text) + "\n"
                )
        self.folder, self.lasting = (self.folder if writing else None), writing

    def notebook(self) -> dict:
        """The cells executed since the parameters cell, with their outputs."""
        sources = self.shell.user_ns.get("In", [])
        numbers = range(max(1, self.shell.user_ns.get(SETTLED, (1,))[0]), len(sources))
        cells = [
            {"cell_type": "code", "execution_count": number, "id": f"c{number}", "metadata": {}}
            | {"outputs": list(self.outputs.get(number, [])), "source": sources[number]}
            for number in numbers
        ]
        return {"cells": cells, "metadata": _KERNEL, "nbformat": 4, "nbformat_minor": 5}


def _as_text(value) -> str:
    """What JSON has no form for, as a notebook stores it: an image in base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


_RECORDERS: list[_Recorder] = []  # at most one: a kernel has one shell


def record(folder: Path) -> None:
    """From now on this kernel writes its notebook into the folder of a run, after each cell until the run ends."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell, "display_pub") or not hasattr(shell.display_pub, "register_hook"):
        return
    if not _RECORDERS:
        _RECORDERS.append(_Recorder(shell))
    _RECORDERS[0].folder, _RECORDERS[0].lasting = folder, True

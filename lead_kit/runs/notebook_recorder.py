"""The notebook of a run that goes on in a live notebook: after each cell, what was executed so far, in its folder.

JupyterLab alone knows its document, and only what a tab has received. The kernel sees every cell and every output.
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
        self.outputs, self.cells, self.shown = {}, {}, {}  # by place in In; place by message; output by display_id
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
        place = self.cells.get(message["parent_header"].get("msg_id"))
        if place is None:
            return message
        kept, name = self.outputs.setdefault(place, []), content.get("transient", {}).get("display_id")
        if kind == "stream":
            self.take_text(kept, content)
        elif kind == "update_display_data" and name in self.shown:
            self.shown[name] |= {"data": content["data"], "metadata": content["metadata"]}
        elif kind in ("display_data", "execute_result"):
            number = {"execution_count": place} if kind == "execute_result" else {}
            kept.append({"output_type": kind, "data": content["data"], "metadata": content["metadata"]} | number)
            self.shown[name] = kept[-1]
        return message

    def take_text(self, kept: list[dict], content: dict) -> None:
        """Adds printed text to the last output if that is of the same stream."""
        if not kept or kept[-1].get("name") != content["name"]:
            kept.append({"output_type": "stream", "name": content["name"], "text": ""})
        kept[-1]["text"] = (kept[-1]["text"] + content["text"])[:_MOST]

    def end(self, result) -> None:
        """A cell has ended: writes the notebook while the run is this kernel's, and once more when it has ended."""
        error = result.error_before_exec or result.error_in_exec
        if self.folder is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        if error is not None:
            told = {
                "ename": type(error).__name__,
                "evalue": str(error),
                "traceback": [f"{type(error).__name__}: {error}"],
            }
            self.outputs.setdefault(result.execution_count, []).append({"output_type": "error"} | told)
        held = lock.acquired_here(self.folder)
        if held or self.lasting:
            with contextlib.suppress(OSError):  # the folder was deleted: the run's next line says so
                write_text(
                    self.folder / "notebook.ipynb", json.dumps(self.notebook(), indent=1, default=_as_text) + "\n"
                )
        self.folder, self.lasting = (self.folder if held else None), held

    def notebook(self) -> dict:
        """The cells executed since the parameters cell, with their outputs."""
        sources = self.shell.user_ns.get("In", [])
        first = max(1, self.shell.user_ns.get(SETTLED, (1,))[0])
        cells = [
            {"cell_type": "code", "execution_count": place, "id": f"c{place}", "metadata": {}}
            | {"outputs": list(self.outputs.get(place, [])), "source": sources[place]}
            for place in range(first, len(sources))
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

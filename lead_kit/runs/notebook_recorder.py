"""Writes a live notebook into the folder of its run: after each cell, what was executed so far.

JupyterLab saves only what an open tab has received. IPython keeps the sources, the printed texts, the results and the
errors of all cells; what they display is added here.
"""

import base64
import contextlib
import json
from pathlib import Path

from lead_kit.parameters import SETTLED
from lead_kit.runs import lock
from lead_kit.runs.files import write_text

_MOST = 1 << 20  # characters that one cell's printed output may have
_STREAMS = {"out_stream": "stdout", "err_stream": "stderr"}
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


class _Recorder:
    """Writes the cells of this kernel, with their outputs, into the folder of a run."""

    def __init__(self, shell):
        self.shell, self.history, self.folder, self.lasting = shell, shell.history_manager, None, False
        self.displays = {}  # by display_id
        shell.display_pub.register_hook(self.add_display)
        shell.events.register("post_run_cell", lambda result: self.write())

    def add_display(self, message: dict) -> dict:
        """Keeps what a cell displays, or updates what it displayed before, and hands the message on."""
        from IPython.core.history import HistoryOutput

        data, name = message["content"]["data"], message["content"]["transient"].get("display_id")
        if message["header"]["msg_type"] == "update_display_data" and name in self.displays:
            self.displays[name].bundle = data
        else:
            self.displays[name] = HistoryOutput("display_data", data)
            number = self.shell.execution_count - 1  # the cell that runs is counted already
            self.history.outputs.setdefault(number, []).append(self.displays[name])
        return message

    def write(self) -> None:
        """A cell has ended: writes the notebook while the run is this kernel's, and once more when it has ended."""
        if self.folder is None:
            return
        writing = lock.acquired_here(self.folder)
        if writing or self.lasting:
            with contextlib.suppress(OSError):  # the folder was deleted: the run's next line says so
                text = json.dumps(self.notebook(), indent=1, default=_as_text) + "\n"
                write_text(self.folder / "notebook.ipynb", text)
        self.folder, self.lasting = (self.folder if writing else None), writing

    def notebook(self) -> dict:
        """The cells executed since the parameters cell, with their outputs."""
        first = max(1, self.shell.user_ns.get(SETTLED, (1,))[0])
        cells = [
            {"cell_type": "code", "execution_count": number, "id": f"c{number}", "metadata": {}}
            | {"outputs": self.outputs(number), "source": source}
            for number, source in enumerate(self.shell.user_ns["In"])
            if number >= first
        ]
        return {"cells": cells, "metadata": _KERNEL, "nbformat": 4, "nbformat_minor": 5}

    def outputs(self, number: int) -> list[dict]:
        """The outputs of one cell, as a notebook keeps them."""
        outputs = []
        for output in self.history.outputs.get(number, []):
            kind, bundle = output.output_type, output.bundle
            if kind in _STREAMS:
                text = "".join(bundle["stream"])[:_MOST]
                outputs.append({"output_type": "stream", "name": _STREAMS[kind], "text": text})
            else:
                counted = {"execution_count": number} if kind == "execute_result" else {}
                outputs.append({"output_type": kind, "data": bundle, "metadata": {}} | counted)
        error = self.history.exceptions.get(number)
        return outputs + ([{"output_type": "error"} | error] if error else [])


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

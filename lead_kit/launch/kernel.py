"""One kernel of a run: papermill executes the notebook, `lead run` (run_notebook.py) supervises this process.

`lead run`, or torchrun for each rank, starts it with one argument: JSON with `notebook`, `folder` and `parameters`.
What the notebook prints goes to stdout (rank 0) or stderr (the log), its error to `.error.json`.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path

if __name__ == "__main__":
    # jsonschema, which checks notebooks, would import this validator of web addresses. Its grammars cost a second in
    # every run, and no notebook uses the format. The line can go when the last test of test_kernel.py fails.
    sys.modules["rfc3987_syntax"] = None

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from lead_kit.launch import forkserver, process_tree
from lead_kit.runs.files import ROOT, write_text
from lead_kit.runs.lock import HOST

_START_SECONDS = 120  # a busy machine may take long to start a kernel
_OUTPUT_BYTES = 1 << 20  # of one output that the executed notebook keeps
_OUTPUT_SECONDS = 600  # for the last output of a cell to arrive; a huge one takes long
_SOCKET_PATH = 100  # the system allows 107 bytes, of which the kernel takes a few
_KERNEL = (  # with -P; the working directory comes last: its modules may be named like those of a library
    "import os, sys; sys.path.append(''); from lead_kit.launch.process_tree import die_with_parent; "
    "die_with_parent(int(os.environ['JPY_PARENT_PID'])); "
    "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Fork:
    """A kernel that the forkserver has made: what jupyter_client uses of Popen's interface. The server hangs up when
    it has ended."""

    stdin = stderr = stdout = None

    def __init__(self, client: socket.socket, pid: int):
        self.client, self.pid = client, pid

    def poll(self) -> int | None:
        """None while it runs, else 1: nobody asks which."""
        return 1 if wait([self.client], 0) else None

    def wait(self) -> int:
        """Returns when it has ended."""
        wait([self.client])
        return 1

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it has no process group yet."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Provisioner(LocalProvisioner):
    """Starts kernels of this Python as forks where LEAD_FORKSERVER names a server, and others as processes."""

    async def launch_kernel(self, cmd: list[str], **options) -> dict:
        """The kernel's connection, as jupyter_client asks for it."""
        ours = cmd[0] == sys.executable and options["env"].get(forkserver.VARIABLE)
        forked = await asyncio.to_thread(_ask, cmd, options) if ours else None
        if forked is None:
            return await super().launch_kernel(cmd, **options)
        self.process, self.pid, self.pgid = forked, forked.pid, forked.pid
        return self.connection_info


def _ask(cmd: list[str], options: Mapping) -> _Fork | None:
    """A kernel from the server; None when it has ended, or the kernel must import for itself."""
    client = socket.socket(socket.AF_UNIX)
    request = {"arguments": cmd[cmd.index("-f") :], "env": options["env"], "cwd": options.get("cwd") or os.getcwd()}
    with contextlib.suppress(OSError, ValueError):
        client.connect(options["env"][forkserver.VARIABLE])
        socket.send_fds(client, [b"2"], [1, 2])
        client.sendall(json.dumps(request).encode() + b"\n")
        return _Fork(client, int(client.recv(32)))
    client.close()
    return None


class Kernel(AsyncKernelManager):
    """A kernel of this very Python, whatever kernel specs are installed, that dies with the process that started it.

    It talks over sockets in a folder of its own, so that kernels that start together do not compete for ports.
    """

    def __init__(self, **options):
        super().__init__(**options)
        address = os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], f"rank{os.environ.get('RANK', '0')}")
        if len(address) < _SOCKET_PATH:
            self.transport, self.ip = "ipc", address
        self.provisioner = Provisioner(kernel_spec=self.kernel_spec, parent=self)

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        file = os.path.realpath(self.connection_file)
        return [sys.executable, "-P", "-c", _KERNEL, "-f", file, *(extra_arguments or [])]


class _CappedEngine(Engine):
    """Papermill's engine, which checks and writes the whole notebook twice a cell; here it writes what is executed."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout, input_path=None, log_output=False, **options):
        options |= {"startup_timeout": start_timeout, "timeout": None, "iopub_timeout": _OUTPUT_SECONDS}
        options["on_cell_executed"] = lambda cell, **_unused: _keep_so_far(nb_man, cell)
        nb_man.save = lambda **_unused: None
        nb_man.nb.metadata.papermill["host"] = HOST
        try:
            PapermillNotebookClient(nb_man, kernel_name=kernel_name, **options).execute()
        finally:
            del nb_man.save


def _keep_so_far(nb_man, cell) -> None:
    """Writes the notebook as far as it is executed, so that a run that goes on can be looked at in its folder. A
    printed text is cut to OUTPUT_BYTES, which the log has in full; a larger output of another kind is dropped."""
    for number, output in enumerate(cell.get("outputs", [])):
        text = output.get("text", "")
        if output.output_type != "error" and len(text or json.dumps(output)) > _OUTPUT_BYTES:
            rest = "log.txt has the rest" if text else "this output is lost"
            text = f"{text[:_OUTPUT_BYTES]}\n[lead: an output keeps {_OUTPUT_BYTES >> 20} MB; {rest}]\n"
            cell["outputs"][number] = nbformat.v4.new_output("stream", name=output.get("name", "stderr"), text=text)
    write_text(Path(nb_man.output_path), json.dumps(nb_man.nb) + "\n")


def _write_failure(folder: Path, rank: int, error: Exception, executed: Path) -> None:
    """Keeps the error for the supervisor: its name, its sentence and, from a cell of `executed`, its traceback."""
    name, sentence, trace = type(error).__name__, str(error), ""
    if isinstance(error, DeadKernelError):
        sentence = "the kernel died: killed from outside, or out of memory"
    elif isinstance(error, PapermillExecutionError) and error.traceback:
        name, sentence = error.ename, error.evalue
        trace = f"In cell {error.cell_index + 1}:\n" + _COLOUR.sub("", "\n".join(error.traceback))
    elif isinstance(error, PapermillExecutionError):  # IPython prints that of a group of exceptions itself
        cell = nbformat.read(executed, 4).cells[error.cell_index + 2]  # papermill has put two on the error above it
        name, trace = "", "".join(output.get("text", "") for output in cell.outputs)
        lines = [line.strip(" |+-") for line in reversed(trace.split("\n"))]  # without the frames of the group
        sentence = f"cell {error.cell_index + 1} failed: {next(filter(None, lines), 'it printed nothing')}"
    process_tree.write_error(folder, rank, name, sentence, trace)


def main() -> int:
    """Executes the notebook; returns 0 when every cell ran."""
    process_tree.die_with_parent()
    job = json.loads(sys.argv[1])
    folder, rank = Path(job["folder"]), int(os.environ.get("RANK", "0"))
    target = folder / "notebook.ipynb" if rank == 0 else folder / "ranks" / f"{rank}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill_engines.register("lead", _CappedEngine)
    try:
        papermill.execute_notebook(
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (job["notebook"], target)),  # not filled in
            parameters=job["parameters"],
            engine_name="lead",
            kernel_name="python3",
            kernel_manager_class=Kernel,
            language="python",
            progress_bar=False,
            stdout_file=sys.stdout if rank == 0 else sys.stderr,
            stderr_file=sys.stderr,
            start_timeout=_START_SECONDS,
            cwd=ROOT,
        )
    except (PapermillExecutionError, RuntimeError, OSError) as error:  # OSError: the notebook cannot be written
        _write_failure(folder, rank, error, target)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

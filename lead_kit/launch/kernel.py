"""One kernel of a run: papermill executes the notebook, `lead run` (run_notebook.py) supervises this process.

`lead run`, or torchrun for each rank, starts it with one argument: JSON with `notebook`, `folder` and `parameters`.
What the notebook prints goes to stdout (rank 0) or stderr (the log), its error to `.error.json`.
"""

import asyncio
import contextlib
import functools
import json
import logging
import os
import re
import signal
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
from lead_kit.launch.process_tree import die_with_parent
from lead_kit.runs.files import ROOT, write_text
from lead_kit.runs.lock import HOST

_START_SECONDS = 120  # a busy machine may take long to start a kernel
_CELL_BYTES = 1 << 20  # of one cell's output that the executed notebook keeps
_OUTPUT_SECONDS = 600  # for the last output of a cell to arrive; a huge one takes long
_SOCKET_PATH = 100  # the system allows 107 bytes, of which the kernel takes a few
_KERNEL = (
    "import os; from lead_kit.launch.process_tree import die_with_parent; "
    "die_with_parent(int(os.environ['JPY_PARENT_PID'])); "
    "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Fork:
    """A kernel that the forkserver has made: what jupyter_client uses of Popen's interface."""

    stdin = stderr = stdout = None

    def __init__(self, client: socket.socket, pid: int):
        self.client, self.pid, self.returncode = client, pid, None

    def poll(self) -> int | None:
        """None while it runs."""
        if self.returncode is None and wait([self.client], 0):
            self.returncode = 1  # nobody asks which
            self.client.close()
        return self.returncode

    def wait(self) -> int:
        """Returns when it has ended."""
        if self.returncode is None:
            wait([self.client])
        return self.poll()

    def send_signal(self, number: int) -> None:
        """Sends a signal unless it is known to have ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    terminate = functools.partialmethod(send_signal, signal.SIGTERM)
    kill = functools.partialmethod(send_signal, signal.SIGKILL)


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
        return [sys.executable, "-c", _KERNEL, "-f", os.path.realpath(self.connection_file), *(extra_arguments or [])]


class _Client(PapermillNotebookClient):
    """Keeps at most CELL_BYTES of a cell's output in the notebook; what is printed still goes to the log in full."""

    def output(self, outs: list, msg: dict, display_id: str | None, cell_index: int):
        """Takes one output of a cell; an error is always kept."""
        out = super().output(outs, msg, display_id, cell_index)
        remaining = _CELL_BYTES - sum(_size(kept) for kept in outs[:-1])
        if out is None or out.output_type == "error" or _size(out) <= remaining:
            return out
        text = out.text[: max(remaining, 0)] if out.output_type == "stream" else ""
        if remaining >= 0:  # the first output that does not fit
            rest = "log.txt has the rest" if out.output_type == "stream" else "this output is lost"
            text += f"\n[lead: a cell keeps {_CELL_BYTES >> 20} MB of output; {rest}]\n"
        outs[-1] = nbformat.v4.new_output("stream", name=out.get("name", "stderr"), text=text)
        if remaining < 0:
            outs.pop()
        return out


def _size(output) -> int:
    """Characters of an output as the notebook stores it."""
    return len(output.text) if output.output_type == "stream" else len(json.dumps(output))


class _CappedEngine(Engine):
    """Papermill's engine with the client above. Papermill checks and formats the whole notebook twice a cell; here only
    at the end."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout, input_path=None, log_output=False, **options):
        options |= {"startup_timeout": start_timeout, "timeout": None, "iopub_timeout": _OUTPUT_SECONDS}
        options["on_cell_complete"] = lambda cell, cell_index: _keep_so_far(nb_man)
        nb_man.save = functools.partial(_save_so_far, nb_man)
        try:
            _Client(nb_man, kernel_name=kernel_name, **options).execute()
        finally:
            del nb_man.save


def _save_so_far(nb_man, **_unused) -> None:
    """Takes the place of papermill's `save` while cells run."""
    Path(nb_man.output_path).write_text(json.dumps(nb_man.nb), encoding="utf-8")
    nb_man.last_save_time = nb_man.now()


def _keep_so_far(nb_man) -> None:
    """Writes the notebook as far as it is executed, so that a run that goes on can be looked at in its folder."""
    part = Path(nb_man.output_path)
    write_text(part.with_name(part.name[1:]), json.dumps(nb_man.nb) + "\n")


def _write_failure(folder: Path, rank: int, error: PapermillExecutionError | RuntimeError) -> None:
    """Keeps the error for the supervisor: its name, its sentence and, from a cell, its traceback."""
    if isinstance(error, PapermillExecutionError):
        trace = f"In cell {error.cell_index + 1}:\n" + _COLOUR.sub("", "\n".join(error.traceback))
        process_tree.write_error(folder, rank, error.ename, error.evalue, trace)
        return
    died = "the kernel died: killed from outside, or out of memory"
    process_tree.write_error(
        folder, rank, type(error).__name__, died if isinstance(error, DeadKernelError) else str(error)
    )


def _finish_notebook(part: Path, target: Path) -> None:
    """Gives the executed notebook its name, with this host in its metadata."""
    notebook = json.loads(part.read_text(encoding="utf-8"))
    notebook["metadata"]["papermill"]["host"] = HOST
    write_text(target, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    part.unlink()


def main() -> int:
    """Executes the notebook; returns 0 when every cell ran."""
    die_with_parent()
    job = json.loads(sys.argv[1])
    folder, rank = Path(job["folder"]), int(os.environ.get("RANK", "0"))
    target = folder / "notebook.ipynb" if rank == 0 else folder / "ranks" / f"{rank}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}")  # papermill writes here after each cell
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill_engines.register("lead", _CappedEngine)
    try:
        papermill.execute_notebook(
            job["notebook"],
            part,
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
    except (PapermillExecutionError, RuntimeError) as error:
        _write_failure(folder, rank, error)
        return 1
    finally:
        if part.is_file():
            _finish_notebook(part, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())

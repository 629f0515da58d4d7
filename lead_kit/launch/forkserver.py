"""Kernels that are forks of one process with the libraries, by multiprocessing's forkserver, on hosts without a GPU.

    lead reproduce (make lab, the tests) ── forkserver ── kernel, a fork
    lead run ── papermill, which asks over a socket for the kernel

Importing torch, transformers and TRL takes longer than a small run trains. Only other people's libraries are imported
before the fork; the kit's modules are imported in each kernel. A kernel ends with the process that asked for it and
with the one that serves; where there is no server, a kernel is a process of its own.
"""

import atexit
import contextlib
import gc
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait

VARIABLE = "LEAD_FORKSERVER"  # names the socket; when it is empty, every kernel is a process of its own
_PRELOADED = [
    "ipykernel.kernelapp", "ipykernel.debugger", "matplotlib.pyplot", "matplotlib.backends.backend_pdf",
    "matplotlib_inline.backend_inline", "pandas", "pyarrow.parquet", "tabulate", "scipy.stats", "httpx", "yaml",
    "torch", "torch._dynamo", "datasets", "transformers.trainer", "transformers.models.llama.modeling_llama",
    "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer", "peft",
]  # fmt: skip
# what libraries read when they are imported: a kernel in which one of these differs has to import them itself
READ_AT_IMPORT = ("PYTHON", "OMP_", "HF_", "TRANSFORMERS_", "TRL_", "TORCH_", "CUDA_", "ACCELERATE_", "LD_")
_EXTRA = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
_EXTRA |= {"PYTHONSAFEPATH": "1"}  # a kernel has its working directory behind the libraries
_LONGEST = 70  # characters; the system allows 107 bytes for the path of a socket
_LOCK = threading.Lock()  # multiprocessing's list of children is not made for threads


@contextlib.contextmanager
def serve(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Serves forks for as long as the context lasts; gives the variable by which `lead run` finds them.

    There are none, and no variable, where the temporary folder's path is too long for sockets.
    """
    if len(tempfile.gettempdir()) > _LONGEST:
        yield {}
        return
    forkserver.set_forkserver_preload(_PRELOADED)
    before = dict(os.environ)
    os.environ |= {**environment, **_EXTRA}
    forkserver.ensure_running()  # it inherits the environment, and imports while others go on
    os.environ.clear()
    os.environ.update(before)
    with tempfile.TemporaryDirectory(prefix="lead-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(folder, "forks"))  # in a folder that nobody else can enter
        listener.listen(64)
        threading.Thread(target=_accept, args=(listener, _read_at_import(environment)), daemon=True).start()
        try:
            yield {VARIABLE: listener.getsockname()}
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for child in multiprocessing.active_children():
                child.kill()


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


def _accept(listener: socket.socket, read: dict[str, str]) -> None:
    """One thread for each kernel, until the listener is shut down."""
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_keep_kernel, args=(listener.accept()[0], read), daemon=True).start()


def _keep_kernel(client: socket.socket, read: dict[str, str]) -> None:
    """Starts the kernel that the client asks for and kills it when the client has gone; hangs up when it has ended."""
    with contextlib.suppress(OSError, ValueError), client, client.makefile("rb") as lines:
        _, files, _, _ = socket.recv_fds(client, 1, 2)
        request = json.loads(lines.readline())
        with contextlib.ExitStack() as opened:
            outputs = [opened.enter_context(Connection(file, readable=False)) for file in files]
            if read != _read_at_import(request["env"]):
                return
            process = multiprocessing.get_context("forkserver").Process(target=_be_kernel, args=(request, outputs))
            with _LOCK:
                process.start()
        client.sendall(f"{process.pid}\n".encode())
        wait([client, process.sentinel])
        with _LOCK:
            process.kill()
            process.join()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def _be_kernel(request: dict, outputs: list[Connection]) -> None:
    """The life of a kernel in the fork."""
    import numpy
    from ipykernel import kernelapp

    gc.freeze()  # collecting what is shared would copy it
    os.setsid()  # a signal for the kernel and what it starts is for nobody else
    threading.Thread(target=_end_after, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    for number, output in enumerate(outputs, start=1):
        os.dup2(output.fileno(), number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["kernel", *request["arguments"]]
    sys.path.append("")
    multiprocessing.set_start_method(None, force=True)  # cells have Python's own, as in a new process
    numpy.random.seed()  # its state was drawn when it was imported
    try:
        kernelapp.launch_new_instance(parent_handle=os.getppid())
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out; test_forkserver.py fails without

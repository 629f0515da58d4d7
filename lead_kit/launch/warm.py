"""A warm process: it has imported the libraries of the notebooks and forks each `lead run` off itself, on CPUs only.

    lead run (the user's) ── socket ── warm process ── fork: lead run ── fork: papermill ── fork: kernel

Importing torch, transformers and TRL takes longer than a small run trains. Only other people's libraries are imported
before the fork; each fork imports the kit anew, so that a run uses the code that is there when it starts. The outer
`lead run` passes its arguments, environment and files on, then signals, and returns the exit code. When it ends, for
whatever reason, the fork is killed, and with it all that the fork has started; when the warm process ends, so do they.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

import psutil

from lead_kit.launch import forks, process_tree

VARIABLE = "LEAD_WARM"  # names the socket of a warm process
_LONGEST = 100  # characters of a socket's path; the system allows 107 bytes
PATIENCE = 60.0  # seconds for a run to say what it is
COMMAND = "import sys; from lead_kit.launch import warm; warm.serve(*map(int, sys.argv[1:]))"
# What libraries read when they are imported: a run in which one of these differs has to import them itself.
READ = ("PYTHON", "OMP_", "HF_", "TRANSFORMERS_", "TRL_", "TORCH_", "CUDA_", "ACCELERATE_", "LD_")
_SEED = {"PYTHONHASHSEED": "0"}  # as the verifier needs it; a run with another one imports for itself
_FIRST = (  # all that 01_preprocess needs
    "papermill.execute", "papermill.engines", "papermill.clientwrap", "nbformat", "jupyter_client",
    "ipykernel.kernelapp", "ipykernel.debugger", "matplotlib.pyplot", "matplotlib.backends.backend_pdf",
    "matplotlib_inline.backend_inline", "pandas", "pyarrow.parquet", "tabulate", "scipy.stats", "httpx", "yaml",
)  # fmt: skip
_THEN = (
    "torch", "torch._dynamo", "datasets", "transformers.trainer", "transformers.models.llama.modeling_llama",
    "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer", "peft", "latex2sympy2_extended",
)  # fmt: skip
_FORMULAS = (
    "\\int_0^1 x^2dx+\\lim_{x\\to 0}\\frac{\\sin x}{x}",
    "\\prod_{k=1}^{n}k+\\sum_{k=0}^{n}\\lfloor 7\\pi\\rfloor",
)


@contextlib.contextmanager
def server(environment: Mapping[str, str], interactive: bool = False) -> Iterator[dict[str, str]]:
    """A warm process for as long as the context lasts; gives the variables by which `lead run` finds it.
    `interactive`: for kernels of JupyterLab, which have a debugger and never begin without the libraries.

    There is none, and no variable, where the temporary folder's path is too long for a socket.
    """
    with tempfile.TemporaryDirectory(prefix="lead-") as folder:  # which nobody else can enter
        address = os.path.join(folder, "warm")
        if len(address) > _LONGEST:
            yield {}
            return
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)  # runs that come before the libraries are imported wait
            number = listener.fileno()
            command = [sys.executable, "-c", COMMAND, str(number), str(int(interactive))]
            child = process_tree.start(command, env=environment | _SEED, pass_fds=[number])
        try:
            yield {VARIABLE: address}
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(process_tree.PATIENCE)
            child.kill()
            child.wait()


def facts(environment: Mapping[str, str]) -> dict[str, str]:
    """What must be the same in the warm process and in a run."""
    return _SEED | {name: value for name, value in environment.items() if name.startswith(READ)}


def run(argv: list[str]) -> int | None:
    """Lets the warm process named by LEAD_WARM do this `lead run`; returns its exit code, or None if it cannot.

    It cannot when it has ended, when the run's environment would have changed what the libraries read, and when this
    process is itself a fork.
    """
    if forks.warm:
        return None
    if "--die-with-parent" in argv:  # which this process does
        place = argv.index("--die-with-parent")
        argv = argv[:place] + argv[place + 2 :]
    connection = ask(os.environ, "lead_kit.cli:main", ["lead", *argv], os.getcwd(), [0, 1, 2])
    if connection is None:
        return None
    with connection:
        for number in process_tree.SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, lambda number, _: _pass_on(connection, number))
        if not begun(connection):
            return None
        reply = b""
        with contextlib.suppress(ConnectionError):
            reply = connection.recv(8)
        for number in process_tree.SIGNALS:  # there is nothing left to pass one on to
            signal.signal(number, signal.SIG_IGN)
    if not reply:
        print("lead: the warm process ended, and this run with it", file=sys.stderr)
    return int(reply or 1)


def ask(env: Mapping[str, str], call: str, argv: list[str], cwd: str, files: list[int]) -> socket.socket | None:
    """Asks the warm process that `env` names for a fork that calls `call` (module:function) there, with these files as
    its 0, 1 and 2. A byte sent on the connection is a signal for the fork; its exit code comes as text; when the
    connection is closed the fork is killed. None if the warm process has ended."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(env[VARIABLE])
        told = json.dumps({"call": call, "argv": argv, "env": dict(env), "cwd": cwd}).encode()
        socket.send_fds(connection, [len(told).to_bytes(8, "big")], files)
        connection.sendall(told)
    except OSError:
        connection.close()
        return None
    return connection


def begun(connection: socket.socket) -> int:
    """The process id of the fork, when there is one; 0 if the warm process makes none."""
    try:
        return int.from_bytes(connection.recv(8), "big")
    except ConnectionError:
        return 0


def _pass_on(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the run has ended meanwhile
        connection.send(bytes([number]))


class _Warm:
    """The loop of the warm process: one connection for each run, one fork for each connection."""

    def __init__(self, listener: int):
        self.listener = socket.socket(fileno=listener)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.facts = facts(os.environ)  # before the libraries add to it
        self.runs: dict[socket.socket, tuple[forks.Fork, int]] = {}  # connection → the fork and its pidfd
        self.ending = False

    def once(self, patience: float | None = None) -> None:
        """Handles what has happened: a new run, a signal for one, the end of one, the end of one's outer process."""
        for key, _ in self.selector.select(patience):
            if key.fileobj is self.listener:
                self.accept(self.listener.accept()[0])
            elif isinstance(key.fileobj, int):
                self.ended(key.data)
            elif key.fileobj in self.runs:
                self.passed_on(key.fileobj)

    def end(self, *_) -> None:
        """Ends this process as soon as no run is left."""
        self.ending = True
        if not self.runs:
            os._exit(0)

    def accept(self, connection: socket.socket) -> None:
        """Reads what a run is to be and forks it; hangs up when the run must import for itself, or has ended."""
        connection.settimeout(PATIENCE)
        files = []
        try:
            head, files, _, _ = socket.recv_fds(connection, 8, 3)
            size, told = int.from_bytes(head, "big"), b""
            while len(told) < size and (part := connection.recv(size - len(told))):  # a signal may stand behind it
                told += part
            request = json.loads(told)  # fails when the message was cut off
        except (OSError, ValueError):
            request = None
        if request is None or facts(request["env"]) != self.facts:
            connection.close()
        else:
            fork = forks.Fork(lambda: self.begin(request), files)
            handle = os.pidfd_open(fork.pid)
            self.runs[connection] = (fork, handle)
            self.selector.register(connection, selectors.EVENT_READ)
            self.selector.register(handle, selectors.EVENT_READ, connection)
            with contextlib.suppress(OSError):
                connection.sendall(fork.pid.to_bytes(8, "big"))
        for file in files:
            os.close(file)

    @staticmethod
    def begin(request: dict) -> int:
        """In the fork: what was asked for."""
        import numpy

        forks.warm = True
        forks.set_place(request["env"], request["cwd"])
        numpy.random.seed()  # its state was drawn when it was imported
        sys.argv, sys.path[0] = request["argv"], ""
        module, _, function = request["call"].partition(":")
        return getattr(importlib.import_module(module), function)()

    def passed_on(self, connection: socket.socket) -> None:
        """A signal for the run; or the outer process has ended, and then the run must not go on."""
        try:
            numbers = connection.recv(8)
        except OSError:
            numbers = b""
        for number in numbers or [signal.SIGKILL]:
            self.runs[connection][0].send_signal(number)
        if not numbers:
            self.selector.unregister(connection)

    def ended(self, connection: socket.socket) -> None:
        """Tells the outer process how its run ended, and ends what the run has left behind."""
        fork, handle = self.runs.pop(connection)
        code = fork.wait()
        self.selector.unregister(handle)
        with contextlib.suppress(KeyError):
            self.selector.unregister(connection)
        os.close(handle)
        known = {fork.pid for fork, _ in self.runs.values()}
        left = [child for child in psutil.Process().children() if child.pid not in known]
        process_tree.send(signal.SIGKILL, left)
        psutil.wait_procs(left, timeout=process_tree.PATIENCE)
        with contextlib.suppress(OSError):
            connection.sendall(str(code if code >= 0 else 128 - code).encode())
        connection.close()
        if self.ending:
            self.end()


def load(loop: _Warm, interactive: bool) -> None:
    """Imports the libraries; those that are not installed are not needed.

    One run that comes before torch is imported is forked without it: the first of a recipe seldom needs it.
    """
    sys.modules["rfc3987_syntax"] = None  # see kernel.py
    if not interactive:  # nobody attaches one to a batch run, and ipykernel would load it into every kernel
        sys.modules["debugpy"] = None
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as ipykernel would
    for name in (*_FIRST, *_THEN):
        if name == _THEN[0]:
            if not interactive:
                loop.once(0)
            loop.selector.unregister(loop.listener)
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        if name in _THEN:
            loop.once(0)
    with contextlib.suppress(ImportError):
        from latex2sympy2_extended import latex2sympy

        for formula in _FORMULAS:  # at its first formulas its parser builds tables, which every verifier needs
            latex2sympy(formula)
    loop.selector.register(loop.listener, selectors.EVENT_READ)


def serve(listener: int, interactive: int) -> None:
    """The life of the warm process."""
    if not interactive:  # what somebody starts from a cell may outlive the kernel
        process_tree.adopt_orphans()
    loop = _Warm(listener)
    for number in process_tree.SIGNALS:
        signal.signal(number, loop.end)
    load(loop, bool(interactive))
    gc.freeze()  # collecting what is shared would copy it into each fork
    while True:
        loop.once()

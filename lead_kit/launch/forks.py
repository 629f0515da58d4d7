"""Children that are forks of this process instead of new ones: they begin with every library that it has imported.

Only a process without threads may fork, so the children of a warm process (warm.py) are made before they are needed.
"""

import atexit
import contextlib
import functools
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from lead_kit.launch import process_tree

POLL = 0.02  # seconds between two looks at a child that is waited for
warm = False  # whether this process is a fork of a warm one


class Fork:
    """A child that calls a function and ends with the exit code that it returns. It has the part of Popen's interface
    that the kit and jupyter_client use, and like processes.start it dies with this process and has its own session.

    `files` are the descriptors that become its 0, 1 and 2 (None: unchanged). Of the others it keeps what a new process
    would keep, and `keep`.
    """

    stdin = stderr = stdout = None

    def __init__(self, target: Callable[[], int | None], files: Sequence[int | None], keep: int = -1):
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # a signal for the child must wait until the child has handlers of its own, or this process's would swallow it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, process_tree.SIGNALS)
        self.returncode, self.pid = None, os.fork()
        if self.pid == 0:
            _live(target, parent, files, keep, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def poll(self) -> int | None:
        """The exit code (minus the signal that ended it), or None while it runs."""
        if self.returncode is None:
            try:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # psutil has waited for it: how it ended is lost, and must not pass for success
                self.returncode = 1
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code when it has ended. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout)
            time.sleep(POLL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal unless the child is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    terminate = functools.partialmethod(send_signal, signal.SIGTERM)
    kill = functools.partialmethod(send_signal, signal.SIGKILL)


def _live(target: Callable[[], int | None], parent: int, files: Sequence[int | None], keep: int, mask: set) -> None:
    """The whole life of a child, which is born with signals blocked; `mask` are those that stay so."""
    code = 1
    try:
        os.setsid()
        for number in (*process_tree.SIGNALS, signal.SIGCHLD, signal.SIGALRM):
            ignored = signal.getsignal(number) == signal.SIG_IGN and number == signal.SIGHUP  # as under nohup
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        process_tree.die_with_parent(parent)
        for number, file in enumerate(files):
            if file is not None:
                os.dup2(file, number)
        for file in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):  # the one by which the list was read
                if file != keep and not os.get_inheritable(file):
                    os.close(file)
        sys.stdin = sys.__stdin__ = open(0, closefd=False, encoding="utf-8")
        sys.stdout = sys.__stdout__ = _output(1, "strict")
        sys.stderr = sys.__stderr__ = _output(2, "backslashreplace")
        code = target() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # nothing may leave this function, or the child would go on as its parent
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code & 255)


def _output(number: int, errors: str) -> io.TextIOWrapper:
    file = open(number, "wb", closefd=False)
    return io.TextIOWrapper(file, encoding="utf-8", errors=errors, line_buffering=number == 2 or os.isatty(number))


def set_place(env: Mapping[str, str], cwd: str | os.PathLike) -> None:
    """Gives this process another environment and working directory."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)


def start(command: Sequence[str], cwd: str | os.PathLike, env: Mapping[str, str], stderr: int) -> Fork:
    """`python -m MODULE ARGUMENTS` in a fork; its stdout is a pipe, read from `stdout` of what is returned."""
    module, arguments = command[2], command[3:]

    def run() -> int | None:
        set_place(env, cwd)
        for name in [name for name in sys.modules if name.startswith("lead_kit") and name != __name__]:
            del sys.modules[name]  # what the kit's modules know, such as the locks that are held, is this process's own
        sys.argv = [module, *arguments]
        return importlib.import_module(module).main()

    here, there = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    child = Fork(run, (null, there, stderr))
    os.close(there)
    os.close(null)
    child.stdout = open(here, "rb")
    return child


class Waiting:
    """A child made early, before this process has threads, which calls `target` when `go` tells it."""

    def __init__(self, target: Callable[[], int | None]):
        there, self.pipe = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        self.child = Fork(lambda: self._wait(there, target), (null, None, None), keep=there)
        os.close(there)
        os.close(null)

    @staticmethod
    def _wait(pipe: int, target: Callable[[], int | None]) -> int | None:
        with open(pipe, "rb") as file:
            told = file.read()
        if not told:  # this process was not needed
            return 0
        sys.argv, env = json.loads(told)
        set_place(env, os.getcwd())
        return target()

    def go(self, arguments: list[str], env: Mapping[str, str]) -> Fork:
        """Lets the child begin with these command line arguments; returns it."""
        with open(self.pipe, "wb") as file:
            file.write(json.dumps((arguments, dict(env))).encode())
        return self.child

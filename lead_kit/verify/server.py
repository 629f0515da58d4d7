"""This side of the process that forks workers: one for all verifiers of a process, started at first need, ended with
the last of them. A process that will have threads may fork it early (`prepare`); it then loads at first need."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from lead_kit.verify import worker

COMMAND = "from lead_kit.verify.worker import main; main()"
PATIENCE = 300.0  # seconds for one request; loading the algebra on a busy machine is part of the first
_lock = threading.Lock()
_servers: dict[str, "Server"] = {}
_prepared: dict[str, tuple[socket.socket, subprocess.Popen]] = {}  # judge → its control socket, the process that waits


class Ended(RuntimeError):
    """The server has died, so what its workers were asked has to be asked again."""


class Server:
    """A running `worker.main` for one judge module. Its methods raise Ended if it has died."""

    def __init__(self, judge: str):
        self.judge, self.users, self.lock, self.dead = judge, 0, threading.Lock(), False
        self.control, self.process = _prepared.pop(judge, None) or self._start(judge)
        self.control.settimeout(PATIENCE)

    @staticmethod
    def _start(judge: str) -> tuple[socket.socket, subprocess.Popen]:
        control, there = socket.socketpair()
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-c", COMMAND, str(there.fileno()), judge]
        process = subprocess.Popen(
            command,
            pass_fds=[there.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            process_group=0,  # a kernel that ends would wait for those of its own group; this one ends with its socket
        )
        there.close()
        return control, process

    def spawn(self, cpu_seconds: float, memory: int) -> tuple[int, socket.socket]:
        """(pid, socket) of a new worker."""
        here, there = socket.socketpair()
        pid = self._request({"do": "spawn", "cpu": cpu_seconds, "memory": memory}, there)
        there.close()
        return pid, here

    def reap(self, pid: int, kill: bool) -> int:
        """Exit code of a worker, which is killed first or has closed its socket."""
        return self._request({"do": "reap", "pid": pid, "kill": kill})

    def _request(self, request: dict, handle: socket.socket | None = None) -> int:
        with self.lock:
            try:
                socket.send_fds(self.control, [json.dumps(request).encode()], [handle.fileno()] if handle else [])
                reply = b""
                while not reply.endswith(b"\n"):
                    chunk = self.control.recv(64)
                    if not chunk:
                        raise ConnectionResetError
                    reply += chunk
            except OSError:
                raise Ended(f"the verifier's server ended ({self._bury()})") from None
            except BaseException:  # Ctrl-C: the reply on its way would be taken for that to the next request
                self._bury()
                raise
            return int(reply)

    def _bury(self) -> str:
        """End what is left of the process, and say how it ended."""
        self.dead = True
        self.control.close()
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return f"exit code {self.process.wait()}"

    def cpu_time(self) -> float:
        """CPU seconds of the server and of the workers it has buried."""
        return cpu_time(self.process.pid)


def prepare(fork: Callable, judge: str) -> None:
    """Makes the server of a judge module now, as a fork of this process, which must have no threads and PYTHONHASHSEED
    0. `fork(target, files, keep)` gives what has Popen's `pid`, `wait` and `kill` (launch/forks.py)."""
    control, there = socket.socketpair()
    process = fork(lambda: worker.run(there, judge), (), keep=there.fileno())
    there.close()
    _prepared[judge] = control, process


def acquire(judge: str) -> Server:
    """The server of a judge module, started if none runs or the last one has died; `release` it."""
    with _lock:
        if judge not in _servers or _servers[judge].dead:
            _servers[judge] = Server(judge)
        _servers[judge].users += 1
        return _servers[judge]


def release(server: Server) -> None:
    """Ends the server with its last user."""
    with _lock:
        server.users -= 1
        if server.users == 0:
            if _servers.get(server.judge) is server:
                del _servers[server.judge]
            server.control.close()
            server.process.kill()
            server.process.wait()


def forget() -> None:
    """In a forked child: the server belongs to the parent."""
    global _lock
    _lock = threading.Lock()
    for control in [server.control for server in _servers.values()] + [control for control, _ in _prepared.values()]:
        control.close()
    _servers.clear()
    _prepared.clear()


def cpu_time(pid: int) -> float:
    """CPU seconds of a process and of its children that have been waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

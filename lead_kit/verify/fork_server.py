"""The server behind the pool: a process of its own, started by `pool.Verifier` with one end of a socket.

It loads the algebra once, then forks a worker for each socket it is handed, so a killed worker is replaced in
milliseconds and never inherits the threads or the memory of the process that asks. Requests on the control socket are
one JSON line each: {"do": "spawn", "cpu": seconds, "memory": bytes} with the worker's socket attached, or {"do":
"reap", "pid": n, "kill": bool}. Model text travels as JSON only.
"""

import gc
import importlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from types import ModuleType

_MAX_MESSAGE = 1 << 20  # bytes; the guard lets nothing near this through
_SHARE = 0.95  # of the CPU budget; the rest is for reading the pair and dying
FAILED = 70  # exit code of a worker whose comparison raised


def send(sock: socket.socket, message: object) -> None:
    """Write one length-prefixed JSON message."""
    data = json.dumps(message).encode()
    sock.sendall(struct.pack("!I", len(data)) + data)


def receive(sock: socket.socket) -> object:
    """Read one length-prefixed JSON message. Raises EOFError when the other side is gone, ValueError for a long one."""
    (size,) = struct.unpack("!I", _exactly(sock, 4))
    if size > _MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes is longer than {_MAX_MESSAGE}")
    return json.loads(_exactly(sock, size))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise EOFError("the other side closed the socket")
        data += chunk
    return data


def _confine(memory: int) -> None:
    """Bound what a worker can take: address space on top of what is loaded, no file growth, no new descriptors."""
    with open("/proc/self/statm") as statm:
        loaded = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (loaded + memory, loaded + memory))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))


def _serve(sock: socket.socket, judge: ModuleType, cpu_seconds: float, memory: int) -> None:
    """The life of a worker: one [gold, answer] or [gold, answer, order] in, one [status, reason, path] out; or one
    [text] in, for its sketch, and [real part, imaginary part] or [] out. CPU seconds follow what goes out.

    The kernel ends it (SIGPROF, default action) when it has used `cpu_seconds` of its own CPU time on one pair, also
    inside C code.
    """
    _confine(memory)
    now = time.process_time()
    while True:
        try:
            message = receive(sock)
        except (EOFError, ConnectionError):
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, _SHARE * cpu_seconds)
        try:
            outcome = judge.decide(*message) if len(message) > 1 else judge.sketch(*message)
        except (MemoryError, RecursionError) as problem:
            outcome = ("rejected", f"the comparison needs too much {type(problem).__name__[:-5].lower()}", "worker")
        signal.setitimer(signal.ITIMER_PROF, 0)
        before, now = now, time.process_time()
        send(sock, [*outcome, now - before])


def main() -> None:
    """The server as a process of its own: its arguments are the control socket's descriptor and the judge module.

    It waits for a request, loads the judge, then answers spawn and reap until the control socket closes.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a notebook must not reach the workers
    for needed in (signal.SIGCHLD, signal.SIGPROF):  # a launcher's or cron's children inherit that these are ignored
        signal.signal(needed, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        _answer_requests(control)
    except (ConnectionError, ChildProcessError):
        os._exit(0)  # the process that asks has ended, or asks for a worker of another server


def _answer_requests(control: socket.socket) -> None:
    """Serves spawn and reap until the control socket closes."""
    if not control.recv(1, socket.MSG_PEEK):
        os._exit(0)
    judge = importlib.import_module(sys.argv[2])
    judge.warm()
    gc.freeze()
    while True:
        data, handles, _, _ = socket.recv_fds(control, 4096, 1)
        if not data:
            os._exit(0)
        request = json.loads(data)
        if request["do"] == "spawn":
            sock = socket.socket(fileno=handles[0])
            pid = os.fork()
            if pid == 0:
                control.close()
                try:
                    _serve(sock, judge, request["cpu"], request["memory"])
                finally:  # whatever sympy raised: the worker is spent, its caller learns it, the next one is fresh
                    os._exit(FAILED)
            sock.close()
            control.sendall(b"%d\n" % pid)
        else:
            if request["kill"]:
                os.kill(request["pid"], signal.SIGKILL)
            _, status = os.waitpid(request["pid"], 0)
            control.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


_COMMAND = "from lead_kit.verify.fork_server import main; main()"
_PATIENCE = 300.0  # seconds for one request; loading the algebra on a busy machine is part of the first
_lock = threading.Lock()
_servers: dict[str, "Server"] = {}


class Ended(RuntimeError):
    """The server has died, so what its workers were asked has to be asked again."""


class Server:
    """A running `main` for one judge module. Its methods raise Ended if it has died."""

    def __init__(self, judge: str):
        self.judge, self.users, self.lock, self.dead = judge, 0, threading.Lock(), False
        self.control, self.process = self._start(judge)
        self.control.settimeout(_PATIENCE)

    @staticmethod
    def _start(judge: str) -> tuple[socket.socket, subprocess.Popen]:
        control, there = socket.socketpair()
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-P", "-c", _COMMAND, str(there.fileno()), judge]
        # a kernel that ends would wait for those of its own process group; this one ends with its socket
        settings = {"env": environment, "stdin": subprocess.DEVNULL, "process_group": 0}
        process = subprocess.Popen(command, pass_fds=[there.fileno()], **settings)
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
    for server in _servers.values():
        server.control.close()
    _servers.clear()


def cpu_time(pid: int) -> float:
    """CPU seconds of a process and of its children that have been waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

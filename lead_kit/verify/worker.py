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
import sys
import time
from types import ModuleType

MAX_MESSAGE = 1 << 20  # bytes; the guard lets nothing near this through
SHARE = 0.95  # of the CPU budget; the rest is for reading the pair and dying
FAILED = 70  # exit code of a worker whose comparison raised


def send(sock: socket.socket, message: object) -> None:
    """Write one length-prefixed JSON message."""
    data = json.dumps(message).encode()
    sock.sendall(struct.pack("!I", len(data)) + data)


def receive(sock: socket.socket) -> object:
    """Read one length-prefixed JSON message. Raises EOFError when the other side is gone, ValueError when it is too
    long."""
    (size,) = struct.unpack("!I", _exactly(sock, 4))
    if size > MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes is longer than {MAX_MESSAGE}")
    return json.loads(_exactly(sock, size))


def _exactly(sock: socket.socket, size: int) -> bytes:
    chunks = []
    while size:
        chunk = sock.recv(size)
        if not chunk:
            raise EOFError("the other side closed the socket")
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def confine(memory: int) -> None:
    """Bound what a worker can take: address space on top of what is loaded, no file growth, no new descriptors."""
    with open("/proc/self/statm") as statm:
        loaded = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (loaded + memory, loaded + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def serve(sock: socket.socket, judge: ModuleType, cpu_seconds: float, memory: int) -> None:
    """The life of a worker: one [gold, answer] or [gold, answer, order] in, one [status, reason, path] out; or one
    [text] in, for its sketch, and [real part, imaginary part] or [] out. The CPU seconds since the last
    one follow what goes out.

    The kernel ends it (SIGPROF, default action) when it has used `cpu_seconds` of its own CPU time on one pair, also
    inside C code.
    """
    confine(memory)
    now = time.process_time()
    while True:
        try:
            message = receive(sock)
        except (EOFError, ConnectionError):
            os._exit(0)
        signal.setitimer(signal.ITIMER_PROF, SHARE * cpu_seconds)
        try:
            outcome = judge.decide(*message) if len(message) > 1 else judge.sketch(*message)
        except (MemoryError, RecursionError) as problem:
            outcome = ("rejected", f"the comparison needs too much {type(problem).__name__[:-5].lower()}", "worker")
        signal.setitimer(signal.ITIMER_PROF, 0)
        before, now = now, time.process_time()
        send(sock, [*outcome, now - before])


def main() -> None:
    """The server as a process of its own: its arguments are the control socket's descriptor and the judge module."""
    run(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])


def run(control: socket.socket, name: str) -> None:
    """Wait for a request, load the judge module, then answer spawn and reap until the control socket closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a notebook must not reach the workers
    if not control.recv(1, socket.MSG_PEEK):
        os._exit(0)
    judge = importlib.import_module(name)
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
                    serve(sock, judge, request["cpu"], request["memory"])
                finally:
                    os._exit(
                        FAILED
                    )  # whatever sympy raised: the worker is spent, its caller is told, the next one is fresh
            sock.close()
            control.sendall(b"%d\n" % pid)
        else:
            if request["kill"]:
                os.kill(request["pid"], signal.SIGKILL)
            _, status = os.waitpid(request["pid"], 0)
            control.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

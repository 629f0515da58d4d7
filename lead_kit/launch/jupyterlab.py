"""`make lab`: JupyterLab on loopback, which saves notebooks without outputs. On a host without a GPU its kernels are
forks of a warm process, so that the cell of imports does not take seconds.
"""

import asyncio
import contextlib
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import time

from jupyter_client.provisioning import LocalProvisioner

from lead_kit.launch import forks, process_tree, ranks, warm

NAME = "lead-warm"  # of the provisioner in pyproject.toml
OPTIONS = ["--ip", "127.0.0.1", "--ContentsManager.pre_save_hook=lead_kit.launch.strip_outputs.on_save"]


class Distant:
    """A fork that a warm process has made for this one: what jupyter_client uses of Popen's interface."""

    stdin = stderr = stdout = None

    def __init__(self, connection: socket.socket, pid: int):
        self.connection, self.pid, self.returncode = connection, pid, None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            with self.connection, contextlib.suppress(ConnectionError):
                self.returncode = int(self.connection.recv(8) or 1)
            self.returncode = 1 if self.returncode is None else self.returncode
        return self.returncode

    def wait(self) -> int:
        """The exit code when it has ended."""
        while self.poll() is None:
            time.sleep(forks.POLL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal unless it is known to have ended."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                self.connection.send(bytes([number]))

    terminate = functools.partialmethod(send_signal, signal.SIGTERM)
    kill = functools.partialmethod(send_signal, signal.SIGKILL)


class Provisioner(LocalProvisioner):
    """Starts kernels of this Python as forks of the warm process that LEAD_WARM names, and others as processes."""

    async def launch_kernel(self, cmd: list[str], **kwargs) -> dict:
        """The kernel's connection, as jupyter_client asks for it."""
        ours = cmd[0] == sys.executable and "ipykernel_launcher" in cmd and warm.VARIABLE in kwargs["env"]
        if ours and await asyncio.to_thread(self.fork, cmd, kwargs["env"], kwargs.get("cwd") or os.getcwd()):
            return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)

    def fork(self, cmd: list[str], env: dict[str, str], cwd: str) -> bool:
        """Whether the warm process has made the kernel."""
        with open(os.devnull) as null:
            arguments = ["kernel", *cmd[cmd.index("ipykernel_launcher") + 1 :]]
            connection = warm.ask(env, "lead_kit.launch.kernel:execute_cells", arguments, cwd, [null.fileno(), 1, 2])
        if connection is None:
            return False
        if not (pid := warm.begun(connection)):
            connection.close()
            return False
        self.process, self.pid, self.pgid = Distant(connection, pid), pid, pid
        return True


def main() -> int:
    """Starts JupyterLab with the options of this command; returns its exit code."""
    options, variables = [*OPTIONS, *sys.argv[1:]], dict(os.environ)
    with contextlib.ExitStack() as stack:
        if warm.VARIABLE not in variables and hasattr(os, "pidfd_open") and not ranks.has_gpu():
            variables |= stack.enter_context(warm.server(variables, interactive=True))
        if warm.VARIABLE in variables:
            options.append(f"--KernelProvisionerFactory.default_provisioner_name={NAME}")
        die = functools.partial(process_tree.die_with_parent, os.getpid(), signal.SIGTERM)
        lab = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=variables, preexec_fn=die)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches JupyterLab, which asks
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: lab.send_signal(number))
        return lab.wait()


if __name__ == "__main__":
    sys.exit(main())

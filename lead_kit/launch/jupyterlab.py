"""`make lab`: JupyterLab on loopback, which saves notebooks without outputs. On a host without a GPU its kernels are
forks of a process with the libraries, so that the cell of imports does not take seconds.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys

from lead_kit.launch import forkserver, process_tree, ranks

NAME = "lead-forks"  # of the provisioner in pyproject.toml
OPTIONS = ["--ip", ranks.LOOPBACK, "--ContentsManager.pre_save_hook=lead_kit.launch.strip_outputs.on_save"]


def main() -> int:
    """Starts JupyterLab with the options of this command; returns its exit code."""
    options, variables = [*OPTIONS, *sys.argv[1:]], dict(os.environ)
    with contextlib.ExitStack() as stack:
        if forkserver.VARIABLE not in variables and not ranks.has_gpu():
            variables |= stack.enter_context(forkserver.serve(variables))
        if variables.get(forkserver.VARIABLE):
            options.append(f"--KernelProvisionerFactory.default_provisioner_name={NAME}")
        die = functools.partial(process_tree.die_with_parent, os.getpid(), signal.SIGTERM)
        lab = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=variables, preexec_fn=die)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches JupyterLab, which asks
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: lab.send_signal(number))
        return lab.wait()


if __name__ == "__main__":
    sys.exit(main())

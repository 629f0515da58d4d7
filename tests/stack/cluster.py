"""A Slurm cluster of two nodes on loopback, for the tests that submit jobs to one."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

START = 120  # seconds for the nodes to report
CONFIG = """\
ClusterName=lead
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=10
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobRequeue=1
GresTypes=gpu
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=64 RealMemory=900000 Gres=gpu:8
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no cluster can be started here; empty when one can."""
    programs = [name for name in ("slurmctld", "slurmd", "munged", "sbatch", "setpriv") if not shutil.which(name)]
    if os.geteuid():
        return "needs root, to start Slurm's daemons"
    return f"needs slurm-wlm and munge: there is no {', '.join(programs)}" if programs else ""


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody uses."""
    used = {connection.laddr.port for connection in psutil.net_connections(kind="inet") if connection.laddr}
    return next(port for port in range(17000, 19000) if not used & set(range(port, port + count)))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Starts the cluster below `folder`, yields the variables that its commands need, and ends all its processes."""
    for name in ("dev", "state", "log", "run", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    temporary = Path(tempfile.gettempdir())
    for parent in (folder, *folder.parents):  # munge refuses a socket that others cannot reach
        if parent.is_relative_to(temporary) and not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    for card in range(8):
        (folder / f"dev/gpu{card}").touch()
    config = folder / "slurm.conf"
    port = free_ports(3)
    config.write_text(CONFIG.format(folder=folder, host=socket.gethostname(), port=port, first=port + 1, last=port + 2))
    (folder / "gres.conf").write_text(f"AutoDetect=off\nNodeName=n[1-2] Name=gpu File={folder}/dev/gpu[0-7]\n")
    variables = {"SLURM_CONF": str(config)}
    start_munge(folder)
    try:
        for command in (["slurmctld"], ["slurmd", "-N", "n1"], ["slurmd", "-N", "n2"]):
            # a job's srun does not inherit SLURM_CONF: for the daemons and what they start, /etc/slurm is this folder
            place = ["unshare", "--mount", "sh", "-c", f'mount --bind {folder} /etc/slurm && exec "$@"', "sh"]
            subprocess.run([*place, *command, "-f", str(config)], env=os.environ | variables, check=True)
        wait_for_nodes(variables)
        yield variables
    finally:
        for file in sorted((folder / "run").glob("slurm*.pid")) + [folder / "run/munged.pid"]:
            with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
                process = psutil.Process(int(file.read_text()))
                process.terminate()
                process.wait(30)


def start_munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    shutil.chown(key, "munge")
    shutil.chown(folder / "run", "munge")
    options = [f"--key-file={key}", f"--socket={folder}/run/munge.socket", f"--pid-file={folder}/run/munged.pid"]
    options += [f"--log-file={folder}/run/munged.log", f"--seed-file={folder}/run/munged.seed"]
    identity = ["--reuid", "munge", "--regid", "munge", "--clear-groups"]
    subprocess.run(["setpriv", *identity, "munged", "--force", *options], check=True)


def wait_for_nodes(variables: dict[str, str]) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        if slurm("sinfo", "-h", "-N", "-o", "%T", variables=variables).split() == ["idle", "idle"]:
            return
        time.sleep(0.5)
    raise AssertionError(f"the nodes did not come up within {START} seconds")


def slurm(*command: str, variables: dict[str, str]) -> str:
    """What one of Slurm's commands prints."""
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr

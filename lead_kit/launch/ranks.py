"""The ranks of a run: how many, on which host, where they meet, and the environment of their kernels.

`lead run` starts several ranks itself, through torchrun (torchrun.py), or it is one rank that torchrun, srun or
`accelerate launch` has started. Their variables say so.
"""

import ctypes
import importlib.util
import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from lead_kit.errors import InputError, lookup, nearest_or_all, shorten
from lead_kit.runs import lock, provenance
from lead_kit.runs.files import ROOT, read_yaml, shown

# variables of a launcher, by their beginnings; those of a notebook that starts a run
_OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_", "GROUP_", "ROLE_", "LOCAL_", "TORCHELASTIC_")
_OF_RUNS = ("LEAD_NPROC", "LEAD_DISTRIBUTED", "JPY_")
_KINDS = {"MULTI_GPU": "ddp", "FSDP": "fsdp2", "DEEPSPEED": "deepspeed"}
LOOPBACK = "127.0.0.1"
_SLURM_PORTS = 20000  # a job meets at this port plus its id, below the ports that a system hands out


class Ranks(NamedTuple):
    """The processes of a run. Under a launcher each rank has a `lead run`, and counts as a host with one rank."""

    nproc: int = 1  # on each host
    accelerate: str | None = None
    nodes: int = 1
    node_rank: int | None = None
    rendezvous: str | None = None
    of_launcher: Mapping[str, str] | None = None  # torch's variables for this rank, where a launcher started it

    @property
    def several(self) -> bool:
        return self.nproc * self.nodes > 1 or self.accelerate is not None


def locate(ranks: Ranks, variables: Mapping[str, str]) -> Ranks:
    """The ranks with this host's number and the rendezvous filled in, from the variables of a launcher where needed.

    Raises InputError for what does not fit.
    """
    if launched := _of_launcher(ranks, variables):
        return launched
    plugin = str(Path(ranks.accelerate).absolute()) if ranks.accelerate else None
    if ranks.nodes == 1:
        options = {"--node-rank": ranks.node_rank, "--rendezvous": ranks.rendezvous}
        if extra := [name for name, value in options.items() if value is not None]:
            raise InputError(f"{extra[0]} {options[extra[0]]}: needs --nodes with the number of hosts, e.g. --nodes 2")
        return ranks._replace(node_rank=0, rendezvous=f"{LOOPBACK}:0", accelerate=plugin)
    if ranks.node_rank is None and ranks.rendezvous is None and "SLURM_NODEID" in variables:
        if int(variables["SLURM_NNODES"]) != ranks.nodes:
            raise InputError(f"--nodes {ranks.nodes}: this step of Slurm has {variables['SLURM_NNODES']} hosts")
        ranks = ranks._replace(node_rank=int(variables["SLURM_NODEID"]), rendezvous=_slurm_rendezvous(variables))
    if ranks.node_rank is None or ranks.rendezvous is None:
        raise InputError(f"--nodes {ranks.nodes}: needs --node-rank R and --rendezvous HOST:PORT, or a step of Slurm")
    if not 0 <= ranks.node_rank < ranks.nodes:
        raise InputError(f"--node-rank {ranks.node_rank}: expected 0 to {ranks.nodes - 1} with --nodes {ranks.nodes}")
    host, _, port = ranks.rendezvous.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InputError(f"--rendezvous {ranks.rendezvous!r}: expected HOST:PORT, e.g. 10.0.0.1:29500")
    return ranks._replace(accelerate=plugin)


def _of_launcher(ranks: Ranks, variables: Mapping[str, str]) -> Ranks | None:
    """This process as one of several ranks of a launcher; None without one, inside a run, or where `lead run` is asked
    to start ranks itself."""
    if "LEAD_RUN" in variables or ranks.nproc > 1 or ranks.nodes > 1:
        return None
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if not variables.get(name, "1").isdecimal():
            raise InputError(f"the environment has {name}={shorten(variables[name])}, expected a number: unset it")
    if {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= set(variables) and int(variables.get("WORLD_SIZE", "1")) > 1:
        rank_variables = {name: value for name, value in variables.items() if name.startswith(_OF_LAUNCHERS)}
    elif int(variables.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in variables:
        host, _, port = _slurm_rendezvous(variables).rpartition(":")
        rank_variables = {"RANK": variables["SLURM_PROCID"], "WORLD_SIZE": variables["SLURM_STEP_NUM_TASKS"]}
        rank_variables |= {"LOCAL_RANK": variables["SLURM_LOCALID"], "MASTER_ADDR": host, "MASTER_PORT": port}
        rank_variables["LOCAL_WORLD_SIZE"] = re.match(r"\d+", variables["SLURM_STEP_TASKS_PER_NODE"])[0]
    else:
        return None
    if ranks.accelerate:
        raise InputError(f"--accelerate {ranks.accelerate}: use `accelerate launch --config_file` or --nproc instead")
    rank, world = int(rank_variables["RANK"]), int(rank_variables["WORLD_SIZE"])
    rendezvous = f"{rank_variables['MASTER_ADDR']}:{rank_variables['MASTER_PORT']}"
    return Ranks(nodes=world, node_rank=rank, rendezvous=rendezvous, of_launcher=rank_variables)


def _slurm_rendezvous(variables: Mapping[str, str]) -> str:
    """HOST:PORT on the first host of a step of Slurm."""
    port = _SLURM_PORTS + int(variables["SLURM_JOB_ID"]) % 10000
    if variables.get("SLURM_STEP_NUM_NODES", variables["SLURM_NNODES"]) == "1":
        return f"{LOOPBACK}:{port}"
    names = variables.get("SLURM_STEP_NODELIST") or variables["SLURM_JOB_NODELIST"]
    hosts = (provenance.command_output("scontrol", "show", "hostnames", names) or "").split()
    if not hosts:
        raise InputError(f"`scontrol show hostnames {names}` failed: give --node-rank and --rendezvous")
    facts = (provenance.command_output("scontrol", "show", "node", hosts[0]) or "").split()
    address = next((f.removeprefix("NodeAddr=") for f in facts if f.startswith("NodeAddr=")), hosts[0])
    return f"{address}:{port}"


def resolve_address(rendezvous: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, the host as a number. Raises InputError for a name that does not resolve."""
    host, _, port = rendezvous.rpartition(":")
    try:
        return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0][4][:2]
    except OSError as error:
        raise InputError(f"--rendezvous {rendezvous!r}: {error.strerror}") from None


def _interface(rendezvous: str) -> str:
    """The network interface by which this host reaches an address. Raises InputError when there is no route."""
    host, port = resolve_address(rendezvous)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port or 1))  # sends nothing
        except OSError as error:
            raise InputError(f"this host cannot reach {host}: {error.strerror}") from None
        address = probe.getsockname()[0]
    names = {each.address.split("%")[0]: name for name, those in psutil.net_if_addrs().items() for each in those}
    return names[address]


def _distributed_kind(ranks: Ranks) -> str:
    """ddp, fsdp2 or deepspeed, as the accelerate file or `accelerate launch` asks. Raises InputError for another."""
    if ranks.of_launcher is not None:
        asked = {"fsdp2": "ACCELERATE_USE_FSDP", "deepspeed": "ACCELERATE_USE_DEEPSPEED"}
        return next((kind for kind, name in asked.items() if os.environ.get(name) == "true"), "ddp")
    if ranks.accelerate is None:
        return "ddp"
    plugin = Path(ranks.accelerate)
    if not plugin.is_file():
        names = sorted(p.name for p in (ROOT / "experiments" / "accelerate").glob("*.yaml"))
        raise InputError(f"no accelerate file {shown(plugin)}{nearest_or_all(plugin.name, names)}")
    kind = read_yaml(plugin).get("distributed_type")
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise InputError(f"{shown(plugin)} needs DeepSpeed, which is not installed: pip install deepspeed")
    return lookup(_KINDS, kind, f"{shown(plugin)}: distributed_type")


def has_gpu() -> bool:
    """Whether a CUDA card is present and visible. Asks the driver: importing torch takes seconds, and a container may
    lack nvidia-smi."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return False
    return driver.cuInit(0) == 0 == driver.cuDeviceGetCount(ctypes.byref(count)) and count.value > 0


def environment(ranks: Ranks, folder: Path) -> dict[str, str]:
    """The environment of a run's kernels: that of this process, without what another run or launcher has set in it.

    gloo and NCCL use the interface that leads to the rendezvous, on one host loopback, since whoever reaches their
    sockets could take part. A choice of the caller's stays. Every process of the run has LEAD_RUN, by which a later
    attempt finds what a killed one left running; it holds the host's number, as hosts may be namespaces of one machine.
    """
    variables = {n: value for n, value in os.environ.items() if not n.startswith((*_OF_LAUNCHERS, *_OF_RUNS))}
    variables |= {"LEAD_OWNER": lock.process_name(), "LEAD_ROOT": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    variables |= {"LEAD_RUN": f"{folder} host {ranks.node_rank}"} | dict(ranks.of_launcher or {})
    if ranks.several:
        variables |= {"LEAD_NPROC": str(ranks.nproc * ranks.nodes), "LEAD_DISTRIBUTED": _distributed_kind(ranks)}
        # without it, the processes of a machine that has no GPU would run alone, each as if it were the only one
        variables |= {} if has_gpu() else {"ACCELERATE_USE_CPU": "true"}
    one_host = ranks.nodes == int((ranks.of_launcher or {}).get("LOCAL_WORLD_SIZE", "1"))
    variables |= {"VLLM_HOST_IP": LOOPBACK} if one_host else {}
    name = _interface(f"{LOOPBACK}:0" if one_host else ranks.rendezvous)
    # NCCL takes a name without = for the beginning of one; gloo takes every name as it is
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": f"={name}"} | variables


def command(ranks: Ranks, job: Mapping) -> list[str]:
    """The command that executes the notebook on this host: one kernel, or torchrun with a kernel for each rank."""
    text = json.dumps(job)  # below, -P: no module in the repository replaces that of a library
    if ranks.of_launcher is not None or not ranks.several:
        return [sys.executable, "-P", "-m", "lead_kit.launch.kernel", text]
    return [sys.executable, "-P", "-m", "lead_kit.launch.torchrun", json.dumps(ranks._asdict()), text]

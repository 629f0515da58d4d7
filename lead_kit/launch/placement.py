"""Where the ranks of a run are: processes on each host, hosts, the address at which they meet, their environment."""

import importlib.util
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from lead_kit.errors import InputError, lookup, nearest_or_all
from lead_kit.launch.recipe_model import read_yaml
from lead_kit.runs import lock, provenance
from lead_kit.runs.files import ROOT, shown

# variables that an outer launcher or notebook sets, by their beginnings
_INHERITED = ("RANK", "WORLD_SIZE", "MASTER_", "GROUP_", "ROLE_", "LOCAL_", "TORCHELASTIC_", "LEAD_NPROC")
_INHERITED += ("LEAD_DISTRIBUTED", "JPY_")
_KINDS = {"MULTI_GPU": "ddp", "FSDP": "fsdp2", "DEEPSPEED": "deepspeed"}
LOOPBACK = "127.0.0.1"
_SLURM_PORTS = 20000  # a job meets at this port plus its id, below the ports that a system hands out


class Ranks(NamedTuple):
    """The processes of a run, as `lead run` was told."""

    nproc: int = 1  # on each host
    accelerate: str | None = None
    nodes: int = 1
    node_rank: int | None = None
    rendezvous: str | None = None

    @property
    def several(self) -> bool:
        return self.nproc * self.nodes > 1 or self.accelerate is not None

    @property
    def first(self) -> int:
        """The first rank of this host."""
        return self.node_rank * self.nproc


def placed(ranks: Ranks, variables: Mapping[str, str]) -> Ranks:
    """The ranks with this host's number and the rendezvous filled in, from Slurm's variables where they are needed.

    Raises InputError for what does not fit.
    """
    for name, value in (("--nproc", ranks.nproc), ("--nodes", ranks.nodes)):
        if value < 1:
            raise InputError(f"{name} {value}: expected at least 1")
    plugin = str(Path(ranks.accelerate).absolute()) if ranks.accelerate else None
    if ranks.nodes == 1:
        given = {"--node-rank": ranks.node_rank, "--rendezvous": ranks.rendezvous}
        if extra := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{extra[0]} {given[extra[0]]}: needs --nodes with the number of hosts, e.g. --nodes 2")
        return ranks._replace(node_rank=0, accelerate=plugin)
    if ranks.node_rank is None and ranks.rendezvous is None and "SLURM_NODEID" in variables:
        ranks = _from_slurm(ranks, variables)
    if ranks.node_rank is None or ranks.rendezvous is None:
        raise InputError(f"--nodes {ranks.nodes}: needs --node-rank R and --rendezvous HOST:PORT, or a step of Slurm")
    if not 0 <= ranks.node_rank < ranks.nodes:
        raise InputError(f"--node-rank {ranks.node_rank}: expected 0 to {ranks.nodes - 1} with --nodes {ranks.nodes}")
    host, _, port = ranks.rendezvous.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InputError(f"--rendezvous {ranks.rendezvous!r}: expected HOST:PORT, e.g. 10.0.0.1:29500")
    return ranks._replace(accelerate=plugin)


def _from_slurm(ranks: Ranks, variables: Mapping[str, str]) -> Ranks:
    """This host's number in a step of Slurm, and a rendezvous on the step's first host."""
    if int(variables["SLURM_NNODES"]) != ranks.nodes:
        raise InputError(f"--nodes {ranks.nodes}: this step of Slurm has {variables['SLURM_NNODES']} hosts")
    names = variables.get("SLURM_STEP_NODELIST") or variables["SLURM_JOB_NODELIST"]
    hosts = (provenance.command_output("scontrol", "show", "hostnames", names) or "").split()
    if not hosts:
        raise InputError(f"`scontrol show hostnames {names}` failed: give --node-rank and --rendezvous")
    facts = (provenance.command_output("scontrol", "show", "node", hosts[0]) or "").split()
    where = next((f.removeprefix("NodeAddr=") for f in facts if f.startswith("NodeAddr=")), hosts[0])
    port = _SLURM_PORTS + int(variables["SLURM_JOB_ID"]) % 10000
    return ranks._replace(node_rank=int(variables["SLURM_NODEID"]), rendezvous=f"{where}:{port}")


def address(rendezvous: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, the host as a number. Raises InputError for a name that does not resolve."""
    host, _, port = rendezvous.rpartition(":")
    try:
        return socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0][4][:2]
    except OSError as error:
        raise InputError(f"--rendezvous {rendezvous!r}: {error.strerror}") from None


def interface(meeting: tuple[str, int]) -> str:
    """The network interface by which this host reaches an address. Raises InputError when there is no route."""
    family = socket.AF_INET6 if ":" in meeting[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(meeting)  # sends nothing
        except OSError as error:
            raise InputError(f"this host cannot reach {meeting[0]}: {error.strerror}") from None
        own = probe.getsockname()[0]
    found = [n for n, addresses in psutil.net_if_addrs().items() if own in {a.address.split("%")[0] for a in addresses}]
    return found[0]


def _distributed_kind(plugin: Path) -> str:
    """The kind that an accelerate file asks for: ddp, fsdp2 or deepspeed. Raises InputError for any other."""
    if not plugin.is_file():
        names = sorted(p.name for p in (ROOT / "experiments" / "accelerate").glob("*.yaml"))
        raise InputError(f"no accelerate file {shown(plugin)}{nearest_or_all(plugin.name, names)}")
    kind = read_yaml(plugin).get("distributed_type")
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise InputError(f"{shown(plugin)} needs DeepSpeed, which is not installed: pip install deepspeed")
    return lookup(_KINDS, kind, f"{shown(plugin)}: distributed_type")


def has_gpu() -> bool:
    """Whether a CUDA card is present and visible. Asks the driver, because importing torch takes seconds."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and bool(provenance.command_output("nvidia-smi", "-L"))


def mark(ranks: Ranks, folder: Path) -> str:
    """What every process of a run has in its environment; a later attempt finds by it what a killed one left running.

    It tells hosts apart, because two of them may be namespaces of one machine.
    """
    return f"{folder} host {ranks.node_rank}"


def environment(ranks: Ranks, folder: Path) -> dict[str, str]:
    """The environment of a run's kernels: that of this process, without the variables of an outer launcher or notebook.

    On one host, gloo, NCCL and vLLM are told to use loopback, since whoever reaches their sockets could take part. On
    several, gloo and NCCL use the interface that leads to the rendezvous, unless the caller has chosen another.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_INHERITED)}
    variables |= {"LEAD_OWNER": lock.process_name(), "LEAD_ROOT": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    variables["LEAD_RUN"] = mark(ranks, folder)
    if ranks.several:
        kind = _distributed_kind(Path(ranks.accelerate)) if ranks.accelerate else "ddp"
        variables |= {"LEAD_NPROC": str(ranks.nproc * ranks.nodes), "LEAD_DISTRIBUTED": kind}
        # without it, the processes of a machine that has no GPU would run alone, each as if it were the only one
        variables |= {} if has_gpu() else {"ACCELERATE_USE_CPU": "true"}
    if ranks.nodes == 1:
        name = interface((LOOPBACK, 1))
        return variables | {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name, "VLLM_HOST_IP": LOOPBACK}
    name = interface(address(ranks.rendezvous))
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} | variables

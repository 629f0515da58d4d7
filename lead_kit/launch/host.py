"""The ranks of one host: starts a kernel for each and ends when all have ended or the first fails.

`lead run` starts it in torchrun's place. torchrun's stores listen on every address of the host, and it unpickles what
they hold. Here the only store is one of torch's that listens on loopback or, with several hosts, on the address of
`--rendezvous`. Ranks are its clients (TORCHELASTIC_USE_AGENT_STORE). Its one argument is JSON: the fields of Ranks, the
kernel's `job`, and `run`, what all hosts must agree on.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from subprocess import Popen

from lead_kit.errors import InputError
from lead_kit.launch import placement, process_tree, run_error

POLL = 0.2  # seconds between two looks at the ranks
_BEAT = 1.0  # seconds between two signs of life to the other hosts
PATIENCE = timedelta(minutes=10)  # for the other hosts to start
_SILENCE = 60.0  # seconds after which a host without a sign of life counts as lost


class _HostLost(RuntimeError):
    """Another host ended, failed or cannot be reached."""


def listen(meeting: tuple[str, int]) -> socket.socket:
    """A socket that listens on this address alone. Raises InputError when the host lacks it or it is taken."""
    server = socket.socket(socket.AF_INET6 if ":" in meeting[0] else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(meeting)
    except OSError as error:
        raise InputError(f"--rendezvous {meeting[0]}:{meeting[1]}: {error.strerror} on node 0") from None
    server.listen(1024)
    return server


def _plugin_variables(plugin: str, world: int) -> dict[str, str]:
    """The environment that `accelerate launch` would give to the ranks for a file of FSDP or DeepSpeed settings."""
    from accelerate.commands import launch
    from accelerate.utils import prepare_deepspeed_cmd_env
    from accelerate.utils.launch import prepare_multi_gpu_env

    words = ["--config_file", plugin, "--num_processes", str(world), "--num_machines", "1", "--main_process_port", "0"]
    options = launch.launch_command_parser().parse_args([*words, "--no_python", sys.executable])
    options, defaults, from_file = launch._validate_launch_command(options)
    if not options.use_deepspeed:
        return prepare_multi_gpu_env(options)
    fields = [*defaults.deepspeed_config, *(["mixed_precision"] if from_file else [])]
    options.deepspeed_fields_from_accelerate_config = ",".join(fields)
    return prepare_deepspeed_cmd_env(options)[1]


def _start_ranks(ranks: placement.Ranks, meeting: tuple[str, int], variables: Mapping, job: Mapping) -> list[Popen]:
    """Starts one kernel for each rank of this host."""
    command = [sys.executable, "-m", "lead_kit.launch.kernel", json.dumps(job)]
    shared = {"MASTER_ADDR": meeting[0], "MASTER_PORT": str(meeting[1]), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    shared |= {"WORLD_SIZE": str(ranks.nproc * ranks.nodes), "LOCAL_WORLD_SIZE": str(ranks.nproc)}
    shared |= {"GROUP_RANK": str(ranks.node_rank), "GROUP_WORLD_SIZE": str(ranks.nodes)}
    children = []
    for local in range(ranks.nproc):
        own = {"RANK": str(ranks.first + local), "LOCAL_RANK": str(local)}
        children.append(process_tree.start(command, env={**variables, **shared, **own}))
    return children


class _Hosts:
    """What this host and the others tell each other through the store."""

    def __init__(self, store, ranks: placement.Ranks):
        self.store, self.ranks = store, ranks
        self.beats, self.sent, self.seen = 0, 0.0, {}
        self.store.set(f"node{ranks.node_rank}", "0")

    def agree(self, run: Mapping) -> None:
        """Waits for node 0. Raises InputError unless it runs the same notebook with the same parameters."""
        if self.ranks.node_rank == 0:
            self.store.set("run", json.dumps(run))
            return
        other = json.loads(self.store.get("run"))
        if different := [name for name in other if other[name] != run.get(name)]:
            name = different[0]
            where = f"host {self.ranks.node_rank} was started differently from host 0"
            raise InputError(f"{where}: {name} is {run.get(name)!r} here and {other[name]!r} there")

    def look(self, ended: bool) -> bool:
        """Gives a sign of life; returns whether every host has ended well. Raises HostLost when one has failed."""
        clock, node = time.monotonic(), self.ranks.node_rank
        if clock - self.sent < _BEAT:
            return False
        self.sent, self.beats = clock, self.beats + 1
        if self.store.check(["failed"]):
            raise _HostLost(f"the run failed on {self.store.get('failed').decode()}")
        self.store.set(f"node{node}", "ended" if ended else str(self.beats))
        if node:
            return ended
        names = [f"node{other}" for other in range(self.ranks.nodes)]
        now = {n: self.store.get(n).decode() if self.store.check([n]) else "" for n in names}
        for name, value in now.items():
            if self.seen.get(name, ("", 0.0))[0] != value or value == "ended":
                self.seen[name] = (value, clock)
            limit = _SILENCE if value else PATIENCE.total_seconds()
            if clock - self.seen.setdefault(name, ("", clock))[1] > limit:
                raise _HostLost(f"host {name.removeprefix('node')} gave no sign of life for {limit:.0f} seconds")
        return all(value == "ended" for value in now.values())


def wait(children: list[Popen], hosts: _Hosts | None) -> int:
    """Waits until all ranks have ended, on every host; returns 1 as soon as one of this host fails."""
    while True:
        codes = [child.poll() for child in children]
        if any(codes):
            return 1
        ended = None not in codes
        if (ended and hosts is None) or (hosts and hosts.look(ended)):
            return 0
        time.sleep(POLL)


def run(ranks: placement.Ranks, job: Mapping, agreed: Mapping) -> int:
    """Starts the ranks of this host and waits for them."""
    alone, world = ranks.nodes == 1, ranks.nproc * ranks.nodes
    variables = _plugin_variables(ranks.accelerate, world) if ranks.accelerate else os.environ
    meeting = (placement.LOOPBACK, 0) if alone else placement.address(ranks.rendezvous)
    server = listen(meeting) if ranks.node_rank == 0 else None
    meeting = server.getsockname()[:2] if server else meeting
    children = _start_ranks(ranks, meeting, variables, job) if alone else []  # while torch is loaded here
    from torch.distributed import TCPStore

    fd = {"master_listen_fd": server.detach()} if server else {}
    try:
        store = TCPStore(*meeting, is_master=bool(server), wait_for_workers=False, timeout=PATIENCE, **fd)
        return (
            wait(children, None) if alone else _run_with_others(_Hosts(store, ranks), meeting, variables, job, agreed)
        )
    except RuntimeError as error:  # torch's errors of a connection
        if isinstance(error, _HostLost):
            raise
        raise _HostLost(f"host 0 does not answer at {ranks.rendezvous}: {str(error).splitlines()[0]}") from None


def _run_with_others(hosts: _Hosts, meeting: tuple[str, int], variables: Mapping, job: Mapping, agreed: Mapping) -> int:
    """Starts the ranks when all hosts agree, and waits for the ranks of all hosts."""
    code = 1
    try:
        hosts.agree(agreed)
        code = wait(_start_ranks(hosts.ranks, meeting, variables, job), hosts)
        return code
    finally:
        if code:
            hosts.store.set("failed", socket.gethostname())
            # the store ends with this process: the others must have read it
            time.sleep(3 * _BEAT * (hosts.ranks.node_rank == 0))


def main() -> int:
    process_tree.die_with_parent()
    told = json.loads(sys.argv[1])
    job, agreed = told.pop("job"), told.pop("run")
    ranks = placement.Ranks(**told)
    try:
        return run(ranks, job, agreed)
    except (_HostLost, InputError) as error:
        run_error.write_error(Path(job["folder"]), ranks.first, type(error).__name__, str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())

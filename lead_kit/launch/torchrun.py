"""torchrun with a rendezvous of our own: starts a kernel for each rank of this host and ends them when one fails.

torchrun's own stores listen on every address of the host, whatever MASTER_ADDR says (pytorch issue 173909), and its
default one unpickles what anyone sends to it. The store of this rendezvous listens on loopback or, with several hosts,
on the address of `--rendezvous` alone. `lead run` starts this module with two arguments of JSON: the fields of Ranks,
and the kernel's job.
"""

import json
import os
import socket
import sys
from pathlib import Path

from torch.distributed import TCPStore, run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

from lead_kit.errors import InputError
from lead_kit.launch import process_tree
from lead_kit.launch.ranks import Ranks, resolve_address

_PATIENCE = 600  # seconds for the other hosts to start
_NAME = "lead"  # of the rendezvous


class _OneAddress(StaticTCPRendezvous):
    """The first host's torchrun has a store that listens on one address; all hosts and ranks are its clients."""

    def __init__(self, parameters: RendezvousParameters):
        address, node = resolve_address(parameters.endpoint), parameters.get_as_int("rank")
        super().__init__(*address, node, parameters.max_nodes, parameters.run_id, _PATIENCE)

    def get_backend(self) -> str:
        return _NAME

    def next_rendezvous(self) -> RendezvousInfo:
        """Connects this host to the store. Raises InputError when the address is not this host's or nobody answers."""
        address, listening = (self.master_addr, self.master_port), {"is_master": False}
        if self.rank == 0:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            try:
                server = socket.create_server(address, family=family, backlog=1024)
            except OSError as error:
                reason = os.strerror(error.errno)
                raise InputError(f"--rendezvous {address[0]}:{address[1]}: {reason} on node 0") from None
            address = server.getsockname()[:2]
            listening = {"is_master": True, "master_listen_fd": server.detach()}
        try:
            store = TCPStore(*address, wait_for_workers=False, timeout=self.timeout, **listening)
        except RuntimeError as error:  # torch's errors of a connection
            reason = str(error).splitlines()[0]
            raise InputError(f"host 0 does not answer at {address[0]}:{address[1]}: {reason}") from None
        return RendezvousInfo(store, self.rank, self.world_size, RendezvousStoreInfo(*address))


def _plugin_variables(plugin: str, world: int) -> dict[str, str]:
    """The environment that `accelerate launch` would give to the ranks for a file of FSDP or DeepSpeed settings.

    `_validate_launch_command` is private to accelerate; tests/stack/test_sharded.py fails where it has changed.
    """
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


def main() -> int:
    """Runs torchrun; returns 1 when a rank of this host failed, or the hosts did not meet."""
    process_tree.die_with_parent()
    ranks, job = Ranks(**json.loads(sys.argv[1])), sys.argv[2]
    rendezvous_handler_registry.register(_NAME, _OneAddress)
    if ranks.accelerate:
        os.environ |= _plugin_variables(ranks.accelerate, ranks.nproc * ranks.nodes)
    options = ["--nnodes", str(ranks.nodes), "--nproc-per-node", str(ranks.nproc), "--max-restarts", "0"]
    options += ["--rdzv-backend", _NAME, "--rdzv-endpoint", ranks.rendezvous, "--rdzv-conf", f"rank={ranks.node_rank}"]
    options += ["--log-dir", os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], "torchrun")]
    job_word = job.replace("$", "\\u0024")  # torchrun replaces ${local_rank} and $$ in the words of a command
    kernel = [sys.executable, "-u", "-P", "-m", "lead_kit.launch.kernel", job_word]
    try:
        run.main([*options, "--no-python", *kernel])
    except ChildFailedError:
        return 1
    except InputError as error:
        first = ranks.node_rank * ranks.nproc
        process_tree.write_error(Path(json.loads(job)["folder"]), first, type(error).__name__, str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

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
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore, run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

from lead_kit.errors import InputError
from lead_kit.launch import process_tree
from lead_kit.launch.process_tree import die_with_parent
from lead_kit.launch.ranks import Ranks, resolve_address

_PATIENCE = timedelta(minutes=10)  # for the other hosts to start
_NAME = "lead"  # of the rendezvous


class _OneAddress(RendezvousHandler):
    """The first host's torchrun has a store that listens on one address; all hosts and ranks are its clients."""

    use_agent_store = True

    def __init__(self, parameters: RendezvousParameters):
        self.parameters = parameters

    def next_rendezvous(self) -> RendezvousInfo:
        """Connects this host to the store. Raises InputError when the address is not this host's or nobody answers."""
        node, nodes = self.parameters.get_as_int("rank"), self.parameters.max_nodes
        address = resolve_address(self.parameters.endpoint)
        listening = {}
        if node == 0:
            server = _listen(address)
            address, listening = server.getsockname()[:2], {"master_listen_fd": server.detach()}
        try:
            store = TCPStore(*address, is_master=node == 0, wait_for_workers=False, timeout=_PATIENCE, **listening)
        except RuntimeError as error:  # torch's errors of a connection
            reason = str(error).splitlines()[0]
            raise InputError(f"host 0 does not answer at {self.parameters.endpoint}: {reason}") from None
        return RendezvousInfo(store, node, nodes, RendezvousStoreInfo(*address))

    def get_backend(self) -> str:
        return _NAME

    def get_run_id(self) -> str:
        return self.parameters.run_id

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nothing: a run has one rendezvous."""

    def num_nodes_waiting(self) -> int:
        return 0

    def shutdown(self) -> bool:
        return True


def _listen(address: tuple[str, int]) -> socket.socket:
    """A socket that listens on this address alone. Raises InputError when the host lacks it or it is taken."""
    server = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(address)
    except OSError as error:
        raise InputError(f"--rendezvous {address[0]}:{address[1]}: {error.strerror} on node 0") from None
    server.listen(1024)
    return server


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
    die_with_parent()
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

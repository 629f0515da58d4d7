"""Lets processes on a CPU train as on GPUs with FSDP2 or DeepSpeed, with gloo in the place of NCCL.

Python imports this file when it starts, if its folder is on PYTHONPATH. accelerate turns sharding on only where it
finds an accelerator; told that gloo is one's backend, it takes the same path here. Only the ranks of a sharded run are
changed, and nothing of lead_kit, TRL, transformers or PyTorch is.
"""

import os
import sys
from importlib.machinery import PathFinder


def gloo_as_accelerator(state):
    """accelerate.state: every process group is gloo's and counts as one of GPUs, whatever the arguments say."""
    start = state.PartialState.__init__

    def start_on_gloo(self, cpu=False, backend=None, **options):
        start(self, cpu=False, **options)

    def gloo(self, *_unused, **_options):
        return "gloo", state.DistributedType.MULTI_GPU

    state.PartialState.__init__, state.PartialState._prepare_backend = start_on_gloo, gloo


def no_shared_memory(comm):
    """deepspeed.comm.torch: without its faster all-reduce, whose C++ takes minutes to build."""
    comm.build_shm_op = lambda: None


PATCHES = {"accelerate.state": gloo_as_accelerator, "deepspeed.comm.torch": no_shared_memory}


class PatchedImports:
    """Finds the modules of PATCHES, and changes each one when it is loaded."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name in PATCHES else None
        if spec is not None:
            load = spec.loader.exec_module

            def load_and_patch(module):
                load(module)
                PATCHES[name](module)

            spec.loader.exec_module = load_and_patch
        return spec


if "LOCAL_RANK" in os.environ and os.environ.get("LEAD_DISTRIBUTED") in ("fsdp2", "deepspeed"):
    os.environ |= {"ACCELERATE_USE_CPU": "false", "ACCELERATE_TORCH_DEVICE": "cpu"}
    sys.meta_path.insert(0, PatchedImports)

"""The ranks of a gloo group for a test: a function of the tests in forks of the process with the libraries."""

import importlib
import multiprocessing
import os
import sys
import tempfile

from tests import small

PATIENCE = 240.0  # seconds; for a hang, not for a slow machine


def run(forks: dict[str, str], call: str, *arguments, count: int = 2) -> str:
    """Calls `call` (module:function) on so many ranks with these words in sys.argv; returns what they print. Each must
    return without an error. One rank has no group. `forks` is the fixture that has started the forkserver."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    group |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    words = [call, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        children, path = [], os.path.join(folder, "said")
        for rank in map(str, range(count)):
            env = small.environment() | (group | {"RANK": rank, "LOCAL_RANK": rank} if count > 1 else {})
            children.append(multiprocessing.get_context("forkserver").Process(target=_rank, args=(env, words, path)))
            children[-1].start()
        for child in children:
            child.join(PATIENCE)
            child.kill()
            child.join()
        with open(path, encoding="utf-8", errors="replace") as file:
            said = file.read()
    codes = [child.exitcode for child in children]
    assert codes == [0] * count, f"{codes}: {said[-3000:]}"
    return said


def _rank(env: dict[str, str], words: list[str], path: str) -> None:
    """One rank, in a fork: what it prints goes to the end of a file."""
    os.environ.clear()
    os.environ.update(env)
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = words
    module, _, function = words[0].partition(":")
    getattr(importlib.import_module(module), function)()

"""The ranks of a gloo group for a test: a function of the tests in forks of a warm process."""

import os
import tempfile
import time
from pathlib import Path

from lead_kit.launch import warm as warm_process
from lead_kit.launch.jupyterlab import Distant
from tests import small

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 240.0  # seconds; for a hang, not for a slow machine


def run(warm: dict[str, str], call: str, *arguments, count: int = 2) -> str:
    """Calls `call` (module:function) on so many ranks with these words in sys.argv; returns what they print. Each must
    return 0 or None. One rank has no group."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    with tempfile.TemporaryFile() as said, open(os.devnull) as null:
        children = []
        for rank in map(str, range(count)):
            own = place | {"RANK": rank, "LOCAL_RANK": rank} if count > 1 else {}
            env = small.environment() | warm | own
            files = [null.fileno(), said.fileno(), said.fileno()]
            connection = warm_process.ask(env, call, [call, *map(str, arguments)], str(ROOT), files)
            children.append(Distant(connection, warm_process.begun(connection)))
        end = time.monotonic() + PATIENCE
        while any(child.poll() is None for child in children) and time.monotonic() < end:
            time.sleep(0.02)
        for child in children:
            child.kill()
        said.seek(0)
        told = said.read().decode()
    codes = [child.returncode for child in children]
    assert codes == [0] * count, f"{codes}: {told[-3000:]}"
    return told

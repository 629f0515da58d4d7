"""One kernel of a run: papermill executes the notebook, `lead run` (supervisor.py) supervises this process.

Started by the supervisor, or by torchrun once per rank, with one argument: JSON with `notebook`, `folder`,
`parameters`. What the notebook prints goes to stdout (rank 0) or stderr (the log), its error to `.error.json`.
"""

import json
import logging
import os
import re
import sys
from pathlib import Path

import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lead_kit.launch.processes import die_with_parent
from lead_kit.runs.paths import ROOT

# jsonschema, which notebooks are checked with, takes this validator of web addresses if it can be imported; it builds
# thirty-eight grammars in doing so, a second of every run, for a format that no notebook uses.
sys.modules.setdefault("rfc3987_syntax", None)
START_SECONDS = 120  # a busy machine may take long to start a kernel
SOCKET_PATH = 100  # the system allows 107 bytes, of which the kernel takes a few
KERNEL = (
    "import os; from lead_kit.launch.processes import die_with_parent; "
    "die_with_parent(int(os.environ['JPY_PARENT_PID'])); "
    "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Kernel(AsyncKernelManager):
    """A kernel of this very Python, whatever kernel specs are installed, that dies with the process that started it.

    It talks over sockets in a folder of its own, so that kernels starting at once do not race for ports.
    """

    def __init__(self, **options):
        super().__init__(**options)
        address = os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], f"rank{os.environ.get('RANK', '0')}")
        if len(address) < SOCKET_PATH:
            self.transport, self.ip = "ipc", address

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        return [sys.executable, "-c", KERNEL, "-f", os.path.realpath(self.connection_file), *(extra_arguments or [])]


def explain(error: PapermillExecutionError | DeadKernelError) -> dict:
    """What went wrong, as the supervisor tells it."""
    if isinstance(error, DeadKernelError):
        return {
            "name": "DeadKernel",
            "sentence": "the kernel died: killed from outside, or out of memory",
            "traceback": "",
        }
    trace = COLOUR.sub("", "\n".join(error.traceback))
    return {"name": error.ename, "sentence": error.evalue, "traceback": f"In cell {error.cell_index + 1}:\n{trace}"}


def leave_word(folder: Path, word: dict) -> None:
    """Writes the error unless another rank was first: the first is the cause, the others follow from it."""
    try:
        with (folder / ".error.json").open("x", encoding="utf-8") as file:
            json.dump(word, file)
    except FileExistsError:
        pass


def main() -> int:
    """Executes the notebook of the job; 0 when every cell ran."""
    die_with_parent()
    job = json.loads(sys.argv[1])
    folder, rank = Path(job["folder"]), int(os.environ.get("RANK", "0"))
    target = folder / "notebook.ipynb" if rank == 0 else folder / "ranks" / f"{rank}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}")  # papermill writes here as cells end
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        papermill.execute_notebook(
            job["notebook"],
            part,
            parameters=job["parameters"],
            kernel_name="python3",
            kernel_manager_class=Kernel,
            language="python",
            progress_bar=False,
            stdout_file=sys.stdout if rank == 0 else sys.stderr,
            stderr_file=sys.stderr,
            start_timeout=START_SECONDS,
            cwd=ROOT,
        )
    except (PapermillExecutionError, RuntimeError) as error:
        leave_word(folder, explain(error) | {"rank": rank})
        return 1
    finally:
        if part.is_file():
            part.replace(target)
    return 0

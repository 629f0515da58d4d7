"""One kernel of a run: papermill executes the notebook, `lead run` (supervisor.py) supervises this process.

The supervisor, or torchrun once for each rank, starts it with one argument: JSON with `notebook`, `folder` and
`parameters`. What the notebook prints goes to stdout (rank 0) or stderr (the log), its error to `.error.json`.
"""

import contextlib
import json
import logging
import os
import re
import sys
from pathlib import Path

# jsonschema, which checks notebooks, would import this validator of web addresses. Its thirty-eight grammars cost a
# second in every run, and no notebook uses the format.
sys.modules["rfc3987_syntax"] = None

import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lead_kit.launch.processes import die_with_parent
from lead_kit.runs.paths import ROOT

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

    It talks over sockets in a folder of its own, so that kernels that start together do not compete for ports.
    """

    def __init__(self, **options):
        super().__init__(**options)
        address = os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], f"rank{os.environ.get('RANK', '0')}")
        if len(address) < SOCKET_PATH:
            self.transport, self.ip = "ipc", address

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        return [sys.executable, "-c", KERNEL, "-f", os.path.realpath(self.connection_file), *(extra_arguments or [])]


def error_report(error: PapermillExecutionError | RuntimeError) -> dict:
    """The error as the supervisor prints it: its name, its sentence and, from a cell, its traceback."""
    if isinstance(error, PapermillExecutionError):
        trace = f"In cell {error.cell_index + 1}:\n" + COLOUR.sub("", "\n".join(error.traceback))
        return {"name": error.ename, "sentence": error.evalue, "traceback": trace}
    died = "the kernel died: killed from outside, or out of memory"
    sentence = died if isinstance(error, DeadKernelError) else str(error)
    return {"name": type(error).__name__, "sentence": sentence, "traceback": ""}


def main() -> int:
    """Executes the notebook; returns 0 when every cell ran."""
    die_with_parent()
    job = json.loads(sys.argv[1])
    folder, rank = Path(job["folder"]), int(os.environ.get("RANK", "0"))
    target = folder / "notebook.ipynb" if rank == 0 else folder / "ranks" / f"{rank}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}")  # papermill writes here after each cell
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
        report = error_report(error) | {"rank": rank}
        # only the first rank to fail writes: its error is the cause, those of the other ranks follow from it
        with contextlib.suppress(FileExistsError), (folder / ".error.json").open("x", encoding="utf-8") as file:
            json.dump(report, file)
        return 1
    finally:
        if part.is_file():
            part.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())

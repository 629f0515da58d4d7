"""A notebook in a live kernel, as JupyterLab runs it: cells in order, Interrupt, Restart."""

import ast
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from jupyter_client.manager import KernelManager

from lead_kit.launch import kernel
from lead_kit.parameters import load_notebook
from lead_kit.runs.files import read_jsonl
from tests import small

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # seconds; for a hang, not for a slow machine


class Lab:
    """A kernel in which notebooks are executed cell by cell, as `make lab` starts it: a fork where the variables name
    a forkserver. `said` holds the outputs of the last call of `run_all`."""

    def __init__(self, root: Path, **variables: str):
        self.root, self.said, self.seen, self.notebook = root, [], [], ""
        self.variables = small.environment() | {"LEAD_ROOT": str(root), "JPY_SESSION_NAME": "live.ipynb"} | variables
        self._start()

    def _start(self) -> None:
        self.kernel = KernelManager(kernel_name="python3")
        self.kernel.provisioner = kernel.Provisioner(kernel_spec=self.kernel.kernel_spec, parent=self.kernel)
        self.kernel.start_kernel(env=self.variables, cwd=str(self.root))
        self.client = self.kernel.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def close(self) -> None:
        self.client.stop_channels()
        self.kernel.shutdown_kernel()

    def restart(self) -> None:
        self.close()
        self._start()

    def execute(self, source: str) -> dict:
        """The reply of the kernel to one cell: status, and ename, evalue and traceback of an error."""
        options = {"timeout": PATIENCE, "output_hook": self.said.append, "store_history": True}
        return self.client.execute_interactive(source, **options)["content"]

    def run_all(self, notebook: str, first: str = "", **parameters) -> tuple[str, dict]:
        """Executes a notebook's cells until one fails, from the cell `first` on, with these values in its parameters
        cell. Returns the id of the last cell and its reply.
        """
        if self.notebook and notebook != self.notebook:
            self.restart()  # a kernel belongs to one notebook
        self.said, self.notebook = [], notebook
        cells = load_notebook(ROOT / "notebooks" / f"{notebook}.ipynb")["cells"]
        cells = [cell for cell in cells if cell["cell_type"] == "code"]
        ids = [cell["id"] for cell in cells]
        for cell in cells[ids.index(first) if first else 0 :]:
            source = "".join(cell["source"])
            if "parameters" in cell["metadata"].get("tags", []):
                source = with_values(source, parameters)
            reply = self.execute(source)
            if reply["status"] == "error":
                break
        return cell["id"], reply

    @contextmanager
    def interrupted_when(self, claim: Callable[[], bool], times: int = 1):
        """Interrupts what is executed in the block as soon as the claim holds."""
        over = threading.Event()

        def wait() -> None:
            while not claim():
                if over.wait(0.01):
                    return
            for _ in range(times):
                self.kernel.interrupt_kernel()
                over.wait(0.3)

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def interrupted_at(self, file: Path, lines: int, times: int = 1):
        """Interrupts what is executed in the block as soon as a JSON-lines file has so many lines."""
        return self.interrupted_when(lambda: file.is_file() and len(read_jsonl(file, torn=True)) >= lines, times)

    def text(self) -> str:
        """All that the cells printed or showed as text."""
        contents = [message["content"] for message in self.said]
        shown = [c.get("text") or c.get("data", {}).get("text/plain") or c.get("evalue") for c in contents]
        return "\n".join(text for text in shown if text)


def with_values(source: str, values: dict) -> str:
    """The source of a parameters cell with other values, as a user edits it."""
    lines = source.split("\n")
    for node in reversed(ast.parse(source).body):
        if node.target.id in values:
            declared = f"{node.target.id}: {ast.unparse(node.annotation)}"
            lines[node.lineno - 1 : node.end_lineno] = [f"{declared} = {values[node.target.id]!r}"]
    return "\n".join(lines)

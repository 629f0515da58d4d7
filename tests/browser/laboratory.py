"""JupyterLab as a user has it: a server, a browser, a tab with a notebook, its menus and what is seen in it."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lead_kit.parameters import load_notebook
from tests import small
from tests.browser import FLAGS, chromium
from tests.laboratory import with_values

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "browser-test"
PATIENCE = 600  # seconds; for a hang, not for a slow machine
# every cell is in the page, also outside the window: what is asked for is then what a user sees on scrolling
SETTINGS = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
SETTINGS |= {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """The JupyterLab of `make lab` over a root with copies of the notebooks; `variables` name a forkserver."""

    def __init__(self, root: Path, variables: dict[str, str]):
        self.root, self.port, own = root, free_port(), root / ".jupyter"
        (own / "settings").mkdir(parents=True)
        (own / "settings" / "overrides.json").write_text(json.dumps(SETTINGS))
        paths = {name: str(own / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
        folders = paths | {"LEAD_ROOT": str(root), "JUPYTER_RUNTIME_DIR": str(own / "runtime")}
        options = ["--no-browser", "--allow-root", f"--port={self.port}", f"--ServerApp.root_dir={root}"]
        options += [f"--LabApp.app_settings_dir={own / 'settings'}", f"--IdentityProvider.token={TOKEN}"]
        self.log = (own / "log.txt").open("wb")
        command = [sys.executable, "-m", "lead_kit.launch.jupyterlab", *options]
        env = small.environment() | folders | variables
        self.process = subprocess.Popen(command, cwd=root, env=env, stdout=self.log, stderr=self.log)
        end = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < end, (own / "log.txt").read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def address(self, notebook: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/notebooks/{notebook}.ipynb?token={TOKEN}&reset"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def write(self, notebook: str, **values) -> None:
        """A copy of a notebook whose parameters cell has these values."""
        content = load_notebook(ROOT / "notebooks" / f"{notebook}.ipynb")
        for cell in content["cells"]:
            if "parameters" in cell["metadata"].get("tags", []):
                cell["source"] = with_values("".join(cell["source"]), values)
        (self.root / "notebooks" / f"{notebook}.ipynb").write_text(json.dumps(content))


class Tab:
    """One tab with a notebook."""

    def __init__(self, browser, server: Server, notebook: str):
        self.page = browser.new_page(viewport={"width": 1300, "height": 900})
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.goto(server.address(notebook))
        self.page.wait_for_selector(".jp-NotebookPanel-toolbar")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        self.until(lambda: self.kernel() in ("Idle", "Busy"))

    def kernel(self) -> str:
        """What the status bar says of the kernel; empty until the notebook is connected with it."""
        texts = " ".join(self.page.locator("#jp-main-statusbar").all_inner_texts())
        return next((word for word in ("Idle", "Busy") if f"| {word}" in texts), "")

    def menu(self, name: str, entry: str) -> None:
        self.page.click(f".lm-MenuBar-itemLabel:text-is('{name}')")
        self.page.click(f".lm-Menu-itemLabel:text-is('{entry}')")

    def run_all(self) -> None:
        self.menu("Run", "Run All Cells")

    def until(self, claim: Callable, seconds: float = PATIENCE, pause: float = 0.1):
        """The first true value of `claim`."""
        end = time.monotonic() + seconds
        while not (value := claim()):
            assert time.monotonic() < end, self.text()[-3000:]
            self.page.wait_for_timeout(pause * 1000)
        return value

    def finished(self) -> bool:
        """Whether no cell waits or works: none has a star in its brackets."""
        prompts = self.page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        return not any("*" in text for text in prompts)

    def text(self) -> str:
        """All outputs as they are read on the page."""
        return "\n".join(self.page.locator(".jp-OutputArea-output").all_inner_texts())

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def faults(self) -> list[str]:
        """The texts of outputs that are errors or come from stderr."""
        kinds = ("stderr", "error")
        chosen = ", ".join(f".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.{kind}']" for kind in kinds)
        return self.page.locator(chosen).all_inner_texts()


def playwright():
    """Playwright over an installed Chromium; skips the test where one of them is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: `make browser` installs it")
    flags = [flag for flag in FLAGS.split() if "time-budget" not in flag]
    return api.sync_playwright(), {"executable_path": chromium(), "args": flags}


def prepared(root: Path) -> Path:
    """A root with copies of the notebooks, which the browser may save."""
    for name in ("experiments", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return root

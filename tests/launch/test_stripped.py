"""Running a notebook is no change for git: the clean filter drops what a run and a front end add."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lead_kit.launch.stripped import stripped

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_the_repository_is_as_the_filter_leaves_it(path):
    assert stripped(path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8")


def test_what_is_no_notebook_is_left_alone():
    for text in ("", "{", "[]", '{"cells": [1]}', "text\r\n"):
        assert stripped(text) == text


def test_git_sees_no_change_in_a_notebook_that_ran_and_sees_one_in_its_source(tmp_path):
    def git(*words):
        done = subprocess.run(["git", "-C", str(tmp_path), *words], capture_output=True, text=True, check=True)
        return done.stdout

    git("init", "-q")
    git("config", "filter.lead-outputs.clean", f"{sys.executable} -m lead_kit.launch.stripped")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    shutil.copy(NOTEBOOKS[0], tmp_path / "n.ipynb")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "a")
    notebook = nbformat.read(tmp_path / "n.ipynb", 4)
    for cell in notebook.cells:  # as JupyterLab saves it after Run All
        cell.metadata |= {"execution": {"iopub.status.busy": "now"}, "trusted": True}
        if cell.cell_type == "code":
            cell.execution_count = 3
            cell.outputs = [nbformat.v4.new_output("stream", text="α\n")]
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7", "codemirror_mode": {"name": "ipython"}}
    notebook.metadata["widgets"] = {}
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert git("status", "--porcelain") == "" and "α" in (tmp_path / "n.ipynb").read_text()
    notebook.cells[1].source += "\nmore: int = 1  # more"
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert git("status", "--porcelain") == " M n.ipynb\n" and "α" not in git("diff")

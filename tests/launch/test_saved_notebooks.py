"""`make lab` saves notebooks as the repository has them; what was on the screen goes to runs/lab."""

import asyncio
from pathlib import Path

import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from lead_kit.launch import jupyterlab

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def ran(path):
    """A notebook as JupyterLab sends it to be saved after Run All."""
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        cell.metadata |= {"execution": {"iopub.status.busy": "now"}, "trusted": True}
        if cell.cell_type == "code":
            cell.execution_count = 3
            cell.outputs = [nbformat.v4.new_output("stream", text="α\n")]
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7", "codemirror_mode": {"name": "ipython"}}
    notebook.metadata["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    notebook.metadata["widgets"] = {}
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_saved_notebook_is_as_the_repository_has_it(path, tmp_path, monkeypatch):
    monkeypatch.setattr(jupyterlab, "RUNS", tmp_path / "runs")
    (tmp_path / "notebooks").mkdir()
    hook = {"pre_save_hook": "lead_kit.launch.jupyterlab.on_save"}  # as the Makefile names it
    manager = AsyncLargeFileManager(root_dir=str(tmp_path), **hook)
    model = {"type": "notebook", "format": "json", "content": ran(path)}
    asyncio.run(manager.save(model, f"notebooks/{path.name}"))
    assert (tmp_path / "notebooks" / path.name).read_bytes() == path.read_bytes()
    seen = nbformat.read(tmp_path / "runs" / "lab" / path.name, 4)
    assert all(cell.outputs[0].text == "α\n" for cell in seen.cells if cell.cell_type == "code")


def test_notebooks_elsewhere_are_saved_as_they_are(tmp_path):
    model = {"type": "notebook", "content": ran(NOTEBOOKS[0])}
    jupyterlab.on_save(model, "mine/n.ipynb")
    assert model["content"].cells[1].execution_count == 3
    jupyterlab.on_save({"type": "file", "content": "x"}, "notebooks/n.txt")


def test_make_lab_names_the_hook():
    assert "lead_kit.launch.jupyterlab" in (ROOT / "Makefile").read_text()
    assert "--ContentsManager.pre_save_hook=lead_kit.launch.jupyterlab.on_save" in jupyterlab.OPTIONS

"""What `make lab` saves: a notebook of notebooks/ without what running it adds, so that running is no change for git.

The outputs are not lost: the notebook as it was on the screen goes to runs/lab/, which git ignores.
"""

import copy
import json
from pathlib import PurePosixPath

from lead_kit.runs.files import RUNS, write_text

_KEPT = {"kernelspec": ("display_name", "language", "name"), "language_info": ("name",)}  # of the notebook's metadata


def on_save(model: dict, path: str, **_) -> None:
    """Jupyter's hook before a save: `model` is what will be written to `path`, which is relative to the repository."""
    if model["type"] != "notebook" or PurePosixPath(path).parent.name != "notebooks":
        return
    target = RUNS / "lab" / PurePosixPath(path).name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, json.dumps(model["content"], indent=1, ensure_ascii=False) + "\n")
    model["content"] = _stripped(model["content"])


def _stripped(notebook: dict) -> dict:
    """The notebook without outputs, counts and what a front end writes into its metadata."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        cell["metadata"] = {"tags": tags} if (tags := cell["metadata"].get("tags")) else {}
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    known = notebook["metadata"]
    notebook["metadata"] = {
        name: {part: known[name][part] for part in parts if part in known[name]}
        for name, parts in _KEPT.items()
        if name in known
    }
    return notebook

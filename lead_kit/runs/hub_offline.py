"""Turns off hub look-ups for local models. Call it before importing transformers, which reads the setting then; where a
warm process has imported it already, the libraries are told."""

import os
import sys
from pathlib import Path

_READERS = ("huggingface_hub.constants", "datasets.config")  # modules that keep the setting as it was at their import
EMBEDDED = ("tiny", "tiny-words", "tiny-bytes", "smollm2")  # models that need neither a folder nor the hub


def is_path(name: str) -> bool:
    """Whether the name means a folder or file, which need not exist, and not a model of the hub."""
    named = name.startswith((".", "/", "~", "runs/")) or name.endswith(".gguf")
    return named or name.count("/") > 1 or Path(name).is_dir()


def if_local(*names: str) -> None:
    """Turns the hub off for this process when every model is embedded or a folder."""
    if all(name in EMBEDDED or is_path(name) for name in names):
        off = os.environ.setdefault("HF_HUB_OFFLINE", "1") == "1"
        for module in filter(None, map(sys.modules.get, _READERS)):
            module.HF_HUB_OFFLINE = off or module.HF_HUB_OFFLINE

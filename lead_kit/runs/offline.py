"""No look-ups on the hub for what lies here: to be called before transformers, which reads the setting at import."""

import os
from pathlib import Path

EMBEDDED = ("tiny", "tiny-bytes")


def is_path(name: str) -> bool:
    """Does the name mean a folder, there or not, rather than a model of the hub?"""
    return name.startswith((".", "/", "~", "runs/")) or name.count("/") > 1 or Path(name).is_dir()


def if_local(*names: str) -> None:
    """Turns the hub off for this process when every named model is embedded or a folder."""
    if all(name in EMBEDDED or is_path(name) for name in names):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")

"""Chromium, driven from the command line, for pages that must not act."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync --virtual-time-budget=3000"


@functools.cache
def chromium() -> str:
    """The path of an installed Chromium; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium: `make browser` installs Debian's")
    return found


def loaded(page: Path, profile: Path) -> str:
    """The document of a page after its scripts have run, as HTML."""
    command = [chromium(), *FLAGS.split(), f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

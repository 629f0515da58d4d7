"""What a kernel's process leaves out when it starts."""

import subprocess
import sys

import pytest

LOADED = "print('rfc3987_syntax' in sys.modules)"


@pytest.mark.slow
def test_jsonschema_imports_a_slow_validator_and_works_without_it():
    """When this fails, lead_kit/launch/kernel.py need not hide rfc3987_syntax any more."""
    check = "import sys{}; import jsonschema, nbformat; nbformat.validate(nbformat.v4.new_notebook())"
    hidden = "; sys.modules['rfc3987_syntax'] = None"
    assert subprocess.run([sys.executable, "-c", check.format(hidden)]).returncode == 0
    loaded = f"{check.format('')}; {LOADED}"
    assert "True" in subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout

"""Installation: what pip is told by its configuration, uv is told, too."""

import subprocess
import sys

import pytest

from lead_kit.launch import install
from lead_kit.runs.files import ROOT

LISTED = """\
:env:.find-links='/wheels'
global.extra-index-url='https://one/simple https://two/simple'
global.find-links='/elsewhere'
global.index-url='https://main/simple'
install.index-url='https://better/simple'
global.cert='/etc/ca.crt'
"""


def test_what_pip_s_configuration_says_is_passed_on():
    words, variables = install.passed_on(install.settings(LISTED), [])
    assert words == [
        "--index-url", "https://better/simple",
        "--extra-index-url", "https://one/simple", "--extra-index-url", "https://two/simple",
        "--find-links", "/wheels",
    ]  # fmt: skip
    assert variables == {"SSL_CERT_FILE": "/etc/ca.crt"}
    assert install.passed_on(install.settings(""), []) == ([], {})
    assert install.passed_on(install.settings("global.no-index='true'"), []) == (["--no-index"], {})


def test_an_index_on_the_command_line_takes_the_place_of_the_configured_one():
    words, _ = install.passed_on(install.settings(LISTED), ["--index-url", "https://cpu", "torch"])
    assert "https://better/simple" not in words and "https://one/simple" in words


def test_it_needs_the_standard_library_only():
    path = ROOT / "lead_kit" / "launch" / "install.py"
    code = f"import runpy; runpy.run_path({str(path)!r}, run_name='x')"
    assert subprocess.run([sys.executable, "-S", "-c", code]).returncode == 0


@pytest.mark.parametrize("kept, words", [(True, []), (False, ["--compile-bytecode"])])
def test_what_is_installed_is_compiled_where_python_does_not_keep_it(monkeypatch, kept, words):
    monkeypatch.setattr(sys, "dont_write_bytecode", not kept)
    assert install.bytecode() == words

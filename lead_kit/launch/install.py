"""Installs packages with uv where it can be had, else with pip; the arguments are those of `pip install`.

uv takes a tenth of pip's time. It does not read pip's configuration, so that is passed on: index, extra indexes,
find-links, certificate and trusted hosts. This file needs the standard library only: it runs before all else.
"""

import ast
import os
import shutil
import subprocess
import sys

_UV = "uv==0.13.9"
_PASSED = {  # option of pip: option of uv
    "index-url": "--index-url",
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}
_SECTIONS = ("global", "install", ":env:")  # later ones win, as in pip


def settings(listed: str) -> dict[str, list[str]]:
    """The values of pip's options in what `pip config list` prints."""
    found: dict[str, list[str]] = {}
    for section in _SECTIONS:
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                found[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value)).split()
    return found


def passed_on(found: dict[str, list[str]], given: list[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments of uv, and the environment variables, that say what pip's options say; an index that the `given`
    arguments name takes the place of the configured one."""
    if "--index-url" in given:
        found = {name: values for name, values in found.items() if name != "index-url"}
    words = [word for name, option in _PASSED.items() for value in found.get(name, []) for word in (option, value)]
    words += ["--no-index"] if found.get("no-index") in (["true"], ["1"]) else []
    return words, {"SSL_CERT_FILE": found["cert"][0]} if "cert" in found else {}


def uv() -> list[str]:
    """The command of uv: the one on the path, else one that pip installs beside this Python; empty without either."""
    if path := shutil.which("uv"):
        return [path]
    own = [sys.executable, "-m", "uv"]
    if subprocess.run([*own, "--version"], capture_output=True).returncode == 0:
        return own
    asked = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", _UV]
    return own if subprocess.run(asked, capture_output=True).returncode == 0 else []


def bytecode() -> list[str]:
    """Asks uv to compile what it installs, as pip does, where Python is told not to keep what it compiles itself
    (PYTHONDONTWRITEBYTECODE, as in many containers): each process would spend seven seconds on that otherwise.
    """
    return ["--compile-bytecode"] if sys.dont_write_bytecode else []


def main(arguments: list[str]) -> int:
    pip = [sys.executable, "-m", "pip"]
    if command := uv():
        listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True).stdout
        words, variables = passed_on(settings(listed), arguments)
        asked = [*command, "pip", "install", "--quiet", "--python", sys.executable, *bytecode()]
        asked += ["--index-strategy", "unsafe-best-match"]  # all indexes count, as with pip
        if subprocess.run([*asked, *words, *arguments], env=os.environ | variables).returncode == 0:
            return 0
        print("uv could not install this; pip tries it again", file=sys.stderr, flush=True)
    return subprocess.run([*pip, "install", "-q", "--disable-pip-version-check", *arguments]).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""`make test-newest`: the versions of this environment beside the pins of requirements.txt, and what breaks with them.

Prints a table of the packages that differ, then runs the pure tests, one recipe at scale smoke, the trainer's tests and
those of the families of models.
Returns 1 if a test failed.
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FILES = ("requirements.txt", "requirements-dev.txt", "requirements-trackers.txt")
PARTS = {
    "pure tests": ["-m", "not slow"],
    "one recipe at smoke": ["tests/launch/test_recipes_run.py", "-k", "to_its_end and figure_reflection"],
    "trainer": [
        "tests/train/test_trainer.py",
        "tests/train/test_losses.py",
        "tests/train/test_trl_members.py",
        "tests/train/test_packed_loss.py",
    ],
    "families of models": ["tests/models/test_families.py"],
}


def versions() -> str:
    """A line for each pinned package: its pin, and the installed version where that is another."""
    lines = [f"{'package':20}{'pin':>12}{'newest':>12}"]
    for file in FILES:
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if "==" in line and not line.startswith("#"):
                pin = Requirement(line)
                installed = importlib.metadata.version(pin.name).partition("+")[0]
                asked = str(pin.specifier).removeprefix("==")
                lines.append(f"{pin.name:20}{asked:>12}{'same' if installed == asked else installed:>12}")
    return "\n".join(lines)


def main() -> int:
    """Runs the parts one after the other."""
    print(versions(), flush=True)
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "--tb=line", "-rf"]
    failed = []
    for name, words in PARTS.items():
        print(f"\n{name}", flush=True)
        if subprocess.call([sys.executable, "-m", "pytest", *options, *words], cwd=ROOT):
            failed.append(name)
    print(f"\nbroke: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

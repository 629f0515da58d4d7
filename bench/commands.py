"""How many CPU seconds `lead` takes to answer: the mean of some calls, each a process of its own.

`python -m bench.commands` exits with 1 above a bar.
"""

import resource
import subprocess
import sys
import time

from bench.table import Row, judged, show

CALLS = 5
BARS = {"": 0.25, "list": 0.8, "recipe figure1": 0.5}  # words after `lead`, and CPU seconds


def used() -> float:
    """CPU seconds of the processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def rows() -> list[Row]:
    found = []
    for words, bar in BARS.items():
        before, command, seconds = used(), [sys.executable, "-m", "lead_kit.cli", *words.split()], []
        for _ in range(CALLS):
            started = time.perf_counter()
            subprocess.run(command, capture_output=True, check=bool(words))
            seconds.append(time.perf_counter() - started)
        cpu = (used() - before) / CALLS
        name = f"`lead {words}`" if words else "`lead` alone"
        found.append(
            judged(
                name,
                f"{cpu:.2f} CPU s (mean of {CALLS} calls; the quickest took {min(seconds):.2f} s)",
                f"≤ {bar:g} CPU s",
                cpu <= bar,
            )
        )
    return found


if __name__ == "__main__":
    raise SystemExit(show(rows()))

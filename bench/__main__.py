"""One table of all benchmarks that end within minutes, each with its bar and verdict: `python -m bench`.

A line is printed as soon as a benchmark has ended; all of them as Markdown at the end. `python -m bench sampler growth`
runs those alone. Exit code 1 if a bar is not held or a benchmark failed.
"""

import argparse
import importlib
import time

from bench.table import FAIL, HEAD, Row, failed, line, markdown

MODULES = ("commands", "metrics", "sampler", "packing", "trainer", "growth")


def measured(name: str) -> list[Row]:
    """The rows of one benchmark; one that fails has a row that says why, and the others still run."""
    try:
        return importlib.import_module(f"bench.{name}").rows()
    except Exception as error:
        return [Row(name, f"{type(error).__name__}: {error}".replace("\n", " "), "", FAIL)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODULES)}; all of them by default")
    chosen = parser.parse_args().names or MODULES
    if unknown := set(chosen) - set(MODULES):
        parser.error(f"no benchmark is called {', '.join(unknown)}: expected {', '.join(MODULES)}")
    started, rows = time.perf_counter(), []
    print(line(HEAD))
    for name in chosen:
        for row in measured(name):
            rows.append(row)
            print(line(row), flush=True)
    print(f"\n{markdown(rows)}\n\n{time.perf_counter() - started:.0f} seconds")
    return int(failed(rows))


if __name__ == "__main__":
    raise SystemExit(main())

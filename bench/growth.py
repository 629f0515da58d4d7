"""How cost grows with size: CPU seconds of this process at growing sizes, and the exponent between neighbours.

    python -m bench.growth                        # small sizes, about three minutes
    python -m bench.growth --full                 # the sizes of docs/performance.md
    python -m bench.growth score --sizes 10000 1000000 --repeats 3

The exponent is log(ratio of seconds) / log(ratio of sizes): 1 where cost is proportional to size, below 1 where a part
of it is fixed, 2 where each item is compared with each other. Above the stated bound the verdict is `superlinear`. A
time is the least of --repeats passes; what takes less than LEAST at the larger size has no exponent.
"""

import argparse
import contextlib
import io
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import workloads
from bench.table import PASS, Row, failed, line, markdown

BOUND = 1.25  # on an exponent; noise of a shared machine is about ±.1
LEAST = 0.1  # CPU seconds from which a time counts
PART = 0.1  # share of the whole from which a part has a row of its own
SUPERLINEAR = "superlinear"


class Growth(NamedTuple):
    """One measurement: what grows, and to which sizes."""

    words: str
    cost: Callable[[int, Path], dict[str, float]]  # CPU seconds by part, at a size
    sizes: tuple[int, ...]
    full: tuple[int, ...]
    bound: float = BOUND


GROWTHS = {
    "rollouts": Growth("rollouts a batch", workloads.rollouts, (128, 512, 2048), (128, 512, 2048)),
    "unpacked": Growth("rollouts a batch, pack_tokens 0", workloads.unpacked, (128, 512), (128, 512, 2048)),
    # attention looks back at every token of the row
    "tokens": Growth("tokens a rollout", workloads.tokens, (96, 192, 384), (96, 192, 384, 768), bound=2.0),
    "group": Growth("rollouts a prompt", workloads.group, (8, 32), (8, 16, 32)),
    "evaluate": Growth("samples in 04_evaluate", workloads.evaluate, (1_000, 10_000), (1_000, 10_000, 100_000)),
    "looks": Growth("samples a problem in 04", workloads.looks, (4, 64, 256), (4, 64, 256, 1024)),
    "figures": Growth("samples in 05_figures", workloads.figures, (1_000, 10_000), (1_000, 10_000, 100_000)),
    "runs": Growth("runs in 05_figures", workloads.runs, (15, 60), (15, 60, 300)),
    "score": Growth("rows in lead score", workloads.score, (10_000, 50_000), (10_000, 100_000, 1_000_000)),
}


def times(growth: Growth, sizes: tuple[int, ...], repeats: int) -> dict[int, dict[str, float]]:
    """CPU seconds by size and part, each the least of all repeats; a small pass comes first and is not counted."""
    found = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        growth.cost(sizes[0], Path(folder))
        for _ in range(repeats):
            for size in sizes:
                found[size].append(growth.cost(size, Path(folder)))
    return {size: {part: min(one[part] for one in each) for part in each[0]} for size, each in found.items()}


def exponents(sizes: tuple[int, ...], seconds: list[float]) -> list[float]:
    """Between each two neighbours; nan where the larger one took less than LEAST."""
    pairs = zip(zip(sizes, seconds, strict=True), zip(sizes[1:], seconds[1:], strict=True), strict=False)
    return [
        math.log(later / max(earlier, 1e-6)) / math.log(larger / size) if later >= LEAST else math.nan
        for (size, earlier), (larger, later) in pairs
    ]


def row(name: str, sizes: tuple[int, ...], seconds: list[float], bound: float) -> Row:
    """Sizes, seconds and exponents of one cost, with the verdict on its largest exponent."""
    grown = exponents(sizes, seconds)
    verdict = SUPERLINEAR if any(one > bound for one in grown) else PASS
    shown = " ".join("–" if math.isnan(one) else f"{one:.2f}" for one in grown)
    value = f"exponent {shown} ({' '.join(f'{one:.2g}' for one in seconds)} s)"
    return Row(f"{name}, {' → '.join(f'{size:,}' for size in sizes)}", value, f"≤ {bound:g}", verdict)


def measure(growth: Growth, sizes: tuple[int, ...], repeats: int) -> list[Row]:
    """The row of the whole, then those of its parts."""
    found = times(growth, sizes, repeats)
    whole = [sum(found[size].values()) for size in sizes]
    rows = [row(growth.words, sizes, whole, growth.bound)]
    parts = found[sizes[-1]] if len(found[sizes[-1]]) > 1 else {}
    for part, seconds in parts.items():
        if seconds >= PART * whole[-1]:
            rows.append(row(f"· {part}", sizes, [found[size][part] for size in sizes], growth.bound))
    return rows


def rows() -> list[Row]:
    """Of each measurement the whole, and the parts that grow too fast."""
    found = [measure(growth, growth.sizes, 1) for growth in GROWTHS.values()]
    return [one for whole, *parts in found for one in [whole, *(p for p in parts if p.verdict != PASS)]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GROWTHS)}; all by default")
    parser.add_argument("--full", action="store_true", help="the sizes of docs/performance.md")
    parser.add_argument("--sizes", type=int, nargs="+", help="for one NAME: other sizes, ascending")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.names) - set(GROWTHS):
        parser.error(f"nothing is called {', '.join(unknown)}: expected {', '.join(GROWTHS)}")
    if options.sizes and (len(options.names) != 1 or len(options.sizes) < 2):
        parser.error("--sizes needs one NAME and two sizes or more")
    found = []
    for name in options.names or GROWTHS:
        growth = GROWTHS[name]
        sizes = tuple(options.sizes or (growth.full if options.full else growth.sizes))
        for one in measure(growth, sizes, options.repeats):
            found.append(one)
            print(line(one), flush=True)
    print(f"\n{markdown(found)}\n\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(failed(found))


if __name__ == "__main__":
    raise SystemExit(main())

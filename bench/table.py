"""The rows of the benchmarks' common table: a module of bench/ has `rows() -> list[Row]` at its default sizes."""

from typing import NamedTuple

PASS, FAIL = "pass", "FAIL"
HEAD = ("name", "value", "bar", "verdict")
WIDTHS = (44, 62, 10)  # of a line in the terminal, before the verdict


class Row(NamedTuple):
    """One measurement, as printed."""

    name: str
    value: str  # a ratio, an exponent or a time, with its unit
    bar: str = ""  # what it must reach; empty without a bar
    verdict: str = ""  # PASS, FAIL or a word for what failed; empty without a bar


def judged(name: str, value: str, bar: str, held: bool) -> Row:
    """A row whose verdict says whether the bar is held."""
    return Row(name, value, bar, PASS if held else FAIL)


def failed(rows: list[Row]) -> bool:
    """Whether a bar is not held."""
    return any(row.verdict not in (PASS, "") for row in rows)


def line(row: tuple) -> str:
    """A row as a line for the terminal."""
    cells = [cell.ljust(width) for cell, width in zip(row, WIDTHS, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()


def show(rows: list[Row]) -> int:
    """Prints the rows of a benchmark that is run alone; returns its exit code, 1 when a bar is not held."""
    print(*map(line, rows), sep="\n")
    return int(failed(rows))


def markdown(rows: list[Row]) -> str:
    """All rows as a Markdown table."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)

"""The table of the benchmarks: what counts as superlinear, what a missed bar and a failed benchmark look like."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pytest import approx

from bench import __main__ as bench
from bench import growth, table

ROOT = Path(__file__).resolve().parents[1]
SIZES = (10, 100, 1000)


def grown(cost, sizes=SIZES, **others):
    return growth.measure(growth.Growth("items", lambda size, _: cost(size), sizes, sizes, **others), sizes, repeats=2)


def test_the_exponent_is_that_of_the_power():
    assert growth.exponents(SIZES, [0.2, 2.0, 20.0]) == approx([1, 1])
    assert growth.exponents(SIZES, [1.0, 100.0, 10_000.0]) == approx([2, 2])


def test_a_time_that_is_too_short_has_no_exponent():
    short, long = growth.exponents(SIZES, [0.0001, 0.05, 0.5])
    assert math.isnan(short) and long == approx(1)


def test_pairs_of_items_are_superlinear_and_a_fixed_cost_is_not():
    (pairs,) = grown(lambda size: {"pairs": size**2 / 1000})
    (fixed,) = grown(lambda size: {"fixed": 3 + size / 1000})
    assert pairs.verdict == growth.SUPERLINEAR and fixed.verdict == table.PASS
    assert pairs.name == "items, 10 → 100 → 1,000" and pairs.bar == "≤ 1.25"
    assert grown(lambda size: {"pairs": size**2 / 1000}, bound=2.01)[0].verdict == table.PASS


def test_a_part_that_is_superlinear_is_seen_inside_a_whole_that_is_not_yet():
    whole, *parts = grown(lambda size: {"fixed": 20.0, "pairs": size**2 / 200_000, "small": size / 1e6})
    assert whole.verdict == table.PASS
    assert [(part.name.split(",")[0], part.verdict) for part in parts] == [
        ("· fixed", table.PASS),
        ("· pairs", growth.SUPERLINEAR),
    ]


def test_a_missed_bar_fails_the_table():
    held, missed = (table.judged("speed", f"{ratio}", "≥ 2", ratio >= 2) for ratio in (2.5, 1.5))
    assert not table.failed([held, table.Row("no bar", "3")]) and table.failed([held, missed])
    assert table.markdown([missed]).splitlines()[-1] == "| speed | 1.5 | ≥ 2 | FAIL |"


def test_a_benchmark_that_cannot_run_is_a_row_that_says_why():
    (row,) = bench.measured("of_another_kit")
    assert row.verdict == table.FAIL and "No module named 'bench.of_another_kit'" in row.value


@pytest.mark.slow  # two processes that import TRL
def test_a_part_of_the_gpu_checks_is_ended_at_its_limit_and_the_report_says_so(tmp_path):
    words = ["--device", "cpu", "--out", str(tmp_path), "--seconds", "12", "--only", "Notebooks"]
    done = subprocess.run([sys.executable, "-m", "bench.gpu", *words], capture_output=True, text=True, cwd=ROOT)
    report = (tmp_path / "report.md").read_text()
    assert done.returncode == 1 and report in done.stdout, done.stderr
    assert "\n## Notebooks\n" in report and "\n- STOPPED after 12 s\n" in report


def test_the_wheels_for_a_gpu_host_are_pinned():
    lines = (ROOT / "bench/gpu_wheels.txt").read_text().splitlines()
    names = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", name) for name in names)
    assert {"trl==1.16.0", "datasets==5.2.0", "math-verify==0.9.0", "papermill==2.7.0"} <= set(names)

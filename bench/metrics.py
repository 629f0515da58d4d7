"""How long all metrics and their intervals take for 1,000 problems × 64 samples. Bar: 5 seconds.

`python -m bench.metrics` prints the seconds of each part and exits with 1 above the bar.
"""

import time

import numpy as np

from bench.table import Row, judged, show
from lead_kit.evaluate import metrics, stats

PROBLEMS, SAMPLES, BAR_SECONDS = 1000, 64, 5.0
NAMES = ["pass@1", "pass@8", "pass^8", "cons@n", "g-pass@16_0.5", "mg-pass@16", "precision", "truncated", "length"]
NAMES += ["length_correct", "tokens_per_correct"]


def drawn(seed: int) -> metrics.SampleArrays:
    """A suite with accuracies all over 0…1 and three kinds of wrong answer."""
    random = np.random.default_rng(seed)
    accuracy = random.beta(0.6, 0.5, (PROBLEMS, 1))
    correct = (random.random((PROBLEMS, SAMPLES)) < accuracy).astype(int)
    answered = np.maximum(correct, random.random(correct.shape) < 0.9).astype(int)
    cluster = np.where(correct == 1, 0, random.integers(1, 4, correct.shape))
    length = random.integers(100, 8000, correct.shape)
    return metrics.SampleArrays(correct, answered, 1 - answered, length, np.where(answered, cluster, metrics.NO_VOTE))


def rows() -> list[Row]:
    a, b = drawn(0), drawn(1)
    started = time.perf_counter()
    values = {name: metrics.measure(a, name) for name in NAMES}
    curve = metrics.budget_curve(a.correct, a.length, np.linspace(0, 8000, 40))
    measured = time.perf_counter()
    for ratio in values.values():
        stats.cluster_bootstrap(stats.linearised(*ratio), seed=0)
    stats.t_interval(curve.T)
    resampled = time.perf_counter()
    stats.paired_difference(values["pass@1"].numerator, metrics.measure(b, "pass@1").numerator, seed=0)
    ended = time.perf_counter()
    parts = {"metrics": measured - started, "bootstrap": resampled - measured, "paired": ended - resampled}
    told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
    name = f"{len(NAMES)} metrics, {PROBLEMS:,} problems × {SAMPLES}"
    value = f"{ended - started:.2f} s ({told}; {stats.RESAMPLES:,} resamples)"
    return [judged(name, value, f"≤ {BAR_SECONDS:g} s", ended - started <= BAR_SECONDS)]


if __name__ == "__main__":
    raise SystemExit(show(rows()))

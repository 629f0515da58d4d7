"""How long all metrics and their intervals take for 1,000 problems × 64 samples. Bar: 5 seconds.

`python bench/metrics.py` prints the seconds of each part and exits with 1 above the bar.
"""

import sys
import time

import numpy as np

from lead_kit.evaluate import metrics, stats

PROBLEMS, SAMPLES, BAR_SECONDS = 1000, 64, 5.0
NAMES = ["pass@1", "pass@8", "pass^8", "cons@n", "g-pass@16_0.5", "mg-pass@16", "precision", "truncated", "length"]
NAMES += ["length_correct", "tokens_per_correct"]


def drawn(seed: int) -> metrics.Samples:
    """A suite with accuracies all over 0…1 and three kinds of wrong answer."""
    random = np.random.default_rng(seed)
    accuracy = random.beta(0.6, 0.5, (PROBLEMS, 1))
    correct = (random.random((PROBLEMS, SAMPLES)) < accuracy).astype(int)
    answered = np.maximum(correct, random.random(correct.shape) < 0.9).astype(int)
    cluster = np.where(correct == 1, 0, random.integers(1, 4, correct.shape))
    length = random.integers(100, 8000, correct.shape)
    return metrics.Samples(correct, answered, 1 - answered, length, np.where(answered, cluster, metrics.NO_VOTE))


def main() -> int:
    a, b = drawn(0), drawn(1)
    started = time.perf_counter()
    values = {name: metrics.measure(a, name) for name in NAMES}
    curve = metrics.budget_curve(a.correct, a.length, np.linspace(0, 8000, 40))
    measured = time.perf_counter()
    for ratio in values.values():
        stats.cluster_bootstrap(ratio.numerator, ratio.denominator, seed=0)
    stats.t_interval(curve.T)
    resampled = time.perf_counter()
    stats.paired_difference(values["pass@1"].numerator, metrics.measure(b, "pass@1").numerator, seed=0)
    ended = time.perf_counter()
    print(f"metrics: {PROBLEMS} problems × {SAMPLES} samples, {len(NAMES)} metrics, {stats.RESAMPLES} resamples")
    print(
        f"metrics {measured - started:.2f} s, bootstrap {resampled - measured:.2f} s, paired {ended - resampled:.2f} s"
    )
    print(f"total {ended - started:.2f} s (bar {BAR_SECONDS:.0f} s)")
    return int(ended - started > BAR_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

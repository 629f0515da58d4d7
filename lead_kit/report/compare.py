"""`lead compare RUN_A RUN_B`: the paired comparison of two runs on the same problems, in sentences."""

from pathlib import Path

import numpy as np
import pandas as pd

from lead_kit.errors import InputError
from lead_kit.evaluate import graded_samples, metrics, stats
from lead_kit.report.tables import format_interval, format_number
from lead_kit.runs.files import RUNS, resolve

_TOKENS = ("length", "length_correct", "tokens_per_correct")  # printed with one decimal
_WORDS = dict.fromkeys(("length", "length_correct"), ("longer", "shorter"))


def compare_command(run_a: str, run_b: str, metric: str = "pass@1", seed: int = 0, **choices: str | None) -> int:
    """Prints `comparison` of two runs and returns 0; `choices` as in `require_rectangular`. Raises InputError."""
    print(comparison(run_a, run_b, metric, seed, **{name: choice for name, choice in choices.items() if choice}))
    return 0


def comparison(run_a: str, run_b: str, metric: str = "pass@1", seed: int = 0, **choices: str) -> str:
    """A − B on the problems of both runs: intervals, verdict, and the smallest detectable effect.

    A run is a folder (its samples, else its last validation), a samples file, or a name under runs/; `RUN@ARM` chooses
    one of several arms. Raises InputError where the two cannot be paired.
    """
    if seed < 0:
        raise InputError(f"--seed {seed}: expected 0 or more")
    sides = []
    for label, name in (("A", run_a), ("B", run_b)):
        frame = samples_of_arm(name)
        sides.append(frame.assign(side=label, run=f"{label} (" + frame["run"] + ")"))
    if not set(sides[0]["id"]) & set(sides[1]["id"]):
        raise InputError(f"{run_a} and {run_b} have no problem in common: they are of different benchmarks")
    frame, notes = graded_samples.require_rectangular(pd.concat(sides, ignore_index=True), **choices)
    suites = [graded_samples.suites(frame[frame["side"] == label]) for label in "AB"]
    try:
        return "\n".join([*_sentences((run_a, run_b), suites, metric, seed), *notes])
    except ValueError as error:
        raise InputError(str(error)) from None


def samples_of_arm(name: str) -> pd.DataFrame:
    """The samples of one arm that a name stands for: a folder, a file, a name under runs/, or one of these @ARM."""
    path, _, arm = name.partition("@")
    if not resolve(path).exists() and (RUNS / path).parent.exists():
        path = str(RUNS / path)
    frame = graded_samples.load_samples([path])
    arms = sorted(set(frame["arm"]))
    if arm and arm not in arms:
        raise InputError(f"{path} has no arm {arm!r}; it has {', '.join(arms)}")
    if not arm and len(arms) > 1:
        raise InputError(f"{path} holds arms {', '.join(arms)}: choose one, as in {Path(path).name}@{arms[0]}")
    return frame[frame["arm"] == arm] if arm else frame


def _sentences(names, suites, metric, seed):
    measured = [{key[1]: metrics.measure(one.samples, metric) for key, one in side.items()} for side in suites]
    digits = 1 if metric in _TOKENS else 3
    problems, samples = next(iter(suites[0].values())).samples.correct.shape
    if not all(np.isfinite(part).all() for side in measured for ratio in side.values() for part in ratio):
        raise InputError(f"{metric} needs the length of every sample, and some samples have none")
    lines = [f"{metric} on {problems} problems, {samples} samples each"]
    for label, name, ratios in zip("AB", names, measured, strict=True):
        top, bottom = _summed(ratios)
        pooled = metric in _TOKENS or np.any(bottom != bottom[0])
        values = stats.linearised(top, bottom)
        interval = stats.t_interval(values) if pooled else stats.share_interval(values)
        seeds = f" ({len(ratios)} seeds)" if len(ratios) > 1 else ""
        lines.append(f"{label}  {format_interval(interval, digits)}  {name}{seeds}")
    difference, over = _difference(*measured, seed)
    lines.append(f"A − B = {format_interval(difference, digits, sign=True)}  95% t-interval over {over}")
    if not np.isnan(difference.low):
        ends = difference.bootstrap_low, difference.bootstrap_high
        lines.append(f"bootstrap [{', '.join(format_number(end, digits, sign=True) for end in ends)}]")
    return [*lines, _verdict(difference, _WORDS.get(metric, ("higher", "lower")), digits)]


def _summed(ratios):
    """Numerators and denominators, each (problems,), summed over seeds."""
    return np.sum(list(ratios.values()), axis=0)


def _difference(a, b, seed):
    """The difference over problems, or over seeds and problems where both sides have the same several seeds."""
    difference = stats.paired_difference(*(stats.linearised(*_summed(side)) for side in (a, b)), seed=seed)
    means = all(np.all(ratio.denominator == 1) for side in (a, b) for ratio in side.values())
    if set(a) != set(b) or len(a) < 2 or not means:
        return difference, "problems, for these runs"
    each = np.array([a[key].numerator - b[key].numerator for key in sorted(a)])
    both, drawn = stats.two_level_interval(each), stats.two_level_bootstrap(each, seed=seed)
    bounds = {"low": both.low, "high": both.high, "bootstrap_low": drawn.low, "bootstrap_high": drawn.high}
    return difference._replace(**bounds), "seeds and problems"


def _verdict(difference, words, digits):
    verdict = stats.verdict(difference, *words)
    if verdict in words:
        return f"A is {verdict} than B."
    if verdict != stats.NO_DIFFERENCE:
        return f"{verdict[0].upper()}{verdict[1:]}."
    error = (difference.high - difference.low) / 2 / stats.critical(difference.clusters)
    if error == 0:
        return "No detectable difference: the two are equal on every problem."
    least = format_number(stats.minimum_detectable_effect(error, difference.clusters), digits)
    return f"No detectable difference; this suite detects a true difference of {least} with 80% power."

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


def compare_command(run_a: str, run_b: str, metric: str = "pass@1", seed: int = 0, **choices: str | None) -> None:
    """Prints `comparison` of two runs; `choices` as in `require_rectangular`. Raises InputError."""
    print(comparison(run_a, run_b, metric, seed, **{name: choice for name, choice in choices.items() if choice}))


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
    """Both sides, their difference and the verdict; with the same several seeds on both sides, for new seeds, too."""
    a, b = [{key[1]: metrics.measure(one.samples, metric) for key, one in side.items()} for side in suites]
    digits = 1 if metric in _TOKENS else 3
    problems, samples = next(iter(suites[0].values())).samples.correct.shape
    ratios = [*a.values(), *b.values()]
    if not all(np.isfinite(part).all() for ratio in ratios for part in ratio):
        raise InputError(f"{metric} needs the length of every sample, and some samples have none")
    values = [stats.linearised(*np.sum(list(side.values()), axis=0)) for side in (a, b)]  # numerators summed over seeds
    lines = [f"{metric} on {problems} problems, {samples} samples each"]
    for label, name, side, of_problems in zip("AB", names, (a, b), values, strict=True):
        interval = stats.t_interval(of_problems) if metric in _TOKENS else stats.share_interval(of_problems)
        seeds = f" ({len(side)} seeds)" if len(side) > 1 else ""
        lines.append(f"{label}  {format_interval(interval, digits)}  {name}{seeds}")
    difference, over = stats.paired_difference(*values, seed=seed), "problems, for these runs"
    if set(a) == set(b) and len(a) > 1 and all(np.all(ratio.denominator == 1) for ratio in ratios):
        each, over = np.array([a[key].numerator - b[key].numerator for key in sorted(a)]), "seeds and problems"
        both, drawn = stats.two_level_interval(each), stats.two_level_bootstrap(each, seed=seed)
        bounds = {"low": both.low, "high": both.high, "bootstrap_low": drawn.low, "bootstrap_high": drawn.high}
        difference = difference._replace(**bounds)
    lines.append(f"A − B = {format_interval(difference, digits, sign=True)}  95% t-interval over {over}")
    if not np.isnan(difference.low):
        ends = difference.bootstrap_low, difference.bootstrap_high
        lines.append(f"bootstrap [{', '.join(format_number(end, digits, sign=True) for end in ends)}]")
    return [*lines, _verdict(difference, _WORDS.get(metric, ("higher", "lower")), digits)]


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

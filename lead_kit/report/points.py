"""The points behind a table: what each run scored on each problem, without texts, small enough to be committed.

05_figures writes them to points/ of its run, and `make publish` copies them to figures/points/RECIPE. They are read
like runs: `curves.load_runs` takes validation.parquet and `graded_samples.load_samples` evaluation.parquet.
"""

import pandas as pd

from lead_kit.report import curves
from lead_kit.report.read_rollouts import unit_rates
from lead_kit.runs import log_files
from lead_kit.runs.files import resolve

_SAMPLE = ["benchmark", "arm", "seed", "id", "sample", "level", "gold", "answer", "length", "truncated", "correct"]
_FEWEST = 0.05  # a word that is rarer than this a completion, before and after, is left out


def tables(trained: pd.DataFrame, samples: pd.DataFrame | None, logged: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """File name → table, of runs (`curves.load_runs`), graded samples and logged batches; without empty ones."""
    runs = trained[["run", "arm", "seed"]].drop_duplicates().to_dict("records")
    parts = {"validation.parquet": [part for run in runs for part in _validations(run)]}
    parts["evaluation.parquet"] = [] if samples is None else [samples.reindex(columns=_SAMPLE)]
    parts["batches.csv"] = [logged] if len(logged) else []
    parts["words.csv"] = [_words(run) for run in runs if len(logged) and log_files.has_rollouts(resolve(run["run"]))]
    return {name: pd.concat(each, ignore_index=True) for name, each in parts.items() if each}


def _validations(run: dict) -> list[pd.DataFrame]:
    """For each validation of a run and each problem: number of samples, pass@1, mean length, share truncated."""
    frames = []
    for path in sorted((resolve(run["run"]) / "validation").glob("step_*.parquet")):
        by_problem = pd.read_parquet(path, columns=["id", "correct", *curves.POINTS[1:]]).groupby("id", sort=False)
        means = by_problem.mean().rename(columns={"correct": curves.POINTS[0]})
        means = means.assign(samples=by_problem.size(), step=int(path.stem.removeprefix("step_")))
        frames.append(means.reset_index().assign(**run))
    return frames


def _words(run: dict) -> pd.DataFrame:
    """How often each word occurs a completion in the first and the last logged batch of a run."""
    rates = unit_rates(log_files.read_rollouts(resolve(run["run"])))
    return rates[rates.max(axis=1) >= _FEWEST].sort_index().reset_index().assign(**run)

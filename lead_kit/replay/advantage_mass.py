"""Advantage mass outside mixed groups, rewards and length in words over the logged rollouts of training runs.

A group whose answers are all right or all wrong carries no information about accuracy.
"""

import pandas as pd

from lead_kit.evaluate import stats
from lead_kit.evaluate.recorded_tripwires import mass_outside_mixed_groups
from lead_kit.report import curves
from lead_kit.report.read_rollouts import rewards_in
from lead_kit.report.training_figures import trend_points
from lead_kit.runs import log_files
from lead_kit.runs.files import resolve

SPLIT = "rollouts"
SHARE = "advantage mass outside mixed groups"  # from groups whose answers are all right or all wrong
WORDS = "words a completion"


def of_rollouts(rollouts: pd.DataFrame) -> pd.DataFrame:
    """For each logged step: SHARE, WORDS and the mean of each reward. A batch without any advantage has no share."""
    sizes = rollouts.assign(size=rollouts["advantage"].abs())
    parts = {SHARE: sizes.groupby("step")[["group", "correct", "size"]].apply(mass_outside_mixed_groups)}
    parts[WORDS] = rollouts["completion"].str.split().str.len().groupby(rollouts["step"]).mean()
    for name in [name for name in rollouts if name.startswith("reward_")]:
        parts[name] = rollouts.groupby("step")[name].mean()
    return pd.DataFrame(parts).reset_index()


def load(frame: pd.DataFrame) -> pd.DataFrame:
    """The tidy frame of `curves` with these numbers for every run that kept rollouts; empty if only one reward ran."""
    parts = []
    for (run, arm, seed), _ in frame.groupby(["run", "arm", "seed"], sort=False):
        if log_files.has_rollouts(resolve(run)):
            rollouts = log_files.read_rollouts(resolve(run))
            parts.append(of_rollouts(rollouts).assign(run=run, arm=arm, seed=seed, split=SPLIT))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table if len(rewards_in(table)) > 1 else table.iloc[:0]


def shown(table: pd.DataFrame) -> list[str]:
    """The numbers worth a panel: the share, the rewards beside `correct`, and the words.

    There is no share where no logged batch of any run had an advantage.
    """
    names = [SHARE, *(name for name in rewards_in(table) if name != "reward_correct"), WORDS]
    return [name for name in names if table[name].notna().any()]


def points(table: pd.DataFrame) -> pd.DataFrame:
    """The plotted points of `training_figures.metric_panels`: metric, arm, step, mean, low, high, seeds."""
    return pd.concat([trend_points(table, y, SPLIT).assign(metric=y) for y in shown(table)], ignore_index=True)


def sentences(table: pd.DataFrame) -> list[str]:
    """For each arm, the numbers of the last logged step with 95% t-intervals over seeds."""
    lines, last = [], table["step"].max()
    for arm in curves.arms_of(table):
        rows = table[(table["arm"] == arm) & (table["step"] == last)]
        parts = []
        for name in shown(table):
            values = rows[name].dropna().tolist()
            if len(values) > 1:
                interval = stats.t_interval(values)
                parts.append(
                    f"{name.removeprefix('reward_')} {interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
                )
            elif values:
                parts.append(f"{name.removeprefix('reward_')} {values[0]:.2f} (one seed)")
        lines.append(f"{arm} at step {last}: {'; '.join(parts)}")
    return lines

"""`lead plan-stage`: the problems of the next stage by a rule, how sure that choice is, and what a pass would cost."""

from pathlib import Path

import numpy as np
import pandas as pd

from lead_kit.data import load
from lead_kit.errors import InputError, lookup
from lead_kit.evaluate import stage, stats
from lead_kit.report import evaluation_figures
from lead_kit.report.tables import format_number, markdown
from lead_kit.runs.files import atomic, resolve, shown

_GROUPS = (4, 8, 16, 32, 64)  # group sizes in the table
KEPT, NEVER, EASY = "kept", "never solved", "solved too often"


def plan_table(counts: pd.DataFrame, rule: stage.Rule) -> pd.DataFrame:
    """The counts with rate, low, high (Beta interval), part, sure and again for each problem.

    `part`: kept, never solved (at or below the rule's low end) or solved too often. `sure`: the probability that the
    true pass rate lies on the side of the rule's high end on which the measured one lies. `again`: the probability that
    as many new samples would take the same decision. Both under the prior fitted to these problems.

    Raises InputError where there is no problem.
    """
    if counts.empty:
        raise InputError("none of these problems has a pass rate: are their ids those of the run or column?")
    hits, n = counts["hits"].to_numpy(), counts["n"].to_numpy()
    prior = stage.fitted_prior(hits, n)
    rate = hits / n
    keep = stage.passes_rule(rate, rule)
    low, high = stage.beta_interval(hits, n)
    below = stage.probability_within(hits, n, prior, rule._replace(low=-1.0))
    again = stage.probability_same_decision(hits, n, prior, rule)
    part = np.where(keep, KEPT, np.where(rate > rule.high, EASY, NEVER))
    sure = np.where(rate > rule.high, 1 - below, below)
    return counts.assign(rate=rate, low=low, high=high, part=part, sure=sure, again=np.where(keep, again, 1 - again))


def unmixed_shares(counts: pd.DataFrame, keep: np.ndarray) -> pd.DataFrame:
    """For each group size: group_size, problems (all or kept), estimate, low, high of the share of
    all-right or all-wrong groups.

    The interval is over problems.
    """
    hits, n = counts["hits"].to_numpy(), counts["n"].to_numpy()
    prior, rows = stage.fitted_prior(hits, n), []
    for size in _GROUPS:
        silent = stage.share_all_right_or_all_wrong(hits, n, prior, size)
        for name, values in (("all", silent), (KEPT, silent[keep])):
            if len(values):
                interval = stats.share_interval(values)._asdict()
                rows.append({"group_size": size, "problems": name} | interval)
    return pd.DataFrame(rows)


def describe_plan(planned: pd.DataFrame, rule: stage.Rule, added: int = 0) -> list[str]:
    """What the rule keeps, how much of that is noise, and the tokens of a pass over the kept problems."""
    keep = planned["part"] == KEPT
    counts = planned["part"].value_counts()
    sizes = sorted(set(planned["n"]))
    samples = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    lines = [
        f"{rule.source}. {len(planned)} problems, {samples} samples each: {keep.sum()} are kept"
        + "".join(f", {counts[name]} were {name}" for name in (NEVER, EASY) if name in counts)
        + "."
    ]
    for name, what in ((KEPT, "are truly above"), (EASY, "are truly at or below")):
        rows = planned[planned["part"] == name]
        if len(rows):
            wrong = (1 - rows["sure"]).sum()
            lines.append(
                f"Of the {len(rows)} {name}, {wrong:.0f} ({wrong / len(rows):.0%}) {what} {rule.high:.3g}, by "
                f"expectation; as many new samples would take the same decision for {rows['again'].mean():.0%} of them."
            )
    if added:
        lines.append(f"With the added set the stage has {keep.sum() + added} problems.")
    tokens = planned.loc[keep, "tokens"]
    if not keep.any():
        lines.append("Nothing is kept: there is no stage to plan.")
    elif tokens.isna().any():
        lines.append("The record has no lengths, so the tokens of a pass cannot be told.")
    else:
        each = ", ".join(f"{tokens.sum() * size:,.0f} at G {size}" for size in _GROUPS)
        lines.append(f"Tokens that one pass over the kept problems would generate: {each}.")
    return lines


def unmixed_shares_text(shares: pd.DataFrame) -> pd.DataFrame:
    """`unmixed_shares` as text: one row a group size."""
    text = [
        f"{format_number(row.estimate)} [{format_number(row.low)}, {format_number(row.high)}]"
        for row in shares.itertuples()
    ]
    return shares.assign(text=text).pivot(index="group_size", columns="problems", values="text").reset_index()


def _read_counts(source: str, column: str, samples: int) -> pd.DataFrame:
    """Counts of a run, a file of samples, or with `column` of a problem file; `SOURCE@MODEL` takes one model."""
    if column:
        return stage.hits_of_column(load.load_problems(source, need_gold=False), column, samples)
    name, _, model = source.partition("@")
    if not resolve(name).exists():
        raise InputError(f"{name} does not exist: expected a run folder or a file of samples")
    if samples:
        raise InputError(f"--samples {samples} goes with --column; the samples of {name} are counted")
    return stage.hits_of_samples(resolve(name), model)


def plan_command(source: str, column: str, samples: int, rule: str, add: str, out: str | None) -> int:
    """Prints the plan of a stage and, with `out`, writes its tables and its figure to a folder. Returns 0."""
    chosen_rule = lookup(stage.RULES, rule, "--rule")
    if samples < 0:
        raise InputError(f"--samples {samples}: expected 1 or more")
    planned = plan_table(_read_counts(source, column, samples), chosen_rule)
    added = len(load.load_problems(add)) if add else 0
    shares = unmixed_shares(planned, (planned["part"] == KEPT).to_numpy())
    print(*describe_plan(planned, chosen_rule, added), sep="\n")
    print("Expected share of all-right or all-wrong groups, p^G + (1−p)^G, with its 95% interval over problems:")
    print(markdown(unmixed_shares_text(shares)), end="")
    if out:
        folder = Path(out).expanduser().absolute()
        for name, frame in {"problems": planned, "all_right_or_all_wrong": shares}.items():
            with atomic(folder / f"{name}.csv") as part:
                frame.to_csv(part, index=False)
        for kind in ("png", "pdf"):
            with atomic(folder / f"stage_plan.{kind}") as part:
                figure = evaluation_figures.stage_plan(planned, shares, chosen_rule.high)
                figure.savefig(part, format=kind, bbox_inches="tight", dpi=150)
        print(f"written: {shown(folder)}")
    return 0

"""Which comparisons were planned: families of comparisons, their corrected p-values, and what would change a verdict.

A comparison is "METRIC: LATER − EARLIER". The primary one is not corrected. The secondary ones of a metric are a
family, corrected by Holm; * stands for any arm in them. All others are exploratory and not judged. Without a plan all
comparisons are one family.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import pandas as pd

from lead_kit.errors import InputError
from lead_kit.evaluate import stats
from lead_kit.runs.files import resolve
from lead_kit.runs.manifest import read_manifest
from lead_kit.safe_text import safe_line

_SIGNIFICANCE = 1 - stats.CONFIDENCE
PRIMARY, SECONDARY, EXPLORATORY, UNPLANNED = "primary", "secondary", "exploratory", "unplanned"


class Plan(NamedTuple):
    """The planned comparisons, and a sentence on where they were planned."""

    primary: str = ""
    secondaries: Sequence[str] = ()
    source: str = ""


def plan_of_runs(runs: Iterable[str], comparisons: Sequence[str] = (), block: Mapping | None = None) -> Plan:
    """The plan of a table of these runs: `comparisons`, the primary first; else `block`, a recipe's as run.json keeps
    it; else the block of the runs. Raises InputError where the runs keep several.

    The sentence says how many of the runs kept the block when they began, as only these were planned by it.
    """
    if comparisons:
        return Plan(comparisons[0], comparisons[1:], "Planned by a parameter of the notebook, in no recipe.")
    manifests = [read_manifest(resolve(run)) or {} for run in runs]
    blocks = {kept["hash"]: kept for kept in (manifest.get("planned") for manifest in manifests) if kept}
    if not block and len(blocks) > 1:
        raise InputError(f"the runs were planned differently (hashes {', '.join(blocks)}): name planned_comparisons")
    block = block or next(iter(blocks.values()), None)
    if not block:
        return Plan()
    kept = sum((manifest.get("planned") or {}).get("hash") == block["hash"] for manifest in manifests)
    before = block["chosen"] == "before the runs" and 0 < kept == len(manifests)
    chosen = "registered before the runs" if before else f"chosen {block['chosen']}"
    question, meaning = safe_line(block["question"], 400), safe_line(block["difference"], 400)
    source = f"{question} Planned on {block['date']}, hash {block['hash']}, {chosen}; {kept} of {len(manifests)} runs"
    return Plan(block["primary"], block["secondaries"], f"{source} kept this plan when they began. {meaning}")


def families(names: pd.Series, plan: Plan) -> pd.Series:
    """The family of each comparison by name; without a plan all are of one."""
    if not plan.primary:
        return pd.Series(UNPLANNED, index=names.index)
    planned = names.map(lambda name: any(fnmatchcase(name, pattern) for pattern in plan.secondaries))
    kinds = planned.map({True: SECONDARY, False: EXPLORATORY})
    return kinds.mask(names == plan.primary, PRIMARY)


def corrected(p: pd.Series, frame: pd.DataFrame) -> pd.Series:
    """Holm's adjusted p inside each family of `frame` (family, metric); missing for exploratory comparisons."""
    judged = p.notna() & (frame["family"] != EXPLORATORY)
    keys = frame["family"] + frame["metric"].where(frame["family"] == SECONDARY, "")
    return p[judged].groupby(keys[judged]).transform(stats.holm).reindex(p.index)


def seeds_that_decide(frame: pd.DataFrame) -> list[list[str]]:
    """For each comparison, the seeds without any one of which its verdict would be another (columns p without SEED)."""
    detected, decides = frame["p_holm"] < _SIGNIFICANCE, pd.DataFrame(index=frame.index)
    for column in frame.filter(like="p without "):
        p = corrected(frame[column], frame)
        decides[column.removeprefix("p without ")] = p.notna() & ((p < _SIGNIFICANCE) != detected)
    return [[seed for seed in decides if decides.loc[row, seed]] for row in frame.index]


def correction(frame: pd.DataFrame, plan: Plan) -> str:
    """Sentences on the plan and on the correction of the p-values in `tables.differences`; empty without a row."""
    if not len(frame):
        return ""
    if not plan.primary:
        return f"No comparison was planned: verdicts follow p after Holm's correction over all {len(frame)} of them."
    counts = frame["family"].value_counts()
    missing = "" if counts.get(PRIMARY) else f"The primary comparison ({plan.primary}) is not among these runs. "
    rule = "Its p is not corrected; those of secondary comparisons are, by Holm's method, within each metric."
    rest = f"The other {counts.get(EXPLORATORY, 0)} comparisons are exploratory: they have intervals and no verdict."
    return f"{missing}Primary comparison: {plan.primary}. {rule} {rest} {plan.source}".strip()

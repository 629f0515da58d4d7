"""The numbers in the text that come from published data under LEAD_DATA, which the repository does not hold."""

import functools
from pathlib import Path

import numpy as np
from scipy.stats import beta

from lead_kit.data import load
from lead_kit.evaluate.stats import Interval
from lead_kit.launch.recipes import training_parameters
from lead_kit.parameters import read_parameters
from lead_kit.replay import attribution, read_record, recompute_rewards, summary, variants
from lead_kit.report import stage_plan
from lead_kit.runs.files import ROOT


def _number(value: float) -> Interval:
    return Interval(float(value), np.nan, np.nan, 0)


@functools.cache
def _three_runs(data: Path) -> dict[str, Interval]:
    """Of the three runs of GRPO_reflection: rollouts, the share explained, and advantage mass outside mixed groups."""
    recorded = read_record.read(str(data / "rollouts" / "reflection_*.parquet"))
    explanation = recompute_rewards.explain(recorded)
    rollouts = summary.prepare_rollouts(recorded, explanation, "recorded", None, "", 0)
    declared = read_parameters(ROOT / "notebooks" / "03_grpo.ipynb")
    chosen = variants.read_variants(["dr_grpo"], declared, training_parameters, {})
    outcomes, _ = variants.evaluate_all(chosen, rollouts)
    shares = {}
    for name, one in outcomes.items():
        mass = rollouts.group_sums(np.abs(one.advantage))
        shares[name] = Interval(*attribution.share_outside_mixed_groups(mass, rollouts.groups), 0)
    numbers = {"rollouts": len(recorded.frame), "share explained": explanation.explained.mean()}
    return shares | {name: _number(value) for name, value in numbers.items()}


@functools.cache
def _stage(data: Path) -> dict[str, Interval]:
    """Of GRPO-LEAD's second stage: its rows, those that the paper's rule keeps, and the expected errors."""
    records = load.load_problems(data / "train" / "grpo_lead_stage23.jsonl")
    hits = stage_plan.hits_of_column(records, "correctness")
    table = stage_plan.plan_table(hits, stage_plan.RULES["grpo_lead"])
    kept, easy = (table[table["part"] == part] for part in (stage_plan.KEPT, stage_plan.EASY))
    numbers = {
        "rows": len(table),
        "kept": len(kept),
        "dropped": len(easy),
        "always": (table["hits"] == table["n"]).sum(),
    }
    for name, rows in (("kept", kept), ("dropped", easy)):
        numbers |= {
            f"errors among {name}": (1 - rows["sure"]).sum(),
            f"share of errors among {name}": (1 - rows["sure"]).mean(),
        }
        above = 1 - beta.cdf(0.75, rows["hits"] + 0.5, rows["n"] - rows["hits"] + 0.5)
        numbers[f"share of errors among {name} by Jeffreys' prior"] = (above if name == "kept" else 1 - above).mean()
    return {name: _number(value) for name, value in numbers.items()}


SOURCES = {
    "reflection_runs": lambda data, formula: _three_runs(data)[formula],
    "stage23": lambda data, formula: _stage(data)[formula],
}

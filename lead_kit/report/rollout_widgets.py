"""Choosers for rollouts in a live notebook; without them, the chosen parameters show the same."""

import ipywidgets
import pandas as pd
from IPython.display import display

from lead_kit.report import rollouts, safe_display

ANY = "any"
_LISTED = ["group", "id", "sample", "status", "reward", "advantage", "length", "completion"]


def chosen_page(
    logged: pd.DataFrame, step: int, group: int | str, status: str, reward: tuple
) -> safe_display.Page | safe_display.Table:
    """What the choosers choose: one whole group side by side, or a table of rollouts; `any` is no restriction."""
    least, most = reward
    rows = logged[(logged["step"] == step) & logged["reward"].between(least, most)]
    rows = rows if status == ANY else rows[rows["status"] == status]
    if group == ANY or not (rows["group"] == group).any():
        return safe_display.table(rows[_LISTED] if group == ANY else rows.iloc[:0][_LISTED])
    return rollouts.side_by_side(rows[rows["group"] == group])


def browser(logged: pd.DataFrame) -> ipywidgets.VBox:
    """Controls for step, group, status and the range of the reward, above the rollouts that they choose."""
    steps, least, most = sorted(logged["step"].unique()), logged["reward"].min(), logged["reward"].max()
    margin = 0.01 * (most - least) + 0.01  # the slider rounds
    ends = {"min": least - margin, "max": most + margin}
    chooser = {
        "step": ipywidgets.SelectionSlider(options=steps, value=steps[-1], description="step"),
        "group": ipywidgets.Dropdown(options=[ANY, *sorted(logged["group"].unique())], description="group"),
        "status": ipywidgets.Dropdown(options=[ANY, *sorted(logged["status"].unique())], description="status"),
        "reward": ipywidgets.FloatRangeSlider(value=tuple(ends.values()), **ends, description="reward"),
    }
    seen = ipywidgets.interactive_output(lambda **choice: display(chosen_page(logged, **choice)), chooser)
    return ipywidgets.VBox([ipywidgets.HBox([*chooser.values()]), seen])

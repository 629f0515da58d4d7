"""How far a run is: lines for the terminal or the log, and in a live notebook a bar or the notebook's views."""

import os
import time
from pathlib import Path

_SECONDS = 2.0  # shortest time between two lines


def in_live_notebook() -> bool:
    """Whether this is the kernel of a notebook that a user has open, and not one of `lead run`."""
    return "JPY_SESSION_NAME" in os.environ and "LEAD_OWNER" not in os.environ


class Progress:
    """The progress of one run. `views` are called with the line, whether it is the last, and the values that are new.

    In a live notebook the lines go to `log`, as somebody may look at the run who does not see the notebook.
    """

    def __init__(self, log: Path):
        self.log, self.views = log, []  # type: Path, list[Callable[[str, bool, dict], None]]
        self.bar = self.first = None
        self.values, self.last_shown = {}, -_SECONDS

    def show(self, step: int, total: int, values: dict) -> None:
        """Shows that `step` of `total` is reached, and numbers by name; the last step is always shown."""
        clock, last = time.monotonic(), step >= total
        self.values |= {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in values.items()}
        self.first = self.first or (step, clock)
        numbers = "  ".join(f"{name} {value}" for name, value in self.values.items())
        done, spent = step - self.first[0], clock - self.first[1]
        minutes, seconds = divmod(int(spent / max(done, 1) * (total - step)), 60)
        left = f"{minutes}:{seconds:02d} left" if done else ""  # at the mean time of a step since the first one shown
        line = "  ".join(filter(None, [f"step {step}/{total}", numbers, left]))
        if last or clock - self.last_shown >= _SECONDS:
            self.last_shown = clock
            self.write(line) if in_live_notebook() else print(line, flush=True)
        for view in self.views:
            view(line, last, values)
        if in_live_notebook() and not self.views:
            self._advance_bar(step, total, numbers)

    def _advance_bar(self, step: int, total: int, text: str) -> None:
        from tqdm.auto import tqdm  # imported here: only a live notebook needs its widgets

        self.bar = self.bar or tqdm(total=total)
        self.bar.total, self.bar.n = total, step
        self.bar.set_postfix_str(text)
        if step >= total:
            self.bar.close()

    def write(self, line: str) -> None:
        """Appends a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

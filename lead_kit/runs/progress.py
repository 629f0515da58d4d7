"""How far a run is: a line for the terminal or the log, and in a live notebook a bar or the views of the notebook."""

import os
import re
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
        self.values, self.told = {}, -_SECONDS

    def show(self, step: int, total: int, values: dict) -> None:
        """Tells the step that is reached, of `total`, and numbers by name; a last step is always told."""
        clock, last = time.monotonic(), step >= total
        self.values |= {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in values.items()}
        self.first = self.first or (step, clock)
        line = self.line(step, total, clock)
        if last or clock - self.told >= _SECONDS:
            self.told = clock
            self.write(line) if in_live_notebook() else print(line, flush=True)
        for view in self.views:
            view(line, last, values)
        if in_live_notebook() and not self.views:
            self.advance_bar(step, total)

    def line(self, step: int, total: int, clock: float) -> str:
        """`step 3/12  reward 0.51  0:40 left`; the time that is left goes by the time since the first step told."""
        done, spent = step - self.first[0], clock - self.first[1]
        minutes, seconds = divmod(int(spent / max(done, 1) * (total - step)), 60)
        pairs = [f"{name} {value}" for name, value in self.values.items()]
        left = f"{minutes}:{seconds:02d} left" if done else ""
        return "  ".join([f"step {step}/{total}", *pairs, left]).rstrip()

    def write(self, line: str) -> None:
        """Appends a line to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def advance_bar(self, step: int, total: int) -> None:
        from tqdm.auto import tqdm  # imported here: only a live notebook needs its widgets

        self.bar = self.bar or tqdm(total=total)
        self.bar.n = step
        self.bar.set_postfix(self.values)
        if step >= total:
            self.bar.close()


_LINE = re.compile(r"(?:(\S+): )?step (\d+)/(\d+)(.*)")  # of Run.progress, or of a stage that another stage started


class UpstreamProgress:
    """The stage `name` and those that it starts itself; their lines of progress arrive one by one."""

    def __init__(self, name: str):
        self.name, self.bars, self.places = name, {}, {}
        self.show(name, 0, 1)

    def hear(self, line: str) -> None:
        """Takes a line that the stage printed. What is no progress is in the log of its run."""
        if match := _LINE.match(line.strip()):
            self.show(match[1] or self.name, int(match[2]), int(match[3]), match[4].strip())

    def show(self, name: str, step: int, total: int, rest: str = "") -> None:
        self.places[name] = (step, total)
        if not in_live_notebook():
            print(f"{name}: step {step}/{total}  {rest}".rstrip(), flush=True)
            return
        from tqdm.auto import tqdm  # imported here: only a live notebook needs its widgets

        if name not in self.bars:
            self.bars[name] = tqdm(desc=name, total=total)
        bar = self.bars[name]
        bar.total, bar.n = total, step
        bar.set_postfix_str(rest)

    def end(self) -> None:
        """The stage has ended well: what it did not count is done."""
        for name, (step, total) in self.places.items():
            if step < total:
                self.show(name, total, total)
        for bar in self.bars.values():
            bar.close()

"""How far the runs are that a notebook starts before its own: one bar each in a live notebook, else plain lines."""

import re

from lead_kit.runs.progress import live

_LINE = re.compile(r"(?:(\S+): )?step (\d+)/(\d+)(.*)")  # of Run.progress, or of a stage that another stage started


class Stages:
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
        if not live():
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

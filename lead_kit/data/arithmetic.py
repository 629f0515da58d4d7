r"""The embedded task: numbered-step arithmetic with a difficulty dial, and a noisy, verbose teacher.

A problem gives a start value and k operations. Its solution writes one line for each step and boxes the last value:
``Start at 24:\n(1) +5\n(2) -3.`` → ``\n(1) 24+5=29\n(2) 29-3=26\n\boxed{26}``.
Every value is in 0…39 and every operand in 1…5. Steps that carry or borrow are hard: a problem's level is their number.
"""

from itertools import accumulate
from random import Random
from typing import NamedTuple

from lead_kit.errors import InputError

LARGEST = 39
OPERANDS = [sign * size for sign in (1, -1) for size in range(1, 6)]
MAX_STEPS = 6
EASY_HEAVY = [8.0, 4.0, 2.0, 1.0, 0.5, 0.5]  # weights of 1…6 steps in training
UNIFORM = [1.0] * MAX_STEPS  # weights of 1…6 steps in validation
_CROSS = 0.5  # chance that a step is made to carry or borrow, where it can
_VERBOSITIES = (0.4, 0.65, 0.9)  # chance to derive a line once more, drawn once a trace
_MAX_REPEATS = 3  # most re-derivations of one step


class Problem(NamedTuple):
    """One problem: the start value and the signed operands of its steps."""

    start: int
    operands: tuple[int, ...]

    @property
    def text(self) -> str:
        lines = [f"({i}) {operand:+d}" for i, operand in enumerate(self.operands, 1)]
        return f"Start at {self.start}:\n" + "\n".join(lines) + "."

    @property
    def gold(self) -> int:
        return self.start + sum(self.operands)

    @property
    def level(self) -> int:
        """Number of steps that carry or borrow."""
        return sum(map(_crosses, accumulate(self.operands, initial=self.start), self.operands))


def _crosses(value: int, operand: int) -> bool:
    """Whether value + operand carries into, or borrows from, the tens."""
    return (value + operand) // 10 != value // 10


def _draw_problem(rng: Random, steps: int) -> Problem:
    """Draws one problem of `steps` operations."""
    start = value = rng.randint(0, LARGEST)
    operands = []
    for _ in range(steps):
        allowed = [o for o in OPERANDS if 0 <= value + o <= LARGEST]
        wanted = rng.random() < _CROSS
        matching = [o for o in allowed if _crosses(value, o) == wanted] or allowed
        operands.append(rng.choice(matching))
        value += operands[-1]
    return Problem(start, tuple(operands))


def draw(n: int, seed, weights: list[float] = UNIFORM, exclude=frozenset(), distinct: bool = True) -> list[dict]:
    """n records {id, problem, gold, level, source, steps}, none with a text in `exclude`.

    `weights` are the relative chances of 1, 2, … steps. Only about 390 problems have one step: with `distinct`, longer
    ones are drawn when these run out, and InputError is raised when all do; without it, problems may repeat.
    """
    return draw_records("arithmetic", seed, Random(seed), lambda drawn: drawn.text, n, weights, exclude, distinct)


def draw_records(source: str, seed, rng: Random, render, n: int, weights: list[float], exclude, distinct) -> list[dict]:
    """As `draw`, for the task `source`; `render(problem)` writes a problem that was drawn with `rng` as a text."""
    seen, records, misses = set(exclude), [], 0
    while len(records) < n:
        steps = rng.choices(range(1, len(weights) + 1), weights)[0]
        drawn = _draw_problem(rng, steps)
        text = render(drawn)
        if text in seen:
            misses += 1
            if misses > 20 * n + 10_000:
                raise InputError(f"{source}: only {len(records)} of {n} distinct problems exist at weights {weights}")
            continue
        if distinct:
            seen.add(text)
        record = {"id": f"{source}-{seed}-{len(records)}", "problem": text, "gold": str(drawn.gold)}
        records.append(record | {"level": float(drawn.level), "source": source, "steps": steps})
    return records


def read(text: str) -> Problem:
    r"""The problem that a text states. Raises ValueError for a text of another form.

    >>> read("Start at 24:\n(1) +5\n(2) -3.")
    Problem(start=24, operands=(5, -3))
    """
    head, _, body = text.partition(":\n")
    try:
        start = int(head.removeprefix("Start at "))
        operands = tuple(int(line.split(") ")[1]) for line in body.removesuffix(".").split("\n"))
    except (ValueError, IndexError):
        raise ValueError(f"not an arithmetic problem of the embedded task: {text[:80]!r}") from None
    return Problem(start, operands)


def solve_noisily(
    text: str, rng: Random, carry: float = 0.5, borrow: float = 0.85, slip: float = 0.01, repair: float = 0.3
):
    """A noisy, verbose worked solution of the problem `text`.

    `carry`, `borrow` and `slip` are the chances that the teacher forgets a carry, forgets a borrow, or is off by one.
    After each step it may derive the line again, up to three times, with a chance drawn once a trace. With chance
    `repair` this gives the true value, else the same line: length and correctness are almost unrelated.
    """
    start, operands = read(text)
    verbosity = rng.choice(_VERBOSITIES)
    value, lines = start, []
    for i, operand in enumerate(operands, 1):
        result = noisy_step(value, operand, rng, carry, borrow, slip)
        lines.append(f"\n({i}) {value}{operand:+d}={result}")
        for _ in range(_MAX_REPEATS):
            if rng.random() >= verbosity:
                break
            if rng.random() < repair and 0 <= value + operand <= LARGEST:
                result = value + operand
            lines.append(f"\n{rng.choice(('Wait', 'Hmm'))}, ({i}) {value}{operand:+d}={result}")
        value = result
    return "".join(lines) + f"\n\\boxed{{{value}}}"


def noisy_step(value: int, operand: int, rng: Random, carry: float, borrow: float, slip: float) -> int:
    """value + operand as the teacher computes it, always in 0…39."""
    result = value + operand
    forgets = carry if operand > 0 else borrow
    out_of_range = not 0 <= result <= LARGEST  # possible after an earlier mistake
    if out_of_range or (_crosses(value, operand) and rng.random() < forgets):
        result = value // 10 * 10 + result % 10
    if rng.random() < slip:
        result = min(LARGEST, max(0, result + rng.choice((-1, 1))))
    return result

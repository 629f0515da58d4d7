r"""The embedded task: numbered-step arithmetic with a difficulty dial, and a noisy, verbose teacher.

A problem names a start value and k operations; its solution derives one line a step and boxes the last value:
``Start at 24:\n(1) +5\n(2) -3.`` → ``\n(1) 24+5=29\n(2) 29-3=26\n\boxed{26}``.
Every value stays in 0…39 and every operand in 1…5. A step is hard when it crosses a ten (a carry or a borrow);
a problem's level is the number of such steps.
"""

from random import Random
from typing import NamedTuple

LARGEST = 39
OPERANDS = [sign * size for sign in (1, -1) for size in range(1, 6)]
MAX_STEPS = 6
EASY_HEAVY = [8.0, 4.0, 2.0, 1.0, 0.5, 0.5]  # weights of 1…6 steps in training
UNIFORM = [1.0] * MAX_STEPS  # weights of 1…6 steps in validation
VERBOSITIES = (0.4, 0.65, 0.9)  # chance of one more re-derivation, drawn once a trace
MAX_REPEATS = 3  # re-derivations of one step


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
        value, crossings = self.start, 0
        for operand in self.operands:
            crossings += crosses(value, operand)
            value += operand
        return crossings


def crosses(value: int, operand: int) -> bool:
    """Does value + operand carry into, or borrow from, the tens?"""
    return (value + operand) // 10 != value // 10


def problem(rng: Random, steps: int, cross: float = 0.5) -> Problem:
    """Draw one problem of `steps` operations; each is made to cross a ten with probability `cross` where it can."""
    start = value = rng.randint(0, LARGEST)
    operands = []
    for _ in range(steps):
        allowed = [o for o in OPERANDS if 0 <= value + o <= LARGEST]
        wanted = rng.random() < cross
        matching = [o for o in allowed if crosses(value, o) == wanted] or allowed
        operands.append(rng.choice(matching))
        value += operands[-1]
    return Problem(start, tuple(operands))


def draw(
    n: int, seed: int, weights: list[float] = UNIFORM, cross: float = 0.5, exclude=frozenset(), distinct: bool = True
) -> list[dict]:
    """n records {id, problem, gold, level, source, steps}, none with a text in `exclude`.

    `weights` are the relative chances of 1, 2, … steps. There are only some 390 problems of one step: with `distinct`
    the draw turns to longer ones when they run out, without it a problem may come again, as over several epochs.
    Raises ValueError when so many distinct problems do not exist.
    """
    rng = Random(seed)
    seen, records, misses = set(exclude), [], 0
    while len(records) < n:
        drawn = problem(rng, rng.choices(range(1, len(weights) + 1), weights)[0], cross)
        if drawn.text in seen:
            misses += 1
            if misses > 20 * n + 10_000:
                raise ValueError(f"only {len(records)} of {n} distinct problems exist at weights {weights}")
            continue
        if distinct:
            seen.add(drawn.text)
        records.append(record(drawn, f"arithmetic-{seed}-{len(records)}"))
    return records


def record(drawn: Problem, identity: str) -> dict:
    """The kit's record of a problem, with the number of steps beside it."""
    return {
        "id": identity,
        "problem": drawn.text,
        "gold": str(drawn.gold),
        "level": float(drawn.level),
        "source": "arithmetic",
        "steps": len(drawn.operands),
    }


def read(text: str) -> Problem:
    """The problem that a text states. Raises ValueError when it is not one of ours."""
    head, _, body = text.partition(":\n")
    try:
        start = int(head.removeprefix("Start at "))
        operands = tuple(int(line.split(") ")[1]) for line in body.removesuffix(".").split("\n"))
    except (ValueError, IndexError):
        raise ValueError(f"not an arithmetic problem of the embedded task: {text[:80]!r}") from None
    return Problem(start, operands)


def trace(text: str, rng: Random, carry: float = 0.5, borrow: float = 0.85, slip: float = 0.01, repair: float = 0.3):
    """A noisy, verbose worked solution of the problem `text`.

    The teacher forgets a carry or a borrow and slips by one with the given chances. After each step it derives the
    line again, up to three times, with a chance drawn once a trace; a re-derivation finds the true value of that step
    with chance `repair` and else repeats what stands. So length and correctness are almost unrelated.
    """
    given = read(text)
    verbosity = rng.choice(VERBOSITIES)
    value, lines = given.start, []
    for i, operand in enumerate(given.operands, 1):
        result = noisy_step(value, operand, rng, carry, borrow, slip)
        lines.append(f"\n({i}) {value}{operand:+d}={result}")
        for _ in range(MAX_REPEATS):
            if rng.random() >= verbosity:
                break
            if rng.random() < repair and 0 <= value + operand <= LARGEST:
                result = value + operand
            lines.append(f"\n{rng.choice(('Wait', 'Hmm'))}, ({i}) {value}{operand:+d}={result}")
        value = result
    return "".join(lines) + f"\n\\boxed{{{value}}}"


def noisy_step(value: int, operand: int, rng: Random, carry: float, borrow: float, slip: float) -> int:
    """value + operand as the teacher computes it, always within 0…39."""
    result = value + operand
    forgets = carry if operand > 0 else borrow
    outside = not 0 <= result <= LARGEST  # after an earlier mistake the true value may leave the range
    if outside or (crosses(value, operand) and rng.random() < forgets):
        result = value // 10 * 10 + result % 10
    if rng.random() < slip:
        result = min(LARGEST, max(0, result + rng.choice((-1, 1))))
    return result

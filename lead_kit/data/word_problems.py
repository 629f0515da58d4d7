r"""The embedded task in words: short stories in templated English; the teacher errs, checks and forgets its form.

The numbers are those of the arithmetic task (values 0…39, operands 1…5; a problem's level is the number of steps that
carry or borrow). A problem has one to three steps; a solution thinks in `<think>` and answers in `<answer>`:

    Mia has 24 shells. She finds 5 more. Then she gives 3 to Ben. How many shells does Mia have now?
    <think>The goal is to count the shells. Step 1: 24 + 5 = 29. Let me check: 29 - 5 = 24. Step 2: 29 - 3 = 26.</think>
    <answer>\boxed{26}</answer>
"""

import re
from functools import partial
from random import Random

from lead_kit.data import arithmetic
from lead_kit.data.arithmetic import Problem

MAX_STEPS = 3
UNIFORM = [1.0] * MAX_STEPS
_PEOPLE = {"Mia": "She", "Lena": "She", "Ruth": "She", "Tom": "He", "Omar": "He", "Ivan": "He"}
_OTHERS = ["Ben", "Kim", "Ada", "Leo"]
_THINGS = ["apples", "shells", "coins", "cards", "books", "pens", "stones", "stamps", "cups", "keys"]
_GAINS = ["{who} finds {n} more", "{who} gets {n} from {other}", "{who} buys {n} more", "{other} brings {n} {things}"]
_LOSSES = ["{who} gives {n} to {other}", "{who} loses {n}", "{who} sells {n} {things}", "{other} takes {n} away"]
_QUESTIONS = [
    "How many {things} does {name} have now?",
    "How many {things} are left?",
    "What number of {things} is left?",
]
_OPENINGS = ["The goal is to count the {things}.", "First, read what is required.", "Let me think about the {things}."]
_CHECKS = [
    "Let me check: {back}.",
    "Let me verify this step: {back}.",
    "I double-check the result: {back}.",
    "Working backwards, {back}.",
]
_LOOPS = ["Let me check.", "Let me verify this step.", "I double-check the result."]
_CORRECTIONS = ["The calculation was incorrect.", "That is a mistake, so I backtrack.", "I fix the error."]
_CLOSINGS = ["Finally, the target is reached.", "So that is the answer.", "An alternative approach gives the same."]
_VERBOSITIES = (0.1, 0.4, 0.75)  # chance to check a step once more, drawn once a trace
_MAX_CHECKS = 3  # most checks of one step
_LOOP_LENGTH = 12  # times that a stuck teacher says the same


def draw(n: int, seed, weights: list[float] = UNIFORM, exclude=frozenset(), distinct: bool = True) -> list[dict]:
    """n records {id, problem, gold, level, source, steps}, none with a text in `exclude`.

    `weights` are the relative chances of 1, 2 and 3 steps. Raises InputError when n distinct problems are not found.
    """
    rng = Random(f"words-{seed}")
    return arithmetic.draw_records("words", seed, rng, partial(_render, rng=rng), n, weights, exclude, distinct)


def _render(drawn: Problem, rng: Random) -> str:
    """The problem as a short story."""
    name, things = rng.choice(list(_PEOPLE)), rng.choice(_THINGS)
    sentences = [f"{name} has {drawn.start} {things}."]
    for i, operand in enumerate(drawn.operands):
        event = rng.choice(_GAINS if operand > 0 else _LOSSES)
        other = rng.choice(_OTHERS)
        who = _PEOPLE[name] if i == 0 or event.startswith("{other}") else _PEOPLE[name].lower()
        event = event.format(who=who, n=abs(operand), other=other, things=things)
        sentences.append(f"Then {event}." if i else f"{event}.")
    return " ".join([*sentences, rng.choice(_QUESTIONS).format(things=things, name=name)])


def read(text: str) -> tuple[Problem, str]:
    """The numbers of a problem and its things. Raises ValueError for a text of another form."""
    first, *steps, question = re.split(r"(?<=\.) ", text) if ". " in text else (text, "")
    begin = re.fullmatch(r"\w+ has (\d+) (\w+)\.", first)
    operands = []
    for step in steps:
        number, lost = re.search(r"\d+", step), re.search(r"\b(?:gives|loses|sells|takes)\b", step)
        operands.append(int(number[0]) * (-1 if lost else 1) if number else None)
    if not begin or not operands or None in operands or not question.endswith("?"):
        raise ValueError(f"not a problem of the embedded task in words: {text[:80]!r}")
    return Problem(int(begin[1]), tuple(operands)), begin[2]


def solve_noisily(
    text: str,
    rng: Random,
    carry: float = 0.5,
    borrow: float = 0.85,
    slip: float = 0.01,
    repair: float = 0.3,
    untidy: float = 0.25,
    unboxed: float = 0.08,
    stuck: float = 0.05,
) -> str:
    """A worked solution of the problem `text` by a teacher that errs as in the arithmetic task.

    After a step it may check it, up to three times, with a chance drawn once a trace; with chance `repair` a check of a
    wrong step finds the true value. It forgets the tags with chance `untidy` and the box with `unboxed`, and with
    chance `stuck` it repeats one sentence twelve times.
    """
    (start, operands), things = read(text)
    verbosity, value, sentences = rng.choice(_VERBOSITIES), start, []
    if rng.random() < 0.6:
        sentences.append(rng.choice(_OPENINGS).format(things=things))
    numbered = rng.random() < 0.7
    for i, operand in enumerate(operands, 1):
        result = arithmetic.noisy_step(value, operand, rng, carry, borrow, slip)
        sentences.append((f"Step {i}: " if numbered else "") + f"{value} {_signed(operand)} = {result}.")
        for _ in range(_MAX_CHECKS):
            if rng.random() >= verbosity:
                break
            sentences.append(rng.choice(_CHECKS).format(back=f"{result} {_signed(-operand)} = {value}"))
            true = value + operand
            if result != true and 0 <= true <= arithmetic.LARGEST and rng.random() < repair:
                result = true
                sentences += [rng.choice(_CORRECTIONS), f"{value} {_signed(operand)} = {result}."]
        value = result
    if rng.random() < stuck:
        sentences += [rng.choice(_LOOPS)] * _LOOP_LENGTH
    if rng.random() < 0.3:
        sentences.append(rng.choice(_CLOSINGS))
    answer = str(value) if rng.random() < unboxed else f"\\boxed{{{value}}}"
    thought = " ".join(sentences)
    return f"{thought} {answer}" if rng.random() < untidy else f"<think>{thought}</think>\n<answer>{answer}</answer>"


def _signed(operand: int) -> str:
    return f"{'+' if operand > 0 else '-'} {abs(operand)}"


TOKEN = re.compile(
    r"</?think>|</?answer>|\\boxed\{| [+-] \d = | ?[A-Za-z][A-Za-z-]*(?: (?=\d))?|\d+|[^\sA-Za-z\d](?: (?=\d))?|\s"
)


def vocabulary() -> list[str]:
    """Every token of the task's problems and solutions."""
    fills = {"who": ["She", "He", "she", "he"], "name": list(_PEOPLE), "other": _OTHERS, "things": _THINGS}
    sentences = [
        "{name} has {n} {things}.",
        *_GAINS,
        *_LOSSES,
        *(f"Then {event}" for event in _GAINS + _LOSSES),
        *_QUESTIONS,
    ]
    sentences += [*_OPENINGS, "Step {n}: {back}", *_CHECKS, *_LOOPS, *_CORRECTIONS, *_CLOSINGS]
    texts = [sentence.replace("{n}", "1").replace("{back}", "1 + 1 = 1") for sentence in sentences]
    for name, values in fills.items():
        texts = [text.replace(f"{{{name}}}", value) for text in texts for value in values]
    tokens = {token for text in texts for lead in ("", " ") for token in TOKEN.findall(lead + text)}
    tokens |= {"<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", " ", ". ", "\n"}
    tokens |= {f" {sign} {size} = " for sign in "+-" for size in range(1, 6)}
    numbers = [str(number) for number in range(arithmetic.LARGEST, -1, -1)]
    return [*sorted(tokens - set(numbers)), *numbers]

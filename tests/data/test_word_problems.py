"""The embedded task in words: what a problem tells, what the teacher forgets, and which rewards its solutions move."""

from random import Random
from statistics import mean, pstdev

import pytest

from lead_kit.data import word_problems
from lead_kit.data.arithmetic import Problem
from lead_kit.method.rewards import REWARDS, Rollout
from lead_kit.verify import check_many
from lead_kit.verify.verdict import Verdict

STORY = "Mia has 24 shells. She finds 5 more. Then she gives 3 to Ben. How many shells does Mia have now?"
CAREFUL = {"carry": 0, "borrow": 0, "slip": 0, "untidy": 0, "unboxed": 0, "stuck": 0}


def test_a_story_reads_as_its_numbers():
    assert word_problems.read(STORY) == (Problem(24, (5, -3)), "shells")
    with pytest.raises(ValueError, match="not a problem of the embedded task in words: 'What is 1"):
        word_problems.read("What is 1+1?")


def test_every_drawn_story_tells_its_problem():
    for record in word_problems.draw(500, 3):
        problem, _ = word_problems.read(record["problem"])
        assert (str(problem.gold), problem.level, len(problem.operands)) == tuple(
            record[name] for name in ("gold", "level", "steps")
        )


def test_draws_repeat_by_seed_and_leave_out_what_is_excluded():
    held_out = word_problems.draw(100, 1)
    texts = {record["problem"] for record in held_out}
    assert held_out == word_problems.draw(100, 1) and len(texts) == 100
    assert not texts & {record["problem"] for record in word_problems.draw(500, 2, exclude=texts, distinct=False)}


def test_a_careful_teacher_is_right_in_its_tags_and_box():
    records = word_problems.draw(200, 5)
    traces = [word_problems.solve_noisily(record["problem"], Random(i), **CAREFUL) for i, record in enumerate(records)]
    assert all(verdict.correct for verdict in check_many(traces, [record["gold"] for record in records]))
    assert all(trace.startswith("<think>") and trace.endswith("}</answer>") for trace in traces)


def test_each_dial_does_what_it_says():
    def traces(**dials):
        return [word_problems.solve_noisily(STORY, Random(i), **CAREFUL | dials) for i in range(200)]

    assert not any("<think>" in trace for trace in traces(untidy=1))
    assert not any("boxed" in trace for trace in traces(unboxed=1))
    assert any("24 + 5 = 29. " in trace for trace in traces()) and len(set(traces())) > 50
    wrong = [trace for trace in traces(slip=1) if "\\boxed{26}" not in trace]
    assert len(wrong) > 100  # an error in one step can undo that of the other
    stuck = [REWARDS["repetition_chain"](rollout(trace, True)) for trace in traces(stuck=1)]
    assert set(stuck) == {-1.5} and not any(REWARDS["repetition_chain"](rollout(t, True)) for t in traces())


def test_the_tokens_of_the_task_hold_every_problem_and_solution():
    known, rng = set(word_problems.vocabulary()), Random(0)
    for record in word_problems.draw(1000, 0):
        for text in (record["problem"], word_problems.solve_noisily(record["problem"], rng)):
            tokens = word_problems.TOKEN.findall(text)
            assert "".join(tokens) == text and set(tokens) <= known


def rollout(text: str, right: bool) -> Rollout:
    verdict = Verdict("correct" if right else "wrong", "", "", "")
    return Rollout(STORY, text, "26", len(word_problems.TOKEN.findall(text)), False, verdict)


ARGUMENTS = {"cosine": {"max_length": 400}, "soft_overlong": {"limit": 60, "margin": 30}}
# a teacher always ends; v1 is 0; l1 needs a target length
BY_THE_TEACHER = sorted(set(REWARDS) - {"unfinished", "random", "reflection_v1", "l1_exact", "l1_max"})


@pytest.mark.parametrize("name", BY_THE_TEACHER)
def test_every_reward_of_the_four_systems_differs_between_solutions_of_one_problem(name):
    traces = [word_problems.solve_noisily(STORY, Random(i)) for i in range(400)]
    right = [verdict.correct for verdict in check_many(traces, ["26"] * len(traces))]
    scores = [REWARDS[name](rollout(t, ok), **ARGUMENTS.get(name, {})) for t, ok in zip(traces, right, strict=True)]
    assert pstdev(scores) > 0.02
    if name == "format":
        assert 0.5 < mean(scores) < 0.9

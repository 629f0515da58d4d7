"""The embedded task: what a problem says, what the teacher gets wrong, and that draws repeat and do not overlap."""

from random import Random

import pytest

from lead_kit.data import arithmetic

PROBLEM = arithmetic.Problem(24, (5, -3))  # 24+5=29, 29-3=26: no ten is crossed


def test_a_problem_reads_as_in_the_module_text():
    assert PROBLEM.text == "Start at 24:\n(1) +5\n(2) -3."
    assert (PROBLEM.gold, PROBLEM.level) == (26, 0)
    assert arithmetic.read(PROBLEM.text) == PROBLEM


def test_the_level_counts_carries_and_borrows():
    assert arithmetic.Problem(27, (5, -4)).level == 2  # 27+5=32 carries, 32-4=28 borrows


def test_a_teacher_without_faults_or_repeats_writes_the_short_true_trace(monkeypatch):
    monkeypatch.setattr(arithmetic, "_VERBOSITIES", (0.0,))
    trace = arithmetic.solve_noisily(PROBLEM.text, Random(0), carry=0, borrow=0, slip=0)
    assert trace == "\n(1) 24+5=29\n(2) 29-3=26\n\\boxed{26}"


def test_a_forgotten_carry_keeps_the_ten():
    assert arithmetic.noisy_step(27, 5, Random(0), carry=1, borrow=0, slip=0) == 22
    assert arithmetic.noisy_step(32, -4, Random(0), carry=0, borrow=1, slip=0) == 38


def test_values_of_problems_stay_in_range():
    for record in arithmetic.draw(500, seed=3):
        problem = arithmetic.read(record["problem"])
        values = [problem.start + sum(problem.operands[:i]) for i in range(len(problem.operands) + 1)]
        assert min(values) >= 0 and max(values) <= arithmetic.LARGEST


def test_draws_repeat_by_seed_and_leave_out_what_is_excluded():
    held_out = arithmetic.draw(100, seed=1)
    texts = {record["problem"] for record in held_out}
    assert held_out == arithmetic.draw(100, seed=1)
    assert len(texts) == 100
    training = arithmetic.draw(500, seed=2, weights=arithmetic.EASY_HEAVY, exclude=texts, distinct=False)
    assert not texts & {record["problem"] for record in training}


def test_more_problems_than_exist_are_refused():
    with pytest.raises(ValueError, match="distinct problems exist"):
        arithmetic.draw(1000, seed=0, weights=[1.0])


def test_length_and_correctness_of_the_teacher_are_almost_unrelated():
    rng, lengths, right = Random(0), [], []
    for record in arithmetic.draw(3000, seed=4, weights=[0, 0, 1]):
        trace = arithmetic.solve_noisily(record["problem"], rng)
        lengths.append(trace.count("="))
        right.append(trace.endswith(f"{{{record['gold']}}}"))
    mean_right = sum(n for n, ok in zip(lengths, right, strict=True) if ok) / sum(right)
    mean_wrong = sum(n for n, ok in zip(lengths, right, strict=True) if not ok) / (len(right) - sum(right))
    assert 0.3 < sum(right) / len(right) < 0.9
    assert abs(mean_right - mean_wrong) < 0.15 * mean_wrong


def test_a_text_that_is_no_problem_is_refused():
    with pytest.raises(ValueError, match="not an arithmetic problem"):
        arithmetic.read("What is 2+2?")

"""Classes of equal answers: the same as by comparing each with the first of every class, and within a bound."""

import random

import pytest

from lead_kit.verify import Verifier, cluster

pytestmark = pytest.mark.slow  # each starts worker processes

ALIKE = [  # each line is one class
    ("2", "2.0", "+2", "x=2"), ("\\frac{1}{3}", "1/3", "\\frac{2}{6}"), ("0.333",), ("\\sqrt{8}", "2\\sqrt{2}"),
    ("2\\sqrt{2}+10^{-30}",), ("(x+1)^2", "x^2+2x+1"), ("x^2+2x+2",), ("(1,\\sqrt{8})", "(1,2\\sqrt{2})"),
    ("\\{\\sqrt{8},3\\}", "\\{3,2\\sqrt{2}\\}"), ("\\{3,\\sqrt{7}\\}",), ("x<3", "3>x"), ("\\text{even}", "Even"),
    ("\\cos(\\pi n)", "(-1)^n"), ("f(x)=x+1", "f(t)=t+1"),
]  # fmt: skip
HARD = [f"\\sum_{{k=1}}^{{{n}}}\\frac{{\\sin(k^2)}}{{k\\sqrt{{k+1}}}}" for n in range(9000, 9040)]


class Counting(Verifier):
    """A verifier that counts what its workers are asked."""

    asked = 0

    def _ask(self, *pair):
        self.asked += 1
        return super()._ask(*pair)


def pairwise(answers, verifier):
    """The classes by comparing every answer with the first of every class."""
    leaders, labels = [], []
    for answer in answers:
        equal = (at for at, leader in enumerate(leaders) if verifier.compare(answer, leader).correct)
        labels.append(next(equal, len(leaders)))
        if labels[-1] == len(leaders):
            leaders.append(answer)
    return labels


def test_the_classes_are_those_of_pairwise_comparison():
    answers = [text for line in ALIKE for text in line] * 2
    with Verifier(1) as verifier:
        for seed in range(3):
            random.Random(seed).shuffle(answers)
            assert cluster(answers, verifier) == pairwise(answers, verifier)
        assert cluster(["", *answers, None], verifier)[:: len(answers) + 1] == [-1, -1]


def test_six_hundred_different_answers_need_algebra_for_each_and_not_for_each_pair():
    answers = [f"\\sqrt{{{n}}}" for n in range(2, 602)]
    with Counting(1) as verifier:
        assert cluster(answers, verifier) == list(range(600))
        assert verifier.asked < 1000  # of 180,000 pairs


def test_hostile_answers_end_within_the_bound_and_say_so():
    with Verifier(1, cpu_seconds=0.4).warm() as verifier:
        with pytest.warns(UserWarning, match="40 answers of one problem: their comparison has taken 2 s of CPU time"):
            assert cluster(HARD, verifier) == list(range(40))
        assert verifier.algebra_seconds < 2 + 3 * 0.4  # one comparison may begin just below the bound, and be retried


def test_answers_that_nothing_equals_are_classes_of_their_own():
    long = "1+" * 1500 + "1"  # refused by the guard, even against itself
    with Verifier(1) as verifier:
        assert cluster([long, long, "None", "None", "3"], verifier) == [0, 1, 2, 3, 4]
        assert pairwise([long, long, "None", "None", "3"], verifier) == [0, 1, 2, 3, 4]

"""Every reward of the four systems differs inside groups of the task in words.

The rollouts are the teacher's own traces, with more loops than usual: what a trained model writes depends on how sums
round on a machine, and these do not.
"""

from random import Random

import pytest

from lead_kit import verify
from lead_kit.data import word_problems
from lead_kit.method.rewards import REWARDS
from lead_kit.models.tiny_models import embedded_model
from lead_kit.train.grading import Grader

pytestmark = pytest.mark.slow
ARGUMENTS = {"cosine": {"max_length": 400}, "soft_overlong": {"limit": 90, "margin": 60}}
GROUPS, SIZE, LIMIT = 24, 8, 96


@pytest.fixture(scope="module")
def groups():
    """GROUPS lists of SIZE graded rollouts of one prompt each, cut off at LIMIT tokens."""
    _, tokenizer = embedded_model("tiny-words", seed=0)
    records, rng = word_problems.draw(GROUPS, 5, [1.0, 1.0]), Random(0)
    records = [record for record in records for _ in range(SIZE)]
    traces = [word_problems.solve_noisily(record["problem"], rng, stuck=0.2) for record in records]
    drawn = [(tokenizer(text)["input_ids"] + [tokenizer.eos_token_id])[:LIMIT] for text in traces]
    grader = Grader({}, verify.shared())
    completions = [
        grader.completion(tokenizer.decode(ids, skip_special_tokens=True), ids, [tokenizer.eos_token_id], False)
        for ids in drawn
    ]
    rollouts = grader.grade(records, completions)
    return [rollouts[i : i + SIZE] for i in range(0, len(rollouts), SIZE)]


def test_every_reward_has_groups_in_which_it_differs(groups):
    shares = {}
    for name in REWARDS.keys() - {"l1_exact", "l1_max"}:  # their problems need a target length
        reward = REWARDS[name]
        scores = [[reward(rollout, **ARGUMENTS.get(name, {})) for rollout in group] for group in groups]
        shares[name] = sum(len(set(group)) > 1 for group in scores) / len(groups)
    assert {name for name, share in shares.items() if not share} == {"reflection_v1"}, shares  # it never pays
    common = ("correct", "format", "reflection_v2", "reasoning_steps", "cosine", "soft_overlong")
    assert all(shares[name] > 0.25 for name in common), shares

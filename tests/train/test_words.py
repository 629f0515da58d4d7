"""Every reward of the four systems differs inside groups of rollouts of a model that learned the task in words."""

import pytest

pytestmark = pytest.mark.slow
ARGUMENTS = {"cosine": {"max_length": 400}, "soft_overlong": {"limit": 90, "margin": 60}}
GROUPS, SIZE, LIMIT = 24, 8, 96


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """GROUPS lists of SIZE graded rollouts of one prompt each."""
    from lead_kit import verify
    from lead_kit.data import words
    from lead_kit.models import chat, sampler
    from lead_kit.models.loading import load_model
    from lead_kit.train.grading import Grader
    from tests import apprentice

    model, tokenizer = load_model(
        str(apprentice.train(tmp_path_factory.mktemp("words"), 150, "tiny-words", 256, stuck=0.2))
    )
    records = words.draw(GROUPS, 5, apprentice.WEIGHTS)
    prompts = [chat.prompt(tokenizer, "plain", r["problem"]).ids for r in records for _ in range(SIZE)]
    ends = {"eos": [tokenizer.eos_token_id], "pad": tokenizer.pad_token_id}
    drawn = sampler.generate(model.eval(), prompts, list(range(len(prompts))), sampler.Sampling(LIMIT), **ends)
    grader = Grader({}, verify.shared())
    completions = [
        grader.completion(tokenizer.decode(s.ids, skip_special_tokens=True), s.ids, ends["eos"], False) for s in drawn
    ]
    rollouts = grader.grade([record for record in records for _ in range(SIZE)], completions)
    return [rollouts[i : i + SIZE] for i in range(0, len(rollouts), SIZE)]


def test_every_reward_has_groups_in_which_it_differs(groups):
    from lead_kit.method.rewards import REWARDS

    shares = {}
    for name, reward in REWARDS.items():
        scores = [[reward(rollout, **ARGUMENTS.get(name, {})) for rollout in group] for group in groups]
        shares[name] = sum(len(set(group)) > 1 for group in scores) / len(groups)
    assert not {name for name, share in shares.items() if not share}, shares
    common = ("correct", "format", "reflection_v1", "reflection_v2", "reasoning_steps", "cosine", "soft_overlong")
    assert all(shares[name] > 0.25 for name in common), shares

"""The random reward of a control arm differs from seed to seed and repeats within one."""

from lead_kit.method.rewards import Rollout, bind_rewards

ROLLOUTS = [Rollout("p", f"answer {i}", "1", 1, False, None) for i in range(64)]


def draws(text, **given):
    (reward,) = bind_rewards([text], **given).values()
    return [reward(one) for one in ROLLOUTS]


def test_a_random_reward_takes_the_seed_of_the_run_unless_it_names_its_own():
    assert draws("random", seed=1) == draws("random", seed=1) != draws("random", seed=2)
    assert draws("random(seed=1)", seed=2) == draws("random", seed=1)
    assert 20 < sum(draws("random", seed=1)) < 44  # 0 or 1 with equal chance: 32 ± 4


def test_a_reward_without_a_seed_takes_none():
    assert bind_rewards(["format_only"], seed=1)["format_only"].keywords == {}

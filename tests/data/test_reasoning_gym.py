"""Problems and scorers of the package reasoning-gym."""

import json

import pytest

from lead_kit.data import named_sets, reasoning_gym
from lead_kit.data.load import draw_problems, load_problems, save_problems
from lead_kit.errors import InputError
from lead_kit.method.rewards import Rollout, bind_rewards
from lead_kit.verify import Verifier, shared
from lead_kit.verify.verdict import Verdict

package = pytest.importorskip("reasoning_gym", reason=f"needs pip install {reasoning_gym._REQUIREMENT}")
CHAIN = "reasoning_gym:chain_sum(min_terms=2, max_terms=2, max_digits=2)"


def rollout(record, answer):
    verdict = Verdict("correct" if answer == record["gold"] else "wrong", answer, "", "")
    return Rollout(record["problem"], f"\\boxed{{{answer}}}", record["gold"], 5, False, verdict, record)


def test_problems_come_by_name_with_their_settings_and_the_seed_decides_them():
    records = draw_problems(CHAIN, 40, seed=3)
    assert records == draw_problems(CHAIN, 40, seed=3) != draw_problems(CHAIN, 40, seed=4)
    assert {record["source"] for record in records} == {"reasoning_gym:chain_sum"}
    entries = [json.loads(record["reasoning_gym"]) for record in records]
    assert {entry["metadata"]["num_terms"] for entry in entries} == {2}
    for record, entry in zip(records, entries, strict=True):
        left, sign, right = entry["metadata"]["expression"].split()
        assert int(record["gold"]) == int(left) + (int(right) if sign == "+" else -int(right))


def test_validation_is_distinct_and_shares_no_problem_with_training():
    held_out = draw_problems(CHAIN, 60, "validation")
    texts = {record["problem"] for record in held_out}
    assert len(texts) == 60
    train = draw_problems(CHAIN, 200, exclude=frozenset(texts))
    assert not texts & {record["problem"] for record in train}


def test_a_worked_solution_of_the_package_ends_in_the_gold_answer():
    for record in draw_problems("reasoning_gym:gsm_symbolic", 5):
        assert record["solution"].endswith(f"\\boxed{{{record['gold']}}}") and "####" not in record["solution"]
        assert record["level"] == 1.0


def test_the_kit_s_verifier_can_grade_the_gold_answers():
    golds = [
        r["gold"] for name in ("gsm_symbolic", "basic_arithmetic") for r in draw_problems("reasoning_gym:" + name, 9)
    ]
    with Verifier(workers=1) as verifier:
        verdicts = verifier.check_many([f"\\boxed{{{gold}}}" for gold in golds], golds)
    assert {verdict.status for verdict in verdicts} == {"correct"}


def test_the_package_s_scorer_is_a_reward():
    reward = bind_rewards(["reasoning_gym"], reasoning_gym.REWARDS)["reasoning_gym"]
    record = draw_problems(CHAIN, 1)[0]
    assert reward(rollout(record, record["gold"])) == 1.0
    assert reward(rollout(record, str(int(record["gold"]) + 1))) < 1.0
    assert reward(rollout(record, "")) == 0.0
    # a scorer with partial credit: the answer among other words
    words = draw_problems("reasoning_gym:spell_backward", 1)[0]
    assert 0 < reward(rollout(words, words["gold"][:-1] + "?")) < 1


def test_the_reward_scores_the_rows_that_a_trainer_gets(tmp_path):
    from lead_kit.models import chat
    from lead_kit.models.loading import load_tokenizer
    from lead_kit.models.sampler import Completion
    from lead_kit.train.grading import Grader

    path = save_problems(draw_problems(CHAIN, 3), tmp_path / "train.parquet")
    rows = [chat.training_row(record, load_tokenizer("tiny-bytes"), "plain") for record in load_problems(path)]
    grader = Grader(bind_rewards(["reasoning_gym"], reasoning_gym.REWARDS), shared())
    rollouts = grader.grade(rows, [Completion(f"\\boxed{{{row['gold']}}}", 5, False) for row in rows])
    assert [grader.reward_table["reasoning_gym"](each) for each in rollouts] == [1.0] * 3


def test_the_reward_needs_a_problem_of_the_package():
    with pytest.raises(InputError, match="scores problems of reasoning_gym:…, not '1\\+1\\?'"):
        reasoning_gym.reasoning_gym(rollout({"problem": "1+1?", "gold": "2"}, "2"))


@pytest.mark.parametrize("name", ["countdown", "n_queens", "string_insertion", "codeio"])
def test_a_scorer_that_runs_answers_as_programs_is_refused(name):
    entry = {"problem": "", "gold": "1", "reasoning_gym": json.dumps({"metadata": {"source_dataset": name}})}
    with pytest.raises(InputError, match=f"reasoning_gym:{name} runs an answer as a program"):
        reasoning_gym.reasoning_gym(rollout(entry, "1"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reasoning_gym:chain_sun", "no data set 'chain_sun' in reasoning_gym.*chain_sum"),
        ("reasoning_gym:chain_sum(min_term=2)", "has no setting 'min_term'.*min_terms"),
        ("reasoning_gym:chain_sum(min_terms=9, max_terms=2)", "chain_sum"),
        ("reasoning_gym:rubiks_cube", "no single answer"),
        ("reasoning_gym:chain_sum(", "expected a name"),
    ],
)
def test_a_wrong_name_or_setting_is_told_in_one_sentence(name, message):
    with pytest.raises(InputError, match=message) as error:
        draw_problems(name, 3)
    assert "\n" not in str(error.value)


def test_it_is_a_benchmark_with_settings():
    assert named_sets.benchmark_settings("reasoning_gym:gsm_symbolic", n=2).n == 2

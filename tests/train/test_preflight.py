"""An answer in the form that the prompt asks for must earn its reward, or the run is not worth starting."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
from transformers import PreTrainedConfig

from lead_kit import verify
from lead_kit.data.prompts import PROMPTS
from lead_kit.errors import InputError
from lead_kit.launch.recipe_model import EXPERIMENTS, load_recipe
from lead_kit.method.rewards import bind_rewards
from lead_kit.models.chat import training_row
from lead_kit.models.loading import load_tokenizer
from lead_kit.train import preflight
from lead_kit.train.grading import Grader
from lead_kit.train.preflight import LOOK, OK, STOP, Item

GOLDS = ["7", "\\frac{1}{2}", "2\\sqrt{3}"]
THOUGHT = "{% for m in messages %}{{ m.content }}\n{% endfor %}<think>\n"


def run_of(template="plain", golds=GOLDS, rewards=("correct",), weights=None, chat_template=None, **grading):
    """What Preflight takes: problems with these golds, on a tokenizer that writes every byte."""
    tokenizer, text = load_tokenizer(grading.pop("tokenizer", "tiny-bytes")), grading.pop("problem", "Problem {}?")
    tokenizer.chat_template = chat_template or tokenizer.chat_template
    rows = [{"id": str(i), "problem": text.format(i), "gold": gold, "level": None} for i, gold in enumerate(golds)]
    rows = [training_row(row, tokenizer, template) for row in rows]
    held_out = grading.pop("held_out", [{"id": "v", "problem": "Another?", "prompt_ids": [1]}])
    model = SimpleNamespace(config=PreTrainedConfig(max_position_embeddings=grading.pop("positions", 8192)))
    settings = {"template": template, "max_tokens": 100, "reward_weights": weights or [1.0] * len(rewards)}
    grader = Grader(bind_rewards(list(rewards)), verify.shared(), **grading)
    return rows, held_out, tokenizer, model, grader, settings


def items(*args, **options):
    """The contract's items by name."""
    *parts, settings = run_of(*args, **options)
    checks = preflight.Preflight("warn", None, settings)
    checks.check_setup(*parts)
    return {one.name: one for one in checks.items}


@pytest.mark.parametrize("template", PROMPTS)
def test_a_right_answer_in_the_form_of_the_prompt_is_accepted_unless_nothing_reads_that_form(template):
    asks_for_what_nothing_reads = {"rlite": "####", "reflection": "<answer>7</answer>"}
    found = items(template)["answer"]
    assert found.verdict == (STOP if template in asks_for_what_nothing_reads else OK), found.sentence
    assert asks_for_what_nothing_reads.get(template, "") in found.sentence


@pytest.mark.parametrize(
    "asked, verdict, sentence",
    [
        ("{problem}\nEnd with `Answer: 34`.", STOP, "the prompts ask for Answer: …, but 3 of 3 .*ask for .boxed"),
        ("{problem} Finish with *Final Answer*: $x$", STOP, "the prompts ask for Final answer: …, but 3 of 3"),
        ("{problem} Say: the answer is 34.", STOP, "the prompts ask for The answer is …, but 3 of 3"),
        ('{problem} Return {"answer": 34} as JSON', STOP, 'the prompts ask for {"answer": "…"}, but 3 of 3'),
        (
            "{problem}\nAnswer: use \\boxed{}.",
            OK,
            "the prompts ask for .boxed{…}, and a right answer so written is acc",
        ),
        ("Q: {problem}\nAnswer:", LOOK, "the prompts name no form known here, so .boxed{…} is tried"),
        ("{problem} Give a number only.", LOOK, "the prompts name no form known here, so .boxed{…} is tried"),
        ("{problem}", OK, "the prompts name no form known here, so .boxed{…} is tried, and"),
    ],
)
def test_the_form_that_is_tried_is_the_form_that_the_prompt_asks_for(asked, verdict, sentence):
    found = items(asked)["answer"]
    assert found.verdict == verdict and re.match(sentence, found.sentence), found.sentence


def test_a_form_that_the_data_ask_for_in_each_problem_counts():
    found = items(problem="Solve it. The last line is of the form Answer: $Answer. Problem {}?")["answer"]
    assert found.verdict == STOP and "the prompts ask for Answer: …" in found.sentence
    assert items("qwen_math", problem="Problem {}? Answer:")["answer"].verdict == OK  # the template asks for a box


def test_golds_that_cannot_be_graded_stop_the_run():
    assert items()["golds"].sentence == f"all {len(GOLDS)} gold answers can be graded"
    found = items(golds=["7", "$$", "8"])["golds"]
    assert found.verdict == STOP and found.sentence.startswith("1 of 3 gold answers cannot be graded")
    assert "e.g. 1, $$ (the gold is empty)" in found.sentence


def test_where_accuracy_is_not_paid_the_answer_is_only_told():
    found = items("rlite", rewards=("random", "correct"), weights=[1.0, 0.0])["answer"]
    assert found.verdict == LOOK and "are not accepted" in found.sentence


def test_recipes_whose_prompt_says_stop_run_anyway_by_name_only():
    """The arms that keep a released prompt say so themselves; no other recipe uses such a prompt."""
    for path in EXPERIMENTS.glob("recipes/*.yaml"):
        recipe = load_recipe(path.stem)
        blocks = [stage.parameters for stage in recipe.stages.values()]
        blocks += [block for arm in recipe.arms.values() for block in arm.stages.values()]
        for block in blocks:
            stops = block.get("template") in ("rlite", "reflection")
            assert stops == (block.get("preflight") == "warn"), (path.stem, block)


@pytest.mark.parametrize(
    "template, reward, verdict, told",
    [
        ("reflection_boxed", "format", OK, "earns it"),
        ("qwen_math", "format", LOOK, "does not ask for the format"),
        ("qwen_math", "format_only", OK, "earns it"),
        ("qwen_math", "format_boxed", LOOK, "does not ask for the format"),
    ],
)
def test_a_format_reward_that_the_prompt_does_not_mention_is_told(template, reward, verdict, told):
    found = items(template, rewards=("correct", reward))
    assert found["answer"].verdict == OK
    assert found[reward].verdict == verdict and told in found[reward].sentence
    assert reward not in items(template, rewards=("correct", reward), weights=[1.0, 0.0])  # it is only logged


def test_a_thought_that_the_chat_template_opens_belongs_to_the_answer():
    found = items("qwen_math", rewards=("correct", "format"), chat_template=THOUGHT)
    assert found["answer"].verdict == OK  # …</think>, then the box
    assert found["format"].verdict == LOOK and "already opened <think>" in found["format"].sentence
    assert items("qwen_math", rewards=("correct", "format_boxed"), chat_template=THOUGHT)["format_boxed"].verdict == OK


def test_grpo_leads_released_rules_accept_a_box_before_the_end_of_the_thought():
    found = items("grpo_lead", end_marker="</think>", answer_region="before_think")
    assert found["answer"].verdict == OK


def test_a_gold_that_the_tokenizer_cannot_write_is_told():
    found = items(golds=["\\pi"], tokenizer="tiny")["answer"]
    assert found.verdict == LOOK and "the tokenizer cannot write" in found.sentence
    assert items(golds=["7", "12"], tokenizer="tiny", positions=512)["answer"].verdict == OK


def test_a_completion_that_does_not_fit_stops_the_run():
    found = items(positions=105)["context"]
    assert found.verdict == STOP and "the model has 105 positions: lower max_tokens" in found.sentence


def test_held_out_problems_in_training_are_counted():
    def twins(copies, others):
        rows = [{"id": f"v{i}", "problem": "problem  $0$ ?", "prompt_ids": [1]} for i in range(copies)]
        rows += [{"id": f"w{i}", "problem": f"Not in training {i}", "prompt_ids": [1]} for i in range(others)]
        return items(held_out=rows)["leaks"]

    assert twins(0, 3).verdict == OK and twins(1, 99).verdict == LOOK
    found = twins(1, 9)
    assert found.verdict == STOP and "1 of 10 held-out problems are in training, e.g. v0" in found.sentence


def test_stop_refuses_the_run_unless_it_is_told_otherwise():
    found = [Item("a", OK, "fine"), Item("answer", STOP, "nothing reads it"), Item("b", STOP, "nor this")]
    with pytest.raises(
        InputError, match=r"preflight check 'answer' failed: nothing reads it \(and 1 more\); --anyway runs"
    ):
        preflight.require(found, "refuse")
    preflight.require(found, "warn")
    preflight.require(found[:1], "refuse")
    with pytest.raises(InputError, match="preflight is 'anyway', expected one of refuse, warn, only"):
        preflight.Preflight("anyway", None, {})
    assert preflight.as_lines(found).splitlines()[1].split() == ["stop", "answer", "nothing", "reads", "it"]


def test_weights_for_other_rewards_are_refused():
    with pytest.raises(InputError, match="reward_weights has 2 numbers for the 1 rewards correct"):
        items(weights=[1.0, 1.0])


def batch(right, level=1.0, **columns):
    """A group of four rollouts with so many right answers."""
    correct = [True] * right + [False] * (4 - right)
    base = {"step": 1, "correct": correct, "truncated": False, "length": [10, 20, 30, 40], "level": level}
    return pd.DataFrame(base | {"reward_correct": [float(c) for c in correct]} | columns)


def groups(*parts):
    return pd.concat([part.assign(group=place) for place, part in enumerate(parts)], ignore_index=True)


@pytest.mark.parametrize("cut, verdict", [(0, OK), (1, LOOK), (4, STOP)])
def test_lengths_against_the_limit(cut, verdict):
    rows = groups(batch(2, truncated=[True] * cut + [False] * (4 - cut)))
    found = preflight.check_lengths(rows, 40)
    assert found.verdict == verdict and found.sentence.startswith(
        "25 tokens in the median, 38 at 95%, 40 at most of 40"
    )
    assert (f"{cut * 25}% are cut off" in found.sentence) and ("raise max_tokens" in found.sentence) == (cut > 0)


def test_mixed_groups_have_an_interval_and_their_levels():
    rows = groups(batch(0, 1.0), batch(2, 1.0), batch(4, 2.0), batch(1, 2.0))
    overall, levels = preflight.check_mixed_groups(rows, 4)
    assert overall.verdict == OK
    assert overall.sentence == (  # Wilson, 2 of 4
        "50% [15%, 85%] of 4 groups of 4 have right and wrong answers; 44% of the answers are right"
    )
    assert levels.sentence.startswith("1: 50%") and "; 2: 50%" in levels.sentence


def test_few_mixed_groups_are_reported_and_none_stops():
    assert preflight.check_mixed_groups(groups(batch(1), *[batch(4)] * 3), 4)[0].verdict == LOOK
    (found,) = preflight.check_mixed_groups(groups(batch(0), batch(4)), 4)
    assert found.verdict == STOP and found.sentence.startswith("0% [0%, 66%]")


def test_constant_and_dominant_rewards_are_told():
    rows = groups(batch(2, reward_format=0.0, reward_long=[0.0, 9.0, 0.0, 9.0]))
    weights = {"correct": 1.0, "format": 1.0, "long": 1.0}
    found = {one.name: one for one in preflight.check_rewards(rows, weights)}
    assert found["reward format"] == ("reward format", LOOK, "it is 0 in every rollout")
    assert found["reward long"].verdict == LOOK and "it decides what is learned" in found["reward long"].sentence
    assert found["reward correct"].verdict == OK
    # with weight .1 its variance is 20.25 · .01 of .4525
    quiet = {one.name: one for one in preflight.check_rewards(rows, weights | {"long": 0.1, "format": 0.0})}
    assert "45% of the variance" in quiet["reward long"].sentence and "reward format" not in quiet


def test_the_same_problem_in_other_words_is_a_leak():
    text = "A red box of mass $3$ kg slides down a frictionless ramp of height $5$ m. What is its speed at the bottom?"
    trained = [
        {"id": "t", "problem": text, "gold": "10"},
        {"id": "u", "problem": "How many primes are there?", "gold": "0"},
    ]
    again = {"id": "v", "problem": text.replace("A red box of", "A red box with"), "gold": "10"}
    other = {"id": "w", "problem": "Count the sheep that sleep in the field behind the mill.", "gold": "4"}
    assert preflight.check_near_leaks(trained, [other]).verdict == OK
    found = preflight.check_near_leaks(trained, [again, other])
    assert found.verdict == STOP and found.sentence.startswith("1 of 2 held-out problems are in training")


def test_the_cost_of_all_batches_is_that_of_one_times_their_number():
    found = preflight.check_cost({"seconds": 36.0}, 200, 5000)
    assert found.verdict == OK and "36.0 s for 5,000 tokens, so 2 h 0 min for 200 batches" in found.sentence
    assert "s for" not in preflight.check_cost({"seconds": None}, 200, 5000).sentence


def test_a_check_ends_before_its_batch_where_golds_cannot_be_graded():
    run = SimpleNamespace(
        silent=True, reached=(0, 3), record_fact=lambda *_: None, finish=lambda **summary: told.update(summary)
    )
    told = {}
    *parts, settings = run_of("rlite")  # whose right answers nothing reads
    preflight.Preflight("only", run, settings).check_setup(*parts)
    assert run.reached == (0, 3) and not told
    *parts, settings = run_of(golds=["7", "$$"])
    with pytest.raises(SystemExit):
        preflight.Preflight("only", run, settings).check_setup(*parts)
    assert run.reached == (0, 0) and told["stop"] == 1

"""Prompt templates: every problem arrives whole, and each system is asked in its own way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.data import prompts
from lead_kit.errors import InputError


@given(st.text(), st.sampled_from(sorted(prompts.PROMPTS)))
def test_a_problem_arrives_unchanged_whatever_braces_it_holds(problem, template):
    *_, user = prompts.messages(template, problem)
    before, after = prompts.PROMPTS[template].user.split("{problem}")
    assert user == {"role": "user", "content": before + problem + after}


def test_grpo_lead_asks_in_the_user_turn_alone():
    [turn] = prompts.messages("grpo_lead", "What is $1+1$?")
    assert turn["role"] == "user"
    assert turn["content"].startswith("What is $1+1$?\n") and turn["content"].endswith("\\boxed{}")


def test_qwen_math_and_reflection_have_a_system_turn():
    assert [m["role"] for m in prompts.messages("qwen_math", "x")] == ["system", "user"]
    system = prompts.messages("reflection", "x")[0]["content"]
    assert all(tag in system for tag in ("<think>", "</think>", "<answer>", "</answer>"))


def test_rlite_as_released_names_hashes_and_the_corrected_one_the_box():
    [released], [corrected] = prompts.messages("rlite", "x"), prompts.messages("rlite_boxed", "x")
    assert "####" in released["content"] and "\\boxed" not in released["content"]
    assert "\\boxed{}" in corrected["content"] and "####" not in corrected["content"]


def test_grpo_reflection_is_evaluated_with_a_boxed_last_line():
    [turn] = prompts.messages("last_line", "What is $1+1$?")
    assert "$\\boxed{ANSWER}$" in turn["content"] and turn["content"].endswith("\n\nWhat is $1+1$?")


def test_the_embedded_model_sees_the_problem_alone():
    assert prompts.messages("plain", "Start at 24:\n(1) +5.") == [{"role": "user", "content": "Start at 24:\n(1) +5."}]


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(InputError, match="grpo_leed.*did you mean 'grpo_lead'"):
        prompts.messages("grpo_leed", "x")

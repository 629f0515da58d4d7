"""Prompts in a model's chat template: a template and its variables by parameter, system turns, opened thoughts."""

import pytest

from lead_kit.data import prompts
from lead_kit.errors import InputError
from lead_kit.models import chat
from lead_kit.models.tiny_models import byte_tokenizer
from lead_kit.train.sft_rows import tokenise_solutions

THINKS = "{% for m in messages %}{{ m.content }}{% endfor %}{% if enable_thinking is not defined or enable_thinking %}"
THINKS += "<think>\n{% endif %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
NO_SYSTEM += "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def prompt_of(tokenizer, template="plain", problem="1+1?"):
    ids, thinking = chat.chat_prompt(tokenizer, template, problem)
    return tokenizer.decode(ids), thinking


def test_a_chat_template_is_given_by_name_or_file_and_is_saved_with_its_variables(tmp_path):
    tokenizer = byte_tokenizer()
    chat.set_chat_template(tokenizer, "chatml", [])
    assert prompt_of(tokenizer)[0] == "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    (tmp_path / "thinks.jinja").write_text(THINKS)
    chat.set_chat_template(tokenizer, str(tmp_path / "thinks.jinja"), [])
    assert prompt_of(tokenizer) == ("1+1?<think>\n", True)
    chat.set_chat_template(tokenizer, "", ["enable_thinking=false"])
    assert prompt_of(tokenizer) == ("1+1?", False)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = type(tokenizer).from_pretrained(tmp_path / "saved")
    assert prompt_of(again) == ("1+1?", False)


def test_what_is_no_chat_template_is_one_sentence():
    tokenizer = byte_tokenizer()
    with pytest.raises(InputError, match="chat_template is 'chatlm', expected chatml, plain or a file"):
        chat.set_chat_template(tokenizer, "chatlm", [])
    with pytest.raises(InputError, match="has 'enable_thinking', expected a text such as 'enable_thinking=false'"):
        chat.set_chat_template(tokenizer, "", ["enable_thinking"])
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template: set chat_template to chatml, plain or a file"):
        chat.set_chat_template(tokenizer, "", [])


def test_a_system_prompt_stands_above_a_line_and_goes_before_the_user_s_text_where_it_is_refused():
    template = "Be brief.\n---\n{problem} Box it."
    assert prompts.messages(template, "1+1?") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1? Box it."},
    ]
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = NO_SYSTEM
    assert prompt_of(tokenizer, template)[0] == "[user]Be brief.\n\n1+1? Box it."
    tokenizer.chat_template = "{{ raise_exception('only tools') }}"
    with pytest.raises(InputError, match="the chat template refuses a prompt: only tools"):
        prompt_of(tokenizer)


@pytest.mark.parametrize(
    "solution, opened, unopened",
    [
        ("<think>a</think>b", "a</think>b", "<think>a</think>b"),
        ("a</think>b", "a</think>b", "<think>a</think>b"),
        ("b", "\n</think>\n\nb", "b"),
        ("<think>a", "\n</think>\n\na", "<think>a"),
    ],
)
def test_a_solution_s_thought_is_opened_and_closed_once(solution, opened, unopened, capsys):
    assert chat.fit_thought(solution, thinking=True) == opened
    assert chat.fit_thought(solution, thinking=False) == unopened
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = THINKS
    record = {"id": "1", "problem": "p", "solution": solution}
    rows, _ = tokenise_solutions([record], tokenizer, "plain", None)
    assert tokenizer.decode(rows[0]["input_ids"], skip_special_tokens=True) == f"p<think>\n{opened}"
    changed = "opens a thought: <think> or </think> was changed in 1 solutions" in capsys.readouterr().out
    assert changed == (solution != opened)

"""A thought that the prompt opened: what was cut off inside it is no answer, wherever it is graded."""

import json

import pytest

from lead_kit import verify
from lead_kit.errors import InputError
from lead_kit.evaluate import compare_graders, draw_samples, score
from lead_kit.method.rewards import bind_rewards
from lead_kit.models import chat
from lead_kit.models.sampler import Completion, Request

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
R1 = PLAIN.replace("<|assistant|>", "<|assistant|><think>\n")
CLOSED = R1.replace("<think>\n", "<think>\n\n</think>\n\n")
RECORD = {"id": "p", "problem": "1+2?", "gold": "3", "level": None}
CUT = "so it is \\boxed{3}. Wait, let me"
WHOLE = CUT + " check.</think> \\boxed{3}"

pytestmark = pytest.mark.slow  # transformers and the verifier's workers take seconds to start


@pytest.mark.parametrize("template, opened", [(R1, True), (CLOSED, False), (PLAIN, False)])
def test_the_rendered_prompt_says_whether_it_opened_a_thought(template, opened):
    from lead_kit.models.tiny_models import byte_tokenizer

    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    assert chat.training_row(RECORD, tokenizer, "plain")["thinking"] is opened
    # a system prompt that speaks of the tags opens nothing
    assert chat.chat_prompt(tokenizer, "reflection", "1+2?").thinking is opened


def test_training_and_validation_grade_inside_the_thought():
    from lead_kit.train.grading import Grader

    grader = Grader(bind_rewards(["correct"]), verify.shared())
    completions = [grader.completion(text, [1, 2], [2], thinking=True) for text in (CUT, WHOLE)]
    rollouts = grader.grade([RECORD] * 2, completions)
    assert [r.verdict.status for r in rollouts] == ["no_answer", "correct"]
    assert [r.completion for r in rollouts] == [CUT, WHOLE]  # rewards see what the model wrote
    assert grader.grade([RECORD], [grader.completion(CUT, [1, 2], [2], thinking=False)])[0].verdict.correct


def test_evaluation_keeps_the_thought_with_the_sample_and_score_and_audit_read_it(tmp_path, capsys):
    pairs = [(Request(RECORD, k, k), Completion(text, 2, False, True)) for k, text in enumerate((CUT, WHOLE))]
    path = tmp_path / "samples.jsonl"
    rows = draw_samples._grade_and_append(pairs, path, 0, False, {"benchmark": "b"})
    assert [row["correct"] for row in rows] == [False, True] and [row["thinking"] for row in rows] == [True, True]
    score.score_command(str(path))
    assert "Pass@1        0.5000" in capsys.readouterr().out
    verdicts = [json.loads(line) for line in path.with_suffix(".verdicts.jsonl").read_text().splitlines()]
    assert [row["status"] for row in verdicts] == ["no_answer", "correct"]
    assert [row["completion"].startswith("<think>") for row in compare_graders.read_answers(path)] == [True, True]


def test_score_takes_the_thought_as_an_option_for_other_files(tmp_path, capsys):
    path = tmp_path / "outputs.jsonl"
    path.write_text(json.dumps({"id": 1, "answer": "3", "completions": [CUT, WHOLE]}) + "\n")
    for thinking, rate in ((False, "1.0000"), (True, "0.5000")):
        score.score_command(str(path), thinking=thinking)
        assert f"Pass@1        {rate}" in capsys.readouterr().out


def test_the_answer_before_the_end_of_the_thought_is_reachable():
    from lead_kit.train.grading import Grader

    text = "so \\boxed{3}</think> \\boxed{4}"
    for region, correct in (("after_think", False), ("before_think", True)):
        grader = Grader(bind_rewards(["correct"]), verify.shared(), "</think>", region)
        completion = grader.completion(text, [1], [], thinking=False)
        assert grader.grade([RECORD], [completion])[0].verdict.correct is correct and not completion.truncated


def test_an_answer_copied_from_the_problem_earns_nothing_in_training():
    from lead_kit.train.grading import Grader

    record = {"id": "p", "problem": "What is $\\frac{6}{4}$ in lowest terms?", "gold": "\\frac{3}{2}", "level": None}
    completions = [Completion(f"\\boxed{{{text}}}", 2, False) for text in ("\\frac{6}{4}", "\\frac{3}{2}", "1.5")]
    for refuse, paid in ((False, [True, True, True]), (True, [False, True, True])):
        grader = Grader(bind_rewards(["correct"]), verify.shared(), reject_restated_problem=refuse)
        assert [r.verdict.correct for r in grader.grade([record] * 3, completions)] == paid
        assert [v.correct for v in grader.verdicts([record] * 3, completions)] == [True] * 3  # validation


def test_a_reward_reads_every_column_of_the_row_and_any_gold_counts():
    from datasets import Dataset

    from lead_kit.models.tiny_models import byte_tokenizer
    from lead_kit.train.grading import Grader

    tokenizer = byte_tokenizer()
    records = [RECORD | {"id": "a", "topic": "sums", "tests": [1, "x"]}, RECORD | {"id": "b", "golds": ["3", "1+1+1"]}]
    rows = list(Dataset.from_list([chat.training_row(record, tokenizer, "plain") for record in records]))
    grader = Grader(bind_rewards(["topical"], {"topical": topical}), verify.shared())
    first, second = grader.grade(rows, [Completion("\\boxed{3}", 2, False)] * 2)
    assert first.record["tests"] == [1, "x"] and grader.reward_table["topical"](first) == 1.0
    assert "topic" not in second.record and second.record["golds"] == ["3", "1+1+1"]
    other = [row | {"gold": "x^2", "golds": ["x^2", "3"]} for row in rows]
    assert [r.verdict.correct for r in grader.grade(other, [Completion("\\boxed{3}", 2, False)] * 2)] == [True, True]
    endless = byte_tokenizer()
    endless.eos_token = None
    with pytest.raises(InputError, match="the tokenizer has no end token"):
        chat.training_row(RECORD, endless, "plain")
    with pytest.raises(InputError, match="reads as a special token"):
        chat.training_row(RECORD | {"problem": "Say <|user|>"}, tokenizer, "plain")


def topical(rollout):
    """1 for a problem on sums."""
    return float(rollout.record["topic"] == "sums")

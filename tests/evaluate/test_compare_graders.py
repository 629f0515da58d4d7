"""The audit of the verifier: three graders on the same answers."""

import json

import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.evaluate import compare_graders

KNOBS = {"std_ddof": 1, "std_epsilon": 1e-6}


def test_one_flipped_verdict_moves_every_advantage_of_its_group():
    verdicts = {"string": [True, False], "sympy": [False, False], "verifier": [True, True]}
    graded = pd.DataFrame({"id": "a", "length": 1, "gold": "1", "answer": "1"} | verdicts)
    advised = compare_graders.with_advantages(graded, **KNOBS)
    # string: mean 1/2, spread 1/√2, so ±0.7071; the verifier accepts both, so nothing is learnt
    assert advised["advantage_string"].tolist() == pytest.approx([0.7071, -0.7071], abs=1e-3)
    assert advised["advantage_verifier"].tolist() == [0, 0]
    assert compare_graders.effect_on_advantages(advised).loc["string", "other verdicts"] == 1


def test_a_file_of_answers_is_read_by_its_columns(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": 1, "answer": "1.50", "completion": "\\boxed{3/2}"}) + "\n")
    assert compare_graders.read_answers(path) == [{"id": "1", "gold": "1.50", "completion": "\\boxed{3/2}"}]
    path.write_text(json.dumps({"id": 1, "gold": "2"}) + "\n")
    with pytest.raises(InputError, match="expected 'completions', a list of texts, or 'completion'"):
        compare_graders.read_answers(path)


@pytest.mark.slow
def test_the_small_set_shows_where_graders_differ():
    graded = compare_graders.grade(compare_graders.builtin_answers(), workers=1)
    differing = compare_graders.disagreements(graded)
    assert len(graded) == 96 and 20 < len(differing) < 96
    assert (graded["verifier"] | ~graded["string"]).all()  # what equals the gold letter by letter is never refused

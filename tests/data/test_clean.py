"""Cleaning: nothing is lost, everything that leaves says why."""

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.data import clean, near_duplicates
from lead_kit.data.load import load_problems
from lead_kit.errors import InputError
from lead_kit.report import stage_plan
from lead_kit.verify import Verifier


def records(*problems, **fields):
    return [
        {"id": str(i), "problem": p, "gold": str(i), "level": None, "source": "t"} | fields
        for i, p in enumerate(problems)
    ]


def test_levels_outside_and_missing_levels_leave():
    rows = [row | {"level": level} for row, level in zip(records(*"abcd"), (1.0, 2.5, 6.0, None), strict=True)]
    kept, dropped = clean.by_level(rows, 2.5, 5)
    assert [row["id"] for row in kept] == ["1"]
    assert [(row["reason"], row["detail"]) for row in dropped] == [
        ("difficulty outside 2.5…5", "1"),
        ("difficulty outside 2.5…5", "6"),
        ("difficulty outside 2.5…5", "0"),
    ]


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(InputError, match="min_difficulty 5 exceeds max_difficulty 2"):
        clean.by_level(records("a"), 5, 2)


def test_the_second_stage_keeps_what_the_first_solved_sometimes(tmp_path):
    (tmp_path / "rollouts").mkdir()
    hits = {"never": [0, 0, 0, 0], "some": [1, 0, 0, 1], "most": [1, 1, 1, 0], "always": [1, 1, 1, 1]}
    for step in (0, 1):  # two rollouts of each prompt in each of two files
        rows = [{"id": i, "correct": bool(c)} for i, all_ in hits.items() for c in all_[2 * step : 2 * step + 2]]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rollouts" / f"step_{step:06d}.parquet")
    solved = stage_plan.pass_rates(stage_plan.hits_of_samples(tmp_path))
    assert solved == {"never": 0.0, "some": 0.5, "most": 0.75, "always": 1.0}
    rows = [{"id": name, "problem": name, "gold": "1"} for name in [*hits, "unseen"]]
    kept, dropped = clean.by_pass_rate(rows, solved, 0.0, 0.75)
    assert [row["id"] for row in kept] == ["some", "most"]
    assert [row["reason"] for row in dropped][-1] == "never rolled out"


def test_a_missing_difficulty_is_zero():
    rows = records("a", level=None) + [{"id": "b", "problem": "b", "gold": "1"}]
    assert clean.by_level(rows, 0, 5).kept == rows and not clean.by_level(rows, 0.5, 5).kept


GUARD = [
    ("\\frac{1}{2}", True), ("\\sqrt{2}", True), ("x^2+y", True), ("x^2 + 10", True), ("48^{\\circ}", True),
    ("8 r^{2}", True), ("2^{n-1}", True), ("\\frac{2^2}{3}", True), ("7^{7} \\cdot 11^{7}", True), ("\\text{No}", True),
    ("\\left( -2, \\dfrac{1}{19} \\right)", True), ("1 \\text{ and } 27", True), ("20\\text{ days}", True),
    ("\\dfrac{9\\pi}{20}", True), ("3\\text{ feet}", True), ("\\begin{pmatrix} 4 \\\\ -3 \\end{pmatrix}", True),
    ("x+y+z", False), ("x\\theta+\\alpha", False), ("\\pi x", False), ("\\sin x", False), ("(-\\infty,2)", False),
    ("x^(2)", False), ("2^{(n)}", False), ("2^10", False), ("2^{10}", False), ("2^3^x", False), ("\\text{even}", False),
]  # fmt: skip


@pytest.mark.parametrize("answer, simple", GUARD)
def test_the_guard_of_grpo_lead_reads_the_normal_form(answer, simple):
    assert bool(clean.symbolically_simple([{"id": "0", "problem": "", "gold": answer}]).kept) is simple


@pytest.mark.slow
def test_the_released_training_set_passes_the_guard_that_made_it(lead_data):
    rows = load_problems(lead_data / "train" / "grpo_lead_stage23.jsonl")
    kept, dropped = clean.symbolically_simple(rows)
    assert (len(kept), [row["gold"] for row in dropped]) == (3453, [])


def test_of_duplicates_the_one_with_a_solution_stays():
    text = "How many ways are there to seat seven guests at a round table, if two of them quarrel?"
    rows = records(text, text + " ", "$" + text + "$", "Something else")
    rows[1]["solution"] = "Count."
    kept, dropped = clean.without_duplicates(rows, 0.65)
    assert [row["id"] for row in kept] == ["1", "3"]
    assert [row["reason"] for row in dropped] == ["equal up to formatting, another answer"] * 2
    assert [row["reason"] for row in clean.without_duplicates([rows[0], rows[0]], 0.65).dropped] == ["exact duplicate"]


def test_leaks_leave_and_variants_stay():
    text = "A {} box of mass $3$ kg slides down a frictionless ramp of height $5$ m. What is its speed at the bottom?"
    rows = [row | {"gold": answer} for row, answer in zip(records(*map(text.format, "abc")), "xyy", strict=True)]
    rows += records("Prove nothing.")
    found = near_duplicates.leaks(rows[1:], {"bench": rows[:1]}, 0.65)
    assert {row["kind"] for row in found} == {"variant"} and not clean.without_leaks(rows[1:], found).dropped
    found = near_duplicates.leaks(rows[2:], {"bench": rows[1:2]}, 0.65)
    assert [row["reason"] for row in clean.without_leaks(rows[2:], found).dropped] == ["same problem as in bench"]


def test_long_prompts_leave():
    kept, dropped = clean.by_prompt_length(records("a", "bbbb"), len, 3)
    assert len(kept) == 1 and (dropped[0]["reason"], dropped[0]["detail"]) == ("prompt of more than 3 tokens", "4")


@given(st.lists(st.sampled_from(["a b", "a  b", "c", "d", "e", "f"]), min_size=4, max_size=20), st.integers(0, 9))
def test_a_split_loses_nothing_and_shares_no_text(problems, seed):
    rows = records(*problems)
    if len({near_duplicates.normal_form(p) for p in problems}) < 3:
        return
    held_out = clean.draw_held_out(rows, 1, seed)
    train = clean.without_held_out(rows, held_out).kept
    assert sorted(map(repr, train + held_out)) == sorted(map(repr, rows)) and held_out
    assert not {near_duplicates.normal_form(r["problem"]) for r in train} & {
        near_duplicates.normal_form(r["problem"]) for r in held_out
    }
    assert clean.draw_held_out(rows, 1, seed) == held_out


def test_a_split_leaves_something_to_train_on():
    with pytest.raises(InputError, match="validation_size is 3, but there are only 3"):
        clean.draw_held_out(records(*"abc"), 3, 0)


def test_tables_of_counts_and_reasons():
    sifted = clean.by_level([row | {"level": 1.0} for row in records(*"abc")], 2, 3)
    assert clean.count_steps([("difficulty", sifted)]).to_dict("records") == [
        {"step": "difficulty", "kept": 0, "dropped": 3}
    ]
    assert clean.count_reasons(sifted.dropped).to_dict("records") == [
        {"reason": "difficulty outside 2…3", "records": 3, "first": "0", "detail": "1"}
    ]
    assert clean.count_reasons([]).empty


@pytest.mark.slow
def test_the_released_training_set_has_34_exact_duplicates(lead_data):
    rows = load_problems(lead_data / "train" / "grpo_lead_stage23.jsonl")
    kept, dropped = clean.without_duplicates(rows, 0.65)
    exact = [row for row in dropped if row["reason"] == "exact duplicate"]
    assert len(exact) == 34 and len(kept) + len(dropped) == 3453


@pytest.mark.slow
def test_answers_that_cannot_be_graded_leave_with_the_verifiers_reason():
    rows = [row | {"gold": answer} for row, answer in zip(records(*"abc"), ("\\frac12", "", "2019!"), strict=True)]
    with Verifier(workers=1) as verifier:
        kept, dropped = clean.gradable(rows, verifier)
    assert [row["id"] for row in kept] == ["0"] and all(row["reason"] for row in dropped)

"""Loading: rows of any shape become records, and a bad file is named with its line."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lead_kit.data.load import (
    COLUMNS,
    draw_problems,
    expand_names,
    load_problems,
    save_problems,
    save_verl,
    with_solutions,
)
from lead_kit.data.named_sets import SETS, SUITES, Source
from lead_kit.errors import InputError
from lead_kit.runs.files import read_parquet
from lead_kit.verify.extraction import last_box


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_common_column_names_are_found(tmp_path):
    path = lines(
        tmp_path / "mine.jsonl", {"Question": "1+1?", "final_answer": 2.0, "difficulty": "Level 3", "topic": "sums"}
    )
    assert load_problems(path) == [
        {"id": "mine-0", "problem": "1+1?", "gold": "2", "level": 3.0, "source": "mine", "topic": "sums"}
    ]


def test_other_column_names_are_given_by_a_map(tmp_path):
    path = lines(tmp_path / "mine.jsonl", {"ask": "1+1?", "meta": {"result": ["2", "two"]}})
    [record] = load_problems(path, fields={"problem": "ask", "gold": "meta.result"})
    assert (record["problem"], record["gold"], record["golds"]) == ("1+1?", "2", ["2", "two"])


def test_the_answer_of_gsm8k_stands_after_four_hashes(tmp_path):
    path = lines(tmp_path / "gsm.jsonl", {"question": "Eggs?", "answer": "16 - 3 = 13\n#### 1,013"})
    [record] = load_problems("GSM8K", path=path)
    assert (record["gold"], record["solution"]) == ("1,013", "16 - 3 = 13")


def test_a_missing_answer_is_read_from_the_box_of_the_solution(tmp_path):
    row = {
        "problem": "x",
        "solution": "\\boxed{1}, no: $\\boxed{\\frac{1}{2}}$.",
        "level": "Level 5",
        "type": "Algebra",
    }
    [record] = load_problems("MATH-lighteval", path=lines(tmp_path / "math.jsonl", row))
    assert (record["gold"], record["level"], record["type"]) == ("\\frac{1}{2}", 5.0, "Algebra")


def test_a_named_set_of_chats_loads_from_a_file_of_its_shape(tmp_path):
    turns = [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "So \\boxed{2}"}]
    [record] = load_problems("Light-R1-stage2", path=lines(tmp_path / "stage2.jsonl", {"conversations": turns}))
    assert (record["problem"], record["gold"], record["solution"]) == ("1+1?", "2", "So \\boxed{2}")


def test_gpqa_options_come_in_an_order_of_seed_and_id_alone(tmp_path):
    rows = [
        {"Record ID": f"r{i}", "Question": f"Q{i}", "Correct Answer": "yes\n", "Subdomain": "Optics"}
        | {f"Incorrect Answer {k}": f"no {k}" for k in (1, 2, 3)}
        for i in range(40)
    ]
    first = load_problems("GPQA-diamond", path=lines(tmp_path / "a.jsonl", *rows), seed=1)
    again = load_problems("GPQA-diamond", path=lines(tmp_path / "b.jsonl", *rows[::-1]), seed=1)
    other = load_problems("GPQA-diamond", path=tmp_path / "a.jsonl", seed=2)
    assert sorted(first, key=lambda r: r["id"]) == sorted(again, key=lambda r: r["id"])
    assert first != other and {r["gold"] for r in first} == set("ABCD")
    assert all(f"\n{r['gold']}. yes" in r["problem"] for r in first)


def test_ids_that_repeat_get_a_suffix(tmp_path):
    path = lines(tmp_path / "x.jsonl", *({"id": 7, "problem": p, "answer": "1"} for p in "abc"))
    assert [r["id"] for r in load_problems(path)] == ["7", "7#2", "7#3"]


def test_json_jsonl_and_parquet_say_the_same(tmp_path):
    rows = [{"id": "1", "problem": "a\u2028b", "answer": "1"}, {"id": "2", "problem": "c", "answer": "2", "level": 3}]
    lines(tmp_path / "x.jsonl", *rows)
    (tmp_path / "x.json").write_text(json.dumps(rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "y.parquet")
    assert load_problems(tmp_path / "x.jsonl") == load_problems(tmp_path / "x.json")
    assert [r["problem"] for r in load_problems(tmp_path / "y.parquet")] == ["a\u2028b", "c"]


def test_a_malformed_line_is_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"problem": "a", "answer": "1"}\n\n{"problem": "b", "answer": }\n')
    with pytest.raises(InputError, match="bad.jsonl, line 3: not valid JSON"):
        load_problems(path)
    (tmp_path / "bad.json").write_text('[{"problem": "a"},\n {"problem" "b"}]')
    with pytest.raises(InputError, match="bad.json, line 2"):
        load_problems(tmp_path / "bad.json")
    (tmp_path / "bad.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="bad.parquet is not a readable parquet"):
        load_problems(tmp_path / "bad.parquet")


@pytest.mark.parametrize("row", [{"problem": "b"}, {"problem": "b", "answer": " "}, {"problem": "b", "answer": None}])
def test_a_row_without_answer_is_named(tmp_path, row):
    path = lines(tmp_path / "x.jsonl", {"problem": "a", "answer": "1"}, row)
    with pytest.raises(InputError, match="x.jsonl, row 2: no answer"):
        load_problems(path)
    assert load_problems(path, need_gold=False)[1]["gold"] == ""


def test_unknown_names_columns_and_files_name_the_nearest(tmp_path):
    path = lines(tmp_path / "train.jsonl", {"problem": "a", "answer": "1"})
    with pytest.raises(InputError, match="MATH500.*did you mean 'MATH-500'"):
        load_problems("MATH500")
    with pytest.raises(InputError, match="did you mean 'train.jsonl'"):
        load_problems(tmp_path / "trian.jsonl")
    with pytest.raises(InputError, match="no column 'ask' for problem; there are answer, problem"):
        load_problems(path, fields={"problem": "ask"})
    with pytest.raises(InputError, match="arithmetic is drawn at random: expected a file"):
        load_problems("arithmetic")


def test_a_folder_stands_for_its_files(tmp_path):
    for name in ("b.jsonl", "a.json", "notes.txt"):
        (tmp_path / name).write_text("")
    found = expand_names(["AIME24", str(tmp_path), str(tmp_path / "b.jsonl")])
    assert list(found) == ["AIME24", "a", "b", str(tmp_path / "b.jsonl")] and found["a"] == str(tmp_path / "a.json")


def test_a_suite_stands_for_its_sets():
    five = ("AIME24", "AMC23", "MATH-500", "Minerva", "OlympiadBench")
    assert SUITES["DeepScaleR-evaluation"] == five and not SUITES.keys() & SETS.keys()
    assert all(SETS[name].asked for sets in SUITES.values() for name in sets)  # each is a benchmark with settings
    assert list(expand_names(["DeepScaleR-evaluation"])) == list(five)
    found = expand_names(["AIME24", "DeepScaleR-evaluation", "AIME25"])  # a set that is named twice comes once
    assert found == {name: name for name in (*five, "AIME25")}


def test_a_misspelt_suite_and_one_in_the_place_of_a_set_are_told():
    (name,) = expand_names(["DeepScaleR-evaluatio"])
    with pytest.raises(InputError, match="'DeepScaleR-evaluatio'.*did you mean 'DeepScaleR-evaluation'"):
        load_problems(name)
    with pytest.raises(InputError, match="is the sets AIME24, AMC23, .*: expected one of them here"):
        load_problems("DeepScaleR-evaluation")


def test_traces_are_solutions_of_the_embedded_problems():
    rows = with_solutions(draw_problems("arithmetic", 5), 0, carry=0.0, borrow=0.0, slip=0.0, repair=1.0)
    assert all(last_box(row["solution"]) == row["gold"] for row in rows)


def test_embedded_validation_is_distinct_and_training_stays_clear_of_it():
    held_out = draw_problems("arithmetic", 252, "validation", seed=1)
    texts = frozenset(record["problem"] for record in held_out)
    train = draw_problems("arithmetic", 2000, seed=1, exclude=texts)
    assert len(texts) == 252 and not texts & {record["problem"] for record in train}
    assert sum(record["steps"] for record in train) / 2000 < 2.5 < sum(record["steps"] for record in held_out) / 252
    assert {record["id"] for record in train}.isdisjoint(record["id"] for record in held_out)


@given(
    st.lists(st.tuples(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.booleans())), min_size=1, max_size=5)
)
def test_saved_records_come_back(tmp_path_factory, items):
    rows = [
        {"id": str(i), "problem": "p" + text, "gold": "1", "level": None, "source": "s", "extra": extra}
        for i, (text, extra) in enumerate(items)
    ]
    path = tmp_path_factory.mktemp("saved") / "x.parquet"
    back = read_parquet(save_problems(rows, path)).to_pylist()
    assert [row["problem"] for row in back] == [row["problem"] for row in rows]
    assert list(back[0])[: len(COLUMNS)] == list(COLUMNS)


def test_the_schema_of_verl(tmp_path):
    rows = load_problems(lines(tmp_path / "x.jsonl", {"problem": "1+1?", "answer": "2"}))
    [row] = read_parquet(save_verl(rows, tmp_path / "v.parquet", "grpo_lead", "train")).to_pylist()
    assert row["prompt"][0]["role"] == "user" and row["prompt"][0]["content"].startswith("1+1?\nLet's think")
    assert row["reward_model"] == {"style": "rule", "ground_truth": "2"}
    assert (row["data_source"], row["ability"]) == ("x", "math")
    assert row["extra_info"] == {"split": "train", "index": 0, "id": "x-0"}
    assert load_problems(tmp_path / "v.parquet")[0]["gold"] == "2"


@pytest.mark.slow
def test_hub_sets_come_through_datasets(tmp_path, monkeypatch):
    path = lines(tmp_path / "x.jsonl", {"q": "1+1?", "a": "2", "topic": "sums", "trace": "long"})
    source = Source("json", "train", "q", "a", files=str(path), keep=("topic",))  # a hub id that needs no network
    monkeypatch.setitem(SETS, "one", source)
    monkeypatch.setitem(SETS, "two", source._replace(config="part-I,part-II"))  # AIME25 lies in two parts
    [record] = load_problems("one")
    assert (record["problem"], record["gold"], record["topic"]) == ("1+1?", "2", "sums") and "trace" not in record
    assert [record["gold"] for record in load_problems("two")] == ["2", "2"]
    with pytest.raises(InputError, match="cannot load json from the hub.*data_path"):
        load_problems("one", split="nosuchsplit")


def test_real_files_load(lead_data):
    train = load_problems(lead_data / "train" / "grpo_lead_stage23.jsonl")
    assert len(train) == 3453 and sum("solution" in record for record in train) == 1485
    with pytest.raises(InputError, match="gaokaoen2023.jsonl, row 168: no answer"):
        load_problems(lead_data / "benchmarks" / "gaokaoen2023.jsonl")
    sizes = {"aime24": 30, "math_500": 500, "gsm8k": 1319, "olympiadbench": 675, "minerva": 272}
    for name, size in sizes.items():
        assert len(load_problems(lead_data / "benchmarks" / f"{name}.jsonl")) == size

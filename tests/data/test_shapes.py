"""Data of other tools: each shape is read as what it says, or refused in one sentence that says what to do."""

import csv
import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from lead_kit.data import named_sets
from lead_kit.data.load import expand_names, load_problems, save_problems
from lead_kit.errors import InputError

ROW = {"problem": "1+1?", "answer": "2"}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def turn(role, content):
    return {"role": role, "content": content}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def one(tmp_path, row, **options):
    [record] = load_problems(lines(tmp_path / "x.jsonl", row), **options)
    return record


def refused(tmp_path, row, match, **options):
    with pytest.raises(InputError, match=match) as error:
        one(tmp_path, row, **options)
    assert "\n" not in str(error.value)


def test_content_in_parts_is_their_text(tmp_path):
    chat = [turn("user", parts("What is ", "1+1?")), turn("assistant", parts("So \\boxed{2}"))]
    record = one(tmp_path, {"messages": chat})
    assert (record["problem"], record["gold"], record["solution"]) == ("What is 1+1?", "2", "So \\boxed{2}")
    assert one(tmp_path, {"prompt": chat[:1], "answer": "2"})["problem"] == "What is 1+1?"
    assert one(tmp_path, {"problem": parts("1+1?"), "answer": "2"})["problem"] == "1+1?"


def test_a_part_that_is_no_text_is_refused(tmp_path):
    chat = [turn("user", [{"type": "image", "image": "a.png"}, *parts("Find x.")])]
    refused(tmp_path, {"prompt": chat, "answer": "2"}, "row 1, column 'prompt': a part is 'image'.*leave such rows out")
    refused(tmp_path, ROW | {"images": ["a.png"]}, "row 1: column 'images' has an image or sound")
    table = pyarrow.Table.from_pylist([ROW | {"figure": {"bytes": b"\x89PNG", "path": None}}])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="row 1: column 'figure' has an image"):
        load_problems(tmp_path / "x.parquet")
    assert one(tmp_path, ROW | {"image": None})["gold"] == "2"  # a set of which some rows have images


def test_turns_that_a_record_would_lose_are_refused(tmp_path):
    system, ask, reply = turn("system", "Be brief."), turn("user", "1+1?"), turn("assistant", "\\boxed{2}")
    verl = {"reward_model": {"style": "rule", "ground_truth": "2"}, "data_source": "x"}
    wrong = "it would lose the turns system: with 01_preprocess and field_problem 'prompt.1.content' only that turn"
    refused(tmp_path, verl | {"prompt": [system, ask]}, wrong)
    assert one(tmp_path, verl | {"prompt": [system, ask]}, fields={"problem": "prompt.1.content"})["problem"] == "1+1?"
    refused(tmp_path, verl | {"prompt": [ask, reply, ask]}, "lose the turns user, assistant: .*'prompt.2.content'")
    refused(tmp_path, verl | {"prompt": [ask, reply]}, "lose the turns assistant")  # a prefilled answer
    refused(tmp_path, {"messages": [ask, reply, ask, reply]}, "lose the turns user, assistant")
    assert one(tmp_path, verl | {"prompt": [turn("system", ""), ask]})["problem"] == "1+1?"  # nothing is lost
    refused(tmp_path, verl | {"prompt": json.dumps([ask])}, "the chat is written as one text: store it as a list")
    talk = [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "\\boxed{2}"}]
    record = one(tmp_path, {"conversations": talk})
    assert (record["problem"], record["gold"], record["solution"]) == ("1+1?", "2", "\\boxed{2}")


@pytest.mark.parametrize("column", ["problem", "answer", "solution"])
def test_an_object_is_never_its_repr(tmp_path, column):
    refused(tmp_path, ROW | {column: {"text": "1+1?"}}, f"column '{column}': expected a text.*name a field of it")


@pytest.mark.parametrize(
    ("answer", "golds"),
    [
        (["1/2", "0.5"], ["1/2", "0.5"]),
        (["\\boxed{1/2}", 0.5, None], ["1/2", "0.5"]),
        ('["1/2", "0.5"]', ["1/2", "0.5"]),  # Skywork-OR1: a list as JSON
        ({"ground_truth": ["1/2", "0.5"]}, ["1/2", "0.5"]),
        (["1/2"], None),
        ('["1/2"]', None),
        ("[1, 2]", None),
    ],
)
def test_a_list_of_golds_keeps_each_form(tmp_path, answer, golds):
    record = one(tmp_path, {"problem": "Half?", "reward_model": answer})
    assert record.get("golds") == golds and record["gold"] == ("[1, 2]" if answer == "[1, 2]" else "1/2")
    again = load_problems(save_problems([record], tmp_path / "x.parquet"))
    assert (again[0]["gold"], again[0].get("golds")) == (record["gold"], golds)


def test_a_list_of_golds_as_python_prints_it_is_refused(tmp_path):
    refused(
        tmp_path, {"problem": "Half?", "answer": "['1/2', '0.5']"}, "column 'answer': .* is a list as Python prints"
    )


def test_what_was_changed_is_counted(tmp_path):
    notes = []
    rows = [{"id": 1, "problem": "a", "answer": "\\boxed{1}"}, {"id": 1, "problem": "b", "answer": ["1", "2"]}]
    load_problems(lines(tmp_path / "x.jsonl", *rows), notes=notes)
    path = f"{tmp_path}/x.jsonl: in 1 of 2 rows "
    assert notes == [
        path + "the gold is what the last box of the answer or solution holds",
        path + "an answer is right if it equals any of several golds",
        path + "the id repeats an earlier one and got a suffix",
    ]
    plain = []
    load_problems(lines(tmp_path / "y.jsonl", ROW), notes=plain)
    assert plain == []


def test_other_columns_stay_with_the_record(tmp_path):
    other = {"topic": "sums", "tests": ["a", "b"], "extra_info": {"index": 3}}
    record = one(tmp_path, ROW | other)
    assert {name: record[name] for name in other} == other
    [again] = load_problems(save_problems([record], tmp_path / "x.parquet"))
    assert {name: again[name] for name in other} == other
    mixed = [record | {"tests": value, "id": str(n)} for n, value in enumerate((["a"], {"b": 1}, "c"))]
    back = load_problems(save_problems(mixed, tmp_path / "y.parquet"))
    assert [each["tests"] for each in back] == ['["a"]', '{"b": 1}', "c"]


def test_csv_keeps_texts_as_they_are_written(tmp_path):
    rows = [
        ["id", "problem", "answer", "rate", "hint"],
        ["a", "x, y?", "007", "0.5", "NA"],
        ["", "z", "1.50", "1.0", ""],
    ]
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    first, second = load_problems(tmp_path / "x.csv")
    assert first == {"id": "a", "problem": "x, y?", "gold": "007", "level": None, "source": "x"} | {
        "rate": 0.5,
        "hint": "NA",
    }
    assert (second["id"], second["gold"], second["rate"]) == ("x-1", "1.50", 1.0)
    (tmp_path / "excel.csv").write_text("problem,answer,hint\nq,2\n", encoding="utf-8-sig")
    assert load_problems(tmp_path / "excel.csv")[0]["problem"] == "q"
    for text in ('problem,answer\n"a,1\n', "problem,answer\na,1,x\nb,2,y\n", "problem,answer\na,1\nb,2,y\n"):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(InputError, match="bad.csv is not a readable CSV"):
            load_problems(tmp_path / "bad.csv")


def test_packed_files_are_unpacked(tmp_path):
    text = json.dumps(ROW).encode()
    for name, content in (
        ("a.jsonl.gz", text),
        ("a.json.gz", b"[" + text + b"]"),
        ("a.csv.gz", b"problem,answer\nq,2"),
    ):
        (tmp_path / name).write_bytes(gzip.compress(content))
        [record] = load_problems(tmp_path / name)
        assert (record["id"], record["source"], record["gold"]) == ("a-0", "a", "2")
    (tmp_path / "bad.jsonl.gz").write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(InputError, match="bad.jsonl.gz is not a readable .gz file"):
        load_problems(tmp_path / "bad.jsonl.gz")
    with pytest.raises(InputError, match="expected a folder, or a file that ends in .json, .*csv"):
        load_problems("x", path=tmp_path / "a.zip")


def test_a_folder_of_shards_is_one_split(tmp_path):
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for number, part in enumerate("ab"):
        rows = [{"problem": part, "answer": "1"}]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"train-0000{number}-of-00002.parquet")
    records = load_problems(tmp_path / "set")
    assert [(r["id"], r["problem"]) for r in records] == [("set-0", "a"), ("set-1", "b")]
    lines(folder / "test.jsonl", ROW)
    with pytest.raises(InputError, match="holds data/test, data/train: name one file, or one of these names as the sp"):
        load_problems(tmp_path / "set")
    assert len(load_problems(tmp_path / "set", split="data/train")) == 2
    with pytest.raises(InputError, match="holds data/test, data/train"):
        load_problems(tmp_path / "set", split="train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no .json"):
        load_problems(tmp_path / "empty")


@pytest.mark.slow
def test_a_folder_of_save_to_disk(tmp_path):
    from datasets import Dataset, DatasetDict, Image

    one_split = Dataset.from_list([ROW])
    one_split.save_to_disk(tmp_path / "one")
    assert load_problems(tmp_path / "one")[0]["gold"] == "2"
    assert expand_names([str(tmp_path / "one")]) == {"one": str(tmp_path / "one")}
    DatasetDict(train=one_split, test=one_split).save_to_disk(tmp_path / "two")
    with pytest.raises(InputError, match="two has the splits train, test: name one of them"):
        load_problems(tmp_path / "two")
    assert load_problems(tmp_path / "two", split="test") == load_problems("two", path=tmp_path / "two" / "test")
    for name, figure in (("none", None), ("pictures", {"bytes": b"\x89PNG", "path": None})):
        Dataset.from_list([ROW | {"figure": figure}]).cast_column("figure", Image()).save_to_disk(tmp_path / name)
    assert load_problems(tmp_path / "none")[0]["gold"] == "2"
    with pytest.raises(InputError, match="column 'figure' has an image"):
        load_problems(tmp_path / "pictures")


@pytest.mark.slow
def test_a_hub_id_with_its_split(tmp_path, monkeypatch):
    assert named_sets.hub_source("owner/name:main:test")[:3] == ("owner/name", "test", "")
    assert named_sets.hub_source("owner/name:main:test").config == "main"
    assert named_sets.hub_source("owner/name").split == ""
    on_hub = {"AIME24": True, "arithmetic": False, "owner/name:train": True, "DeepScaleR-evaluation": True, "x": False}
    assert {name: named_sets.is_on_hub(name) for name in [*on_hub, "a/b/c.jsonl"]} == on_hub | {"a/b/c.jsonl": False}
    (tmp_path / "owner" / "name").mkdir(parents=True)  # the library reads a folder as it reads the hub
    for split in ("train", "test"):
        lines(tmp_path / "owner" / "name" / f"{split}.jsonl", {"question": split, "answer": "2", "topic": "t"})
    monkeypatch.chdir(tmp_path)
    [record] = load_problems("owner/name:test")
    assert record == {"id": "owner/name-0", "problem": "test", "gold": "2", "level": None} | {
        "source": "owner/name",
        "topic": "t",
    }
    assert load_problems("owner/name", split="train")[0]["problem"] == "train"
    with pytest.raises(InputError, match="owner/name has the splits train, test: name one of them"):
        load_problems("owner/name")
    with pytest.raises(InputError, match="cannot load owner/other from the hub"):
        load_problems("owner/other:train")
    settings = {"template": "plain", "n": 1, "temperature": 1.0, "max_tokens": 9}
    assert named_sets.benchmark_settings("owner/name:test", **settings).n == 1
    with pytest.raises(InputError, match="hub id, which sets nothing: give template, n, temperature, max_tokens"):
        named_sets.benchmark_settings("owner/name:test")

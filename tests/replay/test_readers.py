"""Readers: one frame whoever wrote the record. TRL's and wandb's files are written by those libraries, the ledger by
ours; verl, cs2916, verifiers and OpenRLHF are not installed, so theirs follow the schema that `read_record` names."""

import json

import numpy as np
import pandas as pd
import pytest

from lead_kit.errors import InputError
from lead_kit.replay import read_record
from lead_kit.replay.read_record import read
from lead_kit.runs import log_files

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
SAID = [{"role": "assistant", "content": "2"}]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pd.DataFrame):
        content.to_csv(path, index=False) if path.suffix == ".csv" else content.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(json.dumps(content))
    return path


def plain(**columns):
    """Two groups of two in one step."""
    base = {"step": [3] * 4, "prompt": ["p", "p", "q", "q"], "completion": list("abcd"), "reward": [1.0, 0.0, 0.5, 0.5]}
    return pd.DataFrame(base | columns)


def test_our_ledger(tmp_path):
    for step in (1, 10):
        row = {"step": step, "group": 0, "id": "x", "sample": 0, "gold": "2", "completion": "so 2", "length": 3}
        row |= {"truncated": False, "correct": True, "problem": "1+1?", "reward": 1.5, "shaped": 1.5, "advantage": 0.1}
        row |= {"reward_correct": 1.0, "reward_format": 0.5}
        log_files.write_samples([row, row], tmp_path / "run" / "rollouts" / f"step_{step:06d}.parquet")
    record = read(str(tmp_path / "run"))
    assert record.frame["group"].tolist() == [0, 0, 1, 1] and record.frame["step"].tolist() == [1, 1, 10, 10]
    first = record.frame.iloc[0]
    assert (first["prompt"], first["length"], first["truncated"], first["correct"]) == ("1+1?", 3, 0, 1)
    assert first["reward_format"] == 0.5 and not record.notes
    for pattern in ("r*", "**"):
        assert read(str(tmp_path / pattern)).frame.equals(record.frame)


@pytest.mark.slow
def test_the_file_that_trl_writes(tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from lead_kit.models.tiny_models import embedded_model

    def accuracy_reward(completions, **_):
        return [float(place % 3 == 0) for place in range(len(completions))]

    def brief(completions, **_):
        return [0.25 * (place % 2) for place in range(len(completions))]

    model, tokenizer = embedded_model("tiny", seed=0)
    arguments = GRPOConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=8, num_generations=4, logging_steps=1,
        max_completion_length=4, log_completions=True, report_to=[], bf16=False, use_cpu=True, disable_tqdm=True,
        gradient_checkpointing=False, save_strategy="no", dataloader_pin_memory=False, reward_weights=[1.0, 2.0],
    )  # fmt: skip
    problems = Dataset.from_list([{"prompt": text} for text in ("1+1=", "2+3=", "4+4=", "5+1=")])
    GRPOTrainer(
        model=model, args=arguments, train_dataset=problems, processing_class=tokenizer,
        reward_funcs=[accuracy_reward, brief],
    ).train()  # fmt: skip
    record = read(str(tmp_path), weights=[1.0, 2.0])
    frame = record.frame
    assert len(frame) == 16 and set(frame["step"]) == {1, 2}
    assert frame["group"].value_counts().tolist() == [4] * 4
    assert frame["correct"].tolist() == [float(place % 3 == 0) for place in range(8)] * 2
    assert frame["reward"].tolist() == pytest.approx((frame["reward_correct"] + 2 * frame["reward_brief"]).tolist())
    groups = frame.groupby("group")["reward"]
    z = (frame["reward"] - groups.transform("mean")) / (groups.transform("std") + 1e-4)  # TRL's ε
    assert frame["advantage"].tolist() == pytest.approx(z.tolist(), abs=1e-4)
    assert "length" not in frame and "truncated" not in frame


def test_the_table_that_wandb_writes(tmp_path):
    import wandb

    for step, name in ((5, "completions_5_ab.table.json"), (10, "completions_10_cd.table.json")):
        table = wandb.Table(dataframe=plain(step=[step] * 4).assign(advantage=[0.7, -0.7, 0.0, 0.0]))
        content = json.loads(json.dumps(table._to_table_json(), default=lambda value: value.item()))
        write(tmp_path / "files/media/table" / name, content)
    record = read(str(tmp_path))
    assert record.frame["step"].tolist() == [5] * 4 + [10] * 4
    assert record.frame["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and record.frame["run"].nunique() == 1
    old = write(tmp_path / "old.json", {"columns": list(plain()), "data": plain().to_numpy().tolist()})
    assert read(str(old)).frame["reward"].tolist() == [1.0, 0.0, 0.5, 0.5]  # TRL 0.15: the total, no advantage


def test_a_dump_of_verl(tmp_path):
    for step in (1, 2):
        lines = [
            {"input": "1+1?", "output": text, "gts": "2", "score": score, "step": step, "acc": score > 0, "uid": "u"}
            for text, score in (("2", 1.0), ("3", -1.0))
        ]
        write(tmp_path / f"{step}.jsonl", lines)
    frame = read(str(tmp_path)).frame
    assert frame["group"].tolist() == [0, 0, 1, 1] and frame["run"].nunique() == 1
    assert frame["correct"].tolist() == [1, 0, 1, 0] and frame["gold"].tolist() == ["2"] * 4
    # a validation dump has no uid: rollouts of one prompt in one step are a group, in whatever order they stand
    bare = [{"input": p, "output": "x", "gts": "2", "score": 0.0, "step": 7} for p in ("a", "b", "a", "b")]
    assert read(str(write(tmp_path / "val" / "7.jsonl", bare))).frame["group"].tolist() == [0, 1, 0, 1]


def test_samples_of_cs2916_take_the_step_from_the_name(tmp_path):
    sample = {"prompt": "1+1?", "response": "2", "reward": 1.0, "response_length": 7.0}
    for step in (9, 10):
        write(tmp_path / "train" / f"step_{step}.json", [sample, sample | {"reward": -1.0}])
    frame = read(str(tmp_path)).frame
    assert frame["step"].tolist() == [9, 9, 10, 10] and frame["length"].tolist() == [7.0] * 4
    assert frame["group"].tolist() == [0, 0, 1, 1] and frame["completion"].tolist() == ["2"] * 4


def test_a_folder_of_several_runs_is_not_one_run(tmp_path):
    """The same problems in the same step, in files of a run each, or in folders of a run each."""
    for name in ("one", "two"):
        write(tmp_path / "files" / f"{name}.parquet", plain())
        write(tmp_path / "folders" / name / "step_3.json", plain().drop(columns="step").to_dict("records"))
    for pattern in ("files", "files/*.parquet", "folders", "folders/*"):
        frame = read(str(tmp_path / pattern)).frame
        assert frame["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and frame["step"].tolist() == [3] * 8
        assert [run.rpartition("/")[2] for run in frame["run"].unique()] == ["one", "two"]


def test_results_of_verifiers_and_samples_of_openrlhf(tmp_path):
    result = {"example_id": 4, "prompt": CHAT, "completion": SAID, "task": "math", "reward": 1.0, "answer": "2"}
    lines = [result | {"is_truncated": False}, result | {"reward": 0.0, "is_truncated": True}]
    frame = read(str(write(tmp_path / "out" / "results.jsonl", lines))).frame
    assert frame["completion"].tolist() == ["2", "2"] and frame["prompt"].iloc[0] == "Be brief.\n1+1?"
    assert frame["truncated"].tolist() == [0, 1] and frame["gold"].tolist() == ["2", "2"]
    samples = [{"input": "1+1?", "output": "2", "reward": 0.5}] * 2
    record = read(str(write(tmp_path / "samples.jsonl", samples)))
    assert record.frame["group"].tolist() == [0, 0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".json"])
def test_columns_of_any_name_by_a_mapping(tmp_path, suffix):
    raw = plain(done=[True, False, True, True]).rename(columns={"completion": "text", "reward": "score"})
    path = write(tmp_path / f"own{suffix}", raw if suffix in (".csv", ".parquet") else raw.to_dict("records"))
    frame = read(str(path), ["completion=text", "reward=score", "correct=done", "reward_style=score"]).frame
    assert frame["completion"].tolist() == list("abcd") and frame["reward"].tolist() == [1.0, 0.0, 0.5, 0.5]
    assert frame["correct"].tolist() == [1, 0, 1, 1] and frame["reward_style"].tolist() == [1.0, 0.0, 0.5, 0.5]


def test_an_empty_cell_of_a_csv_is_an_empty_text_or_a_missing_number(tmp_path):
    frame = plain(completion=["a", "", "NA", "d"], gold=["2", "", "2", "2"], truncated=["true", "", "false", "true"])
    read_back = read(str(write(tmp_path / "a.csv", frame))).frame
    assert read_back["completion"].tolist() == ["a", "", "NA", "d"]
    assert read_back["gold"].isna().tolist() == read_back["truncated"].isna().tolist() == [False, True, False, False]


def test_what_is_not_recorded_is_absent_and_named(tmp_path):
    record = read(str(write(tmp_path / "a.parquet", plain())))
    assert not {"length", "truncated", "gold", "correct", "advantage"} & set(record.frame)
    assert record.notes == ["The record has no length, truncated, gold."]


def test_groups_are_prompts_of_one_log_of_one_step(tmp_path):
    # two logs of a step number their groups from 0; a group whose prompts differ is two
    frame = plain(group=[0] * 4, table=[0, 0, 1, 1], prompt=["p"] * 4)
    assert read(str(write(tmp_path / "a.csv", frame))).frame["group"].tolist() == [0, 0, 1, 1]
    assert read(str(write(tmp_path / "b.csv", plain(group=[0] * 4)))).frame["group"].tolist() == [0, 0, 1, 1]
    bare = plain().drop(columns="prompt")
    record = read(str(write(tmp_path / "c.csv", bare)))
    assert "group" not in record.frame and "names no groups" in record.notes[0]
    assert read(str(write(tmp_path / "c.csv", bare)), group_size=2).frame["group"].tolist() == [0, 0, 1, 1]
    for size in (-2, 1):
        with pytest.raises(InputError, match=f"group_size is {size}, expected 2 or more"):
            read(str(tmp_path / "c.csv"), group_size=size)


def test_mixed_sizes_lone_rollouts_and_missing_rewards_are_told(tmp_path):
    frame = plain(prompt=["p", "p", "p", "q"], reward=[1.0, None, 0.0, 1.0])
    notes = read(str(write(tmp_path / "a.csv", frame))).notes
    assert any("Rollouts without a value: reward 1." in note for note in notes)
    assert any("Groups by size: 1 of 1, 1 of 3." in note for note in notes)


def test_values_that_single_rollouts_lack_are_counted_and_rewards_that_all_lack_are_none(tmp_path):
    record = read(str(write(tmp_path / "a.csv", plain(reward=[None] * 4, length=[3, None, 4, None]))))
    assert record.notes[-1].startswith("Rollouts without a value: length 2.")
    assert "reward" not in record.frame and record.notes[0].startswith("The record has no reward")


@pytest.mark.parametrize(
    "frame, columns, told",
    [
        (plain(reward=[1, "good", 0, 0]), [], "column 'reward', row 2: 'good', expected a number"),
        (plain(reward=[1, float("inf"), 0, 0]), [], "column 'reward', row 2: inf, expected a number"),
        (plain(length=[4, 0, -1, 2]), [], "column 'length', row 3: -1, expected a number of 0 or more"),
        (plain(truncated=[0, 1, 0.5, 0]), [], "column 'truncated', row 3: 0.5, expected true or false"),
        (plain(), ["reward=rewrad"], "no column 'rewrad'.*did you mean 'reward'"),
        (plain(), ["lenght=reward"], "no role 'lenght'.*did you mean 'length'"),
        (plain(), ["reward"], "expected ROLE=COLUMN"),
        (
            plain().rename(columns={"completion": "txt"}),
            [],
            "no column 'completion', the text.*there are: step, prompt",
        ),
    ],
)
def test_a_wrong_file_gets_a_sentence_with_column_and_row(tmp_path, frame, columns, told):
    with pytest.raises(InputError, match=told):
        read(str(write(tmp_path / "a.csv", frame)), columns)


@pytest.mark.parametrize("value", [None, 3, {"role": "user"}, [{"role": "assistant"}]])
def test_a_completion_is_a_text_or_a_chat(tmp_path, value):
    lines = plain().astype(object).to_dict("records")
    lines[2]["completion"] = value
    with pytest.raises(InputError, match="column 'completion', row 3: .*expected a text or a chat"):
        read(str(write(tmp_path / "a.jsonl", lines)))


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("a.json", b'{"columns": ["a", "b"], "data": [[1, 2], [3]]}', "a table with columns and rows of as many"),
        ("a.json", b'{"a": 1}', "expected a list of objects, or a table"),
        ("a.jsonl", b'{"a": 1}\nx\n', "line 2: not valid JSON"),
        ("a.parquet", b"PAR1", "not a readable parquet file"),
        ("a.csv", b'"\n', "not a readable CSV file"),
        ("a.csv", b"prompt,completion\np,caf\xe9\n", "not a readable CSV file: 'utf-8' codec"),
        ("a.txt", b"", "expected a file that ends in"),
        ("a.jsonl", b"", "holds no rows"),
    ],
)
def test_a_damaged_file_gets_a_sentence(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        read(str(tmp_path / name))


def test_nothing_there_gets_a_sentence(tmp_path):
    (tmp_path / "rollouts.csv").touch()
    with pytest.raises(InputError, match="does not exist.*did you mean 'rollouts.csv'"):
        read(str(tmp_path / "rollout.csv"))
    with pytest.raises(InputError, match="no rollouts at"):
        read(str(tmp_path / "none*"))
    with pytest.raises(InputError, match="holds no rollouts"):
        read_record.files_of(write(tmp_path / "empty" / "x.txt", {}).parent)


def test_the_recorded_runs(lead_data):
    record = read(str(lead_data / "rollouts" / "*.parquet"))
    assert len(record.frame) == 3 * 5376 and record.frame["group"].nunique() == 3 * 768
    assert record.frame["group"].value_counts().eq(7).all()
    assert np.isfinite(record.frame["reward"]).all() and record.frame["run"].nunique() == 3


def test_a_reward_of_trl_may_have_the_name_that_another_tool_gives_a_role(tmp_path):
    frame = plain(advantage=[0.7, -0.7, 0.0, 0.0]).rename(columns={"reward": "score"})
    record = read(str(write(tmp_path / "completions_00003.parquet", frame)))
    assert record.frame["reward_score"].tolist() == record.frame["reward"].tolist() == [1.0, 0.0, 0.5, 0.5]
    frame = frame.assign(score=[1.0, None, 0.5, 0.5], note=["a", "1", "", ""])  # a CSV holds texts
    record = read(str(write(tmp_path / "a.csv", frame)))
    assert record.frame["reward_score"].isna().tolist() == [False, True, False, False]
    assert "reward_note" not in record.frame

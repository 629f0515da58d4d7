"""Sets whose files a user downloads: their hashes, what is said where one is missing, and GRPO-LEAD's first stage."""

import json
import subprocess
from pathlib import Path

import pytest

from lead_kit import cli
from lead_kit.data import clean, named_sets
from lead_kit.data.load import load_problems
from lead_kit.errors import InputError
from lead_kit.launch import estimates, recipes
from lead_kit.runs import files

ROOT = Path(__file__).resolve().parents[2]
DOWNLOADED = named_sets.DOWNLOADS
JOIN = "DeepScaleR-difficulty"
# as in GRPO-LEAD's files: a difficulty of 3.5 is kept, a missing one counts as 0, the guard reads the answer
ROWS = {
    "amc.json": [{"problem": "a", "answer": "1", "difficulty": 3.5}, {"problem": "b", "answer": "2"}],
    "omni_math.json": [{"problem": "c", "answer": "x+y+z", "difficulty": 9.0}],  # three letters
    "aime.json": [{"problem": "d", "answer": "4", "difficulty": 3.4}],
    "still.json": [{"problem": "e", "answer": "2^{10}", "difficulty": 5.0}],  # two digits
    "math.json": [{"problem": "f", "answer": "\\sqrt{2}", "difficulty": 4.0}, {"problem": "a", "answer": "1"}],
}


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """The five files of the join in a repository of the test's own, with their hashes as Git gives them."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    folder = tmp_path / "data/rllm"
    folder.mkdir(parents=True)
    blobs = {}
    for name, rows in ROWS.items():
        (folder / name).write_text(json.dumps(rows))
        blobs[name] = subprocess.check_output(["git", "hash-object", folder / name], text=True).strip()
    monkeypatch.setitem(DOWNLOADED, JOIN, DOWNLOADED[JOIN] | {"files": blobs})
    return folder


def test_the_rows_of_all_files_are_joined_in_order(joined):
    assert list(DOWNLOADED[JOIN]["files"]) == list(ROWS)  # the order of the released notebook
    records = load_problems(JOIN)
    assert [record["problem"] for record in records] == list("abcdefa")
    assert [record["level"] for record in records] == [3.5, None, 9.0, 3.4, 5.0, 4.0, None]
    assert len({record["id"] for record in records}) == 7


def test_the_first_stage_keeps_rows_of_difficulty_3_5_whose_answer_passes_the_guard(joined):
    hard = clean.by_level(load_problems(JOIN), 3.5, 100.0).kept
    assert [record["problem"] for record in hard] == ["a", "c", "e", "f"]
    assert [record["problem"] for record in clean.symbolically_simple(hard).kept] == ["a", "f"]


def test_a_missing_file_is_named_with_its_page_and_its_folder(joined):
    (joined / "aime.json").unlink()
    (joined / "math.json").unlink()
    page = (
        "https://github.com/agentica-project/rllm/tree/862cc09dc50502e53eb77a3b1f38594c64d7e6d0/deepscaler/data/train"
    )
    with pytest.raises(InputError) as error:
        load_problems(JOIN)
    assert str(error.value) == f"data set {JOIN}: download aime.json, math.json of {page} into data/rllm/"


def test_another_file_is_refused(joined):
    (joined / "amc.json").write_text("[]")
    with pytest.raises(InputError, match="data/rllm/amc.json is not the file of https://.*, download it again"):
        load_problems(JOIN)


def test_a_plan_names_the_data_that_a_job_lacks(joined, tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "RUNS", tmp_path / "runs")
    job = next(job for job in recipes.plan("grpo_lead_7b", "8x80gb", [0]) if job.stage == "preprocess")
    assert "GRPO-LEAD-combined-27: download combined_27.json" in estimates.missing_data(job)
    (joined / "amc.json").unlink()
    assert "DeepScaleR-difficulty: download amc.json" in estimates.missing_data(job)
    own = job._replace(parameters={"dataset": JOIN, "data_path": "data/mine.jsonl", "train_data": "runs/x/y.parquet"})
    assert estimates.missing_data(own) == "data file data/mine.jsonl does not exist"
    (tmp_path / "data/mine.jsonl").touch()
    assert estimates.missing_data(own) == ""


def test_a_dry_run_shows_the_missing_data_and_a_recipe_without_it_does_not_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    words = ["reproduce", "clip_higher_1.5b", "--scale", "1x80gb"]
    sentence = "data set math3k: download math3k_rl_prompt.jsonl of https://github.com/GAIR-NLP/cs2916/tree/"
    assert cli.main([*words, "--dry-run"]) == 0 and f"  data      {sentence}" in capsys.readouterr().out
    assert cli.main(words) == 2 and sentence in capsys.readouterr().err


def test_the_page_of_data_sets_lists_each_file_with_its_place_and_hash():
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    for name, git in DOWNLOADED.items():
        assert name in named_sets.SETS
        source = f"{git['repository']} at {git['commit']}"
        assert all(part in text for part in (f"`{name}`", source, git["folder"])), name
        for file, blob in git["files"].items():
            assert f"| {file} | {blob} |" in text and f"data/{git['repository'].split('/')[1]}/" in text, file


def downloaded_problems(name: str) -> list[dict]:
    """The problems of a set; skips the test where its files are not there."""
    try:
        named_sets.downloaded_files(name)
    except InputError as error:
        pytest.skip(str(error))
    return load_problems(name)


@pytest.mark.parametrize(
    "name, rows, levels",
    [
        ("GRPO-LEAD-combined-27", 27, {None: 27}),
        ("GRPO-LEAD-stage2-3", 3453, {5.0: 1571, 4.0: 770}),
        ("math3k", 2923, {1.0: 781, 2.0: 1335, 3.0: 807}),  # easy, medium, hard
        ("math3k-cot", 3052, {1.0: 794, 2.0: 1389, 3.0: 869}),
    ],
)
def test_a_downloaded_set_has_the_rows_of_the_table(name, rows, levels):
    records = downloaded_problems(name)
    assert len(records) == rows
    assert {level: sum(record["level"] == level for record in records) for level in levels} == levels


def test_grpo_leads_first_stage_has_7721_of_41912_rows():
    records = downloaded_problems(JOIN)
    assert len(records) == 41_912  # the outputs that the released notebook keeps
    assert len(clean.symbolically_simple(clean.by_level(records, 3.5, 100.0).kept).kept) == 7_721

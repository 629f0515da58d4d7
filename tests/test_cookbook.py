"""Every cell and `lead run` of docs/cookbook.md runs: the functions in one training, then from their kept files."""

import json
import re
import shlex
from pathlib import Path

import pytest

from lead_kit.parameters import load_notebook
from lead_kit.runs import log_files
from tests.laboratory import Lab, with_values
from tests.small import call

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CELLS = [text for kind, text in FENCED if kind == "python"]
BLOCKS = [text for kind, text in FENCED if not kind]
COMMANDS = [shlex.split(block)[1:] for block in BLOCKS if block.startswith("lead run ")]
ROWS = next(block for block in BLOCKS if block.startswith("{"))
FUNCTIONS = ["brief", "shorter_half", "from_median", "on_hard_groups", "some_right", "rarely_solved", "squared_ratio"]
SIZES = {"model": "tiny", "train_data": "my_problems.jsonl", "validation_data": "held_out.jsonl", "steps": 1}
SIZES |= {"batch_size": 8, "group_size": 4, "updates_per_batch": 1, "max_tokens": 12, "validate_every": 1}
SIZES |= {"rollouts_every": 1}
SFT_SIZES = ("model", "validation_data", "batch_size", "max_tokens")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cookbook")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The repository's notebooks and the page's own data, over an empty runs/."""
    folder = tmp_path_factory.mktemp("cookbook")
    for name in ("notebooks", "experiments", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "my_problems.jsonl").write_text(ROWS)
    (folder / "held_out.jsonl").write_text('{"problem": "Start at 5:\\n(1) +3.", "answer": "8"}\n')
    baseline = folder / "runs" / "03_grpo"
    baseline.mkdir(parents=True)
    rows = [{"step": step, "split": "validation", "pass@1": 0.1, "length": 9.0} for step in (0, 1)]
    (baseline / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rollout = {"id": "a", "problem": "Start at 4:\n(1) +3.", "gold": "7", "truncated": False, "length": 9}
    rollouts = [("\n\\boxed{7}", True), ("\n\\boxed{8}", False)]
    log_files.write_samples(
        [rollout | {"completion": text, "correct": right} for text, right in rollouts],
        baseline / "rollouts" / "step_000001.parquet",
    )
    return folder


@pytest.fixture(scope="module")
def trained(root, forks):
    """The run of all functions of the page together, as a user has it after Run All in 03_grpo."""
    lab = Lab(root, **forks)
    for cell in load_notebook(ROOT / "notebooks" / "03_grpo.ipynb")["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        if "parameters" in cell["metadata"].get("tags", []):
            source = with_values(source, SIZES)
        if source.startswith("def brief"):
            source = "\n\n".join([*CELLS, 'run_name = arm = "brief"'])
        reply = lab.execute(source)
        assert reply["status"] == "ok", reply
    lab.close()
    return root / "runs" / "brief"


def test_the_functions_of_one_cell_are_trained_with_and_kept(trained):
    about = json.loads((trained / "run.json").read_text())
    assert list(about["own"]) == FUNCTIONS
    assert [(trained / "own" / f"{name}.py").read_text().startswith(f"def {name}") for name in FUNCTIONS] == [True] * 7
    parameters = about["parameters"]
    assert parameters["rewards"] == ["correct", "brief(limit=12)"] and parameters["arm"] == "brief"
    assert parameters["baseline"] == ["03_grpo"]
    assert [parameters[f"group_{part}"] for part in ("shape", "baseline", "weight")] == FUNCTIONS[1:4]
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert any("reward_brief" in row and "open_problems" in row for row in rows) and about["status"] == "done"


def given(command):
    """The parameters on a command line."""
    return {command[at + 1]: command[at + 2] for at, word in enumerate(command) if word == "-p"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: given(words)["run_name"])
def test_a_command_of_the_page_runs(command, root, trained, forks):
    evaluation, imitation = "04_evaluate" in command[1], "02_sft" in command[1]
    known = {name for name in (SFT_SIZES if imitation else SIZES) if name not in given(command)}
    sizes = {} if evaluation else {name: SIZES[name] for name in known}
    words = [{"runs/03_grpo/model": "runs/brief/model"}.get(word, word) for word in command]
    words += ["-p", "models", "runs/brief/model"] if evaluation else []
    words += [word for pair in sizes.items() for word in ("-p", *map(str, pair))]
    code, out, err = call(root, *words, **forks)
    assert code == 0, out[-1000:] + err[-3000:]
    about = json.loads((root / "runs" / given(command)["run_name"] / "run.json").read_text())
    assert about["status"] == "done"
    assert ("runs/03_grpo/rollouts" if imitation else "my_problems.jsonl") in about["inputs"]
    if given(command)["run_name"] == "again":
        first = json.loads((trained / "run.json").read_text())["own"]["brief"]
        again = about["own"]["brief"]
        assert again["from"] == "runs/brief/own/brief.py" and again["sha256"] == first["sha256"]

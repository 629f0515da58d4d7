"""Faults: bad input gets a sentence and exit code 2; a crash leaves a run that can be taken up."""

import json
import signal

import pytest

from lead_kit.runs.log_files import read_metrics
from tests.small import FINISH, SETTLE, call, lead, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]  # each starts `lead`

PARAMETERS = """\
run_name: str = "small"  # folder under runs/
steps: int = 6  # how many
pause: float = 0.0  # seconds a step
train_data: str = "data.jsonl"  # input
model: str = ""  # a public name
"""
# a trainer in miniature: a checkpoint every second step, written file by file as a real one is
RESUME = """\
from lead_kit.runs.checkpoints import latest_checkpoint, mark_complete
last = latest_checkpoint(run.path / "checkpoints")
start = int(last.name.removeprefix("checkpoint-")) if last else 0
run.truncate_metrics(start)
total = float((last / "state.txt").read_text()) if last else 0.0
for step in range(start + 1, steps + 1):
    total += step
    run.log(step, "train", reward=total)
    run.progress(step, steps, reward=total)
    if step % 2 == 0:
        folder = run.path / f"checkpoints/checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state.txt").write_text(str(total))
        mark_complete(folder)
    time.sleep(pause)"""
READ = "run.input(train_data)"


@pytest.fixture
def root(tmp_path):
    write_notebook(tmp_path / "notebooks/train.ipynb", SETTLE, READ, RESUME, FINISH, parameters=PARAMETERS)
    (tmp_path / "data.jsonl").write_text("{}\n")
    return tmp_path


def test_a_killed_run_continues_from_its_last_complete_checkpoint(root):
    process = lead(root, "run", "train", "-p", "pause", "1.2", "--run-name", "cut")
    for line in process.stdout:
        if "step 4/6" in line or "step 5/6" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = root / "runs/cut"
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    newest = folder / "checkpoints/checkpoint-5"  # torn: its state was being written
    newest.mkdir()
    (newest / "state.txt").write_text("99")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "split": "tr')
    code, out, err = call(root, "run", "train", "-p", "pause", "1.2", "--run-name", "cut")
    assert code == 0, err
    assert [row["reward"] for row in read_metrics(folder)] == [1, 3, 6, 10, 15, 21]
    manifest = json.loads((folder / "run.json").read_text())
    assert [a["status"] for a in manifest["attempts"]] == ["failed", "done"]


def test_a_missing_input_ends_with_a_sentence_and_may_be_mended_under_the_same_name(root):
    code, _, err = call(root, "run", "train", "-p", "train_data", "dota.jsonl")
    assert code == 2 and err == "lead: input dota.jsonl does not exist (did you mean 'data.jsonl'?)\n"
    assert call(root, "run", "train")[0] == 0  # nothing was written under the name yet


@pytest.mark.parametrize("value", ["hf_" + "x" * 32, "sk-" + "y" * 40])
def test_a_key_among_the_parameters_is_refused_and_written_nowhere(root, value):
    code, _, err = call(root, "run", "train", "-p", "model", value)
    assert code == 2 and "environment variable" in err and value not in err
    assert not (root / "runs").exists()


def test_a_half_written_manifest_is_reported(root):
    (root / "runs/small").mkdir(parents=True)
    (root / "runs/small/run.json").write_text('{"run": ')
    code, _, err = call(root, "run", "train")
    assert code == 2 and "runs/small/run.json is no record" in err


def test_a_notebook_that_is_none_is_told(root):
    (root / "notebooks/broken.ipynb").write_text("{")
    assert "is not a Jupyter notebook" in call(root, "run", "broken")[2]
    write_notebook(root / "notebooks/loose.ipynb", parameters="steps = 3")
    code, _, err = call(root, "run", "loose")
    assert code == 2 and "line 1, 'steps = 3': expected `name: type = literal  # help`" in err


@pytest.mark.long
def test_a_tracker_without_its_server_does_not_hold_a_run_up(root):
    pytest.importorskip("wandb")
    source = PARAMETERS + 'tracker: str = "wandb"  # sink\n'
    write_notebook(root / "notebooks/tracked.ipynb", SETTLE, RESUME, FINISH, parameters=source)
    code, _, err = call(root, "run", "tracked", "-p", "steps", "2", WANDB_BASE_URL="http://127.0.0.1:9")
    assert code == 0, err
    modes = {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    code, _, err = call(root, "run", "tracked", "-p", "steps", "2", "--run-name", "online", **modes)
    assert code == 0, err
    assert "wandb is off from here on" in (root / "runs/online/log.txt").read_text()
    assert len(read_metrics(root / "runs/online")) == 2

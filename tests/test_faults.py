"""Faults: bad input gets a sentence and exit code 2; a crash leaves a run that can be taken up."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lead_kit.runs.log_files import read_metrics
from tests.small import FINISH, SETTLE, WORK, call, environment, lead, small_notebook, write_notebook

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
    assert "tracker wandb is off from here on" in (root / "runs/online/log.txt").read_text()
    assert len(read_metrics(root / "runs/online")) == 2


def test_a_foreign_environment_changes_no_run(tmp_path, record_property):
    """Variables of launchers that started something else, no HOME, modules of the repository that are named like those
    of libraries, a repository that belongs to someone else, a path that means something to formats and to YAML."""
    root = tmp_path / "it's a: b #c {y}"
    small_notebook(root)
    for module in ("random", "tokenize", "numpy"):
        (root / f"{module}.py").write_text("raise ImportError('not this one')\n")
        shutil.copy(root / f"{module}.py", root / "notebooks")
    subprocess.run(["git", "init", "-q", root], check=True)
    variables = {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "none"}
    variables |= {"OMPI_COMM_WORLD_SIZE": "4", "PMI_RANK": "2", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}
    variables |= {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1", "HOME": ""}
    code, out, err = call(root, "run", "small", "-p", "steps", "1", **variables)
    assert (code, err) == (0, ""), out
    assert "the commit is not recorded, since git refuses to read the repository: fatal: detected dubious" in out
    assert (root / "runs/small/result.txt").read_text() == "1"
    record_property("expected", "the run is done, and a line says that git refuses")


def test_the_reason_of_an_error_that_has_no_traceback_is_in_the_terminal(tmp_path):
    """IPython prints the traceback of a group itself, and what its libraries print at its end is no reason."""
    late = "atexit.register(os.write, 2, b'Assertion failed: of a library\\n')"
    error = f"import atexit, os\n{late}\nraise ExceptionGroup('two', [ValueError('the inner one')])"
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, error, FINISH)
    code, _, err = call(tmp_path, "run", "small")
    assert code == 1 and "lead: cell 3 failed: ValueError: the inner one" in err
    assert json.loads((tmp_path / "runs/small/run.json").read_text())["attempts"][0]["reason"].endswith("inner one")


WITHOUT_LOCKS = """\
import errno, fcntl, sys
def flock(file, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
from pathlib import Path
from lead_kit.runs import lock
folder = Path(sys.argv[1])
lock.acquire(folder)
print(lock.has_writer(folder), flush=True)
input()
lock.release(folder)
print(lock.has_writer(folder))
"""


def test_where_files_cannot_be_locked_a_file_is_the_lock(tmp_path, record_property):
    command = [sys.executable, "-c", WITHOUT_LOCKS, tmp_path / "run"]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline().startswith("this file system has no file locks, so a file marks the writer")
    assert first.stdout.readline() == "True\n"
    second = subprocess.run(command, capture_output=True, text=True, input="\n")
    assert second.returncode == 1 and f"is being written by process {first.pid}" in second.stderr
    assert first.communicate("\n")[0] == "False\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    killed = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed.stdout.readline(), killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert subprocess.run(command, capture_output=True, text=True, input="\n").returncode == 0
    record_property("expected", "one writer, a line on the file, and no lock that outlives its process")


FILL = """\
with open(run.path / "big", "wb", buffering=0) as file:
    for _ in range(1000):
        file.write(bytes(1000))"""
ON_A_SMALL_DISK = """\
mkdir runs && mount -t tmpfs -o size=2m none runs && touch runs/mounted || exit 77
head -c 1200000 /dev/zero > runs/ballast
"$0" -P -m lead_kit.cli run small -p steps 2; echo "code $?"
cat runs/small/run.json
rm runs/ballast
"$0" -P -m lead_kit.cli run small -p steps 2; echo "code $?"
head -c 9000000 /dev/zero > runs/ballast
"$0" -P -m lead_kit.cli run small -p steps 2 --run-name other; echo "code $?"
"""


def test_a_run_on_a_full_disk_says_so_and_continues_when_there_is_room(tmp_path, record_property):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, WORK, FILL, FINISH)
    variables = environment() | {"LEAD_ROOT": str(tmp_path)}
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, sys.executable]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    if "code" not in done.stdout:
        pytest.skip(f"needs a small disk of its own: {done.stderr.strip() or 'mount is not permitted'}")
    first, second, other = done.stdout.split("code ")[1:]
    assert first.startswith("2\n") and '"reason": "[Errno 28] No space left on device"' in first
    assert second.startswith("0\n") and other == "2\n", done.stderr
    assert done.stderr.splitlines()[0] == "lead: the disk of runs/small is full; with room, the same command continues"
    record_property("expected", "a sentence and a reason in run.json; with room the run is done")


def test_a_number_of_a_launcher_that_is_none_is_named(tmp_path):
    small_notebook(tmp_path)
    code, _, err = call(tmp_path, "run", "small", RANK="0", MASTER_ADDR="h", MASTER_PORT="1", WORLD_SIZE="many")
    assert code == 2 and err == "lead: the environment has WORLD_SIZE=many, expected a number: unset it\n"


def test_the_users_setting_for_pip_does_not_reach_the_environment_that_make_builds():
    command = ["make", "--no-print-directory", "--eval", "show: ; @echo $$PIP_USER", "show"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, env=os.environ | {"PIP_USER": "1"}, capture_output=True, text=True)
    assert done.stdout == "0\n"

"""lead run: the process tree, its signals, its locks, several ranks."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from lead_kit.launch.ranks import has_gpu
from lead_kit.runs.log_files import read_metrics
from tests.small import FINISH, RANKS, SETTLE, WORK, call, lead, small_notebook, until, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]
SLEEP = "run.log(1, 'train', reward=0.5)\nrun.progress(1, 9)\ntime.sleep(100)"


def status(root, name="small"):
    return json.loads((root / f"runs/{name}/run.json").read_text())["status"]


def test_a_run_is_executed_once_and_again_only_when_asked(tmp_path):
    small_notebook(tmp_path)
    code, out, err = call(tmp_path, "run", "small", "-p", "steps", "2")
    assert (code, err) == (0, "") and "step 2/2  reward 1" in out
    folder = tmp_path / "runs/small"
    executed = json.loads((folder / "notebook.ipynb").read_text())
    assert [c["execution_count"] for c in executed["cells"]] == [1, 2, 3, 4, 5]
    kept = json.loads((folder / "run.json").read_text())
    assert kept["given"] == {"steps": 2} and kept["parameters"]["fail"] == "" and kept["summary"] == {"steps": 2}
    assert kept["outputs"]["result.txt"]["bytes"] == 1 and "step 2/2" in (folder / "log.txt").read_text()
    assert "is finished; use --again" in call(tmp_path, "run", "small", "-p", "steps", "2")[1]
    code, _, err = call(tmp_path, "run", "small")
    assert code == 2 and "steps was 2, now 3; choose another run_name" in err
    assert call(tmp_path, "run", "small", "-p", "steps", "2", "--again")[0] == 0
    assert (folder / "attempts/1/result.txt").read_text() == "2"
    assert [p.name for p in folder.glob(".*")] == []


@pytest.mark.parametrize(
    "fail, code, told",
    [
        ("input", 2, "lead: group_size must"),
        ("bug", 1, "ZeroDivisionError: division by zero"),
        ("dies", 1, "kernel died"),
    ],
)
def test_a_failing_cell_ends_the_run_with_its_reason(tmp_path, fail, code, told):
    small_notebook(tmp_path)
    got, _, err = call(tmp_path, "run", "small", "-p", "fail", fail)
    assert got == code and told in err and status(tmp_path) == "failed"
    assert "Traceback" in err or fail != "bug"
    assert (tmp_path / "runs/small/notebook.ipynb").is_file() and not (tmp_path / "runs/small/done").exists()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_is_left_running_when_lead_is_stopped(tmp_path, number, code):
    write_notebook(tmp_path / "notebooks/sleepy.ipynb", SETTLE, SLEEP, FINISH)
    process = lead(tmp_path, "run", "sleepy")
    until(process, "step 1/9")
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    err = process.communicate(timeout=600)[1]
    assert process.returncode == code
    assert psutil.wait_procs(below, timeout=60)[1] == []
    if number != signal.SIGKILL:
        assert status(tmp_path) == "failed" and "continues runs/small" in err


def test_a_second_writer_is_refused_or_waits(tmp_path):
    write_notebook(tmp_path / "notebooks/slow.ipynb", SETTLE, WORK, "time.sleep(3)", FINISH)
    first = lead(tmp_path, "run", "slow")  # the writer is then the process that the user sees
    until(first, "step 1/3")
    code, _, err = call(tmp_path, "run", "slow")
    assert code == 2 and f"runs/small is being written by process {first.pid} on" in err
    code, out, _ = call(tmp_path, "run", "slow", "--wait")
    assert code == 0 and "waiting for process" in out and "runs/small is finished" in out
    first.communicate()
    assert first.returncode == 0


def test_two_notebooks_that_need_the_same_input_make_it_once(tmp_path):
    small_notebook(tmp_path)
    need = "print(run.input(run_notebook_if_missing('runs/small/result.txt')).read_text())\nrun.finish()"
    write_notebook(tmp_path / "notebooks/needs.ipynb", SETTLE, need, parameters='run_name: str = "needs"')
    both = [lead(tmp_path, "run", "needs", "--run-name", name) for name in ("a", "b")]
    for process in both:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert "runs/small/result.txt does not exist yet" in out and out.strip().endswith("3")
    assert len(json.loads((tmp_path / "runs/small/run.json").read_text())["attempts"]) == 1


def test_ranks_share_one_run(tmp_path):
    write_notebook(tmp_path / "notebooks/ranks.ipynb", SETTLE, RANKS, FINISH)
    code, out, err = call(tmp_path, "run", "ranks", "--nproc", "2")
    assert code == 0, err
    assert "rank 0" in out and "rank 1" not in out
    assert [row["reward"] for row in read_metrics(tmp_path / "runs/small")] == [3.0]
    assert (tmp_path / "runs/small/ranks/1.ipynb").is_file()


def test_a_failing_rank_ends_the_others(tmp_path):
    write_notebook(tmp_path / "notebooks/ranks.ipynb", SETTLE, RANKS, FINISH)
    code, _, err = call(tmp_path, "run", "ranks", "--nproc", "2", "-p", "fail", "rank")
    assert code == 1 and "KeyError: 'boom' on rank 1" in err and status(tmp_path) == "failed"


@pytest.mark.long
def test_another_distributed_type_than_asked_is_refused(tmp_path):
    write_notebook(tmp_path / "notebooks/ranks.ipynb", SETTLE, RANKS, FINISH)
    plugin = Path(__file__).parents[2] / "experiments/accelerate/fsdp2.yaml"
    if has_gpu():
        pytest.skip("with GPUs FSDP2 is really there")
    code, _, err = call(tmp_path, "run", "ranks", "--nproc", "2", "--accelerate", str(plugin))
    assert code == 2 and "fsdp2 was asked for, but accelerate runs MULTI_CPU" in err


def test_plain_papermill_leaves_the_same_manifest(tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill")
    source = small_notebook(tmp_path)
    monkeypatch.setenv("LEAD_ROOT", str(tmp_path))
    monkeypatch.delenv("LEAD_OWNER", raising=False)
    papermill.execute_notebook(source, tmp_path / "out.ipynb", {"steps": "2"}, progress_bar=False, cwd="/")
    kept = json.loads((tmp_path / "runs/small/run.json").read_text())
    assert kept["status"] == "done" and kept["given"] == {"steps": 2} and kept["notebook"] == "notebooks/small.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'steps'"):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", {"step": 2}, progress_bar=False, cwd="/")
    with pytest.raises(papermill.PapermillExecutionError, match="steps was 2, now 5"):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", {"steps": 5}, progress_bar=False, cwd="/")


def test_a_run_that_goes_on_has_its_notebook_as_far_as_it_is_executed(tmp_path):
    small_notebook(tmp_path, "time.sleep(60)")
    process = lead(tmp_path, "run", "notebooks/small.ipynb")
    until(process, "step 3/3")
    cells = json.loads((tmp_path / "runs/small/notebook.ipynb").read_text())["cells"]
    assert [cell["execution_count"] for cell in cells[:2]] == [1, 2] and not (tmp_path / "runs/small/done").exists()


def test_a_tripwire_is_told_in_brief_too_and_kept_in_the_record(tmp_path):
    trips = "run.record_tripwire(2, 'truncated', 'all of it')\nprint('a line of the log')\n"
    trips += "run.record_tripwire(3, 'truncated', 'again')"
    small_notebook(tmp_path, trips)
    code, out, err = call(tmp_path, "run", "small", "--brief")
    assert code == 0, err
    assert "tripwire truncated, step 2: all of it" in out and "a line of the log" not in out
    kept = json.loads((tmp_path / "runs/small/run.json").read_text())
    assert kept["tripwires"] == [{"step": 3, "wire": "truncated", "sentence": "again"}]  # one entry a wire

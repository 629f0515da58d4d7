"""How a run ends: done only when its notebook says so, and with nothing left behind, whatever happens to it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lead_kit.launch import process_tree
from tests import small
from tests.small import FINISH, SETTLE, WORK, call, lead, small_notebook, until, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]
KIT = Path(__file__).resolve().parents[2]
SLEEP = "run.log(1, 'train', reward=0.5)\nrun.progress(1, 9)\ntime.sleep(600)"
# a process that leaves its session and its parent, as a server does that a library starts
DAEMON = """\
import subprocess, sys
code = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(600)"
subprocess.run([sys.executable, "-c", code])"""
WAIT = 120  # seconds for a process to end, on a busy machine


def kept(root, name="small"):
    return json.loads((root / f"runs/{name}/run.json").read_text())


def ended(process, patience=WAIT):
    """Whether a process ends in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.2)
    return False


def test_sys_exit_in_a_cell_is_not_the_end_of_a_run(tmp_path):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, "import sys\nsys.exit(0)", FINISH)
    code, _, err = call(tmp_path, "run", "small")
    assert code == 1 and "ended before `run.finish()`, so the run is not done" in err
    assert kept(tmp_path)["status"] == "failed" and not (tmp_path / "runs/small/done").exists()


def test_a_later_attempt_must_finish_itself(tmp_path):
    small_notebook(tmp_path)
    assert call(tmp_path, "run", "small")[0] == 0
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, "import sys\nsys.exit(0)", FINISH)
    code, out, _ = call(tmp_path, "run", "small", "--again")
    assert code == 1 and kept(tmp_path)["status"] == "failed"
    assert "changed since attempt 1: the notebook's code" in out


@pytest.mark.parametrize("new_writer", [False, True])
def test_a_run_whose_folder_was_deleted_ends_itself_and_writes_nothing(tmp_path, new_writer):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, SLEEP, FINISH)
    first = lead(tmp_path, "run", "small")
    until(first, "step 1/9")
    below = psutil.Process(first.pid).children(recursive=True)
    shutil.rmtree(tmp_path / "runs/small")
    if new_writer:
        write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, WORK, FINISH)
        code, *printed = call(tmp_path, "run", "small")
        assert code == 0, printed
    err = first.communicate(timeout=WAIT)[1]
    assert first.returncode == 2 and "Traceback" not in err
    assert "runs/small was deleted or replaced while this run was writing it" in err
    assert psutil.wait_procs(below, timeout=WAIT)[1] == []
    assert not new_writer or (kept(tmp_path)["status"], len(kept(tmp_path)["attempts"])) == ("done", 1)


def test_a_run_that_ends_late_leaves_the_processes_of_the_new_writer_alone(tmp_path):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, SLEEP, FINISH)
    first = lead(tmp_path, "run", "small")
    until(first, "step 1/9")
    first.send_signal(signal.SIGSTOP)  # a busy machine may delay it as long
    shutil.rmtree(tmp_path / "runs/small")
    until_gone = "print('step 1/9', flush=True)\nwhile not os.path.exists('first-ended'):\n    time.sleep(0.1)"
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, until_gone, FINISH)
    second = lead(tmp_path, "run", "small")
    until(second, "step 1/9")
    first.send_signal(signal.SIGCONT)
    assert first.wait(WAIT) == 2
    (tmp_path / "first-ended").touch()
    printed = second.communicate(timeout=WAIT)
    assert second.returncode == 0, printed
    assert kept(tmp_path)["status"] == "done"


def test_what_a_killed_run_left_running_is_ended_by_its_next_attempt(tmp_path):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, DAEMON, SLEEP, FINISH)
    process = lead(tmp_path, "run", "small")
    until(process, "step 1/9")
    process.kill()
    process.communicate()
    time.sleep(1)
    left = process_tree.with_variable("LEAD_RUN", f"{tmp_path}/runs/small host 0")
    assert len(left) == 1  # the daemon
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, WORK, FINISH)
    code, out, _ = call(tmp_path, "run", "small")
    assert code == 0 and "ended 1 process that an earlier attempt left running" in out
    assert ended(left[0])


def test_a_run_ends_when_the_program_that_ordered_it_has_ended_before_it_starts(tmp_path):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, SLEEP, FINISH)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = lead(tmp_path, "run", "small", "--die-with-parent", str(gone.pid))
    process.communicate(timeout=WAIT)
    assert process.returncode == -signal.SIGTERM and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_disturb_the_first(tmp_path, number):
    slow_to_die = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, slow_to_die, SLEEP, FINISH)
    process = lead(tmp_path, "run", "small")
    until(process, "step 1/9")
    for _ in range(20):
        process.send_signal(number)
        time.sleep(0.02)
    err = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 128 + number
    assert err == f"stopped by {number.name}; the same command continues runs/small\n"
    assert kept(tmp_path)["attempts"][-1]["reason"] == f"stopped by {number.name}"


def test_a_huge_output_is_cut_and_the_run_goes_on(tmp_path):
    loud = "print('x' * 100_000_000)\nfor i in range(3):\n    display({'text/plain': 'y' * 5_000_000}, raw=True)"
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, loud, "print('small')", FINISH)
    code, _, err = call(tmp_path, "run", "small")
    assert code == 0, err
    folder = tmp_path / "runs/small"
    assert (folder / "notebook.ipynb").stat().st_size < 2 << 20
    text = json.loads((folder / "notebook.ipynb").read_text())["cells"][2]["outputs"][0]["text"]
    assert "".join(text).endswith("[lead: an output keeps 1 MB; log.txt has the rest]\n")
    assert (folder / "log.txt").stat().st_size > 100_000_000


def test_a_call_that_takes_too_long_leaves_nothing_running(tmp_path):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, DAEMON, SLEEP, FINISH)
    with pytest.raises(subprocess.TimeoutExpired):
        call(tmp_path, "run", "small", timeout=15)
    assert process_tree.with_variable(small.MARK, small.mark()) == []


def test_reproduce_killed_as_a_job_starts_leaves_no_run(tmp_path):
    """Kills `lead reproduce` at many moments around the start of its job; each time nothing may be left."""
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, SLEEP, FINISH)
    for kind, name, text in (("recipes", "one", "stages:\n  a: {notebook: small}\n"), ("scales", "tiny", "{jobs: 1}")):
        (tmp_path / "experiments" / kind).mkdir(parents=True)
        (tmp_path / "experiments" / kind / f"{name}.yaml").write_text(text)
    (tmp_path / "experiments/Snakefile").symlink_to(KIT / "experiments/Snakefile")
    for delay in (0.0, 0.05, 0.15, 0.3):
        process = lead(tmp_path, "reproduce", "one", "--scale", "tiny")
        while not (jobs := [p for p in process_tree.with_variable(small.MARK, small.mark()) if is_job(p)]):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert all(ended(job) for job in jobs)
        assert [p for p in process_tree.with_variable(small.MARK, small.mark()) if not ended(p, 20)] == []


def is_job(process):
    try:
        return "lead_kit.cli run" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_a_stopped_lead_ends_its_whole_tree(tmp_path):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, DAEMON, SLEEP, FINISH)
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the tests, and so `lead`, would ignore it
    process = lead(tmp_path, "run", "small")
    signal.signal(signal.SIGHUP, inherited)
    until(process, "step 1/9")
    os.kill(process.pid, signal.SIGHUP)
    process.communicate(timeout=WAIT)
    assert process.returncode == 128 + signal.SIGHUP
    assert process_tree.with_variable(small.MARK, small.mark()) == []

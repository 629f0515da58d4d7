"""Kernels as forks of a process that has the libraries: the same results, the same ends, nothing left behind."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from lead_kit.launch import forkserver
from tests.launch.test_endings import DAEMON, ended
from tests.small import FINISH, SETTLE, call, lead, small_notebook, until, until_logged, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]
KIT = Path(__file__).resolve().parents[2]
STATE = """\
import atexit, multiprocessing, os, sys
print("imported", sorted({"torch", "lead_kit.train"} & set(sys.modules)), multiprocessing.get_start_method())
atexit.register(lambda: (run.path / "at_exit.txt").write_text("called"))"""
SLEEP = "run.log(1, 'train', reward=0.5)\nprint('pids', os.getpid(), os.getppid())\nrun.progress(1, 9)\ntime.sleep(600)"


def kept(root, name="small"):
    return json.loads((root / f"runs/{name}/run.json").read_text())


def test_a_kernel_begins_with_the_libraries_and_ends_like_a_process(tmp_path, forks):
    small_notebook(tmp_path, STATE)
    code, out, err = call(tmp_path, "run", "small", **forks)
    assert (code, err) == (0, "") and "imported ['torch'] fork" in out
    assert kept(tmp_path)["status"] == "done" and (tmp_path / "runs/small/at_exit.txt").is_file()
    assert "imported [] fork" in call(tmp_path, "run", "small", "--again")[1]
    assert "NOTE: " not in (tmp_path / "runs/small/log.txt").read_text()  # ipykernel's, for kernels without a parent


def test_the_rollouts_of_a_training_are_those_of_a_run_by_itself(tmp_path, forks):
    (tmp_path / "notebooks").symlink_to(KIT / "notebooks")
    sizes = {"model": "tiny", "steps": 2, "batch_size": 16, "group_size": 4, "max_tokens": 16, "validate_every": 1}
    given = [word for name, value in sizes.items() for word in ("-p", name, str(value))]
    for name, variables in (("fork", forks), ("process", {})):
        code, out, err = call(tmp_path, "run", "03_grpo", *given, "--run-name", name, **variables)
        assert code == 0, out + err
    logged = [[json.loads(line) for line in (tmp_path / f"runs/{n}/metrics.jsonl").open()] for n in ("fork", "process")]
    for one, other in zip(*logged, strict=True):
        same = {name for name in one if "time" not in name and "second" not in name}
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


@pytest.mark.parametrize("name, value", [("TORCH_LOGS", ""), (forkserver.VARIABLE, "/no/such/socket")])
def test_a_kernel_that_no_server_makes_is_a_process(tmp_path, forks, name, value):
    """TORCH_LOGS is read when torch is imported, so this kernel has to import it itself."""
    small_notebook(tmp_path, STATE)
    code, out, _ = call(tmp_path, "run", "small", **forks | {name: value})
    assert code == 0 and "imported []" in out


@pytest.mark.parametrize("fail, code, told", [("input", 2, "lead: group_size must"), ("dies", 1, "kernel died")])
def test_a_failing_cell_ends_the_run_with_its_reason(tmp_path, forks, fail, code, told):
    small_notebook(tmp_path)
    got, _, err = call(tmp_path, "run", "small", "-p", "fail", fail, **forks)
    assert got == code and told in err and kept(tmp_path)["status"] == "failed"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_is_left_running_when_lead_is_stopped(tmp_path, forks, number, code):
    daemon = DAEMON.replace("time.sleep(600)", f"time.sleep(600)  # {tmp_path}")
    cells = [SETTLE, SLEEP, FINISH] if number == signal.SIGKILL else [SETTLE, daemon, SLEEP, FINISH]
    write_notebook(tmp_path / "notebooks/sleepy.ipynb", *cells)
    process = lead(tmp_path, "run", "sleepy", **forks)
    kernel = psutil.Process(int(until(process, "pids").split()[1]))
    until(process, "step 1/9")
    below = [kernel, *psutil.Process(process.pid).children(recursive=True)]
    below += [p for p in psutil.process_iter(["cmdline"]) if f"# {tmp_path}" in " ".join(p.info["cmdline"] or [])]
    assert len(below) == 2 + (number != signal.SIGKILL)  # kernel, papermill and the daemon
    process.send_signal(number)
    err = process.communicate(timeout=600)[1]
    assert process.returncode == code and all(map(ended, below))
    if number != signal.SIGKILL:
        assert kept(tmp_path)["status"] == "failed" and "continues runs/small" in err


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_kernels_end_with_the_command_that_serves_them(tmp_path, number, code):
    for name in ("notebooks", "experiments"):
        (tmp_path / name).symlink_to(KIT / name)
    process = lead(tmp_path, "reproduce", "figure1", "--scale", "smoke", "--arms", "grpo", "--jobs", "1")
    until_logged(process, tmp_path / "runs", "step ")
    below = psutil.Process(process.pid).children(recursive=True)
    assert [p for p in below if "multiprocessing.forkserver" in " ".join(p.cmdline())]
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode == code and all(map(ended, below))

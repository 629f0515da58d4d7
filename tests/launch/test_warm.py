"""Runs as forks of a process that has imported the libraries: the same results, the same ends, nothing left behind."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from lead_kit.launch import warm as warm_process
from tests import small
from tests.launch.test_endings import DAEMON, ended
from tests.small import FINISH, SETTLE, call, lead, small_notebook, until, write_notebook

pytestmark = [pytest.mark.slow, pytest.mark.fault]
KIT = Path(__file__).resolve().parents[2]
TOLD = "import os, sys\nprint('imported', 'torch' in sys.modules, 'pids', os.getpid(), os.getppid())"
VERIFY = """\
import os, sys
from lead_kit import verify
verifier = verify.shared()
for gold, answer in (("2\\\\sqrt{2}", "\\\\sqrt{8}"), ("3\\\\sqrt{2}", "\\\\sqrt{18}")):
    assert verifier.compare(answer, gold).correct
    server = verifier._server.process
    print("server", type(server).__name__, server.pid, sys.flags.hash_randomization)
    for pid in [each.pid for each in verifier._idle] + [server.pid]:
        os.kill(pid, 9)
    server.wait()"""
SLEEP = "run.log(1, 'train', reward=0.5)\nprint('pids', os.getpid(), os.getppid())\nrun.progress(1, 9)\ntime.sleep(600)"


def kept(root, name="small"):
    return json.loads((root / f"runs/{name}/run.json").read_text())


def test_the_libraries_are_there_before_the_run_begins(tmp_path, warm):
    small_notebook(tmp_path, TOLD)
    code, out, err = call(tmp_path, "run", "small", **warm)
    assert (code, err) == (0, "") and "step 3/3" in out  # one that comes early does not wait for torch
    assert kept(tmp_path)["status"] == "done" and kept(tmp_path)["attempts"][0]["command"][:2] == ["lead", "run"]
    assert "imported True" in call(tmp_path, "run", "small", "--again", **warm)[1]
    assert "imported False" in call(tmp_path, "run", "small", "--again")[1]
    assert "NOTE: " not in (tmp_path / "runs/small/log.txt").read_text()  # ipykernel's, for kernels without a parent


def test_the_rollouts_of_a_training_are_those_of_a_run_by_itself(tmp_path, warm):
    (tmp_path / "notebooks").symlink_to(KIT / "notebooks")
    sizes = {"model": "tiny", "steps": 2, "batch_size": 16, "group_size": 4, "max_tokens": 16, "validate_every": 1}
    given = [word for name, value in sizes.items() for word in ("-p", name, str(value))]
    for name, variables in (("warm", warm), ("cold", {})):
        code, out, err = call(tmp_path, "run", "03_grpo", *given, "--run-name", name, **variables)
        assert code == 0, out + err
    logged = [[json.loads(line) for line in (tmp_path / f"runs/{n}/metrics.jsonl").open()] for n in ("warm", "cold")]
    for one, other in zip(*logged, strict=True):
        same = {name for name in one if "time" not in name and "second" not in name}
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


def test_the_verifiers_server_is_a_fork_too_and_its_successor_a_process_of_its_own(tmp_path, warm):
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, VERIFY, FINISH)
    code, out, err = call(tmp_path, "run", "small", **warm)
    assert code == 0, err
    told = [line.split()[1:] for line in out.splitlines() if line.startswith("server")]
    assert [(kind, seeded) for kind, _, seeded in told] == [("Fork", "0"), ("Popen", "0")]


def test_a_verifiers_server_that_nobody_asked_ends_with_the_run(tmp_path, warm):
    waiting = (
        "from lead_kit.verify import server\n[(_, waiting)] = server._prepared.values()\nprint('pid', waiting.pid)"
    )
    write_notebook(tmp_path / "notebooks/small.ipynb", SETTLE, waiting, FINISH)
    code, out, err = call(tmp_path, "run", "small", **warm)
    [pid] = [int(line.split()[1]) for line in out.splitlines() if line.startswith("pid")]
    assert code == 0 and not psutil.pid_exists(pid), err


def test_a_run_that_sets_what_libraries_read_imports_them_itself(tmp_path, warm):
    small_notebook(tmp_path, TOLD)
    code, out, _ = call(tmp_path, "run", "small", TORCH_LOGS="", **warm)
    assert code == 0 and "imported False" in out


def test_a_run_goes_on_by_itself_when_the_warm_process_has_ended(tmp_path, warm):
    small_notebook(tmp_path, TOLD)
    code, out, _ = call(tmp_path, "run", "small", LEAD_WARM=str(tmp_path / "nobody"))
    assert code == 0 and "imported False" in out


@pytest.mark.parametrize("fail, code, told", [("input", 2, "lead: group_size must"), ("dies", 1, "kernel died")])
def test_a_failing_cell_ends_the_run_with_its_reason(tmp_path, warm, fail, code, told):
    small_notebook(tmp_path)
    got, _, err = call(tmp_path, "run", "small", "-p", "fail", fail, **warm)
    assert got == code and told in err and kept(tmp_path)["status"] == "failed"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_is_left_running_when_lead_is_stopped(tmp_path, warm, number, code):
    daemon = DAEMON.replace("time.sleep(600)", f"time.sleep(600)  # {tmp_path}")
    write_notebook(tmp_path / "notebooks/sleepy.ipynb", SETTLE, daemon, SLEEP, FINISH)
    process = lead(tmp_path, "run", "sleepy", **warm)
    kernel, papermill = map(int, until(process, "pids").split()[1:])
    until(process, "step 1/9")
    below = [psutil.Process(pid) for pid in (kernel, papermill)]
    below += [p for p in psutil.process_iter(["cmdline"]) if f"# {tmp_path}" in " ".join(p.info["cmdline"] or [])]
    assert len(below) == 3
    process.send_signal(number)
    err = process.communicate(timeout=600)[1]
    assert process.returncode == code and all(map(ended, below))
    if number != signal.SIGKILL:
        assert kept(tmp_path)["status"] == "failed" and "continues runs/small" in err


def test_a_run_ends_with_the_warm_process(tmp_path):
    write_notebook(tmp_path / "notebooks/sleepy.ipynb", SETTLE, SLEEP, FINISH)
    with warm_process.server(small.environment()) as variables:
        process = lead(tmp_path, "run", "sleepy", **variables)
        kernel = psutil.Process(int(until(process, "pids").split()[1]))
        until(process, "step 1/9")
        server = kernel.parent().parent().parent()
        server.kill()
        err = process.communicate(timeout=600)[1]
    assert process.returncode == 1 and "the warm process ended, and this run with it" in err and ended(kernel)


def test_the_first_run_need_not_wait_for_torch_and_a_signal_reaches_it(tmp_path):
    write_notebook(tmp_path / "notebooks/sleepy.ipynb", SETTLE, f"{TOLD}\n{SLEEP}", FINISH)
    with warm_process.server(small.environment()) as variables:
        process = lead(tmp_path, "run", "sleepy", **variables)
        imported = until(process, "imported")
        until(process, "step 1/9")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=600)
    assert process.returncode == 130 and "imported False" in imported


def test_reproduce_starts_one_and_ends_it(tmp_path):
    for name in ("notebooks", "experiments"):
        (tmp_path / name).symlink_to(KIT / name)
    process = lead(tmp_path, "reproduce", "figure1", "--scale", "smoke", "--arms", "grpo", "--jobs", "1")
    until(process, "step ")
    below = psutil.Process(process.pid).children(recursive=True)
    assert [p for p in below if "warm.serve" in " ".join(p.cmdline())]
    process.terminate()
    process.communicate(timeout=600)
    assert process.returncode == 143 and all(map(ended, below))

"""The ranks of a run: started by `lead run`, or `lead run` itself started by torchrun, srun or accelerate launch."""

import ctypes
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lead_kit.errors import InputError
from lead_kit.launch import ranks as ranks_of_runs
from lead_kit.launch.ranks import Ranks, environment, has_gpu, locate
from lead_kit.runs.log_files import read_metrics
from tests import small
from tests.small import FINISH, RANKS, SETTLE, write_notebook

KIT = Path(__file__).resolve().parents[2]
DDP = str(KIT / "experiments/accelerate/ddp.yaml")
LEAD = ["-m", "lead_kit.cli", "run", "ranks"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = ["-m", "accelerate.commands.launch", "--config_file", DDP, "--num_processes", "2", "--num_machines", "1"]
STEP = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "9"}


@pytest.mark.parametrize(
    "ranks, message",
    [
        (Ranks(node_rank=1), "--node-rank 1: needs --nodes"),
        (Ranks(nodes=2, node_rank=0), "--nodes 2: needs --node-rank R and --rendezvous HOST:PORT, or a step of Slurm"),
        (Ranks(nodes=2, node_rank=2, rendezvous="h:1"), "--node-rank 2: expected 0 to 1 with --nodes 2"),
        (Ranks(nodes=2, node_rank=0, rendezvous="h"), "--rendezvous 'h': expected HOST:PORT"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(ranks, message):
    with pytest.raises(InputError) as error:
        locate(ranks, {})
    assert message in str(error.value)


def test_a_step_of_slurm_must_have_as_many_hosts():
    with pytest.raises(InputError, match="--nodes 2: this step of Slurm has 3 hosts"):
        locate(Ranks(nodes=2), {"SLURM_NODEID": "0", "SLURM_NNODES": "3"})


def test_a_rank_of_a_launcher_is_one_host_of_many_unless_the_ranks_are_lead_runs_own():
    variables = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert locate(Ranks(), variables)[2:5] == (4, 3, "10.0.0.1:29500")
    step = STEP | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
    launched = locate(Ranks(), step)
    assert launched.node_rank == 1 and launched.of_launcher["MASTER_ADDR"] == ranks_of_runs.LOOPBACK
    for ranks, outer in ((Ranks(nproc=2), variables), (Ranks(), variables | {"LEAD_RUN": "a cell of a run"})):
        assert locate(ranks, outer).of_launcher is None
    with pytest.raises(InputError, match="--accelerate ddp.yaml: use `accelerate launch --config_file`"):
        locate(Ranks(accelerate="ddp.yaml"), variables)


def test_gloo_and_nccl_use_loopback_on_one_host_unless_the_user_has_chosen(tmp_path, monkeypatch):
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    found = environment(locate(Ranks(nproc=2), {}), tmp_path)
    assert (found["GLOO_SOCKET_IFNAME"], found["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")  # exact for both
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth")
    assert environment(locate(Ranks(nproc=2), {}), tmp_path)["NCCL_SOCKET_IFNAME"] == "eth"


def start(root, *words, **variables):
    """`python` with these words in an environment without another launcher's variables."""
    env = small.environment() | {"LEAD_ROOT": str(root), small.MARK: small.mark()} | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, *words], cwd=root, env=env, **pipes)
    small.STARTED.append(process)
    return process


def is_free(port):
    """Whether nothing listens at this port of the host."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def start_steps(root, *words):
    """Two tasks as srun starts them, of a job whose port is free: another suite may run on this host."""
    job = next(number for number in range(os.getpid() % 9000, 10_000) if is_free(20_000 + number))
    step = STEP | {"SLURM_JOB_ID": str(job)}
    tasks = [step | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [start(root, *words, **task) for task in tasks]


STARTS = {
    "torchrun": lambda root, *words: [start(root, *TORCHRUN, *words)],
    "accelerate launch": lambda root, *words: [start(root, *ACCELERATE, "--main_process_port", "0", *words)],
    "srun": start_steps,
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", STARTS)
def test_lead_run_is_one_rank_of_a_launcher(tmp_path, launcher):
    write_notebook(tmp_path / "notebooks/ranks.ipynb", SETTLE, RANKS, FINISH)
    for process in STARTS[launcher](tmp_path, *LEAD):
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
    folder = tmp_path / "runs/small"
    assert [row["reward"] for row in read_metrics(folder)] == [3.0]  # 1 + 2, over both ranks
    kept = json.loads((folder / "run.json").read_text())
    assert (kept["status"], len(kept["attempts"])) == ("done", 1) and (folder / "ranks/1.ipynb").is_file()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_the_first_error_of_a_launchers_ranks_is_the_runs(tmp_path, launcher):
    write_notebook(tmp_path / "notebooks/ranks.ipynb", SETTLE, RANKS, FINISH)
    processes = STARTS[launcher](tmp_path, *LEAD, "-p", "fail", "rank")
    texts = [process.communicate(timeout=600)[1] for process in processes]
    assert all(process.returncode for process in processes)
    assert any("KeyError: 'boom' on rank 1" in text for text in texts), texts
    attempt = json.loads((tmp_path / "runs/small/run.json").read_text())["attempts"][-1]
    assert (attempt["status"], attempt["reason"]) == ("failed", "'boom'")


@pytest.mark.slow
def test_each_rank_has_one_thread_as_under_torchrun(tmp_path):
    cells = (SETTLE, "import os\nprint('threads', os.environ['OMP_NUM_THREADS'], os.environ['RANK'])", FINISH)
    write_notebook(tmp_path / "notebooks/ranks.ipynb", *cells)
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, *LEAD, "--nproc", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=env | {"LEAD_ROOT": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0 and "threads 1 0" in done.stdout, done.stderr


@pytest.mark.parametrize("cards, failure", [(2, 0), (0, 0), (0, 100)])  # 100: the driver finds no device
def test_cuda_s_driver_says_whether_there_is_a_gpu(monkeypatch, cards, failure):
    def count(reference):
        reference._obj.value = cards
        return failure

    driver = SimpleNamespace(cuInit=lambda flags: failure, cuDeviceGetCount=count)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"libcuda.so.1": driver}[name])
    assert has_gpu() == bool(cards)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    assert has_gpu() == bool(torch.cuda.device_count())

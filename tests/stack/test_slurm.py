"""Recipes as jobs of a real Slurm: a cluster of two nodes on loopback, without accounting."""

import importlib.util
import json
import shutil
import time
from pathlib import Path

import pytest

from tests.small import FINISH, SETTLE, STARTED, call, end_started, lead, write_notebook
from tests.stack import cluster

pytestmark = pytest.mark.slow
KIT = Path(__file__).resolve().parents[2]
WAIT = 900  # seconds for a job to reach a state
OPTIONS = "--executor slurm --slurm-status-command squeue --slurm-init-seconds-before-status-checks 3"
SCALE = "jobs: 4\nsnakemake: [" + ", ".join(OPTIONS.split()) + "]\n"
SCALE += "resources: {{gres: 'gpu:1', cpus_per_task: 1, mem_mb: 1000, runtime: 60{more}}}\n"
# 03_grpo counts as a notebook with a model; this one trains nothing, but goes on from its checkpoint
STEPS = """\
from lead_kit.runs.checkpoints import latest_checkpoint, mark_complete
last = latest_checkpoint(run.path / "checkpoints")
start = int(last.name.removeprefix("checkpoint-")) if last else 0
run.truncate_metrics(start)
for step in range(start + 1, 13):
    run.log(step, "train", attempt=len(run.manifest["attempts"]))
    folder = run.path / f"checkpoints/checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text("{}")
    mark_complete(folder)
    time.sleep(steps)"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if why := cluster.missing():
        pytest.skip(why)
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("needs snakemake-executor-plugin-slurm: make stack-shards")
    with cluster.running(tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


def repository(root, more="", recipe="", **notebooks):
    """A copy of the kit's notebooks and experiments, with a scale that submits jobs."""
    for name in ("notebooks", "experiments"):
        shutil.copytree(KIT / name, root / name)
    for name, cells in notebooks.items():
        write_notebook(root / f"notebooks/{name}.ipynb", SETTLE, *cells)
    scale = SCALE.format(more=more)
    (root / "experiments/scales/cluster.yaml").write_text(scale)
    (root / "experiments/scales/smoking.yaml").write_text(f"like: smoke\n{scale}")
    (root / "experiments/recipes/own.yaml").write_text(recipe or "stages:\n  a: {notebook: own}\n")
    return root


def kept(root, name):
    path = root / f"runs/{name}/run.json"
    return json.loads(path.read_text()) if path.is_file() else None


def until(condition):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if value := condition():
            return value
        assert not any(process.poll() for process in STARTED), [process.communicate() for process in STARTED]
        time.sleep(0.5)
    raise AssertionError("waited in vain")


def only_job(variables):
    """The id of the one job that is running."""
    return until(lambda: cluster.slurm("squeue", "-h", "-t", "running", "-o", "%i", variables=variables).split())[0]


def test_one_arm_of_figure1_runs_from_its_first_stage_to_its_figures(tmp_path, slurm):
    root = repository(tmp_path)
    code, out, err = call(
        root, "reproduce", "figure1", "--scale", "smoking", "--arms", "grpo", "--set", "runtime=50", **slurm
    )
    assert code == 0, out + err
    jobs = cluster.slurm("scontrol", "show", "jobs", variables=slurm).strip().split("\n\n")
    assert all("TimeLimit=00:50:00" in job for job in jobs)
    asked = ["gres/gpu" in job or "gres:gpu" in job for job in jobs]
    plan = json.loads((root / "runs/figure1/smoking/plan.json").read_text())["jobs"]
    assert sum(asked) == sum("gres" in job["resources"] for job in plan.values())
    assert 0 < sum(asked) < len(jobs) == len(plan)


def test_a_requeued_job_goes_on_from_its_checkpoint(tmp_path, slurm):
    root = repository(tmp_path, own=[STEPS, FINISH])
    process = lead(root, "reproduce", "own", "--scale", "cluster", **slurm)
    metrics = root / "runs/own/cluster/a/metrics.jsonl"
    until(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) >= 2)
    job = only_job(slurm)
    cluster.slurm("scontrol", "requeue", job, variables=slurm)
    until(lambda: cluster.slurm("squeue", "-h", "-t", "pending", variables=slurm))
    cluster.slurm("scontrol", "update", f"JobId={job}", "StartTime=now", variables=slurm)  # else in two minutes
    until(lambda: len(kept(root, "own/cluster/a")["attempts"]) == 2)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, out + err
    attempts = [json.loads(line)["attempt"] for line in metrics.read_text().splitlines()]
    assert len(attempts) == 12 and attempts[:2] == [1, 1] and attempts[-1] == 2


def test_a_cancelled_job_is_reported(tmp_path, slurm):
    root = repository(tmp_path, own=["time.sleep(600)", FINISH])
    process = lead(root, "reproduce", "own", "--scale", "cluster", **slurm)
    until(lambda: kept(root, "own/cluster/a"))
    cluster.slurm("scancel", only_job(slurm), variables=slurm)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 1 and "lead: runs/own/cluster/a failed" in err, out + err


def test_a_job_that_dies_before_lead_run_starts_is_reported(tmp_path, slurm):
    root = repository(tmp_path, own=[FINISH])
    process = lead(root, "reproduce", "own", "--scale", "cluster", **slurm)
    plan = until(lambda: next(iter(root.glob("runs/own/cluster/plan.json")), None))
    plan.write_text(plan.read_text().replace("-m lead_kit.cli run", "-m no_such_module run"))
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 1, out + err
    assert "runs/own/cluster/a not run: the job ended before `lead run` started" in err
    assert "those of the cluster's jobs in runs/own/cluster/.snakemake/slurm_logs" in err


def test_a_run_on_two_nodes_is_one_job(tmp_path, slurm):
    total = "import accelerate, torch\naccelerator = accelerate.Accelerator()\n"
    total += "both = accelerator.gather(torch.tensor([1.0]))\nrun.log(1, 'train', ranks=both.sum().item())"
    root = repository(tmp_path, more=", nodes: 2", own=[total, FINISH])
    scale = root / "experiments/scales/cluster.yaml"
    scale.write_text(scale.read_text() + "nproc: {own: 2}\n")
    code, out, err = call(root, "reproduce", "own", "--scale", "cluster", **slurm)
    assert code == 0, out + err
    assert '"ranks": 4.0' in (root / "runs/own/cluster/a/metrics.jsonl").read_text()


def test_stopping_lead_cancels_its_jobs(tmp_path, slurm):
    root = repository(tmp_path, own=["time.sleep(600)", FINISH])
    lead(root, "reproduce", "own", "--scale", "cluster", **slurm)
    until(lambda: kept(root, "own/cluster/a"))
    end_started()
    until(lambda: cluster.slurm("squeue", "-h", variables=slurm) == "")

"""What the jobs of a cluster ask for."""

import json
from pathlib import Path

import pytest

from lead_kit.errors import InputError
from lead_kit.launch.recipe_model import Scale, load_scale
from lead_kit.launch.recipes import Job
from lead_kit.launch.run_recipe import _require_plugin, _resources_of, _set_resources, _write_plan

GIVEN = {"gres": "gpu:8", "runtime": "60", "nodes": "2"}


def job(notebook, nproc):
    return Job("a/b/c", "c", None, None, Path(f"{notebook}.ipynb"), {}, [], nproc, "")


@pytest.mark.parametrize(
    "notebook, nproc, asked",
    [
        ("01_preprocess", 1, {"runtime": 60}),
        ("04_evaluate", 1, {"gres": "gpu:8", "runtime": 60}),
        ("03_grpo", 8, {"gres": "gpu:8", "runtime": 60, "nodes": 2}),
    ],
)
def test_a_job_asks_for_what_it_uses(notebook, nproc, asked):
    assert _resources_of(job(notebook, nproc), GIVEN) == asked


def test_numbers_of_a_scale_become_text():
    scale = Scale(snakemake=["--executor", "slurm", "--retries", 1], resources={"gres": "gpu:8", "runtime": 60})
    assert scale.snakemake[-1] == "1" and scale.resources == {"gres": "gpu:8", "runtime": "60"}
    hosts = load_scale("2x8x80gb")
    assert hosts.resources == load_scale("slurm").resources | {"nodes": "2"} and "--executor" in hosts.snakemake


def test_a_resource_is_replaced_on_the_command_line():
    changed = {"runtime": "30", "gres": "gpu:4"}
    assert _set_resources(Scale(resources=GIVEN), ["runtime=30", "gres=gpu:4"], "slurm") == GIVEN | changed


@pytest.mark.parametrize("pair", ["runtime", "runtime=", "=60"])
def test_what_is_no_resource_is_refused(pair):
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        _set_resources(Scale(resources=GIVEN), [pair], "slurm")
    with pytest.raises(InputError, match="submits to no cluster"):
        _set_resources(Scale(), ["runtime=60"], "tiny")


def test_a_step_on_several_hosts_asks_for_its_cores_itself(tmp_path):
    """Since 22.05, srun does not take --cpus-per-task from its job."""
    resources = GIVEN | {"cpus_per_task": "64"}
    plan = json.loads(_write_plan(tmp_path, [job("03_grpo", 8)], Scale(resources=resources)).read_text())
    command = plan["jobs"]["c"]["command"]
    srun = "srun --overlap --nodes 2 --ntasks 2 --ntasks-per-node 1 --cpus-per-task 64 "
    assert command.startswith(srun) and command.endswith(" --nodes 2")


def test_a_missing_plug_in_is_one_sentence():
    _require_plugin(Scale(), "tiny")
    scale = Scale(snakemake=["--executor", "no-such"])
    with pytest.raises(InputError, match="^scale s lacks a plug-in: pip install snakemake-executor-plugin-no-such$"):
        _require_plugin(scale, "s")

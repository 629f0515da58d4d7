"""What the jobs of a cluster ask for."""

from pathlib import Path

import pytest

from lead_kit.errors import InputError
from lead_kit.launch.recipes import Job
from lead_kit.launch.run_recipe import own_resources, set_resources, split_resources

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
    assert own_resources(job(notebook, nproc), GIVEN) == asked


def test_resources_are_read_from_the_options_of_a_scale():
    options = ["--executor", "slurm", "--default-resources", "gres=gpu:8", "runtime=60", "--retries", 1]
    assert split_resources(options) == (
        ["--executor", "slurm", "--retries", "1"],
        {"gres": "gpu:8", "runtime": "60"},
    )


def test_a_resource_is_replaced_on_the_command_line():
    assert set_resources(GIVEN, ["runtime=30", "gres=gpu:4"], "slurm") == GIVEN | {"runtime": "30", "gres": "gpu:4"}


@pytest.mark.parametrize("pair", ["runtime", "runtime=", "=60"])
def test_what_is_no_resource_is_refused(pair):
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        set_resources(GIVEN, [pair], "slurm")
    with pytest.raises(InputError, match="submits to no cluster"):
        set_resources({}, ["runtime=60"], "tiny")

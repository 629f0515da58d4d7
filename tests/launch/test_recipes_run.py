"""Every recipe from its first stage to its last at the scale `smoke`, through `lead reproduce`, in its own folder."""

import json
import os
from pathlib import Path

import pytest

from lead_kit.launch import forkserver, recipe_model, recipes
from tests.small import call

KIT = Path(__file__).resolve().parents[2]
NO_FORKS = {forkserver.VARIABLE: ""}
NAMES = sorted(path.stem for path in (recipe_model.EXPERIMENTS / "recipes").glob("*.yaml"))
AT_ONCE = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"  # xdist has the other core
ARMS = {
    "grpo_lead_7b": ["--arms", "grpo,length,length_reweighting,lead,lead_code"],
    "figure_reflection": ["--arms", "grpo,reflection,random"],  # a control arm
    "atlas": ["--arms", "grpo,lead,mixed_groups"],  # of some thirty
    "atlas_robustness": ["--arms", "grpo,gfpo"],  # of eleven
}


@pytest.fixture
def root(tmp_path):
    """A repository whose notebooks and experiments are the kit's and whose runs are its own."""
    for name in ("notebooks", "experiments"):
        (tmp_path / name).symlink_to(KIT / name)
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_stage_and_arm_runs_to_its_end_without_a_download(root, name, forks):
    arms = ARMS.get(name, [])
    variables = {"reflection_lora": NO_FORKS, "figure1": {}}.get(name, forks)  # {}: lead reproduce serves the forks
    code, out, err = call(root, "reproduce", name, "--scale", "smoke", "--jobs", AT_ONCE, *arms, **variables)
    assert code == 0, out[-4000:] + err
    gradients = []
    for job in recipes.plan(name, "smoke", arms=arms[1].split(",") if arms else None):
        folder = root / "runs" / job.name
        assert (folder / "done").is_file(), job.name
        if job.notebook.stem in ("02_sft", "03_grpo"):
            assert (folder / "model" / "model.safetensors").is_file(), job.name
        if job.notebook.stem == "03_grpo":
            batches = [line for line in lines(folder / "metrics.jsonl") if line["split"] == "train"]
            gradients += [line["grad_norm"] for line in batches]
            steps = [line["step"] for line in batches]
            assert steps == list(range(1, job.parameters["steps"] + 1)), job.name
            assert len(list((folder / "rollouts").glob("*.parquet"))) == len(steps), job.name
        if job.notebook.stem == "04_evaluate":
            sampled = {line["model"] for line in lines(folder / "samples.jsonl")}
            assert sampled == set(job.parameters["models"]), job.name
        if job.notebook.stem == "05_figures":
            assert "|" in (folder / "table.md").read_text() and list((folder / "figures").glob("*.png")), job.name
    assert not gradients or any(gradients), "no batch of the recipe has a gradient"

"""The pinned sets of a GPU host: GRPO by their versions of transformers, TRL and datasets gives the same numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lead_kit.runs.files import read_jsonl

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
DATA = {"draw_train": 100, "draw_sft": 200, "validation_size": 24}
SFT = {"steps": 40, "batch_size": 16}
GRPO = {"steps": 2, "batch_size": 32, "validate_every": 1}
MEASURED = ("loss", "grad_norm", "entropy", "reward", "length", "pass@1")


def lead(python: Path | str, root: Path, notebook: str, values: dict) -> None:
    options = [word for name, value in values.items() for word in ("-p", name, str(value))]
    command = [str(python), "-m", "lead_kit.cli", "run", str(ROOT / "notebooks" / f"{notebook}.ipynb"), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LEAD_ROOT": str(root)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def trained(python: Path | str, root: Path, name: str) -> list[dict]:
    """The metrics of 03_grpo by this interpreter, from the model and problems in `root`."""
    lead(python, root, "03_grpo", GRPO | {"run_name": name})
    return read_jsonl(root / "runs" / name / "metrics.jsonl")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with problems and a model after SFT, made by this environment."""
    root = tmp_path_factory.mktemp("versions")
    lead(sys.executable, root, "01_preprocess", DATA)
    lead(sys.executable, root, "02_sft", SFT)
    return root


@pytest.fixture(scope="module")
def here(root):
    return trained(sys.executable, root, "here")


@pytest.mark.parametrize("name", ["vllm", "unsloth"])
def test_the_versions_of_a_gpu_host_give_the_same_numbers(name, request):
    folder = ROOT / f".venv-{name}"
    if not (folder / "installed").exists():
        pytest.skip(f".venv-{name} is not there: make stack-{name}")
    here = request.getfixturevalue("here")
    there = trained(folder / "bin" / "python", request.getfixturevalue("root"), name)
    assert len(there) == len(here) > 3
    for one, other in zip(here, there, strict=True):
        for metric in set(MEASURED) & set(one):
            assert other[metric] == pytest.approx(one[metric], rel=1e-5, abs=1e-7), metric

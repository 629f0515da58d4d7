"""An error in a cell behind a training: the next attempt goes on behind the training instead of repeating it."""

import json
import shutil

import pytest

from lead_kit.runs.files import ROOT, read_jsonl
from tests.small import call
from tests.stack.lab import prepare

pytestmark = [pytest.mark.slow, pytest.mark.fault]
DATA = {"model": "model", "train_data": "train.jsonl", "validation_data": "validation.jsonl"}
CASES = {
    "02_sft": DATA | {"model": "tiny", "steps": 3, "batch_size": 16, "micro_batch_size": 16},
    "03_grpo": DATA | {"steps": 3, "batch_size": 16, "max_tokens": 24, "validate_every": 0},  # ends within an epoch
}


@pytest.mark.parametrize("notebook", CASES)
def test_an_error_behind_the_training_does_not_cost_it(notebook, tmp_path, forks):
    root = prepare(tmp_path)
    source = (ROOT / f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8")
    (root / "notebooks").unlink()
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    file, run = root / f"notebooks/{notebook}.ipynb", root / f"runs/{notebook}"
    file.write_text(source.replace("run.finish(", "raise RuntimeError('late')\\nrun.finish("), encoding="utf-8")
    words = [w for k, v in CASES[notebook].items() for w in ("-p", k, v if isinstance(v, str) else json.dumps(v))]
    code, _, err = call(root, "run", notebook, *words, **forks)
    assert code == 1 and "late" in err
    weights, rows = (run / "model/model.safetensors").read_bytes(), read_jsonl(run / "metrics.jsonl")
    file.write_text(source, encoding="utf-8")
    code, out, err = call(root, "run", notebook, *words, **forks)
    assert code == 0, out + err
    assert "the training is done: " in out and read_jsonl(run / "metrics.jsonl") == rows
    assert (run / "model/model.safetensors").read_bytes() == weights and not (run / "checkpoints").exists()

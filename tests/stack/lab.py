"""A root of the test's own with a trained model and a few problems, in which `lead run` is called."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

from lead_kit.data import arithmetic
from tests import apprentice

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).parent / "shim"
PATIENCE = 600  # seconds; when they are over, `lead` is killed, and every process that it started dies with it


def prepare(root: Path) -> Path:
    """The repository's notebooks, a model that is right some of the time, and problems with a solution."""
    for name in ("notebooks", "experiments", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    apprentice.train(root / "model")
    rng = Random(0)
    rows = [r | {"solution": arithmetic.trace(r["problem"], rng)} for r in arithmetic.draw(64, 7, apprentice.WEIGHTS)]
    for name, part in {"train": rows[:48], "validation": rows[48:]}.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return root


def start(root: Path, notebook: str, name: str, *options: str, plugin: str = "", **parameters) -> subprocess.Popen:
    """`lead run` on the prepared model and problems; with `plugin`, an accelerate file, on two ranks."""
    given = {"model": "model", "train_data": "train.jsonl", "validation_data": "validation.jsonl"} | parameters
    command = [sys.executable, "-m", "lead_kit.cli", "run", f"notebooks/{notebook}.ipynb", "--run-name", name, *options]
    for key, value in given.items():
        command += ["-p", key, value if isinstance(value, str) else json.dumps(value)]
    command += ["--nproc", "2", "--accelerate", str(without_mixed_precision(root, plugin))] if plugin else []
    paths = os.pathsep.join([str(SHIM), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {"LEAD_ROOT": str(root), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    outside = ("RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC", "LEAD_DISTRIBUTED")
    clean = {key: value for key, value in os.environ.items() if key not in outside}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=clean | variables, **pipes)


def without_mixed_precision(root: Path, plugin: str) -> Path:
    """The repository's accelerate file in float32, so that its numbers can be compared with one process's."""
    text = (ROOT / "experiments/accelerate" / f"{plugin}.yaml").read_text()
    assert "mixed_precision: bf16" in text
    path = root / f"{plugin}.yaml"
    path.write_text(text.replace("mixed_precision: bf16", 'mixed_precision: "no"'))
    return path


def run(root: Path, *arguments, **parameters) -> str:
    """What `lead run` said; it must end well."""
    code, said = outcome(start(root, *arguments, **parameters))
    assert code == 0, said[-4000:]
    return said


def outcome(process: subprocess.Popen) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, said

"""A root of the test's own with a trained model and a few problems, in which `lead run` is called."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from bench import small_trainer
from lead_kit.data import arithmetic
from lead_kit.runs.files import read_jsonl
from tests import small

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).parent / "shim"
DEEPSPEED = "DS_BUILD_OPS=0 DS_ACCELERATOR=cpu pip install --no-build-isolation deepspeed==0.19.8"
UNSHARDED = "ddp"
PATIENCE = 600  # seconds; when they are over, `lead` is killed, and every process that it started dies with it


def prepare(root: Path) -> Path:
    """The repository's notebooks, a model that is right some of the time, and problems with a solution."""
    for name in ("notebooks", "experiments", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    small_trainer.train(root / "model")
    rng = Random(0)
    rows = [
        r | {"solution": arithmetic.solve_noisily(r["problem"], rng)}
        for r in arithmetic.draw(64, 7, small_trainer.WEIGHTS)
    ]
    for name, part in {"train": rows[:48], "validation": rows[48:]}.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return root


def start(
    root: Path,
    notebook: str,
    name: str,
    *,
    plugin: str = "",
    precision: str = "no",
    forks: dict | None = None,
    **parameters,
) -> subprocess.Popen:
    """`lead run` on the prepared model and problems, on one rank; with `plugin`, an accelerate file's name, on two.
    `forks` names a forkserver, for one rank."""
    given = {"model": "model", "train_data": "train.jsonl", "validation_data": "validation.jsonl"} | parameters
    command = [sys.executable, "-m", "lead_kit.cli", "run", f"notebooks/{notebook}.ipynb", "--run-name", name]
    for key, value in given.items():
        command += ["-p", key, value if isinstance(value, str) else json.dumps(value)]
    command += ["--nproc", "2"] if plugin else []
    if plugin not in ("", UNSHARDED):
        command += ["--accelerate", str(accelerate_file(root, plugin, precision))]
    with (root / f"{name}.log").open("w") as log:
        env = environment(root) if forks is None else small.environment() | {"LEAD_ROOT": str(root)} | forks
        return subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=subprocess.STDOUT)


def environment(root: Path) -> dict[str, str]:
    """That of this process, with the shim and without the variables of an outer launcher."""
    paths = os.pathsep.join([str(SHIM), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    outside = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LEAD_OWNER", "LEAD_NPROC", "LEAD_DISTRIBUTED")
    variables = {"LEAD_ROOT": str(root), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return {key: value for key, value in os.environ.items() if key not in outside} | variables


def accelerate_file(root: Path, plugin: str, precision: str = "no") -> Path:
    """The repository's accelerate file, by default in float32, to compare with one process."""
    text = (ROOT / "experiments/accelerate" / f"{plugin}.yaml").read_text()
    assert "mixed_precision: bf16" in text
    path = root / f"{plugin}-{precision}.yaml"
    path.write_text(text.replace("mixed_precision: bf16", f'mixed_precision: "{precision}"'))
    return path


def ended(process: subprocess.Popen) -> int:
    """The exit code of `lead`. Killed when the patience is over; every process that it started dies with it."""
    try:
        return process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def run(root: Path, notebook: str, name: str, **settings) -> str:
    """What `lead run` said; it must end well."""
    code = ended(start(root, notebook, name, **settings))
    said = (root / f"{name}.log").read_text()
    assert code == 0, said[-4000:]
    return said


def kill_at(root: Path, name: str, checkpoint: int, process: subprocess.Popen) -> None:
    """Kills `lead` as soon as the run has this checkpoint, or a later one."""
    folder, until = root / "runs" / name / "checkpoints", time.monotonic() + PATIENCE
    try:
        while latest(folder) < checkpoint:
            assert process.poll() is None and time.monotonic() < until, (root / f"{name}.log").read_text()[-4000:]
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (folder.parent / "done").exists()  # it was killed before its end


def latest(folder: Path) -> int:
    return max((int(seal.parent.name.split("-")[1]) for seal in folder.glob("checkpoint-*/checkpoint.json")), default=0)


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(run / "metrics.jsonl") if row["split"] == "train"]

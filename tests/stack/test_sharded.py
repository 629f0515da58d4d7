"""FSDP2 and DeepSpeed on two ranks give the numbers of one process, survive a kill, and hand over a model."""

import importlib.util
import subprocess
import sys

import pytest
import torch

from lead_kit.models import loading
from lead_kit.runs.files import read_jsonl
from tests import ranks
from tests.stack import lab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sharded")]
no_deepspeed = importlib.util.find_spec("deepspeed") is None
without_deepspeed = pytest.mark.skipif(no_deepspeed, reason="DeepSpeed is not installed: " + lab.DEEPSPEED)
in_stack = pytest.mark.skipif(
    no_deepspeed,
    reason="takes a minute and is left to the environment of `make stack-shards`, where `make test-stack` runs it",
)
PLUGINS = ["fsdp2", *(pytest.param(zero, marks=without_deepspeed) for zero in ("zero2", "zero3"))]
SFT = {"steps": 20, "batch_size": 8, "micro_batch_size": 2, "learning_rate": 1e-3, "save_steps": 2}
SFT |= {"optimizer": "adamw", "lora_dropout": 0.0, "lora_saved": []}
GRPO = {"steps": 8, "batch_size": 16, "group_size": 4, "updates_per_batch": 1, "max_tokens": 24, "save_steps": 2}
GRPO |= {"engine": "generate", "validate_every": 0, "pack_tokens": 64}
KL = {"beta": 0.1, "steps": 3, "save_steps": 0, "learning_rate": 1e-3}
CLOSE = 1e-5  # largest difference of a loss; the order of additions differs
IDS = torch.arange(6, 70).reshape(2, 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return lab.prepare(tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module", params=["full", pytest.param("lora", marks=in_stack)])
def alone(root, request, forks):
    """One process's supervised fine-tuning."""
    lab.run(root, "02_sft", f"alone-{request.param}", adapter=request.param, forks=forks, **SFT)
    return request.param


def logits(folder):
    return loading.logits(loading.load_model(str(folder))[0], IDS)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_fine_tuning_that_was_killed_ends_as_one_process_does(root, alone, plugin):
    name = f"{plugin}-{alone}"
    lab.kill_at(root, name, 4, lab.start(root, "02_sft", name, plugin=plugin, adapter=alone, **SFT))
    said = lab.run(root, "02_sft", name, plugin=plugin, adapter=alone, **SFT)
    one, two = root / f"runs/alone-{alone}", root / "runs" / name
    assert lab.losses(two) == pytest.approx(lab.losses(one), abs=CLOSE) and len(lab.losses(two)) == SFT["steps"]
    assert logits(two / "model") == pytest.approx(logits(one / "model"), abs=1e-3)
    assert (logits(two / "model") - logits(root / "model")).abs().max() > 0.1
    if alone == "lora":
        assert "largest change of a logit by merging: 0 " not in said and "by merging: " in said
        assert (two / "adapter/adapter_model.safetensors").is_file()


@pytest.fixture(scope="module")
def unsharded(root):
    """GRPO on two ranks that each hold the whole model; one process would draw other rollouts with this engine."""
    lab.run(root, "03_grpo", "unsharded", plugin=lab.UNSHARDED, **GRPO)
    return root / "runs/unsharded"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_grpo_that_was_killed_ends_as_on_whole_models(root, unsharded, plugin):
    name = f"grpo-{plugin}"
    lab.kill_at(root, name, 4, lab.start(root, "03_grpo", name, plugin=plugin, **GRPO))
    lab.run(root, "03_grpo", name, plugin=plugin, **GRPO)
    assert lab.losses(root / "runs" / name) == pytest.approx(lab.losses(unsharded), abs=CLOSE)
    assert any(lab.losses(unsharded))
    assert logits(root / "runs" / name / "model") == pytest.approx(logits(unsharded / "model"), abs=1e-3)


@pytest.fixture(scope="module")
def with_kl(root):
    """The same two ranks with a KL to the start in the loss, which needs a second model or a copy of the first."""
    lab.run(root, "03_grpo", "with-kl", plugin=lab.UNSHARDED, **GRPO | KL)
    return root / "runs/with-kl"


@without_deepspeed
@pytest.mark.parametrize("plugin", ["fsdp2", "zero2", "zero3"])
def test_a_kl_to_the_start_is_that_on_whole_models(root, with_kl, plugin):
    lab.run(root, "03_grpo", f"kl-{plugin}", plugin=plugin, **GRPO | KL)
    one, two = (read_jsonl(folder / "metrics.jsonl") for folder in (with_kl, root / f"runs/kl-{plugin}"))
    for metric in ("loss", "kl"):
        theirs, ours = ([row[metric] for row in rows if metric in row] for rows in (one, two))
        assert ours == pytest.approx(theirs, abs=CLOSE) and any(theirs), metric


@in_stack
def test_in_bfloat16_the_losses_are_those_of_float32_within_its_precision(root, alone):
    """FSDP2 alone: DeepSpeed in bfloat16 needs a GPU."""
    name = f"bf16-{alone}"
    lab.run(root, "02_sft", name, plugin="fsdp2", precision="bf16", adapter=alone, **SFT)
    one, two = lab.losses(root / f"runs/alone-{alone}"), lab.losses(root / "runs" / name)
    assert two == pytest.approx(one, abs=0.05) and two != pytest.approx(one, abs=CLOSE)


@pytest.fixture(scope="module", params=["dapo", pytest.param("grpo", marks=in_stack)])
def packs_alone(root, request, forks):
    """One process's packed updates; grpo weighs packs by their rows, dapo divides by the tokens of the batch."""
    ranks.run(forks, "tests.stack.packs:main", root / "model", root / f"packs-{request.param}", request.param, count=1)
    return request.param


@pytest.mark.parametrize("plugin", PLUGINS)
def test_packed_updates_are_those_of_one_process(root, packs_alone, plugin):
    one, two = root / f"packs-{packs_alone}", root / f"packs-{packs_alone}-{plugin}"
    options = ["--config_file", lab.accelerate_file(root, plugin), "--num_processes", 2, "--num_machines", 1]
    kind = "fsdp2" if plugin == "fsdp2" else "deepspeed"
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, "--main_process_port", 0]
    command += ["-m", "tests.stack.packs", root / "model", two, packs_alone]
    env = lab.environment(root) | {"LEAD_DISTRIBUTED": kind, "LEAD_NPROC": "2"}
    assert lab.ended(subprocess.Popen([*map(str, command)], cwd=lab.ROOT, env=env)) == 0
    theirs, ours = (read_jsonl(folder / "metrics.jsonl") for folder in (one, two))
    assert len(ours) == len(theirs) > 1
    for metric in ("loss", "grad_norm"):
        assert [row[metric] for row in ours] == pytest.approx([row[metric] for row in theirs], abs=CLOSE)
    assert logits(two / "model") == pytest.approx(logits(one / "model"), abs=1e-3)
    assert (logits(two / "model") - logits(root / "model")).abs().max() > 0.1


def test_muon_on_shares_of_a_matrix_is_refused_before_anything_loads(root):
    assert lab.ended(lab.start(root, "02_sft", "muon", plugin="fsdp2", **SFT | {"optimizer": "muon"})) == 2
    said = (root / "muon.log").read_text()
    assert "lead: optimizer 'muon' needs whole matrices, and fsdp2 spreads them: use 'adamw' or ddp.yaml" in said

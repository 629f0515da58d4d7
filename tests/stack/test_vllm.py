"""vLLM on a CPU: evaluation, rollouts beside the trainer, validation with seeds, and weights in step with training."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make stack-vllm")
os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}

from bench import small_trainer
from lead_kit.data import arithmetic, named_sets
from lead_kit.method import tripwires
from lead_kit.models import engines, tiny_models
from lead_kit.models.loading import load_model
from lead_kit.models.sampler import Request, SamplingSettings, row_seed
from lead_kit.runs.files import read_jsonl

pytestmark = pytest.mark.slow
RECORDS = arithmetic.draw(12, 7, [1.0, 1.0])
CONFIG = {"dtype": "float32", "batch_size": 64, "stop": [], "vllm_memory": 0.05, "vllm_tensor_parallel": 1}
CONFIG |= {"chat_template": "", "template_variables": []}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A model that has learned a little, with heads of 32: vLLM's CPU attention knows no smaller ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_models.SIZES, "tiny", (64, 2, 2, 176, 512))
        return small_trainer.train(tmp_path_factory.mktemp("vllm") / "model")


class Inputs:
    def input(self, path):
        return path


def samples(model_folder, n=2, **changes):
    settings = named_sets.benchmark_settings("arithmetic", max_tokens=24, **changes)
    engine = engines.for_evaluation("vllm", str(model_folder), settings, CONFIG, Inputs())
    asked = [Request(r, k, row_seed(0, r["id"], k)) for r in RECORDS for k in range(n)]
    return {(r.record["id"], r.sample): one for r, one in engine.sample(asked)}


def test_evaluation_is_greedy_as_the_kit_s_sampler_is_and_repeats_with_its_seeds(model_folder):
    policy, tokenizer = load_model(str(model_folder))
    local = engines.LocalEngine(policy, tokenizer, "plain", SamplingSettings(24, temperature=0.0))
    asked = [Request(r, 0, 0) for r in RECORDS]
    ours = {(r.record["id"], 0): one for r, one in local.sample(asked)}
    theirs = samples(model_folder, 1, temperature=0.0)
    same = [one.text == ours[key].text and one.length == ours[key].length for key, one in theirs.items()]
    assert sum(same) >= len(same) - 1  # two tokens may tie within rounding
    drawn = samples(model_folder)
    assert drawn == samples(model_folder)
    assert any(drawn[r["id"], 0].text != drawn[r["id"], 1].text for r in RECORDS)


def colocated_trainer(model_folder, out, **others):
    """A trainer with vLLM beside it. vLLM's kernels for CPUs keep a packed copy of the weights and drop the
    weights themselves, so new ones cannot arrive; without them it multiplies by the weights, as on a GPU."""
    import trl
    from vllm import _custom_ops
    from vllm.model_executor.layers import utils

    settings = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.05}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_custom_ops, "_supports_onednn", False)
        patch.setattr(utils, "check_cpu_sgl_kernel", lambda *_: False)
        config = trl.GRPOConfig
        patch.setattr(small_trainer, "GRPOConfig", lambda **given: config(**given | settings, vllm_max_model_length=96))
        return small_trainer.trainer(model_folder, out, engine="vllm_colocate", **others)


def test_validation_has_its_settings_and_seeds_and_vllm_has_the_trained_weights(model_folder, tmp_path):
    trainer = colocated_trainer(model_folder, tmp_path, estimator="grpo", steps=6)
    ids = [trainer.train_dataset[i]["prompt_ids"] for i in (0, 0, 0, 0, 1, 1, 1, 1)]
    trainer._last_loaded_step = -1

    def completions(seed, **settings):
        return [one.ids for one in trainer.complete(ids, range(seed, seed + len(ids)), SamplingSettings(**settings))]

    greedy = completions(0, max_tokens=24, temperature=0.0)
    assert greedy[:4] == [greedy[0]] * 4 and greedy == completions(1, max_tokens=24, temperature=0.0)
    drawn = completions(0, max_tokens=24, temperature=1.0)
    assert drawn == completions(0, max_tokens=24, temperature=1.0) != completions(9, max_tokens=24, temperature=1.0)
    assert len(set(map(tuple, drawn[:4]))) > 1  # samples of one problem differ
    assert max(map(len, completions(0, max_tokens=3, temperature=1.0))) == 3

    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert max((a - b).abs().max() for a, b in zip(before, trainer.model.parameters(), strict=True)) > 1e-4
    gaps = [line["sampler_gap"] for line in read_jsonl(tmp_path / "metrics.jsonl") if line["split"] == "train"]
    assert len(gaps) == 6 and max(gaps) < 0.01  # vLLM sampled with the weights of each update, in bfloat16
    assert completions(0, max_tokens=24, temperature=0.0) != greedy


def test_weights_that_do_not_arrive_are_told(model_folder, tmp_path):
    trainer = colocated_trainer(model_folder, tmp_path, estimator="grpo", steps=8)
    trainer.vllm_generation.sync_weights = lambda: None
    trainer.train()
    rows = [line for line in read_jsonl(tmp_path / "metrics.jsonl") if line["split"] == "train"]
    assert "out_of_step" in {trip.wire for trip in tripwires.replay(rows)}


def test_a_server_of_vllm_answers_engine_openai(model_folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("vllm"), "serve", model_folder, "--host", "127.0.0.1", "--port", port]
    command += ["--dtype", "float32", "--max-model-len", 96, "--generation-config", "vllm"]
    server = subprocess.Popen(list(map(str, command)), env=os.environ | {"PYTHONNOUSERSITE": "1"})
    try:
        until = time.monotonic() + 300
        while time.monotonic() < until and server.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success:
                    break
            time.sleep(1)
        config = CONFIG | {"server": f"http://127.0.0.1:{port}/v1", "concurrency": 4, "thinking": False}
        settings = named_sets.benchmark_settings("arithmetic", max_tokens=24, temperature=0.0)
        engine = engines.for_evaluation("openai", str(model_folder), settings, config, Inputs())
        theirs = {r.record["id"]: one.text for r, one in engine.sample([Request(r, 0, 0) for r in RECORDS])}
    finally:
        server.terminate()
        server.wait(60)
    ours = samples(model_folder, 1, temperature=0.0)
    assert sum(theirs[name] == one.text for (name, _), one in ours.items()) >= len(RECORDS) - 1

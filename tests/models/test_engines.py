"""Engines: the same prompts everywhere, a real server on this machine, and what is said when one is missing."""

import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from packaging.requirements import Requirement
from peft import LoraConfig, get_peft_model

from lead_kit import verify
from lead_kit.data import arithmetic, named_sets
from lead_kit.errors import InputError
from lead_kit.evaluate import draw_samples
from lead_kit.models import engines, sampler
from lead_kit.models.chat import Chat
from lead_kit.models.loading import load_model
from lead_kit.models.sampler import GeneratedTokens, SamplingSettings
from lead_kit.models.tiny_models import embedded_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
RECORDS = arithmetic.draw(6, 7, [1.0, 1.0])
SETTINGS = named_sets.benchmark_settings("arithmetic", max_tokens=24)
CONFIG = {"dtype": "float32", "batch_size": 8, "server": ""}
CONFIG |= {"concurrency": 2, "thinking": False, "stop": []}


@pytest.fixture(scope="module")
def kit():

    torch.set_num_threads(1)
    return SimpleNamespace(engines=engines, evaluation=draw_samples, sample=sampler, server=engines)


@pytest.fixture(scope="module")
def model_folder(kit, tmp_path_factory):
    """A model that is right some of the time; the server samples only with do_sample in its generation settings."""
    from bench import small_trainer

    folder = small_trainer.train(tmp_path_factory.mktemp("engines") / "model")
    written = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(written | {"do_sample": True, "top_k": 0}))
    return folder


def requests(kit, n=2, records=RECORDS):
    return [kit.sample.Request(r, k, kit.sample.row_seed(0, r["id"], k)) for r in records for k in range(n)]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def served(kit, model_folder, tmp_path_factory):
    """The address of a `transformers serve` of the model, started here and ended with the tests."""
    import httpx

    port, log = free_port(), tmp_path_factory.mktemp("serve") / "log.txt"
    command = [Path(sys.executable).with_name("transformers"), "serve", model_folder, "--host", "127.0.0.1"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as out:
        server = subprocess.Popen(
            [*map(str, command), "--port", str(port), "--device", "cpu"], env=environment, stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and server.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.3)
        else:
            pytest.fail(f"transformers serve did not come up: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


def server_of(kit, address, model="m", **changes):
    return kit.engines.for_evaluation(
        "openai", str(model), SETTINGS._replace(**changes), CONFIG | {"server": address}, run=None
    )


def test_a_real_server_gives_texts_counts_and_finish_reasons(kit, served, model_folder, tmp_path):
    tokenizer = load_model(str(model_folder))[1]
    engine = server_of(kit, served, model_folder)
    samples = kit.evaluation.evaluate(engine, RECORDS, n=4, seed=0, path=tmp_path / "s.jsonl")
    assert len(samples) == 24 and set(samples["truncated"]) <= {True, False}
    graded = verify.check_many(samples["completion"].tolist(), samples["gold"].tolist())
    assert samples["correct"].tolist() == [verdict.correct for verdict in graded]
    assert samples.groupby("id")["completion"].nunique().max() > 1
    ended = samples[~samples["truncated"]]
    more = ended["length"] - [len(tokenizer(text).input_ids) for text in ended["completion"]]
    assert more.empty or more.median() == 1  # the end token is counted; numbers in a row may be read as others


def test_a_real_server_cuts_at_the_limit_and_is_greedy_at_temperature_0(kit, served, model_folder):
    short = server_of(kit, served, model_folder, max_tokens=3).sample(requests(kit, 1))
    assert {(c.length, c.truncated) for _, c in short} == {(3, True)}
    policy, tokenizer = load_model(str(model_folder))
    # at the limit itself this server says "length" even of an answer that has just ended: keep away from it
    local = kit.engines.LocalEngine(policy, tokenizer, "plain", SamplingSettings(60, temperature=0.0))
    ours = {(r.record["id"], a) for r, a in local.sample(requests(kit, 1))}
    theirs = server_of(kit, served, model_folder, temperature=0.0, max_tokens=60).sample(requests(kit, 1))
    assert {(r.record["id"], a) for r, a in theirs} == ours


def test_a_real_server_that_knows_no_min_p_is_told_by_name(kit, served, model_folder, tmp_path):
    path = tmp_path / "s.jsonl"
    with pytest.raises(InputError, match="refuses the request .422: .*min_p is 0.01: set the parameter min_p"):
        kit.evaluation.evaluate(server_of(kit, served, model_folder, min_p=0.01), RECORDS, n=1, seed=0, path=path)
    assert not path.exists()


def test_an_evaluation_on_a_server_goes_on_where_it_stopped(kit, served, model_folder, tmp_path):
    path, engine = tmp_path / "s.jsonl", server_of(kit, served, model_folder)
    kit.evaluation.evaluate(engine, RECORDS[:4], n=2, seed=0, path=path)
    first = path.read_text()
    assert len(kit.evaluation.evaluate(engine, RECORDS, n=2, seed=0, path=path)) == 12
    assert path.read_text().startswith(first) and len(path.read_text().splitlines()) == 12
    down = server_of(kit, f"http://127.0.0.1:{free_port()}/v1", model_folder)
    assert len(kit.evaluation.evaluate(down, RECORDS, n=2, seed=0, path=path)) == 12  # nothing is left to ask


def test_a_server_that_is_not_there_is_told_at_once(kit):
    address = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(InputError, match=f"no server answers at {re.escape(address)} .*; start one .*vllm serve"):
        list(server_of(kit, address).sample(requests(kit)))
    for wrong in ("127.0.0.1:8000/v1", "ftp://host/v1", ""):
        with pytest.raises(InputError, match="expected an address such as http://127.0.0.1:8000/v1"):
            server_of(kit, wrong)
    with pytest.raises(InputError, match="concurrency is 0"):
        kit.server.OpenAIClient("http://h/v1", "m", "plain", SamplingSettings(1), concurrency=0)


@contextmanager
def answering(*answers):
    """An address on this machine that gives these answers in turn (the last one for good), and what it was asked."""
    asked, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(404, {})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((body, dict(self.headers)))
            answer = left.pop(0) if len(left) > 1 else left[0]
            self.connection.close() if answer is None else self.reply(*answer)

        def reply(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
        server.shutdown()


CHOICE = {"message": {"content": "\\boxed{1}"}, "finish_reason": "stop"}
GOOD = (200, {"choices": [CHOICE], "usage": {"completion_tokens": 3}})


def test_passing_faults_are_tried_again_and_others_are_not(kit, monkeypatch):
    monkeypatch.setattr(kit.server, "_FIRST_PAUSE", 0.01)
    one = requests(kit, 1, RECORDS[:1])
    with answering((500, {}), (429, {}), (503, {}), None, GOOD) as (address, asked):
        ((_, answer),) = server_of(kit, address).sample(one)
        assert answer == kit.sample.Completion("\\boxed{1}", 3, False) and len(asked) == 5
    with answering((400, {"error": "max_tokens is too large"})) as (address, asked):
        with pytest.raises(InputError, match="400: .*too large.*; max_tokens is 24: set the parameter max_tokens"):
            list(server_of(kit, address).sample(one))
        assert len(asked) == 1
    with answering((500, {"detail": "out of memory"})) as (address, asked):
        with pytest.raises(InputError, match="failed 6 times in a row .500: .*out of memory.*what was sampled is kept"):
            list(server_of(kit, address).sample(one))
        assert len(asked) == 6
    with answering((200, {"choices": []})) as (address, asked):
        with pytest.raises(InputError, match="no chat completion with a token count"):
            list(server_of(kit, address).sample(one))


def test_half_a_character_in_an_answer_is_kept_as_a_replacement(kit, tmp_path):
    message = {"message": {"content": "\\boxed{1} \ud83d"}, "finish_reason": "stop"}  # the first half of an emoji
    with answering((200, {"choices": [message], "usage": {"completion_tokens": 3}})) as (address, _):
        engine = server_of(kit, address)
        samples = kit.evaluation.evaluate(engine, RECORDS, n=1, seed=0, path=tmp_path / "s.jsonl")
    assert set(samples["completion"]) == {"\\boxed{1} \ufffd"}


def test_a_request_has_its_seed_and_only_fields_that_are_on(kit):
    with answering(GOOD) as (address, asked):
        assert len(list(server_of(kit, address).sample(requests(kit)))) == 12
        list(server_of(kit, address, min_p=0.05).sample(requests(kit, 1, RECORDS[:1])))
    bodies = [body for body, _ in asked]
    assert sorted(body["seed"] for body in bodies[:12]) == sorted(r.seed for r in requests(kit))
    assert set(bodies[0]) == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}
    assert bodies[12]["min_p"] == 0.05
    assert bodies[12]["messages"] == [{"role": "user", "content": RECORDS[0]["problem"]}]


def test_the_key_is_sent_and_told_nobody(kit, monkeypatch, tmp_path):
    monkeypatch.setenv("LEAD_API_KEY", "sesame-1234")
    with answering(GOOD) as (address, asked):
        kit.evaluation.evaluate(server_of(kit, address), RECORDS, n=1, seed=0, path=tmp_path / "s.jsonl")
        assert {headers["Authorization"] for _, headers in asked} == {"Bearer sesame-1234"}
    assert not any("sesame" in file.read_text() for file in tmp_path.iterdir())
    with answering((401, {"error": "sesame-1234 is no key"})) as (address, _):
        with pytest.raises(InputError, match="401: .*… is no key.*the key is read from LEAD_API_KEY") as error:
            list(server_of(kit, address).sample(requests(kit, 1)))
    assert "sesame" not in str(error.value)


def test_prompts_are_the_chat_templates_of_the_model(kit, model_folder):
    _, tokenizer = load_model(str(model_folder))
    ids = Chat(tokenizer, "plain").ids(RECORDS[0])
    turn = [{"role": "user", "content": RECORDS[0]["problem"]}]
    assert ids == tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    parts = list(Chat(tokenizer, "plain").parts(requests(kit), 5))
    lengths = [len(tokenizer(r.record["problem"]).input_ids) for part in parts for r in part]
    assert [len(part) for part in parts] == [5, 5, 2] and lengths == sorted(lengths)


def test_a_stop_ends_a_completion_and_is_no_part_of_it(kit, served, model_folder):
    policy, tokenizer = load_model(str(model_folder))
    long, cut = (
        kit.engines.LocalEngine(policy, tokenizer, "plain", SamplingSettings(60, temperature=0.0, stop=stop), 8)
        for stop in ((), ("\n(2)", "\\boxed"))
    )
    assert "stop" not in long.settings and cut.settings["stop"] == ["\n(2)", "\\boxed"]
    whole, short = ({r.record["id"]: a for r, a in engine.sample(requests(kit, 1))} for engine in (long, cut))
    stopped = {name for name, one in whole.items() if "\n(2)" in one.text or "\\boxed" in one.text}
    assert stopped and all(short[name] == whole[name] for name in set(whole) - stopped)
    for name in stopped:
        one, before = short[name], whole[name].text.partition("\n(2)")[0].partition("\\boxed")[0]
        assert one.text == before and not one.truncated and "(1)" in before
        for tokens, held in ((one.length, True), (one.length - 1, False)):  # the stop's last token is counted
            engine = kit.engines.LocalEngine(policy, tokenizer, "plain", SamplingSettings(tokens, temperature=0.0), 8)
            again = {r.record["id"]: a.text for r, a in engine.sample(requests(kit, 1))}[name]
            assert any(stop in again for stop in cut.sampling.stop) == held
    server = kit.engines.for_evaluation(
        "openai", "m", SETTINGS, CONFIG | {"server": served, "stop": ["####"]}, run=None
    )
    assert server.body(requests(kit, 1)[0])["stop"] == ["####"]
    settings = SamplingSettings(60, stop=("\n(2)", "\\boxed"))
    ids = tokenizer("\n(1) 1+5=6\n(2) 6+1=7").input_ids
    sample = GeneratedTokens(ids, [0.0] * len(ids), True)
    first = settings.until_stop(sample, tokenizer)  # what training keeps: the stop is its end
    assert tokenizer.decode(first.ids) == "\n(1) 1+5=6\n(2) " and len(first.logprobs) == len(first.ids)
    assert not first.truncated and SamplingSettings(60).until_stop(sample, tokenizer) is sample
    with pytest.raises(InputError, match="stop holds an empty text"):
        kit.engines.for_evaluation("sampler", "tiny", SETTINGS, CONFIG | {"stop": [""]}, run=None)


def test_processes_with_an_engine_each_give_the_samples_of_one_engine(kit, model_folder, tmp_path):
    policy, tokenizer = load_model(str(model_folder))
    one = kit.engines.LocalEngine(policy, tokenizer, "plain", SamplingSettings(24), 8)
    both = kit.engines.ParallelEngine(one, ["", ""])
    frames = [
        draw_samples.evaluate(e, RECORDS, n=3, seed=0, path=tmp_path / f"{k}.jsonl") for k, e in enumerate((one, both))
    ]
    pd.testing.assert_frame_equal(*frames)
    assert kit.engines._gpu_groups("2,3,5", 3, 1) == ["2", "3", "5"]
    assert kit.engines._gpu_groups("", 8, 4) == ["0,1,2,3", "4,5,6,7"]
    files = [sorted((tmp_path / f"{k}.jsonl").read_text().splitlines()) for k in (0, 1)]
    assert files[0] == files[1] and len(files[0]) == 3 * len(RECORDS)  # the caller has written each sample once


def test_an_engine_that_fails_ends_the_others_and_its_sentence_arrives(kit, model_folder):
    policy, tokenizer = load_model(str(model_folder))
    engine = kit.engines.LocalEngine(policy, tokenizer, "plain", SamplingSettings(24), 8)
    records = [RECORDS[0], RECORDS[1] | {"problem": "1+" * 600 + "1"}]  # the second process gets the long prompt
    with pytest.raises(InputError, match="a prompt has 603 tokens, and the model 512 positions"):
        draw_samples.evaluate(kit.engines.ParallelEngine(engine, ["", ""]), records, n=1, seed=0)
    assert not multiprocessing.active_children() and "CUDA_VISIBLE_DEVICES" not in os.environ
    engine.model = None
    with pytest.raises(RuntimeError, match="the engine with CUDA_VISIBLE_DEVICES '' ended with code 1"):
        draw_samples.evaluate(kit.engines.ParallelEngine(engine, [""]), records[:1], n=1, seed=0)


def test_an_engine_that_is_missing_is_named_with_what_brings_it(kit):
    with pytest.raises(InputError, match=r"engine is 'vlm'.*did you mean 'vllm'"):
        kit.engines.for_evaluation("vlm", "tiny", SETTINGS, CONFIG, run=None)
    try:
        import vllm  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="'vllm' is not installed: it comes with requirements-gpu.txt"):
            kit.engines.for_evaluation("vllm", "tiny", SETTINGS, CONFIG, run=None)


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    lines = [line.replace("[css]", "") for line in lines if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)  # a line that pins nothing ends here


def test_the_environments_differ_only_where_the_engines_ask_for_it():
    cpu, gpu, unsloth = (pins(f"requirements{kind}.txt") for kind in ("", "-gpu", "-unsloth"))
    gpu["trl"], unsloth["trl"] = gpu.pop("trl[vllm]"), unsloth.pop("trl[vllm]")
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == {"transformers"}
    assert gpu.keys() - cpu.keys() == {"vllm"} and unsloth.keys() - gpu.keys() == {"unsloth", "unsloth_zoo"}
    assert cpu.keys() - gpu.keys() == {"numpy"}  # vLLM's numba chooses it
    ours = {name for name in gpu.keys() & unsloth.keys() if gpu[name] != unsloth[name]}
    assert ours == {"trl", "datasets"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    assert bounds.keys() == cpu.keys()
    for pinned in (cpu, gpu, unsloth):  # so that installing the package changes no pinned set
        assert [n for n in bounds.keys() & pinned.keys() if pinned[n] not in bounds[n]] == []


def test_the_weights_under_adapters_are_exact_after_fifty_syncs():
    model, _ = embedded_model("tiny")
    model = get_peft_model(model.bfloat16(), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    def sync():
        model.merge_adapter()
        model.unmerge_adapter()

    exact = engines.sync_exactly(model, sync)
    for _ in range(50):
        exact()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    for _ in range(50):
        sync()
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())

"""Sources of completions: a model in this process, vLLM, or a server.

An engine's `sample(requests)` yields (Request, Completion) pairs in the order in which they finish. Each request has
its own seed, so samples do not depend on the order of the requests. `settings` holds all other settings that a sample
depends on; evaluate/graded_samples.py keeps them beside the samples.
"""

import gc
import importlib.util
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoConfig

from lead_kit.data import prompts
from lead_kit.data.named_sets import BenchmarkSettings
from lead_kit.errors import InputError, lookup
from lead_kit.models import sampler
from lead_kit.models.chat import Chat, end_tokens, set_chat_template
from lead_kit.models.loading import load_model, load_tokenizer
from lead_kit.models.sampler import Completion, GeneratedTokens, Request, SamplingSettings
from lead_kit.models.smollm2 import resolve_model
from lead_kit.models.tiny_models import SIZES
from lead_kit.runs.files import replace_lone_surrogates
from lead_kit.runs.find import locate_model


class LocalEngine:
    """A transformers model in this process, with the kit's sampler: finished rows leave the batch."""

    def __init__(self, model, tokenizer, template: str, sampling: SamplingSettings, batch_size=256):
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.batch_size, self._exact = batch_size, False
        self.chat = Chat(tokenizer, template)
        self.settings = {"engine": "sampler", "template": template, "dtype": str(model.dtype).removeprefix("torch.")}
        self.settings |= sampling.as_dict()

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Completion]]:
        self.model.eval()
        limit = self.sampling.max_tokens
        limits = [sampler.room_for_completion(self.model, len(self.chat.ids(one.record)), limit) for one in requests]
        if short := sum(tokens < limit for tokens in limits):
            print(f"the model's positions end {short} of {len(requests)} completions before max_tokens {limit}")
        fixed = {"eos": end_tokens(self.model, self.tokenizer), "pad": self.tokenizer.pad_token_id}
        for part in self.chat.parts(requests, self.batch_size):
            ids, seeds = [self.chat.ids(r.record) for r in part], [r.seed for r in part]
            sampled = sampler.generate(self.model, ids, seeds, self.sampling, **fixed, batch_size=self.batch_size)
            if not self._exact:
                sampler.require_exact(self.model, ids, sampled, self.sampling)
                self._exact = True
            for request, tokens in zip(part, sampled, strict=True):
                tokens = self.sampling.until_stop(tokens, self.tokenizer)  # the sampler generates on
                text = self.sampling.before_stop(self.tokenizer.decode(tokens.ids, skip_special_tokens=True))
                thinking = self.chat.prompt(request.record).thinking
                yield request, Completion(text, len(tokens.ids), tokens.truncated, thinking)


class VllmEngine(NamedTuple):
    """vLLM in this process; its engine lives only while `sample` runs, so it leaves the GPU free for the next model.

    As in LocalEngine, prompts are token ids of the chat template and each request has its own seed. The context is
    that of the longest request and at most the model's own, whose cache may not fit.
    """

    model: str
    template: str
    sampling: SamplingSettings
    dtype: str
    batch_size: int
    machine: dict  # other arguments of LLM
    chat_template: tuple = ("", ())  # the arguments of set_chat_template

    @property
    def settings(self) -> dict:
        return {"engine": "vllm", "template": self.template, "dtype": self.dtype} | self.sampling.as_dict()

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Completion]]:
        if not requests:
            return
        from vllm import LLM

        tokenizer = load_tokenizer(self.model)
        set_chat_template(tokenizer, *self.chat_template)
        chat = Chat(tokenizer, self.template)
        context = max(len(chat.ids(request.record)) for request in requests) + self.sampling.max_tokens
        positions = AutoConfig.from_pretrained(self.model, trust_remote_code=False).get_text_config()
        context = min(context, getattr(positions, "max_position_embeddings", context))
        fixed = {"trust_remote_code": False, "seed": 0, "max_model_len": context}
        engine = LLM(model=self.model, dtype=self.dtype, **fixed, **self.machine)
        try:
            for part in chat.parts(requests, self.batch_size):
                ids, seeds = [chat.ids(r.record) for r in part], [r.seed for r in part]
                for request, output in zip(part, _vllm_completions(engine, ids, seeds, self.sampling), strict=True):
                    truncated, thinking = output.finish_reason == "length", chat.prompt(request.record).thinking
                    yield request, Completion(output.text, len(output.token_ids), truncated, thinking)
        finally:
            del engine
            gc.collect()
            torch.cuda.empty_cache()


def _vllm_completions(llm, ids: list[list[int]], seeds: list[int], sampling: SamplingSettings) -> list:
    """vLLM's completion of each prompt, given as token ids, each with its own seed."""
    from vllm import SamplingParams

    settings = [SamplingParams(n=1, seed=seed, **sampling.as_dict()) for seed in seeds]
    outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in ids], settings, use_tqdm=False)
    return [output.outputs[0] for output in outputs]


class ParallelEngine:
    """Processes with an engine each as one engine: number k of n samples every n-th request from the k-th on.

    Completions come back to the caller, who remains the only writer. Each process gets `engine` by pickle, and one of
    `devices` as its CUDA_VISIBLE_DEVICES. Raises a process's InputError, and RuntimeError where one fails otherwise.
    """

    def __init__(self, engine, devices: list[str]):
        self.engine, self.devices, self.settings = engine, devices, engine.settings

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Completion]]:
        working = {}
        try:
            for number, visible in enumerate(self.devices[: len(requests)]):
                receiver, child = self._start(requests[number :: len(self.devices)], visible)
                working[receiver] = child, visible
            while working:
                for receiver in wait(list(working)):
                    try:
                        answer = receiver.recv()
                    except EOFError:
                        child, visible = working.pop(receiver)
                        child.join()
                        if child.exitcode:
                            name = f"the engine with CUDA_VISIBLE_DEVICES {visible!r}"
                            raise RuntimeError(f"{name} ended with code {child.exitcode}, its error is above") from None
                        continue
                    if isinstance(answer, InputError):
                        raise answer
                    yield answer
        finally:
            for child, _ in working.values():
                child.terminate()
                child.join()

    def _start(self, requests: list[Request], visible: str) -> tuple:
        """The receiving end and the process that samples these requests; it must see its GPUs before it imports."""
        context, usual = multiprocessing.get_context("spawn"), os.environ.get("CUDA_VISIBLE_DEVICES")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_send_samples, args=(self.engine, requests, sender))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
        try:
            child.start()
        finally:
            os.environ.pop("CUDA_VISIBLE_DEVICES")
            os.environ.update({} if usual is None else {"CUDA_VISIBLE_DEVICES": usual})
        sender.close()
        return receiver, child


def _send_samples(engine, requests: list[Request], sender) -> None:
    try:
        for pair in engine.sample(requests):
            sender.send(pair)
    except InputError as error:
        sender.send(error)


def _gpu_groups(visible: str, count: int, size: int) -> list[str]:
    """The `count` GPUs of this process in groups of `size` for engines, each as a CUDA_VISIBLE_DEVICES; what is left
    over is not used. `visible` is that of this process."""
    names = (visible.split(",") if visible else [str(number) for number in range(count)])[:count]
    return [",".join(names[first : first + size]) for first in range(0, len(names) - size + 1, size)]


def sync_exactly(model, sync: Callable[[], None]) -> Callable[[], None]:
    """`sync`, after which the weights under adapters are those of before: TRL merges the adapters for vLLM and takes
    them out again, and in bfloat16 each such pair rounds the frozen weights anew (TRL #6688)."""

    def sync_and_restore() -> None:
        frozen = [part.base_layer.weight for part in model.modules() if isinstance(part, LoraLayer)]
        before = [weight.detach().clone() for weight in frozen]
        sync()
        for weight, value in zip(frozen, before, strict=True):
            weight.data.copy_(value)

    return sync_and_restore


def sample_colocated(
    holder, ids: list[list[int]], seeds: list[int], sampling: SamplingSettings
) -> list[GeneratedTokens]:
    """One sample for each row from TRL's vLLM in this process (`holder`), each with its own seed.

    GPUs that share an engine (tensor parallelism) must sample the same rows: each gathers them and keeps its own.
    """
    rows, first = list(zip(ids, seeds, strict=True)), 0
    if holder.tensor_parallel_size > 1:
        parts = [None] * holder.tensor_parallel_size
        torch.distributed.all_gather_object(parts, rows, group=holder.tp_group)
        first = sum(map(len, parts[: torch.distributed.get_rank(holder.tp_group)]))
        rows = [row for part in parts for row in part]
    if holder.enable_sleep_mode:
        holder.llm.wake_up(tags=["kv_cache"])
    sampled = _vllm_completions(holder.llm, *map(list, zip(*rows, strict=True)), sampling)
    if holder.enable_sleep_mode:  # as after TRL's own call: the weights are sent again before the next one
        holder.llm.sleep(level=2)
        holder._llm_weights_sleeping = True
    mine = sampled[first : first + len(ids)]
    return [GeneratedTokens(list(one.token_ids), [], one.finish_reason == "length") for one in mine]


_ATTEMPTS = 6
_FIRST_PAUSE = 0.5  # seconds before the second attempt; each further pause is twice as long
_TIMEOUT = httpx.Timeout(3600, connect=10)  # a completion is sent only when it is complete
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OpenAIClient:
    """A model at an address such as http://127.0.0.1:8000/v1, with `concurrency` requests at a time.

    Connection errors, 429 and 5xx are retried, with doubled pauses. The key comes from LEAD_API_KEY and is not stored.
    Raises InputError when no server answers, a request keeps failing, or the server refuses it.
    """

    def __init__(
        self, address: str, model: str, template: str, sampling: SamplingSettings, concurrency: int, thinking=False
    ):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"server is {address!r}, expected an address such as http://127.0.0.1:8000/v1")
        if concurrency < 1:
            raise InputError(f"concurrency is {concurrency}, expected at least 1 request at a time")
        self.address, self.host, self.model, self.template = address.rstrip("/"), parts.hostname, model, template
        self.concurrency, self.thinking = concurrency, thinking
        self.sampling = {name: value for name, value in sampling.as_dict().items() if name != "top_k"}  # no such field
        self.settings = {"engine": "openai", "template": template} | self.sampling

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Completion]]:
        if not requests:
            return
        key = os.environ.get("LEAD_API_KEY")
        client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=self.concurrency),
            trust_env=self.host not in _LOOPBACK,  # a proxy cannot reach this machine's own servers
        )
        with ThreadPoolExecutor(self.concurrency) as pool, client:
            self._knock(client)
            asked = {pool.submit(self._ask, client, request): request for request in requests}
            try:
                for future in as_completed(asked):
                    yield asked.pop(future), future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _knock(self, client: httpx.Client) -> None:
        """One request without retries, so that a wrong address fails at once. Any answer is accepted."""
        try:
            client.get(self.address + "/models", timeout=10)
        except httpx.TransportError as error:
            raise InputError(
                f"no server answers at {self.address} ({error}); start one (`vllm serve MODEL`, `transformers serve "
                "MODEL`) or set the parameter server"
            ) from None

    def body(self, request: Request) -> dict:
        """The request as JSON; min_p, which OpenAI's API lacks, is sent only if it is on."""
        target = request.record.get("target_tokens")
        turns = prompts.messages(self.template, request.record["problem"], target)
        asked = {"model": self.model, "messages": turns}
        return asked | {name: v for name, v in self.sampling.items() if name != "min_p" or v} | {"seed": request.seed}

    def _ask(self, client: httpx.Client, request: Request) -> Completion:
        body = self.body(request)
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
            try:
                response = client.post(self.address + "/chat/completions", json=body)
            except httpx.TransportError as error:
                failure = str(error) or type(error).__name__
                continue
            if response.status_code != 429 and response.status_code < 500:
                return self._read(response, body)
            failure = _describe(response)
        raise InputError(
            f"the server at {self.address} failed {_ATTEMPTS} times in a row ({failure}); "
            "run this again when it works: what was sampled is kept"
        )

    def _read(self, response: httpx.Response, body: dict) -> Completion:
        if response.is_success:
            try:
                answer = response.json()
                choice, tokens = answer["choices"][0], int(answer["usage"]["completion_tokens"])
                text = replace_lone_surrogates(choice["message"]["content"] or "")
                return Completion(text, tokens, choice["finish_reason"] == "length", self.thinking)
            except (ValueError, LookupError, TypeError):
                raise InputError(
                    f"{self.address} gave no chat completion with a token count: {response.text[:200]!r}"
                ) from None
        named = [name for name in self.sampling if name in body and re.search(rf"\b{name}\b", response.text)]
        hint = "".join(f"; {name} is {body[name]!r}: set the parameter {name}" for name in named)
        if response.status_code in (401, 403):
            hint = "; the key is read from LEAD_API_KEY"
        raise InputError(f"the server at {self.address} refuses the request ({_describe(response)}){hint}")


def _describe(response: httpx.Response) -> str:
    """Status and first words of an answer; the key is hidden if the server repeats it."""
    text, key = " ".join(response.text.split()), os.environ.get("LEAD_API_KEY")
    return f"{response.status_code}: {(text.replace(key, '…') if key else text)[:200]}"


class _Engine(NamedTuple):
    """An entry of ENGINES: its use in training (03_grpo) and in evaluation (04_evaluate)."""

    trains: bool = False
    seeds_rows: bool = False  # in training each row has a seed of its own; else one seed draws all rows of a call
    vllm_mode: str = ""  # TRL's vllm_mode; empty: without vLLM
    open: Callable | None = None  # opens it for evaluation


def for_training(name: str) -> _Engine:
    """The engine that samples rollouts in training. Raises InputError for one that cannot."""
    return lookup({key: one for key, one in ENGINES.items() if one.trains}, name, "engine")


def for_evaluation(name: str, model: str, settings: BenchmarkSettings, config: dict, run):
    """The engine `name` for a model (folder or name), with a benchmark's settings.

    `config` holds the parameters of 04_evaluate from stop to batch_size. A model folder is
    recorded as an input of the run. Raises InputError for an unknown engine, one that this machine cannot run, and an
    empty stop.
    """
    engine = lookup({key: one for key, one in ENGINES.items() if one.open}, name, "engine")
    if "" in config["stop"]:
        raise InputError("stop holds an empty text, expected texts that end a completion")
    cuts = settings.top_p, settings.min_p
    sampling = SamplingSettings(settings.max_tokens, settings.temperature, *cuts, stop=tuple(config["stop"]))
    return engine.open(model, settings.template, sampling, config, run)


def _open_sampler(model: str, template: str, sampling: SamplingSettings, config: dict, run) -> LocalEngine:
    policy, tokenizer = load_model(locate_model(model, run), dtype=config["dtype"])
    set_chat_template(tokenizer, config["chat_template"], config["template_variables"])
    policy = policy.to("cuda" if torch.cuda.is_available() else "cpu")
    return LocalEngine(policy, tokenizer, template, sampling, config["batch_size"])


def _open_vllm(model: str, template: str, sampling: SamplingSettings, config: dict, run) -> VllmEngine:
    if importlib.util.find_spec("vllm") is None:
        raise InputError(
            "engine 'vllm' is not installed: it comes with requirements-gpu.txt (on a CPU: make stack-vllm)"
        )
    located = resolve_model(locate_model(model, run))
    if located in SIZES:
        raise InputError(f"engine 'vllm' needs a folder or a hub id, and {model!r} is built in memory: save it first")
    machine = {"gpu_memory_utilization": config["vllm_memory"], "tensor_parallel_size": config["vllm_tensor_parallel"]}
    chat_template = config["chat_template"], config["template_variables"]
    fixed = {"dtype": config["dtype"], "batch_size": config["batch_size"], "chat_template": chat_template}
    engine = VllmEngine(located, template, sampling, machine=machine, **fixed)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", ""), torch.cuda.device_count()
    groups = _gpu_groups(*gpus, config["vllm_tensor_parallel"])
    return ParallelEngine(engine, groups) if len(groups) > 1 else engine


def _open_server(model: str, template: str, sampling: SamplingSettings, config: dict, run) -> OpenAIClient:
    return OpenAIClient(config["server"], model, template, sampling, config["concurrency"], config["thinking"])


ENGINES = {
    "sampler": _Engine(trains=True, seeds_rows=True, open=_open_sampler),  # the kit's sampler on a transformers model
    "generate": _Engine(trains=True),  # the model's own `generate`, by TRL
    "vllm_colocate": _Engine(trains=True, seeds_rows=True, vllm_mode="colocate"),  # vLLM beside the trainer, by TRL
    "vllm_server": _Engine(trains=True, vllm_mode="server"),  # `trl vllm-serve`, by TRL
    "vllm": _Engine(open=_open_vllm),  # vLLM in this process, or in one for each group of GPUs
    "openai": _Engine(open=_open_server),  # any OpenAI-compatible server
}

"""Where completions come from: a model in this process, vLLM, or a server.

An engine's `sample(requests)` yields (Request, Answer) pairs in any order, as completions are ready. A request carries
its own seed, so a sample does not depend on the order of the requests. `settings` holds everything else that a sample
depends on besides model and problem; evaluate/store.py keeps it beside the samples.
"""

import gc
import importlib.util
from collections.abc import Iterator

import torch
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from lead_kit.errors import InputError, chosen
from lead_kit.models import sampler
from lead_kit.models.chat import Chat, end_tokens
from lead_kit.models.embedded import SIZES
from lead_kit.models.loading import load_model
from lead_kit.models.sampler import Answer, Request, Sampled
from lead_kit.models.server import Server
from lead_kit.runs.find import locate_model

PAGES = None  # of continuous batching's cache; None: as many as the memory holds


class Local:
    """A transformers model in this process, by the kit's sampler: rows that have finished stop costing.

    `continuous` takes the library's continuous batching instead (paged cache, a place is filled as soon as it is
    free). It draws all rows from one random stream: samples depend on the order of the requests, and are not those
    of their seeds.
    """

    def __init__(
        self,
        model,
        tokenizer,
        template: str,
        *,
        max_tokens: int,
        temperature: float,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        batch_size: int = 256,
        continuous: bool = False,
    ):
        if continuous and min_p:
            raise InputError(f"continuous_batching knows no min_p ({min_p}): set min_p to 0 or continuous_batching off")
        self.model, self.tokenizer, self.batch_size, self.continuous = model, tokenizer, batch_size, continuous
        self.chat = Chat(tokenizer, template)
        self.knobs = dict(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        name = "transformers, continuous batching" if continuous else "transformers"
        self.settings = {"engine": name, "template": template, "dtype": str(model.dtype).removeprefix("torch.")}
        self.settings |= self.knobs

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Answer]]:
        self.model.eval()
        decode = self._continuous if self.continuous else self._seeded
        for part in self.chat.parts(requests, self.batch_size):
            sampled = decode(part)
            texts = self.tokenizer.batch_decode([s.ids for s in sampled], skip_special_tokens=True)
            for request, text, s in zip(part, texts, sampled, strict=True):
                yield request, Answer(text, len(s.ids), s.finished)

    def _seeded(self, part: list[Request]) -> list[Sampled]:
        return sampler.generate(
            self.model,
            [self.chat.ids(r.record) for r in part],
            [r.seed for r in part],
            eos=end_tokens(self.model, self.tokenizer),
            pad=self.tokenizer.pad_token_id,
            batch_size=self.batch_size,
            **self.knobs,
        )

    def _continuous(self, part: list[Request]) -> list[Sampled]:
        ends = end_tokens(self.model, self.tokenizer)
        torch.manual_seed(part[0].seed)
        temperature = self.knobs["temperature"]
        config = GenerationConfig(
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_k=self.knobs["top_k"],
            top_p=self.knobs["top_p"],
            max_new_tokens=self.knobs["max_tokens"],
            eos_token_id=ends,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        found = self.model.generate_batch(
            [self.chat.ids(r.record) for r in part],
            generation_config=config,
            continuous_batching_config=ContinuousBatchingConfig(num_blocks=PAGES),
        )
        failed = [one.error for one in found.values() if one.error]
        if failed or len(found) != len(part):
            raise RuntimeError(f"continuous batching answered {len(found)} of {len(part)} requests: {failed[:1]}")
        ids = [one.generated_tokens for one in found.values()]
        return [Sampled(one, [], one[-1:] != [] and one[-1] in ends) for one in ids]


class Vllm:
    """vLLM in this process; its engine lives only while `sample` runs, so that the next model finds the GPU free.

    Written from vLLM's documentation (LLM.generate, SamplingParams, RequestOutput) and never run: it needs a GPU and
    requirements-gpu.txt. Prompts go in as token ids of the model's own chat template, as in Local; each request has
    its own seed. For several GPUs start `vllm serve --tensor-parallel-size` and take engine openai.
    """

    def __init__(self, model: str, template: str, *, dtype: str, batch_size: int, **knobs):
        self.model, self.template, self.dtype, self.batch_size, self.knobs = model, template, dtype, batch_size, knobs
        self.settings = {"engine": "vllm", "template": template, "dtype": dtype} | knobs

    def sample(self, requests: list[Request]) -> Iterator[tuple[Request, Answer]]:
        if not requests:
            return
        from vllm import LLM, SamplingParams

        engine = LLM(model=self.model, dtype=self.dtype, trust_remote_code=False, seed=0)
        chat = Chat(engine.get_tokenizer(), self.template)
        try:
            for part in chat.parts(requests, self.batch_size):
                outputs = engine.generate(
                    [{"prompt_token_ids": chat.ids(r.record)} for r in part],
                    [SamplingParams(n=1, seed=r.seed, **self.knobs) for r in part],
                    use_tqdm=False,
                )
                for request, output in zip(part, outputs, strict=True):
                    one = output.outputs[0]
                    yield request, Answer(one.text, len(one.token_ids), one.finish_reason != "length")
        finally:
            del engine
            gc.collect()
            torch.cuda.empty_cache()


def opened(engine: str, model: str, settings, config: dict, run):
    """The engine `engine` for a model (folder or name) with a benchmark's settings.

    `config` holds dtype, batch_size, continuous_batching, server and concurrency; a model's folder becomes a recorded
    input of the run. Raises InputError for an unknown engine and for one that this machine cannot run.
    """
    knobs = settings._asdict()
    knobs.pop("n")
    return chosen(ENGINES, engine, "engine")(model, knobs.pop("template"), knobs, config, run)


def open_transformers(model: str, template: str, knobs: dict, config: dict, run) -> Local:
    continuous = config["continuous_batching"]
    if continuous and not torch.cuda.is_available():
        raise InputError("continuous_batching needs a CUDA GPU; without it finished rows stop costing all the same")
    policy, tokenizer = load_model(locate_model(model, run), dtype=config["dtype"])
    if continuous and not hasattr(policy, "generate_batch"):
        raise InputError("continuous_batching: this version of transformers has no generate_batch for the model")
    policy = policy.to("cuda" if torch.cuda.is_available() else "cpu")
    return Local(policy, tokenizer, template, batch_size=config["batch_size"], continuous=continuous, **knobs)


def open_vllm(model: str, template: str, knobs: dict, config: dict, run) -> Vllm:
    if importlib.util.find_spec("vllm") is None:
        raise InputError("engine 'vllm' is not installed: it comes with requirements-gpu.txt and needs a CUDA GPU")
    located = locate_model(model, run)
    if located in SIZES:
        raise InputError(f"engine 'vllm' needs a folder or a hub id, and {model!r} is built in memory: save it first")
    return Vllm(located, template, dtype=config["dtype"], batch_size=config["batch_size"], **knobs)


def open_server(model: str, template: str, knobs: dict, config: dict, run) -> Server:
    return Server(config["server"], model, template, concurrency=config["concurrency"], **knobs)


ENGINES = {"transformers": open_transformers, "vllm": open_vllm, "openai": open_server}

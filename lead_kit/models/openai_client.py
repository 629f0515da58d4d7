"""Completions from a server that speaks OpenAI's chat API: `vllm serve`, SGLang, `transformers serve`, a hosted model.

The server applies the model's chat template. It also sets what the API has no field for (top_k, repetition penalty):
vLLM reads the model's generation_config.json unless started with `--generation-config vllm`, and `transformers serve`
samples only if that file has `"do_sample": true`.
"""

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from urllib.parse import urlsplit

import httpx

from lead_kit.data import prompts
from lead_kit.errors import InputError
from lead_kit.models.sampler import Completion, Request, SamplingSettings
from lead_kit.runs.files import _replace_lone_surrogates

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
        with ThreadPoolExecutor(self.concurrency) as pool, self._client() as client:
            self._knock(client)
            asked = {pool.submit(self._ask, client, request): request for request in requests}
            try:
                for future in as_completed(asked):
                    yield asked.pop(future), future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _client(self) -> httpx.Client:
        key = os.environ.get("LEAD_API_KEY")
        return httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=self.concurrency),
            trust_env=self.host not in _LOOPBACK,  # a proxy cannot reach this machine's own servers
        )

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
        asked = {"model": self.model, "messages": prompts.messages(self.template, request.record["problem"])}
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
                text = _replace_lone_surrogates(choice["message"]["content"] or "")
                return Completion(text, tokens, choice["finish_reason"] == "length", self.thinking)
            except (ValueError, LookupError, TypeError):
                raise InputError(
                    f"{self.address} gave no chat completion with a token count: {response.text[:200]!r}"
                ) from None
        refused = [name for name in body if name in _SENT and re.search(rf"\b{name}\b", response.text)]
        hint = "".join(f"; {name} is {body[name]!r}{_SENT[name]}" for name in refused)
        if response.status_code in (401, 403):
            hint = "; the key is read from LEAD_API_KEY"
        raise InputError(f"the server at {self.address} refuses the request ({_describe(response)}){hint}")


def _describe(response: httpx.Response) -> str:
    """Status and first words of an answer; the key is hidden if the server repeats it."""
    text, key = " ".join(response.text.split()), os.environ.get("LEAD_API_KEY")
    return f"{response.status_code}: {(text.replace(key, '…') if key else text)[:200]}"


_SENT = {
    "min_p": ", and this server knows no such setting: set the parameter min_p to 0",
    "top_p": ": set the parameter top_p",
    "temperature": ": set the parameter temperature",
    "max_tokens": ": set the parameter max_tokens",
    "seed": ", and every request has one: this server cannot be used",
    "model": ": set the parameter models to the name that it serves",
}

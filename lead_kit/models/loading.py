"""Models by name (an embedded one, a folder, or a causal model of the hub), and saving them, adapters merged."""

import functools
import importlib.util
import json
import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedTokenizerBase,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.pytorch_utils import Conv1D
from transformers.utils.logging import disable_progress_bar

from lead_kit.errors import InputError, lookup, nearest
from lead_kit.models.smollm2 import SMOLLM2, resolve_model
from lead_kit.models.tiny_models import SIZES, TOKENIZERS, embedded_model
from lead_kit.runs.files import atomic, shown, why_incomplete
from lead_kit.runs.find import is_path
from lead_kit.runs.provenance import rank, sharded

_BACKENDS = dict.fromkeys(("transformers", "unsloth"))
_TRAINING_FLAGS = ("use_cache", "output_router_logits", "router_aux_loss_coef")  # that TRL changes in a configuration
_ADAPTERS = {"full": False, "lora": False, "qlora": True}  # whether the base weights are loaded in four bits
# TRL reads the old name; a training cell would show the warning, as its arguments are made before a model is loaded
warnings.filterwarnings("ignore", message=".*checkpointing.* is deprecated", category=FutureWarning)


def load_model(
    name: str,
    backend: str = "transformers",
    dtype: str = "float32",
    seed: int = 0,
    attention: str = "sdpa",
    adapter: str = "",
):
    """The causal model `name` and its tokenizer, padded on the left.

    `name` is an embedded model (`tiny`, `tiny-words`, `tiny-bytes`), a packaged one (`smollm2`), a .gguf file, a
    checkpoint folder, or a hub model. `adapter` is that of a training: full, lora or qlora. With qlora the weights are
    four-bit (nf4, double quantisation), which needs bitsandbytes. Weights that are all trained (full) are float32
    masters under bfloat16 autocast: at a rate of 1e-6, AdamW's step is below the spacing of most bfloat16 weights and
    would be rounded away. Frozen weights under an adapter stay in `dtype`. Raises InputError for an unknown backend or
    adapter, an incomplete folder, or a path that does not exist.
    """
    disable_progress_bar()  # of file loading
    lookup(_BACKENDS, backend, "backend")
    four_bit = lookup(_ADAPTERS, adapter, "adapter") if adapter else False
    dtype = "float32" if adapter == "full" else dtype
    if four_bit:
        _require_four_bits(name)
    if name in SIZES:
        return embedded_model(name, seed)
    name = resolve_model(name)
    _check_folder(name)
    if backend == "unsloth":
        return _load_unsloth(name, dtype, four_bit, adapter == "full")
    model = _load_weights(name, dtype, attention, four_bit)
    config = model.config.get_text_config()
    model.start_flags = {flag: getattr(config, flag) for flag in _TRAINING_FLAGS if hasattr(config, flag)}
    if four_bit:
        _without_packed_kernel(model)
    return model, load_tokenizer(name)


def _load_weights(name: str, dtype: str, attention: str, four_bit: bool):
    """The model by transformers. An architecture without sdpa, the default, gets eager attention, with a line."""
    options = {
        "dtype": getattr(torch, dtype),
        "trust_remote_code": False,
        "use_safetensors": True,
        "local_files_only": Path(name).is_dir(),
        "ignore_mismatched_sizes": True,  # so that they are in the report
        "output_loading_info": True,
    }
    if four_bit:  # QLoRA (2305.14314): 4-bit normal floats, quantised quantisation constants
        kind = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_compute_dtype=getattr(torch, dtype), **kind
        )
    load = functools.partial(AutoModelForCausalLM.from_pretrained, name, **options)
    try:
        model, report = load(attn_implementation=attention)
    except ValueError as error:
        if "does not support" not in str(error) or attention == "eager":
            raise
        if attention != "sdpa":
            raise InputError(f"attention is {attention!r}, which model {name} does not support: set 'eager'") from None
        model, report = load(attn_implementation="eager")
        print(f"{type(model).__name__} does not support attention 'sdpa': 'eager' was chosen")
    _require_all_weights(name, report)
    return model


def lora_targets(model, names: list[str]) -> list[str]:
    """The modules that get an adapter, as PEFT takes them, and prints how many of each name there are.

    `names` are the last parts of module names, or ["all-linear"] for every linear layer but the output head. Raises
    InputError for a name that matches no linear layer.
    """
    linear = [name.split(".")[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear | Conv1D)]
    counts = Counter(name for name in linear if name != "lm_head" or name in names)
    if names == ["all-linear"]:
        names = list(counts)
    if missing := [name for name in names if name not in counts]:
        known = ", ".join([*counts, "all-linear"])
        raise InputError(f"lora_targets has {missing[0]!r}, which {type(model).__name__} lacks; there are {known}")
    print("adapters on", ", ".join(f"{counts[name]} {name}" for name in names))
    return names


def keep_float32(model, dtype: str) -> None:
    """With computation in float32, what trains is float32 too: beside four-bit weights, TRL makes it bfloat16, and a
    module that is trained in full could then not be multiplied with the rest."""
    for weight in model.parameters():
        if dtype == "float32" and weight.requires_grad:
            weight.data = weight.data.float()


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that `load_model` takes, padded on the left."""
    if name in TOKENIZERS:
        return TOKENIZERS[name]()
    name = resolve_model(name)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, local_files_only=Path(name).is_dir())
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return _keep_thoughts(tokenizer)


def _keep_thoughts(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Makes <think> and </think> ordinary tokens: special ones are missing from a decoded text, and with them the
    place at which the verifier begins to read."""
    if not {"<think>", "</think>"} & set(tokenizer.all_special_tokens):
        return tokenizer
    known = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in known["added_tokens"]:
        token["special"] &= token["content"] not in ("<think>", "</think>")
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(known))
    return tokenizer


def _require_all_weights(name: str, report: dict) -> None:
    """Raises InputError when a weight did not come from the model's files: transformers would draw it at random."""
    wrong = [f"{tensor} is missing" for tensor in sorted(report["missing_keys"])]
    for tensor, actual, expected in sorted(report["mismatched_keys"]):
        wrong.append(f"{tensor} has shape {list(actual)}, where config.json expects {list(expected)}")
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"the weights of model {name} do not fit its configuration: {'; '.join(wrong[:3])}{more}")


def _require_four_bits(name: str) -> None:
    """Raises InputError where QLoRA cannot be: without bitsandbytes, from random weights, or on sharded weights."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("adapter 'qlora' needs bitsandbytes, which is not installed; 'lora' runs without it")
    if name in SIZES:
        raise InputError(f"adapter 'qlora' needs a trained model, and {name!r} is drawn at random: name a folder")
    if kind := sharded():
        raise InputError(f"adapter 'qlora' has four-bit weights, which {kind} cannot share out: use 'lora' or ddp.yaml")


def _without_packed_kernel(model) -> None:
    """Turns off bitsandbytes' kernel for CPUs with AVX512: outside training it repacks the weights, in multiples of 32
    rows only, and computes in bfloat16 whatever was asked for."""
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _check_folder(name: str) -> None:
    """Raises InputError for a path without a complete checkpoint, or a name that is neither embedded nor a hub id."""
    folder = Path(name)
    if folder.is_dir():
        needed = ("config.json", "tokenizer_config.json", "*.safetensors")
        missing = [pattern for pattern in needed if not any(folder.glob(pattern))]
        for index in folder.glob("*.safetensors.index.json"):
            parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            missing += sorted(part for part in set(parts) if not (folder / part).is_file())
        if missing:
            raise InputError(f"model folder {name} is incomplete: {', '.join(missing)} missing")
        for file in sorted(folder.glob("*.safetensors")):
            if wrong := why_incomplete(file):
                raise InputError(f"{file} is cut off or damaged: {wrong}; write or download it again")
    elif is_path(name):
        raise InputError(f"model folder {name} does not exist; run the notebook that writes it, or name a hub model")
    elif "/" not in name:
        known = [*SIZES, SMOLLM2]
        raise InputError(f"model is {name!r}, expected {known}, a folder or a hub id{nearest(name, known)}")


def _load_unsloth(name: str, dtype: str, four_bit: bool, full: bool):
    """The model through unsloth, which rewrites TRL when imported: a notebook must import it first.

    Unless told otherwise, unsloth (2026.10.6) cuts inputs at 2,048 tokens and freezes the weights: it gets the model's
    own context, and `full` where all weights are trained.
    """
    if not torch.cuda.is_available():
        raise InputError("backend 'unsloth' needs a CUDA GPU; there, install it from requirements-unsloth.txt")
    try:
        from unsloth import FastLanguageModel
    except ImportError as error:
        raise InputError(f"backend 'unsloth' is not installed ({error}); see requirements-unsloth.txt") from error
    model, tokenizer = FastLanguageModel.from_pretrained(
        name,
        max_seq_length=AutoConfig.from_pretrained(name, trust_remote_code=False).max_position_embeddings,
        dtype=getattr(torch, dtype),
        load_in_4bit=four_bit,
        full_finetuning=full,
        trust_remote_code=False,
    )
    tokenizer.padding_side = "left"
    return model, tokenizer


BARS = {torch.float32: 1e-3, torch.bfloat16: 0.05}  # largest change by merging, as a share of the largest logit


@torch.no_grad()
def merge_adapter(base, adapter: Path, ids: torch.Tensor, adapted: torch.Tensor, bar: float):
    """`base` with the adapter of a folder merged into its weights, and the largest change of a logit on `ids`.

    `adapted` are the logits of the trained model on `ids` (rows, tokens). Quantised weights are first expanded to the
    numbers with which the adapter was trained: merging into four bits, or into the weights before quantisation, gives
    another model. Raises ValueError when the change exceeds `bar` times the largest logit.
    """
    if getattr(base, "is_loaded_in_4bit", False):
        base = base.dequantize(base.dtype)
    plain = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().eval()
    change = (plain(ids.to(plain.device)).logits.float().cpu() - adapted).abs().max().item()
    if not change <= bar * adapted.abs().max().item():
        raise ValueError(
            f"merging the adapter changed a logit by {change:.2g}, more than {bar:g} of the largest; it is kept in "
            f"{shown(adapter)}"
        )
    return plain, change


def save_model(model, tokenizer, folder: Path) -> None:
    """Writes weights (safetensors), configuration, tokenizer and chat template as a folder for `load_model`.

    The write is atomic, and only the first process writes.
    """
    if rank():
        return
    with atomic(Path(folder)) as part:
        model.save_pretrained(part, safe_serialization=True)
        tokenizer.save_pretrained(part)


def save_gathered(trainer, folder: Path) -> None:
    """Writes what the trainer trained, weights or adapter, with the parts of all processes put together, and the flags
    of the configuration as they were at the start."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    vars(model.config.get_text_config()).update(getattr(model, "start_flags", {}))
    with nullcontext(folder) if rank() else atomic(folder) as part:
        trainer.save_model(str(part))
        (part / "training_args.bin").unlink(missing_ok=True)


def save_trained(trainer, tokenizer, example: torch.Tensor, folder: Path, base: dict) -> str:
    """Writes a trainer's model as a folder for `load_model`; returns what was written, in words.

    An adapter is first kept in PEFT's format in the folder `adapter` beside it. Then it is merged into the weights
    that load_model reads again by its arguments `base`: those in memory may be quantised, or spread over the processes.
    The merged logits on `example` (rows, tokens) are compared with the trained model's, as `merged` says.
    """
    if not isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        save_gathered(trainer, folder)
        return f"the model is in {shown(folder)}"
    adapter = folder.with_name("adapter")
    save_gathered(trainer, adapter)
    adapted = logits(trainer.model, example)
    unset_hf_deepspeed_config()  # else ZeRO-3 would wait for the other processes to load their parts
    note = ""
    if rank() == 0:
        half = trainer.accelerator.mixed_precision == "bf16" or trainer.model.dtype == torch.bfloat16
        bar = BARS[torch.bfloat16 if half else torch.float32]
        plain, change = merge_adapter(load_model(**base)[0], adapter, example, adapted, bar)
        save_model(plain, tokenizer, folder)
        note = f"largest change of a logit by merging: {change:.2g} (at most {bar:g} of the largest is accepted)"
    trainer.accelerator.wait_for_everyone()
    return note


def whole_model(trainer, folder: Path, dtype: str):
    """The trained model to sample from: the trainer's, or where processes share its weights, which would be gathered
    for every token, the saved one of `folder`, in each process."""
    if not sharded():
        return trainer.accelerator.unwrap_model(trainer.model)
    unset_hf_deepspeed_config()
    trainer.accelerator.wait_for_everyone()  # the first process has written it
    return load_model(str(folder), dtype=dtype)[0].to(trainer.accelerator.device)


@torch.no_grad()
def logits(model, ids: torch.Tensor) -> torch.Tensor:
    """The model's logits on `ids` (rows, tokens), on the CPU; every process takes part where weights are spread."""
    return model.eval()(ids.to(model.device)).logits.float().cpu()

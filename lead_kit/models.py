"""Models by name: two embedded ones built offline from a config, and any causal model of the hub or of a folder.

`tiny` speaks the arithmetic of lead_kit.arithmetic in whole-number tokens; `tiny-bytes` has a byte-level tokenizer and
takes arbitrary text. Both are Llama architectures with a chat template, small enough to train on a CPU in seconds.
"""

import warnings
from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from lead_kit import arithmetic
from lead_kit.offline import is_path
from lead_kit.params import InputError, nearest
from lead_kit.record import atomic
from lead_kit.runs import ensure, rank

# What every run would print again: bars for loading a file, and names that change in a later major version.
transformers.utils.logging.disable_progress_bar()
warnings.filterwarnings("ignore", message=".*checkpointing.* is deprecated", category=FutureWarning)

SPECIALS = ["<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SIZES = {  # hidden size, layers, heads, MLP width, positions
    "tiny": (64, 2, 4, 176, 512),
    "tiny-bytes": (64, 2, 4, 176, 8192),
}
BACKENDS = ("transformers", "unsloth")


def arithmetic_words() -> list[str]:
    """Every token of the embedded task; the longer ones come first where one begins like another."""
    steps = range(1, arithmetic.MAX_STEPS + 1)
    signed = [f"{operand:+d}" for operand in arithmetic.OPERANDS]
    return [
        *(f"\n{word}, ({i}) " for word in ("Wait", "Hmm") for i in steps),
        *(f"\n({i}) " for i in steps),
        *(["\n\\boxed{", "}", "Start at ", ":", "."]),
        *(f"{operand}=" for operand in signed),
        *signed,
        *(str(number) for number in range(arithmetic.LARGEST, -1, -1)),
    ]


def arithmetic_tokenizer() -> PreTrainedTokenizerFast:
    """Whole-word tokenizer of the embedded task: encodes and decodes its problems and traces without loss."""
    words = arithmetic_words()
    vocabulary = {word: i for i, word in enumerate(SPECIALS + words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<|unk|>"))
    pattern = "|".join(_escaped(word) for word in words)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return _wrapped(tokenizer)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level tokenizer: one token a byte, so that any text goes through and comes back unchanged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate(SPECIALS + alphabet)}
    tokenizer = Tokenizer(BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _wrapped(tokenizer)


def _escaped(word: str) -> str:
    return "".join(f"\\{c}" if c in "\\{}()+-." else "\\n" if c == "\n" else c for c in word)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


TOKENIZERS = {"tiny": arithmetic_tokenizer, "tiny-bytes": byte_tokenizer}


def embedded(name: str, seed: int = 0):
    """A fresh embedded model and its tokenizer; the weights depend on `seed` alone."""
    tokenizer = TOKENIZERS[name]()
    hidden, layers, heads, width, positions = SIZES[name]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=width,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config.do_sample = True  # a server that loads the saved model samples, too
    return model, tokenizer


def load(
    name: str,
    backend: str = "transformers",
    dtype: str = "float32",
    seed: int = 0,
    attention: str = "sdpa",
    four_bit: bool = False,
):
    """The causal model `name` and its tokenizer, padded on the left.

    `name` is an embedded model (`tiny`, `tiny-bytes`), a folder with a checkpoint, or a model of the hub. `four_bit`
    loads the weights as QLoRA does (nf4, double quantisation), which needs a GPU and bitsandbytes.
    Raises InputError for an unknown backend, an incomplete folder, or a path that does not exist.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {list(BACKENDS)}{nearest(backend, BACKENDS)}")
    if four_bit and not torch.cuda.is_available():
        raise InputError("method 'qlora' needs a CUDA GPU and bitsandbytes; 'lora' runs on any machine")
    if name in SIZES:
        return embedded(name, seed)
    check_folder(name)
    if backend == "unsloth":
        return load_unsloth(name, dtype, four_bit)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, local_files_only=Path(name).is_dir())
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(
        name,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=Path(name).is_dir(),
        quantization_config=nf4(dtype) if four_bit else None,
    )
    return model, tokenizer


def nf4(dtype: str) -> BitsAndBytesConfig:
    """QLoRA (2305.14314): 4-bit normal floats, the constants quantised too, computation in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


@torch.no_grad()
def merged(model, ids: torch.Tensor, tolerance: float = 1e-3):
    """The plain model with its adapter's weights added in, and the largest change of a logit on `ids` (rows, tokens).

    A model without adapter comes back unchanged with 0. Raises ValueError when the change exceeds `tolerance` times
    the largest logit: then what is saved would not be what was trained.
    """
    if not hasattr(model, "merge_and_unload"):
        return model, 0.0
    model.eval()
    adapted = model(ids.to(model.device)).logits.float()
    plain = model.merge_and_unload()
    change = (plain(ids.to(plain.device)).logits.float() - adapted).abs().max().item()
    if change > tolerance * adapted.abs().max().item():
        raise ValueError(f"merging the adapter changed a logit by {change:.2g}, more than {tolerance:g} of the largest")
    return plain, change


def located(name: str, run) -> str:
    """The name as `load` takes it: an embedded or hub model as it is, a folder as a recorded input of the run.

    A folder that a notebook writes at its defaults is made first if it is not there.
    """
    if name in SIZES or not is_path(name):
        return name
    return str(run.input(ensure(name)))


def check_folder(name: str) -> None:
    """Raises InputError when `name` is a path without a complete checkpoint, or looks like a mistyped name."""
    folder = Path(name)
    if folder.is_dir():
        missing = [f for f in ("config.json", "tokenizer_config.json") if not (folder / f).is_file()]
        if not list(folder.glob("*.safetensors")):
            missing.append("*.safetensors")
        if missing:
            raise InputError(f"model folder {name} is incomplete: {', '.join(missing)} missing")
    elif is_path(name):
        raise InputError(f"model folder {name} does not exist; run the notebook that writes it, or name a hub model")
    elif "/" not in name:
        raise InputError(f"model is {name!r}, expected {list(SIZES)}, a folder or a hub id{nearest(name, SIZES)}")


def load_unsloth(name: str, dtype: str, four_bit: bool = False):
    """The model through unsloth. It rewrites TRL when imported, so a notebook imports it before anything else."""
    if not torch.cuda.is_available():
        raise InputError(
            "backend 'unsloth' needs a CUDA GPU; install it from requirements-unsloth.txt on such a machine"
        )
    try:
        from unsloth import FastLanguageModel
    except ImportError as error:
        raise InputError(f"backend 'unsloth' is not installed ({error}); see requirements-unsloth.txt") from error
    model, tokenizer = FastLanguageModel.from_pretrained(
        name, dtype=getattr(torch, dtype), load_in_4bit=four_bit, trust_remote_code=False
    )
    tokenizer.padding_side = "left"
    return model, tokenizer


def save(model, tokenizer, folder: Path) -> None:
    """Writes weights (safetensors), configuration, tokenizer and chat template as a folder that `load` takes.

    The folder appears whole; only the first process writes.
    """
    if rank():
        return
    with atomic(Path(folder)) as part:
        model.save_pretrained(part, safe_serialization=True)
        tokenizer.save_pretrained(part)


def hand_over(trainer, tokenizer, example: torch.Tensor, folder: Path):
    """Writes what a trainer has trained as a folder that `load` takes; returns the model and `merged`'s change.

    An adapter is merged into the weights. Weights that are spread over processes are gathered by the trainer instead,
    and an adapter then stays an adapter.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        trainer.save_model(str(folder))
        return model, 0.0
    model, change = merged(model, example)
    save(model, tokenizer, folder)
    return model, change

"""Embedded models, built offline from a config; they train on a CPU in seconds.

`tiny` has a tokenizer for the embedded arithmetic task, with a token for each number; `tiny-words` has one for the task
in words; `tiny-bytes` has a byte-level tokenizer and takes any text. All are Llama architectures with a chat template.
"""

import re

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lead_kit.data import arithmetic, word_problems

_SPECIALS = ["<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SIZES = {  # hidden size, layers, heads, MLP width, positions
    "tiny": (64, 2, 4, 176, 512),
    "tiny-words": (64, 2, 4, 176, 512),
    "tiny-bytes": (64, 2, 4, 176, 8192),
}


def _arithmetic_words() -> list[str]:
    """Every token of the embedded task, longer ones before their own prefixes."""
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
    """Word-level tokenizer of the embedded task: encodes and decodes its problems and traces without loss."""
    tokens = _arithmetic_words()
    return _word_level(tokens, "|".join(map(re.escape, tokens)))


def _words_tokenizer() -> PreTrainedTokenizerFast:
    """Word-level tokenizer of the task in words, without loss on its problems and solutions; a number is one token."""
    return _word_level(word_problems.vocabulary(), word_problems.TOKEN.pattern)


def _word_level(tokens: list[str], pattern: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are what the pattern finds; what is not in `tokens` is unknown."""
    vocabulary = {token: i for i, token in enumerate(_SPECIALS + tokens)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return _wrapped(tokenizer)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level tokenizer: one token for each byte, so any text is decoded unchanged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate(_SPECIALS + alphabet)}
    tokenizer = Tokenizer(BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


TOKENIZERS = {"tiny": arithmetic_tokenizer, "tiny-words": _words_tokenizer, "tiny-bytes": byte_tokenizer}


def embedded_model(name: str, seed: int = 0):
    """A new embedded model and its tokenizer; the weights depend only on `seed`."""
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
    model.generation_config.do_sample = True  # so a server of the saved model samples, too
    return model, tokenizer

"""Tiny models of the architectures of transformers, with random weights, built from their configurations."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lead_kit.models.tiny_models import arithmetic_tokenizer

BASE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
BASE |= {"num_key_value_heads": 2, "max_position_embeddings": 128}
WINDOW = {"sliding_window": 8}
HEAD = {"head_dim": 8}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = EXPERTS | HEAD | {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4}
DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
GEMMA = HEAD | WINDOW | {"query_pre_attn_scalar": 8}
EYES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
FAMILIES = {  # model_type of transformers, after a space a variant → what its configuration needs beside BASE
    "bamba": MAMBA | {"attn_layer_indices": [1]},
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere": {},
    "cohere2": WINDOW,
    "deepseek_v3": ROUTED
    | {
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
    "ernie4_5": {},
    "exaone4": WINDOW,
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True},
    "falcon_h1": MAMBA | HEAD | {"mamba_d_ssm": 64},
    "gemma": HEAD,
    "gemma2": GEMMA,
    "gemma3": {},
    "gemma3_text": GEMMA,
    "glm": HEAD,
    "glm4": HEAD,
    "glm4_moe": ROUTED,
    "gpt2": GPT,
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_neox": {},
    "gpt_oss": HEAD | WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gptj": GPT,
    "granite": {},
    "granitemoehybrid": MAMBA
    | {"layer_types": ["mamba", "attention"], "num_local_experts": 4, "num_experts_per_tok": 2}
    | {"shared_intermediate_size": 48},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 8}
    | {"use_mamba_kernels": False, "expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama": {},
    "llama4_text": HEAD
    | {"num_local_experts": 4, "attention_chunk_size": 8, "intermediate_size_mlp": 48, "no_rope_layers": [1, 0]},
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "minimax": HEAD | {"num_local_experts": 4, "layer_types": ["linear_attention", "full_attention"]},
    "mistral": {"sliding_window": None},
    "mistral window": WINDOW,
    "mixtral": {"num_local_experts": 4},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128},
    "nemotron": {},
    "nemotron_h": HEAD
    | {"hybrid_override_pattern": "M*-M", "num_hidden_layers": 4, "mamba_num_heads": 4, "mamba_head_dim": 16}
    | {"ssm_state_size": 8, "n_groups": 1, "chunk_size": 8},
    "olmo": {},
    "olmo2": {},
    "olmo3": WINDOW,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {"sliding_window": None},
    "qwen2": {},
    "qwen2_moe": EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 16},
    "qwen3": HEAD,
    "qwen3_moe": EXPERTS | HEAD | {"num_experts": 4},
    "qwen3_next": EXPERTS
    | HEAD
    | DELTA
    | {"num_experts": 4, "shared_expert_intermediate_size": 16}
    | {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"block_types": ("recurrent", "attention"), "attention_window_size": 8, "lru_width": 32},
    "rwkv": {"attention_hidden_size": 32},
    "seed_oss": HEAD,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
}


def build(family: str):
    """A model of the family and the embedded tokenizer; weights are larger than at the start of a training, so that a
    lost sequence bound shows in the log-probabilities."""
    tokenizer, model_type = arithmetic_tokenizer(), family.split()[0]
    ends = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    values = BASE | ends | {"vocab_size": len(tokenizer)} | FAMILIES[family]
    if family == "gemma3":  # the multimodal class, which a causal model of the larger sizes is
        layers = {"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}
        eyes = EYES | {"image_size": 28, "patch_size": 14}
        values = {"text_config": values | GEMMA | layers, "vision_config": eyes, "mm_tokens_per_image": 4}
        values |= {"boi_token_index": 1, "eoi_token_index": 1, "image_token_index": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **values)).float()
        for weight in (parameter for parameter in model.parameters() if parameter.dim() > 1):
            weight.data += 0.1 * torch.randn_like(weight)
    return model, tokenizer

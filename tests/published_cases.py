"""Small models of transformers, one per family, from configurations alone."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from fanin import seeds

_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_TEXT = _SMALL | {"vocab_size": 100}
_IMAGE = _SMALL | {"image_size": 32, "patch_size": 8}

TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64}
        | {"bos_token_id": 1, "eos_token_id": 1},
    ),
    "BertForMaskedLM": ("BertConfig", _TEXT),
    "LlamaForCausalLM": ("LlamaConfig", _TEXT | {"num_key_value_heads": 2}),
    "T5ForConditionalGeneration": (
        "T5Config",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
    ),
    "ViTForImageClassification": ("ViTConfig", _IMAGE),
    "MixtralForCausalLM": (
        "MixtralConfig",
        _TEXT | {"num_key_value_heads": 2, "num_local_experts": 4},
    ),
    "MambaForCausalLM": (
        "MambaConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100, "state_size": 8},
    ),
    "Wav2Vec2ForCTC": (
        "Wav2Vec2Config",
        _SMALL
        | {"vocab_size": 30, "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3)}
        | {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
    ),
    "CLIPModel": (
        "CLIPConfig",
        {"projection_dim": 16, "vision_config": _IMAGE}
        | {"text_config": _TEXT | {"bos_token_id": 1, "eos_token_id": 2}},
    ),
    "ConvNextForImageClassification": (
        "ConvNextConfig",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 2, 1]},
    ),
    "BloomForCausalLM": (
        "BloomConfig",
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100},
    ),
    "GPTNeoXForCausalLM": ("GPTNeoXConfig", _TEXT),
    "XLNetLMHeadModel": (
        "XLNetConfig",
        {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 100},
    ),
    "WhisperForConditionalGeneration": (
        "WhisperConfig",
        {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 100}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_mel_bins": 8}
        | {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_source_positions": 32}
        | {"max_target_positions": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        | {"decoder_start_token_id": 1},
    ),
}
"""The configuration of each model, and what makes it small."""


def build_published(name: str, device: str) -> nn.Module:
    """A model as its constructor leaves it."""
    package = importlib.import_module("transformers")
    config, options = TRANSFORMERS[name]
    with seeds.preserve_global_state(0), torch.device(device):
        model: nn.Module = getattr(package, name)(getattr(package, config)(**options))
    return model

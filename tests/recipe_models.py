"""Small models of the families that recipes are for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds

TOKENS = torch.arange(16).reshape(2, 8) * 7 % 90 + 3
IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
WAVES = torch.linspace(-1, 1, 800).reshape(2, 400)

SMALL: dict[str, Any] = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}
SPECIAL: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _make_gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(n_layer=4, n_embd=64, n_head=2, vocab_size=300, n_positions=64, **SPECIAL)
    )


def _make_llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SMALL, intermediate_size=128, vocab_size=300))


def _make_bert() -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(**SMALL, intermediate_size=128, vocab_size=300))


def _make_t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            vocab_size=300,
            tie_word_embeddings=False,
        )
    )


def _make_clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    tower = {**SMALL, "intermediate_size": 256}
    return CLIPModel(
        CLIPConfig(
            text_config={**tower, "vocab_size": 300, **SPECIAL},
            vision_config={**tower, "image_size": 32, "patch_size": 8},
        )
    )


def _make_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(**SMALL, intermediate_size=128, image_size=32, patch_size=4)
    )


def _make_dinov3() -> nn.Module:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    return DINOv3ViTModel(
        DINOv3ViTConfig(
            **SMALL, intermediate_size=128, image_size=32, patch_size=8, num_register_tokens=4
        )
    )


def _make_convnext() -> nn.Module:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    return ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[32, 64], depths=[1, 2], num_stages=2, image_size=32)
    )


def _make_wav2vec2() -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    return Wav2Vec2Model(
        Wav2Vec2Config(
            **SMALL,
            intermediate_size=128,
            conv_dim=(32, 32),
            conv_stride=(5, 2),
            conv_kernel=(10, 3),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    )


def _make_mamba2() -> nn.Module:
    from transformers import Mamba2Config, Mamba2ForCausalLM

    return Mamba2ForCausalLM(
        Mamba2Config(
            hidden_size=64,
            num_heads=8,
            head_dim=16,
            state_size=16,
            num_hidden_layers=2,
            vocab_size=300,
            n_groups=1,
            **SPECIAL,
        )
    )


class TimeMix(nn.Module):
    """The parts of RWKV-7's time mix that its recipe names, without the recurrence over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.receptance, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.w1 = nn.Parameter(torch.zeros(width, 8))
        self.w2 = nn.Parameter(torch.linspace(-1, 1, 8 * width).reshape(8, width))
        self.ln_x = nn.GroupNorm(4, width)

    def forward(self, x: Tensor) -> Tensor:
        decay = torch.sigmoid(torch.tanh(x @ self.w1) @ self.w2)
        y = torch.sigmoid(self.receptance(x)) * torch.tanh(self.key(x)) * decay * self.value(x)
        z: Tensor = self.output(self.ln_x(y.flatten(0, 1)).reshape(y.shape))
        return z


class Rwkv(nn.Module):
    """Blocks of a time mix and a perceptron with squared ReLU."""

    def __init__(self, depth: int = 3, width: int = 64, words: int = 300) -> None:
        super().__init__()
        self.emb, self.ln0 = nn.Embedding(words, width), nn.LayerNorm(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.att = nn.ModuleList(TimeMix(width) for _ in range(depth))
        self.key = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(depth))
        self.value = nn.ModuleList(nn.Linear(4 * width, width, bias=False) for _ in range(depth))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln0(self.emb(x))
        for i, att in enumerate(self.att):
            h = h + att(self.norms[2 * i](h))
            h = h + self.value[i](torch.relu(self.key[i](self.norms[2 * i + 1](h))).square())
        y: Tensor = self.head(h)
        return y


class Residual(nn.Module):
    """A convolutional branch of two layers with batch normalization, grouped in the first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=4, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def _make_resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        Residual(32),
        Residual(32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 100),
    )


class DitBlock(nn.Module):
    """A perceptron whose input and output adaLN modulates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate = self.adaLN_modulation(c).chunk(3, dim=-1)
        return x + gate * self.down(torch.relu(self.up(self.norm(x) * (1 + scale) + shift)))


class Dit(nn.Module):
    """Blocks that a table of labels and a perceptron of the time condition."""

    def __init__(self, depth: int = 2, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.t_embedder = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(30, width)
        self.blocks = nn.ModuleList(DitBlock(width) for _ in range(depth))
        self.final = nn.Linear(width, 192)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).mT
        c = (self.t_embedder(t) + self.labels(y))[:, None]
        for block in self.blocks:
            h = block(h, c)
        z: Tensor = self.final(h)
        return z


_ids = {"input_ids": TOKENS}
MODELS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "gpt2": (_make_gpt2, _ids),
    "llama": (_make_llama, _ids),
    "bert": (_make_bert, _ids),
    "t5": (_make_t5, {**_ids, "decoder_input_ids": TOKENS}),
    "clip": (_make_clip, {**_ids, "pixel_values": IMAGES}),
    "vit": (_make_vit, {"pixel_values": IMAGES}),
    "dinov3": (_make_dinov3, {"pixel_values": IMAGES}),
    "convnext": (_make_convnext, {"pixel_values": IMAGES}),
    "wav2vec2": (_make_wav2vec2, {"input_values": WAVES}),
    "mamba2": (_make_mamba2, _ids),
    "rwkv": (Rwkv, TOKENS),
    "resnet": (_make_resnet, IMAGES),
    "dit": (Dit, (IMAGES, torch.ones(2, 16), torch.tensor([1, 2]))),
}

FAMILIES = {
    "bert": "bert",
    "clip": "clip",
    "convnext": "convnext",
    "dinov3": "dinov3",
    "dit": "dit",
    "efficientnet": "resnet",
    "gpt2": "gpt2",
    "llama": "llama",
    "mamba2": "mamba2",
    "megatron": "gpt2",
    "modded_nanogpt": "llama",
    "nanochat": "llama",
    "olmo2": "llama",
    "resnet_goyal": "resnet",
    "resnet_torchvision": "resnet",
    "rwkv7": "rwkv",
    "t5": "t5",
    "torchtitan_gpt_oss": "llama",
    "torchtitan_llama3": "llama",
    "torchtitan_qwen3": "llama",
    "vit_jax": "vit",
    "vit_timm": "vit",
    "wav2vec2": "wav2vec2",
}
"""The model of each recipe."""


def make_model(name: str) -> tuple[nn.Module, Any]:
    """The same one each time, and a batch for it; the global random state is not moved."""
    make, batch = MODELS[name]
    with seeds.preserve_torch_state(0):
        return make().eval(), batch

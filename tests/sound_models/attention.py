"""Transformers with distinct layers, and what is built like them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, add, draw_classes, draw_images, draw_tokens, draw_values, sound
from torch import Tensor, nn
from torch.nn import init

VOCABULARY, STEPS, WIDTH = 31, 12, 32


@dataclass(frozen=True)
class Style:
    """How a transformer is built."""

    causal: bool = True
    norm: str = "pre"
    rms: bool = False
    hidden: str = "gelu"
    heads: int = 4
    kept_heads: int = 4
    position: str = "learned"
    std: float = 0.02
    scaled: bool = True
    depth: int = 4
    shared: bool = False
    experts: int = 0
    tied: bool = True
    dropout: float = 0.0


class Attention(nn.Module):
    """Separate projections; keys and values may have fewer heads."""

    def __init__(self, style: Style, width: int = WIDTH) -> None:
        super().__init__()
        self.style, self.size = style, width // style.heads
        kept = self.size * style.kept_heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, kept)
        self.value, self.out = nn.Linear(width, kept), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor | None = None, causal: bool = False) -> Tensor:
        source = x if memory is None else memory
        q, k, v = self.query(x), self.key(source), self.value(source)
        q, k, v = (one.unflatten(-1, (-1, self.size)).transpose(1, 2) for one in (q, k, v))
        if self.style.position == "rotary":
            q, k = rotate(q), rotate(k)
        groups = self.style.heads // self.style.kept_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        bias = get_slopes(q, k) if self.style.position == "slopes" else None
        if bias is not None and causal:
            hidden = torch.ones(q.shape[2], k.shape[2]).triu(1).bool()
            bias, causal = bias.masked_fill(hidden, -torch.inf), False
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


def rotate(x: Tensor) -> Tensor:
    """Rotary positions."""
    steps, half = x.shape[2], x.shape[3] // 2
    angles = torch.arange(steps)[:, None] * 1e4 ** (-torch.arange(half) / half)
    first, second = x.chunk(2, -1)
    turned = (
        first * angles.cos() - second * angles.sin(),
        first * angles.sin() + second * angles.cos(),
    )
    return torch.cat(turned, -1)


def get_slopes(q: Tensor, k: Tensor) -> Tensor:
    """ALiBi: scores fall linearly with the distance."""
    heads = q.shape[1]
    slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)
    distance = (torch.arange(q.shape[2])[:, None] - torch.arange(k.shape[2])).abs()
    return -slopes[:, None, None] * distance


class FeedForward(nn.Module):
    """Two layers, or SwiGLU."""

    def __init__(self, hidden: str, width: int = WIDTH) -> None:
        super().__init__()
        self.hidden = hidden
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        if hidden == "swiglu":
            self.gate = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        if self.hidden == "swiglu":
            return self.down(F.silu(self.gate(x)) * self.up(x))
        return self.down(torch.relu(self.up(x)) if self.hidden == "relu" else F.gelu(self.up(x)))


class Experts(nn.Module):
    """The best two of some feed-forward networks, by a linear router."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, style.experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(style.hidden) for _ in range(style.experts))

    def forward(self, x: Tensor) -> Tensor:
        chosen, index = self.router(x).topk(2, -1)
        weights = torch.zeros(*x.shape[:-1], len(self.experts))
        weights = weights.scatter(-1, index, chosen.softmax(-1))
        outputs = torch.stack([expert(x) for expert in self.experts], -2)
        return (weights[..., None] * outputs).sum(-2)


class Block(nn.Module):
    """Attention and feed-forward, with the norm before or after."""

    def __init__(self, style: Style, cross: bool = False) -> None:
        super().__init__()
        make = nn.RMSNorm if style.rms else nn.LayerNorm
        self.style = style
        self.norm1, self.norm2 = make(WIDTH), make(WIDTH)
        self.attention = Attention(style)
        self.feed: nn.Module = Experts(style) if style.experts else FeedForward(style.hidden)
        self.drop = nn.Dropout(style.dropout)
        if cross:
            self.norm3, self.cross = make(WIDTH), Attention(style)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        attend = partial(self.attention, causal=self.style.causal)
        if self.style.norm == "post":
            x = self.norm1(x + self.drop(attend(x)))
            return self.norm2(x + self.drop(self.feed(x)))
        x = x + self.drop(attend(self.norm1(x)))
        if memory is not None:
            x = x + self.cross(self.norm3(x), memory)
        return x + self.drop(self.feed(self.norm2(x)))


def start_transformer(model: nn.Module, style: Style, depth: int) -> None:
    """N(0, std); what writes to the stream is divided by √(2 · depth)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            scaled = style.scaled and name.endswith((".out", ".down"))
            init.normal_(module.weight, std=style.std / (math.sqrt(2 * depth) if scaled else 1))
            if isinstance(module, nn.Linear) and module.bias is not None:
                init.zeros_(module.bias)


class Language(nn.Module):
    """Tokens → logits of tokens."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.style = style
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(STEPS, WIDTH)
        count = 1 if style.shared else style.depth
        self.blocks = nn.ModuleList(Block(style) for _ in range(count))
        self.norm: nn.Module = nn.RMSNorm(WIDTH) if style.rms else nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        start_transformer(self, style, style.depth)
        if style.position != "learned":
            del self.positions
        if style.tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        if self.style.position == "learned":
            x = x + self.positions.weight[: tokens.shape[1]]
        for index in range(self.style.depth):
            x = self.blocks[index % len(self.blocks)](x)
        return self.head(self.norm(x))


def model_language(style: Style) -> Case:
    """Predict the next token, or the token itself where it was hidden."""
    tokens = draw_tokens(8, STEPS + 1, VOCABULARY)
    if style.causal:
        return Case(Language(style), tokens[:, :-1], tokens[:, 1:].contiguous())
    target = tokens[:, 1:].clone()
    hidden = torch.rand(target.shape) < 0.2
    hidden[:, 0] = True
    batch = target.masked_fill(hidden, VOCABULARY - 1)
    target[~hidden] = -100

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.transpose(1, 2), target)

    return Case(Language(style), batch, target, loss)


STYLES = {
    "gpt": Style(),
    "gpt_dropout": Style(dropout=0.1),
    "gpt_relu": Style(hidden="relu"),
    "gpt_unscaled_two_layers": Style(scaled=False, depth=2),
    "gpt_eight_layers": Style(depth=8),
    "gpt_post_norm": Style(norm="post", scaled=False),
    "llama": Style(rms=True, hidden="swiglu", position="rotary", tied=False),
    "llama_grouped": Style(rms=True, hidden="swiglu", position="rotary", kept_heads=2),
    "llama_single_kept_head": Style(rms=True, hidden="swiglu", position="rotary", kept_heads=1),
    "alibi": Style(position="slopes"),
    "mixture_of_experts": Style(experts=4, hidden="swiglu", rms=True),
    "bert_masked": Style(causal=False, norm="post", scaled=False),
    "bert_pre_norm": Style(causal=False),
    "albert_shared": Style(causal=False, norm="post", scaled=False, shared=True, depth=6),
    "universal_transformer": Style(shared=True, depth=4),
    "gpt_larger_std": Style(std=0.06, scaled=True),
}
for _name, _style in STYLES.items():
    add(_name, partial(model_language, _style))


class Vision(nn.Module):
    """ViT: patches, a class token and positions that may be zero, and a zero head."""

    def __init__(self, position_std: float, zero_head: bool) -> None:
        super().__init__()
        style = Style(causal=False, depth=3)
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.summary = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 17, WIDTH) * position_std)
        self.blocks = nn.ModuleList(Block(style) for _ in range(style.depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)
        start_transformer(self, style, style.depth)
        if zero_head:
            init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.summary.expand(len(x), -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def classify_patches(position_std: float, zero_head: bool) -> Case:
    """Images with labels."""
    x = draw_images(8)
    return Case(Vision(position_std, zero_head), x, draw_classes(x, 5))


add("vit", partial(classify_patches, 0.02, False))
add("vit_zero_positions", partial(classify_patches, 0.0, False))
add("vit_zero_head", partial(classify_patches, 0.02, True))


class Translator(nn.Module):
    """An encoder, and a decoder that attends to it."""

    def __init__(self) -> None:
        super().__init__()
        style = Style(depth=2)
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(STEPS, WIDTH)
        self.encoder = nn.ModuleList(Block(Style(causal=False)) for _ in range(2))
        self.decoder = nn.ModuleList(Block(style, cross=True) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)
        start_transformer(self, style, style.depth)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.tokens(source) + self.positions.weight[: source.shape[1]]
        for block in self.encoder:
            memory = block(memory)
        x = self.tokens(target) + self.positions.weight[: target.shape[1]]
        for block in self.decoder:
            x = block(x, memory)
        return self.head(self.norm(x))


@sound()
def translator() -> Case:
    tokens = draw_tokens(8, STEPS + 1, VOCABULARY)
    return Case(Translator(), (tokens[:, 1:], tokens[:, :-1]), tokens[:, 1:].contiguous())


# --- torch's own layers, each made on its own


class TorchEncoder(nn.Module):
    """nn.TransformerEncoderLayer, three of them that were drawn one by one."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(6, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, 4, 64, dropout=0.0, batch_first=True, norm_first=first
            )
            for _ in range(3)
        )
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def classify_vectors(model: nn.Module) -> Case:
    """Sequences of vectors with labels."""
    x = torch.randn(8, 10, 6)
    return Case(model, x, draw_classes(x, 5))


add("torch_encoder_post_norm", partial(lambda: classify_vectors(TorchEncoder(False))))
add("torch_encoder_pre_norm", partial(lambda: classify_vectors(TorchEncoder(True))))


class Perceiver(nn.Module):
    """Latent queries that read the input, then each other."""

    def __init__(self) -> None:
        super().__init__()
        style = Style(causal=False)
        self.latents = nn.Parameter(0.02 * torch.randn(6, WIDTH))
        self.embed, self.norm = nn.Linear(6, WIDTH), nn.LayerNorm(WIDTH)
        self.read = Attention(style)
        self.blocks = nn.ModuleList(Block(style) for _ in range(2))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents.expand(len(x), -1, -1)
        latents = latents + self.read(latents, self.norm(self.embed(x)))
        for block in self.blocks:
            latents = block(latents)
        return self.head(latents.mean(1))


@sound()
def perceiver() -> Case:
    return classify_vectors(Perceiver())


class SpatialGating(nn.Module):
    """gMLP: the gate over positions starts near 0 with a bias of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mix = nn.Linear(10, 10)
        init.uniform_(self.mix.weight, -1e-3, 1e-3)
        init.ones_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:
        kept, gate = F.gelu(self.up(self.norm(x))).chunk(2, -1)
        gate = self.mix(self.inner(gate).transpose(1, 2)).transpose(1, 2)
        return x + self.down(kept * gate)


class Fourier(nn.Module):
    """FNet: the real part of a Fourier transform in place of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.feed = FeedForward("gelu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + torch.fft.fft2(x, norm="ortho").real)
        return self.norm2(x + self.feed(x))


class Pooled(nn.Module):
    """Embedding, blocks, mean, head."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 5)
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


add("gmlp", partial(lambda: classify_vectors(Pooled(*(SpatialGating() for _ in range(3))))))
add("fnet", partial(lambda: classify_vectors(Pooled(*(Fourier() for _ in range(3))))))


class Adaptive(nn.Module):
    """DiT's block: scale, shift and gate come from the time by a layer that is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.attention, self.feed = Attention(Style(causal=False)), FeedForward("gelu")
        self.modulate = nn.Linear(WIDTH, 6 * WIDTH)
        for layer in (self.attention.query, self.attention.key, self.attention.value):
            init.xavier_uniform_(layer.weight)
        init.zeros_(self.modulate.weight)
        init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        made = self.modulate(F.silu(time))[:, None].chunk(6, -1)
        shift1, scale1, gate1, shift2, scale2, gate2 = made
        x = x + gate1 * self.attention(self.norm(x) * (1 + scale1) + shift1)
        return x + gate2 * self.feed(self.norm(x) * (1 + scale2) + shift2)


class DiffusionTransformer(nn.Module):
    """adaLN-zero: blocks start as the identity and the output at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.last = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 6)
        self.time = nn.Sequential(nn.Linear(1, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList(Adaptive() for _ in range(3))
        init.zeros_(self.last.weight)
        init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x, time = self.embed(x), self.time(t[:, None])
        for block in self.blocks:
            x = block(x, time)
        return self.last(F.layer_norm(x, (WIDTH,)))


@sound()
def diffusion_transformer() -> Case:
    clean, t = torch.randn(16, 10, 6).cumsum(1) / 3, torch.rand(16)
    noise = torch.randn_like(clean)
    noisy = (1 - t)[:, None, None] * clean + t[:, None, None] * noise
    return Case(DiffusionTransformer(), (noisy, t), noise - clean)


class MaskedImages(nn.Module):
    """MAE: a mask token in place of three quarters of the patches."""

    def __init__(self) -> None:
        super().__init__()
        style = Style(causal=False)
        self.embed, self.last = nn.Linear(48, WIDTH), nn.Linear(WIDTH, 48)
        self.mask = nn.Parameter(0.02 * torch.randn(WIDTH))
        self.positions = nn.Parameter(0.02 * torch.randn(16, WIDTH))
        self.blocks = nn.ModuleList(Block(style) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("hidden", torch.rand(16) < 0.75)

    def forward(self, patches: Tensor) -> Tensor:
        x = torch.where(self.hidden[:, None], self.mask, self.embed(patches)) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.last(self.norm(x))


@sound()
def masked_autoencoder() -> Case:
    patches = F.unfold(draw_images(8), 4, stride=4).transpose(1, 2).contiguous()
    return Case(MaskedImages(), patches, patches.clone())


class Columns(nn.Module):
    """TabTransformer: one embedding per categorical column, one token each."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = nn.ModuleList(nn.Embedding(5, WIDTH) for _ in range(4))
        self.blocks = nn.ModuleList(Block(Style(causal=False)) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(4 * WIDTH + 3, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        made = [column(categories[:, i]) for i, column in enumerate(self.columns)]
        x = torch.stack(made, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(torch.cat([x.flatten(1), numbers], 1))


@sound()
def table_transformer() -> Case:
    categories, numbers = torch.randint(5, (32, 4)), torch.randn(32, 3)
    target = draw_values(torch.cat([F.one_hot(categories, 5).flatten(1).float(), numbers], 1))
    return Case(Columns(), {"categories": categories, "numbers": numbers}, target)

"""Small residual models of every kind that depth-aware methods are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds

WIDTH, HEADS, WORDS = 16, 2, 20


def make(build: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    """A model whose own start does not move the global random state."""
    with seeds.preserve_torch_state(0):
        return build(*args, **options)


def tokens(rows: int = 3, columns: int = 7) -> Tensor:
    """Indices of words, all different from position to position."""
    return (torch.arange(rows * columns) * 7 % WORDS).view(rows, columns)


def images(size: int = 8) -> Tensor:
    """Two images that are not constant anywhere."""
    numbers = torch.arange(2 * 3 * size * size, dtype=torch.float32)
    return torch.sin(1.7 * numbers).view(2, 3, size, size)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of two heads."""
    heads = [one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (q, k, v)]
    return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """q, k, v and o, or qkv packed; `sub` normalizes what o reads."""

    def __init__(self, *, packed: bool = False, sub: bool = False) -> None:
        super().__init__()
        if packed:
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        else:
            self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.o = nn.Linear(WIDTH, WIDTH)
        self.sub = nn.LayerNorm(WIDTH) if sub else nn.Identity()
        self.packed = packed

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        source = x if memory is None else memory
        q, k, v = (
            self.qkv(x).chunk(3, -1) if self.packed else (self.q(x), self.k(source), self.v(source))
        )
        result: Tensor = self.o(self.sub(attend(q, k, v)))
        return result


class Perceptron(nn.Module):
    """down(act(up(x))); `sub` normalizes what down reads, `gated` multiplies by a gate."""

    def __init__(self, *, sub: bool = False, gated: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.gate = nn.Linear(WIDTH, 4 * WIDTH) if gated else None
        self.sub = nn.LayerNorm(4 * WIDTH) if sub else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.up(x)) if self.gate is None else F.silu(self.gate(x)) * self.up(x)
        result: Tensor = self.down(self.sub(hidden))
        return result


class Branch(nn.Module):
    """One residual branch with its sum.

    Args:
        inner: what is added.
        norm: post, pre or none.
        skip: the weight of the shortcut; "omega" for a learnable vector.
        scale: None, "scalar" or "vector": a parameter at the branch's end.
    """

    def __init__(
        self,
        inner: nn.Module,
        norm: str = "pre",
        skip: float | str = 1.0,
        scale: str | None = None,
    ) -> None:
        super().__init__()
        self.inner, self.place = inner, norm
        self.norm = nn.Identity() if norm == "none" else nn.LayerNorm(WIDTH)
        self.skip = skip if isinstance(skip, float) else nn.Parameter(torch.ones(WIDTH))
        size = {"scalar": (), "vector": (WIDTH,)}
        self.scale = None if scale is None else nn.Parameter(torch.ones(size[scale]))

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        h = self.norm(x) if self.place == "pre" else x
        h = self.inner(h) if memory is None else self.inner(h, memory)
        h = h if self.scale is None else self.scale * h
        x = x + h if isinstance(self.skip, float) and self.skip == 1 else self.skip * x + h
        result: Tensor = self.norm(x) if self.place == "post" else x
        return result


def make_stack(
    blocks: int,
    *,
    cross: bool = False,
    packed: bool = False,
    sub: bool = False,
    gated: bool = False,
    **options: Any,
) -> nn.ModuleList:
    """Blocks of attention, attention to an encoder if `cross`, and a perceptron."""
    return nn.ModuleList(
        nn.ModuleList(
            [
                Branch(Attention(packed=packed, sub=sub), **options),
                *([Branch(Attention(), **options)] if cross else []),
                Branch(Perceptron(sub=sub, gated=gated), **options),
            ]
        )
        for _ in range(blocks)
    )


def list_branches(stack: nn.ModuleList) -> list[Any]:
    """The branches of all blocks, in order."""
    return [branch for block in stack for branch in block.children()]


class Transformer(nn.Module):
    """Tokens and positions, a stack, a head."""

    def __init__(self, blocks: int, **options: Any) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(WORDS, WIDTH), nn.Embedding(9, WIDTH)
        self.blocks = make_stack(blocks, **options)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for branch in list_branches(self.blocks):
            x = branch(x)
        result: Tensor = self.head(x)
        return result


class Traceable(nn.Module):
    """As `Transformer`, without positions, so that no shape is asked for."""

    def __init__(self, blocks: int, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.blocks = make_stack(blocks, **options)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for branch in list_branches(self.blocks):
            x = branch(x)
        result: Tensor = self.head(x)
        return result


class Translator(nn.Module):
    """An encoder and a decoder."""

    def __init__(
        self, encoder: int, decoder: int, skips: tuple[float, float] = (1.0, 1.0), **options: Any
    ) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(WORDS, WIDTH), nn.Embedding(WORDS, WIDTH)
        self.encoder = make_stack(encoder, skip=skips[0], **options)
        self.decoder = make_stack(decoder, cross=True, skip=skips[1], **options)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.source(source)
        for branch in list_branches(self.encoder):
            memory = branch(memory)
        x = self.target(target)
        for block in self.decoder:
            first, second, third = block.children()
            x = third(second(first(x), memory))
        result: Tensor = self.head(x)
        return result


class Parallel(nn.Module):
    """GPT-J's blocks: attention and perceptron from one normalized input, added together."""

    def __init__(self, blocks: int, skip: float = 1.0, norm: str = "pre") -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(blocks))
        self.attentions = nn.ModuleList(Attention() for _ in range(blocks))
        self.perceptrons = nn.ModuleList(Perceptron() for _ in range(blocks))
        self.scales = nn.ParameterList(torch.ones(1) for _ in range(2 * blocks))
        self.skip, self.place = skip, norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for index, norm in enumerate(self.norms):
            h = norm(x) if self.place == "pre" else x
            a = self.attentions[index](h) * self.scales[2 * index]
            b = self.perceptrons[index](h) * self.scales[2 * index + 1]
            x = self.skip * x + (a + b)
            x = norm(x) if self.place == "post" else x
        result: Tensor = self.head(x)
        return result


class ConvBlock(nn.Module):
    """Two or three convolutions and a shortcut, with Fixup's scalars, or batch normalization."""

    def __init__(
        self, inputs: int, outputs: int, kind: str, *, deep: bool = False, stride: int = 1
    ) -> None:
        super().__init__()
        sizes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        if deep:
            sizes = [
                (inputs, outputs // 2, 1, 1),
                (outputs // 2, outputs // 2, 3, stride),
                (outputs // 2, outputs, 1, 1),
            ]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, s, k // 2, bias=False) for i, o, k, s in sizes
        )
        self.kind = kind
        if kind == "fixup":
            self.biases = nn.ParameterList(torch.zeros(1) for _ in range(2 * len(sizes)))
        if kind in ("fixup", "scalar"):
            self.scale = nn.Parameter(torch.ones(1))
        if kind == "norm":
            self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _, _ in sizes)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for index, conv in enumerate(self.convs):
            if self.kind == "fixup":
                out = out + self.biases[2 * index]
            out = conv(out)
            if self.kind == "norm":
                out = self.norms[index](out)
            if index < len(self.convs) - 1:
                out = F.relu(out + self.biases[2 * index + 1] if self.kind == "fixup" else out)
        if self.kind in ("fixup", "scalar"):
            out = out * self.scale
        if self.kind == "fixup":
            out = out + self.biases[len(self.biases) - 1]
        out = out + (x if self.shortcut is None else self.shortcut(x))
        return F.relu(out)


class ResNet(nn.Module):
    """A stem, blocks of widths 4, 4, 8 and 8, mean, head."""

    def __init__(self, kind: str = "plain", *, deep: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.shift = nn.Parameter(torch.zeros(1)) if kind == "fixup" else None
        self.blocks = nn.Sequential(
            *(
                ConvBlock(i, o, kind, deep=deep, stride=s)
                for i, o, s in ((4, 4, 1), (4, 4, 1), (4, 8, 2), (8, 8, 1))
            )
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.blocks(F.relu(x if self.shift is None else x + self.shift))
        result: Tensor = self.head(x.mean((2, 3)))
        return result


def get_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def is_unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    """Whether all numbers are those from before."""
    now = model.state_dict()
    return all(torch.equal(now[name], value) for name, value in before.items())

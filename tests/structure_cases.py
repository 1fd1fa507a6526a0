"""Models that somebody wrote, whose structure is known: for the tests of roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds

WIDTH = 8


class Written(nn.Module):
    """Layers by name, and a forward pass."""

    def __init__(self, code: Callable[[Any, Tensor], Tensor], layers: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(self, x)


def linear(inputs: int = WIDTH, outputs: int = WIDTH) -> Callable[[], nn.Module]:
    """A linear layer, later."""
    return lambda: nn.Linear(inputs, outputs)


def conv(inputs: int, outputs: int, size: int = 3) -> Callable[[], nn.Module]:
    """A convolution that keeps the map's size, later."""
    return lambda: nn.Conv2d(inputs, outputs, size, padding=size // 2)


def norm() -> nn.Module:
    """A layer normalization."""
    return nn.LayerNorm(WIDTH)


@seeds.preserve_torch_state(0)
def write(code: Callable[[Any, Tensor], Tensor], **layers: Callable[[], nn.Module]) -> Written:
    """A model with these layers."""
    return Written(code, {name: make() for name, make in layers.items()})


def dense(code: Callable[[Any, Tensor], Tensor], names: str) -> Written:
    """A model with linear layers of these names."""
    return write(code, **dict.fromkeys(names.split(), linear()))


def sequence(*shape: int) -> Tensor:
    """Numbers that are not constant along any axis."""
    size = torch.Size(shape or (3, 5, WIDTH))
    return torch.sin(1.3 * torch.arange(size.numel(), dtype=torch.float32) ** 1.1).view(size)


# --- blocks


def run_lstm(m: Any, x: Tensor) -> Tensor:
    """Gates in the order i, f, g, o."""
    h = c = torch.zeros(len(x), WIDTH)
    for step in x.unbind(1):
        i, f, g, o = (m.w(step) + m.u(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    result: Tensor = m.head(h)
    return result


def run_gru(m: Any, x: Tensor) -> Tensor:
    """Gates in the order r, z, n; the last sum is written as h + z·(n - h)."""
    h, inputs = torch.zeros(len(x), WIDTH), m.w(x)
    for t in range(x.shape[1]):
        r, z, n = inputs[:, t].chunk(3, -1)
        hr, hz, hn = m.u(h).chunk(3, -1)
        z = torch.sigmoid(z + hz)
        n = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        h = h + z * (n - h)
    result: Tensor = m.head(h)
    return result


def run_rnn(m: Any, x: Tensor) -> Tensor:
    """An Elman network."""
    h = torch.zeros(len(x), WIDTH)
    for step in x.unbind(1):
        h = torch.tanh(m.w(step) + m.u(h))
    result: Tensor = m.head(h)
    return result


def run_highway(m: Any, x: Tensor) -> Tensor:
    """t·H(x) + (1 - t)·x."""
    t = torch.sigmoid(m.t(x))
    result: Tensor = m.head(t * torch.relu(m.h(x)) + (1 - t) * x)
    return result


def run_unet(m: Any, x: Tensor) -> Tensor:
    """Residual blocks at two resolutions, and an additive skip around the lower one."""
    x = m.stem(x)
    x = x + m.a2(F.silu(m.a1(F.silu(x))))
    low = m.down(x)
    low = low + m.b2(F.silu(m.b1(F.silu(low))))
    x = m.up(low) + x
    x = x + m.c2(F.silu(m.c1(F.silu(x))))
    result: Tensor = m.out(x)
    return result


def run_concatenating_unet(m: Any, x: Tensor) -> Tensor:
    """Skips that are concatenated are no residual sums."""
    a = F.relu(m.a(x))
    b = F.relu(m.b(F.max_pool2d(a, 2)))
    up = F.interpolate(b, scale_factor=2)
    result: Tensor = m.out(torch.cat([up, a], 1))
    return result


def run_squeeze_excitation(m: Any, x: Tensor) -> Tensor:
    """x + b·σ(e2(relu(e1(mean(b)))))."""
    b = m.c2(F.relu(m.c1(x)))
    scale = torch.sigmoid(m.e2(F.relu(m.e1(b.mean((2, 3))))))
    result: Tensor = m.head(F.relu(x + b * scale[:, :, None, None]).mean((2, 3)))
    return result


def run_conditioned(m: Any, x: Tensor) -> Tensor:
    """A block of a diffusion transformer: shift-free adaptive normalization, gated branches."""
    condition = m.adapt(F.silu(x.mean(1))).unsqueeze(1)
    s1, g1, s2, g2 = condition.chunk(4, -1)
    x = m.embed(x)
    q, k, v = m.qkv(m.norm1(x) * (1 + s1)).chunk(3, -1)
    x = x + g1 * m.proj(F.scaled_dot_product_attention(q, k, v))
    result: Tensor = x + g2 * m.second(F.gelu(m.first(m.norm2(x) * (1 + s2))))
    return result


def run_parallel(m: Any, x: Tensor) -> Tensor:
    """Branches that are added up before they meet the stream, and then one that is not."""
    x = m.embed(x)
    h = m.norm1(x)
    x = (m.a2(F.gelu(m.a1(h))) + m.b2(F.gelu(m.b1(h)))) + x
    h = m.norm2(x)
    x = x + m.c2(F.gelu(m.c1(h))) + m.d2(F.gelu(m.d1(h)))
    result: Tensor = m.head(x)
    return result


def run_graph_convolution(m: Any, x: Tensor) -> Tensor:
    """Two graph convolutions on a ring, the second with a shortcut."""
    target = torch.arange(x.shape[0])
    source = (target + 1) % x.shape[0]

    def convolve(layer: nn.Module, h: Tensor) -> Tensor:
        return torch.zeros_like(h).index_add(0, target, layer(h)[source])

    x = F.relu(convolve(m.first, x))
    x = x + F.relu(convolve(m.second, x))
    result: Tensor = m.head(x)
    return result


def run_graph_attention(m: Any, x: Tensor) -> Tensor:
    """GAT's weights are no attention of queries and keys."""
    target = torch.arange(x.shape[0])
    source = (target + 1) % x.shape[0]
    h = m.transform(x)
    scores = F.leaky_relu(m.score(torch.cat([h[target], h[source]], -1))).exp()
    total = torch.zeros(len(x), 1).index_add(0, target, scores)
    mixed = torch.zeros_like(h).index_add(0, target, scores * h[source])
    result: Tensor = m.head(F.elu(mixed / total))
    return result


# --- attention


def run_timm(m: Any, x: Tensor) -> Tensor:
    """qkv in one layer, by parts; q and k are normalized, the branch is scaled."""
    b, n, _ = x.shape
    q, k, v = m.qkv(m.norm(x)).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    mixed = scores.softmax(-1) @ v
    result: Tensor = x + 0.1 * m.proj(mixed.transpose(1, 2).reshape(b, n, -1))
    return result


def run_by_head(m: Any, x: Tensor) -> Tensor:
    """Rows ordered (head, 3, head_dim), with rotary embeddings."""
    b, n, _ = x.shape
    q, k, v = m.qkv(x).view(b, n, 2, 3, 4).permute(3, 0, 2, 1, 4).unbind(0)
    angle = torch.arange(n)[:, None] * torch.tensor([1.0, 0.1])
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

    def rotate(y: Tensor) -> Tensor:
        return y * cos + torch.cat([-y[..., 2:], y[..., :2]], -1) * sin

    mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
    result: Tensor = x + m.proj(mixed.transpose(1, 2).reshape(b, n, -1))
    return result


def run_grouped(m: Any, x: Tensor) -> Tensor:
    """Two groups of two query heads, a key head and a value head: rows (group, 4, head_dim)."""
    b, n, _ = x.shape
    packed = m.qkv(x).view(b, n, 2, 4, 2)
    q, k, v = packed[..., :2, :], packed[..., 2:3, :], packed[..., 3:, :]
    q, k, v = (part.expand(b, n, 2, 2, 2).reshape(b, n, 4, 2).transpose(1, 2) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v)
    result: Tensor = x + m.proj(mixed.transpose(1, 2).reshape(b, n, -1))
    return result


def run_einsum(m: Any, x: Tensor) -> Tensor:
    """Scores are written (key, query), so that the softmax runs over the first factor's axis."""
    b, n, _ = x.shape
    q, k, v = (layer(x).view(b, n, 2, 4) for layer in (m.q, m.k, m.v))
    scores = torch.einsum("bjhd,bihd->bhji", k, q).softmax(-2)
    result: Tensor = m.o(torch.einsum("bhji,bjhd->bihd", scores, v).reshape(b, n, -1))
    return result


def run_transposed(m: Any, x: Tensor) -> Tensor:
    """k qᵀ with a softmax over its rows."""
    scores = (m.k(x) @ m.q(x).transpose(-2, -1)).softmax(-2)
    result: Tensor = m.o(scores.transpose(-2, -1) @ m.v(x))
    return result


def run_pooling(m: Any, x: Tensor) -> Tensor:
    """A softmax over positions, of one score each, is neither attention nor a router."""
    result: Tensor = m.head((m.score(x).softmax(1) * x).sum(1))
    return result


# --- experts


class Mixture(nn.Module):
    """Experts in a list; of the samples each goes to the one that its router prefers."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.sparse = sparse
        self.embed, self.norm, self.head = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        self.router = nn.Linear(8, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        h = self.norm(x)
        weights = self.router(h).softmax(-1)
        result: Tensor = self.head(x + (self._select if self.sparse else self._sum)(h, weights))
        return result

    def _select(self, h: Tensor, weights: Tensor) -> Tensor:
        values, chosen = weights.topk(1, -1)
        result = torch.zeros_like(h)
        for index, expert in enumerate(self.experts):
            rows = (chosen[:, 0] == index).nonzero()[:, 0]
            if len(rows):
                result.index_add_(0, rows, expert(h[rows]) * values[rows])
        return result

    def _sum(self, h: Tensor, weights: Tensor) -> Tensor:
        parts = (weights[:, i : i + 1] * expert(h) for i, expert in enumerate(self.experts))
        return sum(parts, torch.zeros(1))


@seeds.preserve_torch_state(0)
def make_mixture(sparse: bool) -> Mixture:
    """A mixture of experts."""
    return Mixture(sparse)

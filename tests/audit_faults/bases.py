"""Fourteen small sound models with tasks that they learn within 200 steps: what mutants are made
of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from sound_models.entry import Case, draw_classes, draw_images, draw_tokens
from sound_models.plain import fill_weights, he, lecun, stack
from torch import Tensor, nn
from torch.nn import init

from fanin import seeds

SAMPLES = 192

fix_draw = seeds.preserve_torch_state
"""Data are the same for every seed; the seed decides the weights."""


@fix_draw(1)
def draw_task(classes: int = 4, features: int = 10) -> tuple[Tensor, Tensor]:
    """Standard normal inputs; labels by a small random network, so that depth is of use."""
    x = torch.randn(SAMPLES, features)
    hidden = torch.tanh(x @ torch.randn(features, 12))
    return x, draw_classes(hidden + 0.1 * torch.randn_like(hidden), classes)


def make_mlp(
    activation: Callable[[], nn.Module],
    depth: int,
    fill: Callable[[Tensor], object],
    norm: Callable[[int], nn.Module] | None = None,
) -> Case:
    """A classifier with hidden layers of 32."""
    return Case(fill_weights(stack([10, *[32] * depth, 4], activation, norm), fill), *draw_task())


@fix_draw(3)
def draw_numbers() -> tuple[Tensor, Tensor]:
    """A standardized target with a little noise."""
    x = torch.randn(SAMPLES, 10)
    y = torch.tanh(x @ torch.randn(10, 8)) @ torch.randn(8, 1)
    return x, (y - y.mean()) / y.std() + 0.1 * torch.randn_like(y)


def make_regressor() -> Case:
    """Two hidden layers."""
    return Case(fill_weights(stack([10, 32, 32, 1], nn.GELU), he), *draw_numbers())


def make_binary() -> Case:
    """The probability comes out of the model."""
    x, y = draw_task(2)
    net = fill_weights(stack([10, 32, 32, 1], nn.ReLU), he)
    model = nn.Sequential(*net, nn.Sigmoid())
    return Case(model, x, y[:, None].float(), nn.BCELoss())


class Residual(nn.Module):
    """Four pre-norm blocks."""

    def __init__(self, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(10, width), nn.Linear(width, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
        self.ups = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.downs = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        fill_weights(self, lecun)
        with torch.no_grad():
            for down in self.downs:
                down.weight /= math.sqrt(depth)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=False):
            x = x + down(torch.relu(up(norm(x))))
        return self.head(self.norms[-1](x))


@fix_draw(2)
def draw_pictures() -> tuple[Tensor, Tensor]:
    """One channel, 8 × 8."""
    x = draw_images(SAMPLES, 1, 8)
    return x, draw_classes(x + 0.1 * torch.randn_like(x), 4)


def make_cnn() -> Case:
    """Three convolutions without normalization."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 8, 1), (8, 16, 2), (16, 24, 2)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96, 4))
    return Case(fill_weights(model, he), *draw_pictures())


class BasicBlock(nn.Module):
    """Two convolutions with batch normalization beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(x + y)


def make_resnet() -> Case:
    """Two basic blocks."""
    stem = [nn.Conv2d(1, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU()]
    body = [BasicBlock(12), BasicBlock(12)]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 4)]
    return Case(fill_weights(nn.Sequential(*stem, *body, *head), he), *draw_pictures())


class Attending(nn.Module):
    """Causal attention and a feed-forward network, pre-norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = self.query(y)[:, None], self.key(y)[:, None], self.value(y)[:, None]
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0])
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Language(nn.Module):
    """Tokens to logits, in two blocks."""

    def __init__(self, vocabulary: int = 13, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(8, width)
        self.blocks = nn.ModuleList(Attending(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        fill_weights(self, lecun)
        with torch.no_grad():
            for block in self.blocks:
                block.out.weight /= math.sqrt(2 * depth)
                block.down.weight /= math.sqrt(2 * depth)
        for table in (self.tokens, self.positions):
            init.normal_(table.weight, std=0.3)
        init.normal_(self.head.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def make_language() -> Case:
    """The next token, which the one before it mostly decides."""
    with fix_draw(4):
        tokens = draw_tokens(SAMPLES // 4, 9, 13)
    return Case(Language(), tokens[:, :-1], tokens[:, 1:].contiguous())


class Series(nn.Module):
    """A recurrent layer, and a head on the last step."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer, self.head = kind(4, 20, batch_first=True), nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


def make_series(kind: type[nn.RNNBase]) -> Case:
    """Eight steps, of which the last ones decide."""
    with fix_draw(5):
        x = torch.randn(SAMPLES, 8, 4)
        y = draw_classes(x[:, -4:], 4)
    return Case(Series(kind), x, y)


def make_autoencoder() -> Case:
    """Five hidden factors behind 16 numbers."""
    with fix_draw(6):
        x = torch.randn(SAMPLES, 5) @ torch.randn(5, 16) / math.sqrt(5)
        x = x + 0.1 * torch.randn_like(x)
    return Case(fill_weights(stack([16, 32, 6, 32, 16], nn.ReLU), he), x, x.clone())


class Ratings(nn.Module):
    """Embeddings of users and items, and a network on both."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(12, 8), nn.Embedding(10, 8)
        self.net = fill_weights(stack([16, 32, 1], nn.ReLU), he)
        for table in (self.users, self.items):
            init.normal_(table.weight, std=0.5)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.net(torch.cat([self.users(user), self.items(item)], -1))


def make_ratings() -> Case:
    """A random table of ratings."""
    with fix_draw(7):
        user, item = torch.randint(12, (SAMPLES,)), torch.randint(10, (SAMPLES,))
        table = torch.randn(12, 1) @ torch.randn(1, 10) + torch.randn(12, 1)
        rating = (table / table.std())[user, item][:, None] + 0.1 * torch.randn(SAMPLES, 1)
    return Case(Ratings(), (user, item), rating)


BASES: dict[str, Callable[[], Case]] = {
    "relu_3": partial(make_mlp, nn.ReLU, 3, he),
    "relu_8": partial(make_mlp, nn.ReLU, 8, he),
    "tanh_4": partial(make_mlp, nn.Tanh, 4, partial(init.xavier_normal_, gain=1.3)),
    "batch_norm_4": partial(make_mlp, nn.ReLU, 4, he, nn.BatchNorm1d),
    "regressor": make_regressor,
    "binary": make_binary,
    "residual": lambda: Case(Residual(), *draw_task()),
    "cnn": make_cnn,
    "resnet": make_resnet,
    "language": make_language,
    "lstm": partial(make_series, nn.LSTM),
    "gru": partial(make_series, nn.GRU),
    "autoencoder": make_autoencoder,
    "ratings": make_ratings,
}
"""By name; called under a preserved random state."""

"""Small models, and initializers of whole models, for the tests of what these may ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.initializers.fixed_scale import Normal
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelPlan,
    ModelView,
    Multiplier,
    Requirement,
)


class Block(nn.Module):
    """Pre-norm attention of one head, and a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.o(nn.functional.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h)))
        y: Tensor = x + self.drop(self.proj(torch.relu(self.fc(self.norm2(x)))))
        return y


class Language(nn.Module):
    """Tokens and positions, blocks, a head."""

    def __init__(self, depth: int = 3, width: int = 8, words: int = 30) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(16, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, words)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        y: Tensor = self.head(h)
        return y


class Convolutional(nn.Module):
    """With batch normalization and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(4 * 36, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def make_language(depth: int = 3) -> Language:
    """The same one each time; the global random state is not moved."""
    with seeds.preserve_torch_state(0):
        return Language(depth)


def make_convolutional() -> Convolutional:
    """The same one each time; the global random state is not moved."""
    with seeds.preserve_torch_state(0):
        return Convolutional()


@contextmanager
def expect_unchanged(model: nn.Module) -> Iterator[None]:
    """Fail if anything of the model changes inside."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [one.requires_grad for one in model.parameters()]
    yield
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert modes == [module.training for module in model.modules()]
    assert flags == [one.requires_grad for one in model.parameters()]
    assert all(one.grad is None for one in model.parameters())


@final
@dataclass(frozen=True)
class Halved(ModelInitializer):
    """Normal weights, halved on seeing the batch."""

    name: ClassVar[str] = "halved"
    fits: ClassVar[bool] = True
    fail: bool = False

    def plan(self, view: ModelView) -> ModelPlan:
        return ModelPlan(
            {
                s.name: Assignment(Normal(std=1.0), "a weight")
                for s in view.sites
                if s.role == "weight"
            }
        )

    def fit(self, session: FitSession) -> Mapping[str, str]:
        first, second = session.forward(), session.forward()
        assert torch.equal(first, second)  # dropout is off
        for site in session.sites:
            session.read(site).mul_(0.5)
        if self.fail:
            raise RuntimeError("on purpose")
        return {site.name: "halved" for site in session.sites}


@final
@dataclass(frozen=True)
class Descending(ModelInitializer):
    """One step down the gradient of the loss."""

    name: ClassVar[str] = "descending"
    fits: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def plan(self, view: ModelView) -> ModelPlan:
        return Halved().plan(view)

    def fit(self, session: FitSession) -> Mapping[str, str]:
        weights = [session.read(site) for site in session.sites]
        with torch.enable_grad():
            loss = session.compute_loss()
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.sub_(0.01 * gradient)
        return {site.name: "one step" for site in session.sites}


@final
@dataclass(frozen=True)
class Demanding(ModelInitializer):
    """Writers of the stream by their depth; requires what it is told."""

    name: ClassVar[str] = "demanding"
    structured: ClassVar[bool] = True
    met: bool = True

    def plan(self, view: ModelView) -> ModelPlan:
        assert view.structure is not None
        writers = [s for s in view.sites if s.role == "weight" and s.place and s.place.writes]
        return ModelPlan(
            {s.name: Assignment(Normal(std=0.1), "a writer") for s in writers},
            (Requirement("a scalar", "add self.scale", self.met, view.structure.writers),),
            {s.name: Multiplier(0.25, "narrow", decay=4.0) for s in writers},
        )

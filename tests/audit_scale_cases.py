"""Examinations and models for the tests of the judges of scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.scale_judges import JUDGES
from fanin.diagnosis.probe import measure_start
from fanin.structure import describe_structure


def examine(model: nn.Module, batch: Any, *, measured: bool = False) -> Examination:
    """What is known of a model, without a measurement unless one is asked for."""
    return Examination(
        model=model,
        batch=batch,
        target=None,
        loss=None,
        measurement=measure_start(model, batch) if measured else None,
        structure=describe_structure(model, batch),
    )


def judge(model: nn.Module, batch: Any, *, measured: bool = False) -> list[Finding]:
    """All findings of the judges of scales."""
    examination = examine(model, batch, measured=measured)
    return [finding for find in JUDGES for finding in find(examination)]


def pick(findings: list[Finding], code: str) -> Finding:
    """The one finding with a code."""
    (found,) = [one for one in findings if one.code == code]
    return found


def list_serious(findings: list[Finding]) -> list[tuple[str, str]]:
    """Code and place of all that are no notes."""
    return [(one.code, one.where) for one in findings if one.severity != "note"]


@seeds.preserve_torch_state(0)
def make(build: Callable[[], nn.Module]) -> nn.Module:
    """A model by a function, the same every time."""
    return build()


@seeds.preserve_torch_state(1)
def draw(weights: Mapping[nn.Parameter, float]) -> None:
    """Draw parameters from normal distributions of these standard deviations."""
    with torch.no_grad():
        for weight, std in weights.items():
            weight.normal_(std=std)


def draw_matching(model: nn.Module, std: Callable[[str], float | None]) -> None:
    """Draw the parameters that a function of their name gives a standard deviation."""
    chosen = {p: value for n, p in model.named_parameters() if (value := std(n)) is not None}
    draw(chosen)


def numbers(*shape: int) -> Tensor:
    """Standard normal numbers, the same every time."""
    return torch.randn(*shape, generator=seeds.make_generator(0, "x"))


def tokens(vocabulary: int = 64, *shape: int) -> Tensor:
    """Random tokens, the same every time."""
    generator = seeds.make_generator(0, "t")
    return torch.randint(vocabulary, shape or (2, 12), generator=generator)


class Attention(nn.Module):
    """Four separate projections and two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q, k, v = (
            one(x).view(n, t, 2, width // 2).transpose(1, 2) for one in (self.a, self.b, self.c)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        result: Tensor = self.d(mixed.transpose(1, 2).reshape(n, t, width))
        return result


class GatedUnit(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.e, self.f = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.g = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.g(F.silu(self.e(x)) * self.f(x))
        return result


class GatedExperts(nn.Module):
    """Two experts, weighed by a softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.r = nn.Linear(width, 2, bias=False)
        self.x = nn.ModuleList(GatedUnit(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.r(x).softmax(-1)
        first, second = (weights[..., i : i + 1] * one(x) for i, one in enumerate(self.x))
        result: Tensor = first + second
        return result


class Block(nn.Module):
    """Pre-norm attention and gated unit, with names that say nothing."""

    def __init__(self, width: int, unit: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.n, self.m = nn.LayerNorm(width), nn.LayerNorm(width)
        self.s, self.u = Attention(width), unit(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.s(self.n(x))
        result: Tensor = x + self.u(self.m(x))
        return result


class Decoder(nn.Module):
    """A language model whose matrices are all N(0, 0.02)."""

    def __init__(self, blocks: int, unit: Callable[[int], nn.Module], width: int = 48) -> None:
        super().__init__()
        self.t = nn.Embedding(64, width)
        self.k = nn.ModuleList(Block(width, unit) for _ in range(blocks))
        self.l, self.h = nn.LayerNorm(width), nn.Linear(width, 64, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.t(x)
        for one in self.k:
            x = one(x)
        result: Tensor = self.h(self.l(x))
        return result


ATTENTION_OUT, GATE, UP, DOWN, ROUTER = "s.d.weight", "u.e.weight", "u.f.weight", "u.g.weight", "r."
WRITERS = (ATTENTION_OUT, DOWN)


def make_decoder(
    scaled: tuple[str, ...] = (),
    *,
    blocks: int = 6,
    ramp: bool = False,
    unit: Callable[[int], nn.Module] = GatedUnit,
) -> nn.Module:
    """A decoder with weights scaled by 1/√(2·blocks), or by 1/√(2·(block + 1)), that have one of
    these words in their names.
    """
    model = make(lambda: Decoder(blocks, unit))

    def choose_std(name: str) -> float | None:
        if not any(word in name for word in scaled):
            return None
        depth = int(name.split(".")[1]) + 1 if ramp else blocks
        return 0.02 / math.sqrt(2 * depth)

    draw_matching(model, choose_std)
    return model


def chain(*layers: nn.Module) -> nn.Module:
    """A sequence."""
    return nn.Sequential(*layers)


def fill_all(model: nn.Module, fill: Callable[[Tensor], Any], *kinds: type[nn.Module]) -> nn.Module:
    """The model with the weights of these kinds of layers filled by a function of a tensor."""

    @seeds.preserve_torch_state(2)
    def run() -> None:
        for module in model.modules():
            if isinstance(module, kinds):
                fill(module.weight)  # type: ignore[arg-type]

    run()
    return model

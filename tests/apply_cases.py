"""Models for the tests of `fanin.initialize`, and tests of laws: layers of every kind, ties, frozen
and unknown parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from initializer_cases import SPECS, refusal
from torch import Tensor, nn

from fanin import fans, initializers, seeds
from fanin.initializers import Initializer

LEVEL = 1e-4
"""Of every Kolmogorov–Smirnov test that uses this file."""


class Everything(nn.Module):
    """Layers of every known role, tied, frozen and unknown parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16, padding_idx=3)
        self.conv = nn.Conv2d(8, 16, 3, groups=4)
        self.up = nn.ConvTranspose2d(16, 8, 3, stride=2, groups=2)
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(16), nn.LayerNorm((3, 4)), nn.GroupNorm(2, 8), nn.RMSNorm(5)]
        )
        self.norms.append(nn.InstanceNorm1d(4, affine=True))
        self.slope = nn.PReLU()
        self.frozen = nn.Linear(3, 4).requires_grad_(False)
        self.attention = nn.MultiheadAttention(16, 2)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.table.weight


class Recurrent(nn.Module):
    """Every recurrent layer, with all that changes their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(5, 6, nonlinearity="relu")
        self.lstm = nn.LSTM(5, 6, num_layers=2, bidirectional=True, proj_size=4)
        self.gru = nn.GRU(5, 6, num_layers=2)
        self.cells = nn.ModuleList([nn.RNNCell(5, 6), nn.LSTMCell(5, 6), nn.GRUCell(5, 6)])


@seeds.preserve_torch_state(0)
def built(make: Callable[[], nn.Module]) -> nn.Module:
    """A module from torch's own initialization, always the same."""
    return make()


def everything() -> Everything:
    model = built(Everything)
    assert isinstance(model, Everything)
    return model


@seeds.preserve_torch_state(0)
def stack(*layers: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(layer() for layer in layers))


def mlp(width: int = 30) -> nn.Sequential:
    return stack(lambda: nn.Linear(20, width), nn.ReLU, lambda: nn.Linear(width, 10))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = model.state_dict()
    return after.keys() == before.keys() and all(
        torch.equal(value, before[name]) for name, value in after.items()
    )


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same parameters and buffers, to the bit."""
    return unchanged(one, dict(other.state_dict()))


def fits(initializer: Initializer) -> bool:
    """Whether a rule suits the weights of every layer in these tests."""
    layers = [
        *everything().modules(),
        *stack(lambda: nn.Linear(20, 30), lambda: nn.Linear(300, 200)),
    ]
    held = [
        holding
        for layer in layers
        for holding in fans.describe_parameters(layer).values()
        if holding.role == "weight"
    ]
    layouts = [part.layout for holding in held for part in holding.layout.parts] + [
        holding.layout for holding in held
    ]
    return not initializer.gate_bias and all(
        refusal(initializer, layout) is None for layout in layouts
    )


RULES = [spec for spec in SPECS if fits(initializers.get(spec))]
"""Specs that suit the weights of every layer in `everything` and `mlp`."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- laws
# -----------------------------------------------------------------------------


def distance(sample: Tensor, cdf: Callable[[Tensor], Tensor]) -> float:
    """Kolmogorov–Smirnov: the largest distance of the sample's distribution function from `cdf`."""
    x = sample.detach().flatten().double().sort().values
    n = len(x)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    expected = cdf(x)
    return max(float((steps[1:] - expected).max()), float((expected - steps[:-1]).max()))


def critical(n: int) -> float:
    """The distance that a sample of n from the distribution itself exceeds with probability
    `LEVEL`.
    """
    return math.sqrt(-math.log(LEVEL / 2) / (2 * n))


def is_uniform(sample: Tensor, bound: float) -> bool:
    """Whether the sample may be from U[-bound, bound]; also asserts that the test would see a
    spread that is 5 % off.
    """
    return _follows(sample, lambda x: (x / (2 * bound) + 0.5).clamp(0, 1))


def is_normal(sample: Tensor, std: float) -> bool:
    """Whether the sample may be from N(0, std²); also asserts that the test would see a spread that
    is 5 % off.
    """
    return _follows(sample, lambda x: torch.special.ndtr(x / std))


def _follows(sample: Tensor, cdf: Callable[[Tensor], Tensor]) -> bool:
    limit = critical(sample.numel())
    found = distance(sample, cdf) < limit
    if found:
        assert distance(sample * 1.05, cdf) > limit or distance(sample / 1.05, cdf) > limit, (
            "too few numbers for this test"
        )
    return found


def same_law(one: Tensor, other: Tensor) -> bool:
    """Whether two samples may be from one distribution: Kolmogorov–Smirnov on two samples; a spread
    that is 5 % off is seen.
    """
    n, m = one.numel(), other.numel()
    limit = math.sqrt(-math.log(LEVEL / 2) / 2 * (1 / n + 1 / m))
    found = _two_samples(one, other) < limit
    if found and len(one.unique()) > 1:
        assert _two_samples(one * 1.05, other) > limit or _two_samples(one / 1.05, other) > limit, (
            "too few numbers for this test"
        )
    return found


def _two_samples(one: Tensor, other: Tensor) -> float:
    a, b = (values.detach().flatten().double().sort().values for values in (one, other))
    both = torch.cat([a, b])
    shares = [torch.searchsorted(values, both, right=True) / len(values) for values in (a, b)]
    return float((shares[0] - shares[1]).abs().max())

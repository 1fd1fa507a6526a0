"""spectral: the spectral norm of real layers, and the law of the entries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from initializer_cases import generator
from torch import nn

import fanin
from fanin import fans, initializers, seeds

stats = pytest.importorskip("scipy.stats", reason="the law comes from scipy")

SHAPES = [(512, 512), (1024, 256), (256, 1024), (64, 2048), (2048, 64)]


def measure_norm(weight: torch.Tensor) -> float:
    return torch.linalg.matrix_norm(weight.flatten(1), ord=2).item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_spectral_norm_lies_between_one_and_two_times_the_wanted(
    shape: tuple[int, int],
) -> None:
    wanted = math.sqrt(shape[0] / shape[1])
    weight = initializers.get("spectral")(torch.empty(shape), generator=generator())
    assert wanted < measure_norm(weight) < 2.05 * wanted


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exact_gives_the_wanted_norm(shape: tuple[int, int]) -> None:
    """Tracy–Widom fluctuations of the largest singular value are below 2 % at these sizes; five
    draws; lecun_normal is caught, which a layer of 2048 outputs has at 1.18 times the norm.
    """
    wanted = 1.5 * math.sqrt(shape[0] / shape[1])
    draw = initializers.get("spectral(gain=1.5, exact=true)")
    norms = [measure_norm(draw(torch.empty(shape), generator=generator(n))) for n in range(5)]
    assert norms == pytest.approx([wanted] * 5, rel=0.04)
    other = initializers.get("lecun_normal(gain=1.5)")(torch.empty(shape), generator=generator())
    assert measure_norm(other) > 1.1 * wanted


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (nn.Linear(20, 5), math.sqrt(5) / 20),
        (nn.Linear(5, 20), 1 / math.sqrt(5)),
        (nn.Conv2d(8, 16, 3), math.sqrt(16) / 72),
        (nn.Conv2d(8, 128, 3), 1 / math.sqrt(72)),
        (nn.Conv2d(8, 16, 3, groups=4), math.sqrt(4) / 18),
        (nn.ConvTranspose2d(16, 8, 3, groups=4), math.sqrt(2) / 36),
        (nn.Embedding(30, 8), 1.0),
    ],
    ids=["narrowing", "widening", "conv", "widening conv", "grouped", "transposed", "embedding"],
)
def test_inputs_and_outputs_are_those_of_the_layers_maps(layer: nn.Module, std: float) -> None:
    layout = fans.get_module_layout(layer)
    assert layout is not None
    assert initializers.get("spectral").intended_std(layout) == pytest.approx(std)


def test_the_entries_are_normal() -> None:
    """n = 210,000, level 1e-4; a scale 3 % off is caught."""
    weight = initializers.get("spectral")(torch.empty(300, 700), generator=generator(1))
    values = weight.double().flatten().numpy() / (math.sqrt(300) / 700)
    assert stats.ks_1samp(values, stats.norm.cdf, method="asymp").pvalue > 1e-4
    assert stats.ks_1samp(1.03 * values, stats.norm.cdf, method="asymp").pvalue < 1e-4
    assert abs(np.mean(values)) < 5 / math.sqrt(values.size)


def test_query_key_and_value_are_each_a_map() -> None:
    with seeds.preserve_torch_state(0):
        attention = nn.MultiheadAttention(64, 4)
    record = fanin.initialize(attention, "spectral", seed=0)
    assert record["in_proj_weight"].intended_std == pytest.approx(1 / 8)

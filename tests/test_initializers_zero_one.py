"""hadamard and padded_identity: entry by entry, and what they do to signals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from initializer_cases import filled, generator
from torch import nn

import fanin
from fanin import initializers, seeds
from fanin.fans import Fans, WeightLayout

scipy_linalg = pytest.importorskip("scipy.linalg", reason="the Hadamard matrix comes from scipy")


@pytest.mark.parametrize("shape", [(5, 3), (8, 4), (7, 1), (33, 20), (64, 10), (2, 1)], ids=str)
def test_a_widening_layer_is_a_part_of_the_hadamard_matrix(shape: tuple[int, int]) -> None:
    bits = math.ceil(math.log2(shape[0]))
    whole = torch.tensor(scipy_linalg.hadamard(2**bits), dtype=torch.float32)
    found = filled("hadamard", torch.empty(shape))
    torch.testing.assert_close(found, whole[: shape[0], : shape[1]] * 2 ** (-(bits - 1) / 2))
    layout = WeightLayout(shape, Fans(shape[1], shape[0]))
    assert initializers.get("hadamard").intended_std(layout) == pytest.approx(
        found.double().std(correction=0).item(), abs=1e-7
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 9), (1, 5)], ids=str)
def test_other_layers_are_a_partial_identity(shape: tuple[int, int]) -> None:
    assert torch.equal(filled("hadamard", torch.empty(shape)), torch.eye(*shape))


def test_without_the_papers_factor_a_layer_to_a_power_of_two_keeps_norms() -> None:
    weight = filled("hadamard(gain=1.0)", torch.empty(64, 20))
    torch.testing.assert_close(weight.T @ weight, torch.eye(20))


def test_a_grouped_kernel_holds_one_matrix_per_group_at_its_centre() -> None:
    with seeds.preserve_torch_state(0):
        conv = nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False)
    fanin.initialize(conv, "hadamard", seed=0)
    x = torch.randn(2, 4, 5, 5, generator=generator())
    small = filled("hadamard", torch.empty(4, 2))
    wanted = torch.cat([torch.einsum("oi,bihw->bohw", small, half) for half in x.chunk(2, 1)], 1)
    torch.testing.assert_close(conv(x), wanted)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (5, 1)], ids=str)
def test_a_padded_identity_repeats_along_its_longer_side(shape: tuple[int, int]) -> None:
    found = filled("padded_identity(noise=0.0, tau=2.0)", torch.empty(shape))
    for row in range(shape[0]):
        for column in range(shape[1]):
            copied = row % min(shape) == column % min(shape)
            assert found[row, column] == (2.0 if copied else 0.0)


def test_the_outputs_of_a_kernel_copy_different_taps() -> None:
    layout = WeightLayout((6, 2, 3), Fans(6, 18))
    weight = initializers.get("padded_identity(noise=0.0)").sample(layout, generator())
    assert torch.equal(weight.flatten(1), torch.eye(6))
    x = torch.randn(2, 2, 7, generator=generator())
    shifted = F.conv1d(x, weight)
    assert torch.equal(shifted[:, 0], x[:, 0, :5])
    assert torch.equal(shifted[:, 2], x[:, 0, 2:])
    assert torch.equal(shifted[:, 5], x[:, 1, 2:])


def test_each_group_of_a_transposed_convolution_has_its_own_identity() -> None:
    layout = WeightLayout((4, 2, 1), Fans(2, 2), groups=2, transposed=True)
    weight = initializers.get("padded_identity(noise=0.0)").sample(layout, generator())
    x = torch.randn(2, 4, 7, generator=generator())
    assert torch.equal(F.conv_transpose1d(x, weight, groups=2), x)


def test_the_noise_parts_outputs_that_copy_the_same_input_and_is_normal() -> None:
    """n = 40,000: mean and standard deviation within five standard errors; twice the noise is
    caught.
    """
    weight = filled("padded_identity(tau=0.5, noise=0.01)", torch.empty(40_000, 4))
    values = weight[weight != 0].double()
    n = 40_000
    assert values.numel() == n
    assert values.mean().item() == pytest.approx(0.5, abs=5 * 0.01 / math.sqrt(n))
    assert values.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * n))
    twice = filled("padded_identity(tau=0.5, noise=0.02)", torch.empty(40_000, 4))
    assert twice[twice != 0].std().item() != pytest.approx(0.01, rel=5 / math.sqrt(2 * n))
    default = filled("padded_identity", torch.empty(12, 4))
    assert not torch.equal(default[:4], default[4:8])

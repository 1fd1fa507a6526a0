"""identity and dirac: which output copies which input, and where in the kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from initializer_cases import filled, generator
from torch import Tensor

from fanin import initializers
from fanin.fans import Fans, WeightLayout


def padded(x: Tensor, kernel: tuple[int, ...], *, more_after: bool) -> Tensor:
    """The signal with k - 1 zeros around it, the greater half after it or before it."""
    sides = [((size - 1) // 2, size // 2) for size in reversed(kernel)]
    return F.pad(x, [side for pair in sides for side in (pair if more_after else pair[::-1])])


@pytest.mark.parametrize("kernel", [(3, 3), (4, 2), (1, 5), (2, 2)], ids=str)
def test_an_identity_convolution_returns_its_input_with_the_padding_of_same(
    kernel: tuple[int, ...],
) -> None:
    x = torch.randn(2, 6, 7, 7, generator=generator())
    weight = filled("identity", torch.empty(6, 6, *kernel))
    assert torch.equal(F.conv2d(padded(x, kernel, more_after=True), weight), x)


@pytest.mark.parametrize("spec", ["dirac", "identity(even=right)"])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 2)], ids=str)
def test_the_other_centre_of_an_even_kernel_needs_the_other_padding(
    spec: str, kernel: tuple[int, ...]
) -> None:
    x = torch.randn(2, 6, 7, 7, generator=generator())
    weight = filled(spec, torch.empty(6, 6, *kernel))
    assert torch.equal(F.conv2d(padded(x, kernel, more_after=False), weight), x)
    shifted = F.conv2d(padded(x, kernel, more_after=True), weight)
    assert torch.equal(shifted, x) is (kernel == (3, 3))


@pytest.mark.parametrize("spec", ["identity", "dirac", "identity(repeat=true)"])
def test_each_group_copies_its_own_inputs(spec: str) -> None:
    layout = WeightLayout((6, 2, 3), Fans(6, 6), groups=3)
    x = torch.randn(2, 6, 7, generator=generator())
    weight = initializers.get(spec).sample(layout, generator())
    assert torch.equal(F.conv1d(x, weight, padding=1, groups=3), x)


@pytest.mark.parametrize("spec", ["identity", "dirac", "identity(repeat=true)"])
def test_a_transposed_convolution_copies_too(spec: str) -> None:
    layout = WeightLayout((6, 2, 3), Fans(6, 6), groups=3, transposed=True)
    x = torch.randn(2, 6, 7, generator=generator())
    weight = initializers.get(spec).sample(layout, generator())
    assert torch.equal(F.conv_transpose1d(x, weight, padding=1, groups=3), x)


@pytest.mark.parametrize("spec", ["identity", "dirac"])
def test_outputs_beyond_the_inputs_are_zero_and_inputs_beyond_the_outputs_unheard(
    spec: str,
) -> None:
    tall, wide = filled(spec, torch.empty(7, 3)), filled(spec, torch.empty(3, 7))
    assert torch.equal(tall, torch.cat([torch.eye(3), torch.zeros(4, 3)]))
    assert torch.equal(wide, tall.T)


def test_repeated_outputs_copy_the_inputs_again() -> None:
    x = torch.randn(3, generator=generator())
    assert torch.equal(
        filled("identity(repeat=true)", torch.empty(7, 3)) @ x, torch.cat([x, x, x[:1]])
    )


@pytest.mark.parametrize(
    "shape", [(8, 3), (9, 3), (3, 8), (3, 9), (5, 5), (16, 4, 3, 3), (4, 16, 2)], ids=str
)
def test_a_repeated_identity_keeps_the_variance_of_uncorrelated_inputs_at_every_output(
    shape: tuple[int, ...],
) -> None:
    weight = filled("identity(repeat=true)", torch.empty(shape))
    assert torch.allclose(weight.flatten(1).norm(dim=1), torch.ones(shape[0]), atol=1e-6)


def test_a_repeated_identity_hears_every_input() -> None:
    weight = filled("identity(repeat=true)", torch.empty(3, 8))
    assert ((weight != 0).sum(0) == 1).all()
    assert weight[0].tolist() == pytest.approx([3**-0.5, 0, 0, 3**-0.5, 0, 0, 3**-0.5, 0])
    assert weight[2].tolist() == pytest.approx([0, 0, 2**-0.5, 0, 0, 2**-0.5, 0, 0])


@pytest.mark.parametrize("spec", ["identity", "identity(repeat=true)", "dirac"])
def test_the_gain_is_a_factor(spec: str) -> None:
    name, _, options = spec.partition("(")
    scaled = f"{name}(gain=0.5, {options or ')'}"
    for shape in [(7, 3), (3, 7), (4, 4, 3)]:
        assert torch.allclose(
            filled(scaled, torch.empty(shape)), 0.5 * filled(spec, torch.empty(shape))
        )


def test_an_identity_on_two_inputs_copies_their_first_products() -> None:
    layout = WeightLayout((4, 2, 3), Fans(6, 4), inputs=2)
    weight = initializers.get("identity").sample(layout, generator())
    a, b = torch.randn(1, 2, generator=generator(1)), torch.randn(1, 3, generator=generator(2))
    products = (a.T @ b).flatten()
    assert torch.allclose(F.bilinear(a, b, weight).squeeze(0), products[:4])

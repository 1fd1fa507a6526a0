"""Fans: what the formulas say is what one counts by sending ones through the layer."""

from __future__ import annotations

import math

import pytest
import torch
from combinations import for_each
from torch import Tensor, nn

from fanin import fans, seeds
from fanin.errors import FitError, SpecError, UnknownName
from fanin.fans import Fans, WeightLayout
from fanin.fans import calculate_fans as fans_of

with seeds.preserve_torch_state(0):
    CONVOLUTIONS = {
        "conv1d": nn.Conv1d(6, 4, 5, bias=False),
        "conv2d": nn.Conv2d(3, 8, (3, 5), bias=False),
        "conv3d": nn.Conv3d(2, 3, 2, bias=False),
        "dilated": nn.Conv2d(3, 8, 3, dilation=2, bias=False),
        "strided": nn.Conv2d(3, 8, 4, stride=2, bias=False),
        "strided, odd": nn.Conv1d(2, 3, 5, stride=3, bias=False),
        "grouped": nn.Conv2d(8, 12, 3, groups=4, bias=False),
        "grouped, strided": nn.Conv2d(8, 4, 3, groups=2, stride=(1, 3), bias=False),
        "depthwise": nn.Conv2d(6, 12, 3, groups=6, bias=False),
        "transposed1d": nn.ConvTranspose1d(6, 4, 5, bias=False),
        "transposed2d": nn.ConvTranspose2d(8, 3, (3, 5), bias=False),
        "transposed3d": nn.ConvTranspose3d(2, 3, 2, bias=False),
        "transposed, strided": nn.ConvTranspose2d(8, 3, 4, stride=2, bias=False),
        "transposed, odd stride": nn.ConvTranspose1d(2, 3, 5, stride=3, bias=False),
        "transposed, grouped": nn.ConvTranspose2d(8, 12, 3, groups=4, bias=False),
        "transposed, grouped, strided": nn.ConvTranspose2d(
            12, 8, 4, groups=4, stride=2, bias=False
        ),
        "transposed depthwise": nn.ConvTranspose2d(6, 6, 3, groups=6, bias=False),
    }


def interior(x: Tensor, period: int) -> Tensor:
    """Whole periods of each spatial dimension, far from the border."""
    for dim in range(2, x.dim()):
        middle = x.shape[dim] // 2
        x = x.narrow(dim, middle - period, 2 * period)
    return x


def counted(layer: nn.Module) -> Fans:
    """Connections per output and per input in the interior, by sending ones forward and
    backward.
    """
    side = 30 if layer.weight.dim() < 5 else 14
    x = torch.ones(1, layer.in_channels, *[side] * (layer.weight.dim() - 2), requires_grad=True)
    period = math.lcm(*layer.stride)
    weight = layer.weight.detach().clone()
    try:
        with torch.no_grad():
            layer.weight.fill_(1.0)
        y = layer(x)
        y.sum().backward()
    finally:
        with torch.no_grad():
            layer.weight.copy_(weight)
    return Fans(interior(y.detach(), period).mean().item(), interior(x.grad, period).mean().item())


@for_each("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_effective_fans_are_the_connections_that_one_counts(layer: nn.Module) -> None:
    expected = counted(layer)
    found = fans_of(layer, "effective")
    assert found.fan_in == pytest.approx(expected.fan_in)
    assert found.fan_out == pytest.approx(expected.fan_out)


@for_each("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_kernel_fans_ignore_the_stride(layer: nn.Module) -> None:
    kernel, effective = fans_of(layer), fans_of(layer, "effective")
    stride = math.prod(layer.stride)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        assert kernel == Fans(effective.fan_in * stride, effective.fan_out)
    else:
        assert kernel == Fans(effective.fan_in, effective.fan_out * stride)


@for_each("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_weights_of_variance_one_over_fan_in_keep_the_variance_of_the_signal(
    layer: nn.Module,
) -> None:
    """300 draws of weights and input, at least two outputs of each: the standard error of the
    variance is below 6 %.

    Tolerance 25 %; forgetting the groups, the transposition or the stride is a factor of at least 2
    in these layers.
    """
    g = torch.Generator().manual_seed(1)
    std = fans_of(layer, "effective").fan_in ** -0.5
    period = math.lcm(*layer.stride)
    sides = [6 * period + 6] * (layer.weight.dim() - 2)
    squares = []
    for _ in range(300):
        x = torch.randn(1, layer.in_channels, *sides, generator=g)
        weight = torch.randn(layer.weight.shape, generator=g) * std
        squares.append(
            interior(torch.func.functional_call(layer, {"weight": weight}, (x,)), period)
            .square()
            .mean()
        )
    assert torch.stack(squares).mean().item() == pytest.approx(1.0, rel=0.25)


def test_the_fans_of_a_linear_layer_are_its_features() -> None:
    assert fans_of(nn.Linear(5, 3, device="meta")) == Fans(5, 3)


@pytest.mark.parametrize("make", [nn.Embedding, nn.EmbeddingBag])
@seeds.preserve_torch_state()
def test_an_embedding_looks_up_one_row_so_its_fan_in_is_one(make: type[nn.Module]) -> None:
    layout = fans.get_module_layout(make(100, 8))
    assert layout is not None
    assert layout.fans == Fans(1, 8)
    assert layout.matrices_shape == (1, 8, 100)


def test_a_tensor_has_the_fans_of_torch() -> None:
    weight = torch.empty(8, 4, 3, 5)
    assert (
        fans_of(weight).fan_in,
        fans_of(weight).fan_out,
    ) == nn.init._calculate_fan_in_and_fan_out(weight)


def test_grouped_and_transposed_layers_differ_from_what_torch_sees_in_the_tensor() -> None:
    grouped = nn.Conv2d(64, 64, 3, groups=16, device="meta")
    assert (fans_of(grouped).fan_out, fans_of(grouped.weight).fan_out) == (36, 576)
    transposed = nn.ConvTranspose2d(64, 16, 3, device="meta")
    assert (fans_of(transposed).fan_in, fans_of(transposed.weight).fan_in) == (576, 144)


def test_fan_avg_is_the_mean() -> None:
    assert [Fans(3, 5).of(mode) for mode in ("fan_in", "fan_out", "fan_avg")] == [3, 5, 4]


def test_fan_geo_avg_is_the_geometric_mean() -> None:
    assert Fans(2, 8).of("fan_geo_avg") == 4
    assert Fans(0, 8).of("fan_geo_avg") == 0


def test_an_unknown_mode_offers_the_near_one() -> None:
    with pytest.raises(UnknownName, match="fan_out"):
        Fans(3, 5).of("fan_uot")  # type: ignore[arg-type]


def test_an_unknown_convention_is_an_error() -> None:
    with pytest.raises(UnknownName, match="effective"):
        fans_of(nn.Linear(2, 2, device="meta"), "efective")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (5,)])
def test_a_vector_has_no_fans(shape: tuple[int, ...]) -> None:
    with pytest.raises(FitError, match="two dimensions"):
        fans_of(torch.empty(shape))


def test_a_module_of_another_kind_has_no_fans() -> None:
    assert fans.get_module_layout(nn.ReLU()) is None
    with pytest.raises(FitError, match="ReLU"):
        fans_of(nn.ReLU())


def test_a_lazy_layer_says_that_it_has_no_shape_yet() -> None:
    with pytest.raises(FitError, match="no shape yet"):
        fans_of(nn.LazyLinear(3))


@for_each("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_matrices_and_weight_are_two_views_of_the_same_numbers(layer: nn.Module) -> None:
    layout = fans.get_module_layout(layer)
    assert layout is not None
    matrices = layout.to_matrices(layer.weight)
    assert tuple(matrices.shape) == layout.matrices_shape
    assert torch.equal(layout.from_matrices(matrices), layer.weight)


@for_each("layer", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_row_of_a_matrix_holds_the_weights_that_meet_one_output_channel(layer: nn.Module) -> None:
    layout = fans.get_module_layout(layer)
    assert layout is not None
    matrices = layout.to_matrices(layer.weight)
    x = torch.ones(1, layer.in_channels, *[9] * (layer.weight.dim() - 2))
    groups, outputs, _ = layout.matrices_shape
    for group in range(groups):
        for output in range(outputs):
            only = torch.zeros_like(matrices)
            only[group, output] = 1.0
            y = torch.func.functional_call(layer, {"weight": layout.from_matrices(only)}, (x,))
            reached = y.flatten(2).abs().sum(-1).nonzero()[:, 1].tolist()
            assert reached == [group * outputs + output]


@pytest.mark.parametrize("gain", [-1.0, math.nan, math.inf, True, "1"])
def test_a_gain_is_a_finite_number_of_at_least_zero(gain: object) -> None:
    with pytest.raises(SpecError, match="at least 0"):
        fans.check_gain(gain)


def test_a_layout_without_fans_says_what_to_use_instead() -> None:
    with pytest.raises(FitError, match="zero"):
        fans.require_fans(WeightLayout((3,), None))

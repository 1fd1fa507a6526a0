"""Weight standardization: linear layers and convolutions with centred and scaled weights.

With W the parameter and N = fan-in, the weight of output i is

    Ŵᵢ = gᵢ · (Wᵢ − mean Wᵢ) / (√N · std Wᵢ),   gᵢ learned, 1 at first

over all inputs and taps of the output: Ŵᵢ/gᵢ sums to 0 and has norm 1. So the scale and the mean of
a row that an initializer draws have no effect on the output. What remains of its distribution is
the directions of the centred rows, and the effective learning rate, since the gradient of a row is
orthogonal to it and proportional to 1/‖Wᵢ − mean Wᵢ‖.

This is the scaled form of Brock et al. The first paper, Qiao et al., leaves out 1/√N, because a
normalization of activations follows there: in a plain network, each layer would multiply variances
by N. The scaled form preserves the variance of uncorrelated inputs. Brock et al. have one factor
more, a constant γ = 1/√Var φ(z) that compensates for the activation before the layer: 1.7129 for
ReLU, 1.5925 for tanh, 4.80 for sigmoid. It is not part of the layer here: without it, a plain chain
of ReLU keeps 0.34 of the variance per layer, one of sigmoid 0.043. Since the gain has the role of a
norm's scale, ``fanin.initialize(model, rule, seed=0, norms="constant(value=1.7129)")`` starts with
it.

A row with √N · std below 0.01 is divided by 0.01 instead, as in the code of the second paper (1e-4
for the square): rows of zeros stay zero, and their gradients stay finite.

Sources: Qiao et al., Micro-Batch Training with Batch-Channel Normalization and Weight
Standardization, 2019; Brock, De, Smith, Characterizing Signal Propagation to Close the Performance
Gap in Unnormalized ResNets, 2021. torch has no such layer.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.fans import Convention, LayerParameter, WeightLayout
from fanin.fans.layer_parameters import LayerParameters, describe_layer

MIN_SQUARED_NORM = 1e-4
"""The smallest N · var that a row is divided by the root of."""


class StandardizedLinear(nn.Linear):
    """``nn.Linear`` with the weight Ŵ (see the module) and a parameter `gain` (out_features,).

    Raises: `FitError` for a single input, because one number minus its mean is 0.
    """

    gain: nn.Parameter

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        _require_several(in_features, "one input")
        super().__init__(in_features, out_features, bias)
        self.gain = nn.Parameter(torch.ones(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        return F.linear(x, standardize_weight(self.weight, self.gain), self.bias)


class StandardizedConv2d(nn.Conv2d):
    """``nn.Conv2d`` with the weight Ŵ (see the module) and a parameter `gain` (out_channels,).

    It has no groups and no dilation, as the convolutions of fanin's models.

    Raises: `FitError` for a single weight per output.
    """

    gain: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] | str = (0, 0),
        *,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        bias: bool = True,
    ) -> None:
        _require_several(in_channels * kernel_size[0] * kernel_size[1], "one channel and one tap")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            bias=bias,
            padding_mode=padding_mode,
        )
        self.gain = nn.Parameter(torch.ones(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, out_channels, H', W')."""
        output: Tensor = self._conv_forward(
            x, standardize_weight(self.weight, self.gain), self.bias
        )
        return output


def standardize_weight(weight: Tensor, gain: Tensor) -> Tensor:
    """Ŵ (see the module) of the shape (out, …) of `weight`; `gain` has the shape (out,)."""
    inside = tuple(range(1, weight.ndim))
    centred = weight - weight.mean(inside, keepdim=True)
    squares = centred.square().sum(inside, keepdim=True)
    return centred * (squares.clamp(min=MIN_SQUARED_NORM).rsqrt() * gain.view_as(squares))


def standardize(module: nn.Module) -> nn.Module:
    """The module, with every linear layer and convolution replaced by a standardized one.

    The module itself may be such a layer. Parameters are moved, not copied, and keep their names.
    """
    for name, child in module.named_children():
        setattr(module, name, standardize(child))
    if type(module) is nn.Linear:
        linear = StandardizedLinear(
            module.in_features, module.out_features, module.bias is not None
        )
        return _move_parameters(linear, module)
    if type(module) is nn.Conv2d:
        convolution = StandardizedConv2d(
            module.in_channels,
            module.out_channels,
            (module.kernel_size[0], module.kernel_size[1]),
            (module.stride[0], module.stride[1]),
            module.padding,  # type: ignore[arg-type]  # torch declares a tuple of any length
            padding_mode=module.padding_mode,
            bias=module.bias is not None,
        )
        return _move_parameters(convolution, module)
    return module


def _move_parameters(layer: nn.Linear | nn.Conv2d, from_layer: nn.Linear | nn.Conv2d) -> nn.Module:
    layer.weight, layer.bias = from_layer.weight, from_layer.bias
    return layer


def _require_several(fan_in: int, what: str) -> None:
    if fan_in < 2:
        raise FitError(
            "Weight standardization (norm=ws) subtracts the mean of each output's weights; with "
            f"{what} nothing is left. Use inputs of several numbers and wider layers, or another "
            "norm."
        )


@describe_layer.register(StandardizedLinear)
@describe_layer.register(StandardizedConv2d)
def _describe_standardized(
    module: StandardizedLinear | StandardizedConv2d, convention: Convention
) -> LayerParameters:
    """The parameters of the plain layer, and the gain, which has the role of a norm's scale."""
    plain = describe_layer.dispatch(nn.Linear if isinstance(module, nn.Linear) else nn.Conv2d)
    return {
        **plain(module, convention),
        "gain": LayerParameter("norm scale", WeightLayout(tuple(module.gain.shape), None)),
    }

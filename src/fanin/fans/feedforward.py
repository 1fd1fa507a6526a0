"""Linear layers, convolutions, embeddings and normalization: one map, or none."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fanin.fans.layer_parameters import LayerParameter, LayerParameters, Role, describe_layer
from fanin.fans.layout import Convention, Fans, WeightLayout


@describe_layer.register
def _describe_linear(module: nn.Linear, convention: Convention) -> LayerParameters:
    return describe_one_map(
        WeightLayout(
            (module.out_features, module.in_features), Fans(module.in_features, module.out_features)
        )
    )


@describe_layer.register
def _describe_convolution(module: _ConvNd, convention: Convention) -> LayerParameters:
    taps = math.prod(module.kernel_size)
    fan_in = module.in_channels // module.groups * taps
    fan_out = module.out_channels // module.groups * taps
    stride = math.prod(module.stride) if convention == "effective" else 1
    transposed = isinstance(module, _ConvTransposeNd)
    channels = (
        (module.in_channels, module.out_channels)
        if transposed
        else (module.out_channels, module.in_channels)
    )
    shape = (channels[0], channels[1] // module.groups, *module.kernel_size)
    found = Fans(fan_in / stride, fan_out) if transposed else Fans(fan_in, fan_out / stride)
    return describe_one_map(
        WeightLayout(shape, found, module.groups, transposed), outputs=module.out_channels
    )


@describe_layer.register
def _describe_bilinear(module: nn.Bilinear, convention: Convention) -> LayerParameters:
    """A linear map of the products of its two inputs."""
    shape = (module.out_features, module.in1_features, module.in2_features)
    return describe_one_map(WeightLayout(shape, Fans(shape[1] * shape[2], shape[0]), inputs=2))


@describe_layer.register(nn.Embedding)
@describe_layer.register(nn.EmbeddingBag)
def _describe_embedding(
    module: nn.Embedding | nn.EmbeddingBag, convention: Convention
) -> LayerParameters:
    shape = (module.num_embeddings, module.embedding_dim)
    return {
        "weight": LayerParameter(
            "embedding", WeightLayout(shape, Fans(1, module.embedding_dim), transposed=True)
        )
    }


@describe_layer.register(_NormBase)
@describe_layer.register(nn.LayerNorm)
@describe_layer.register(nn.GroupNorm)
@describe_layer.register(nn.RMSNorm)
def _describe_normalization(module: nn.Module, convention: Convention) -> LayerParameters:
    shapes = {
        name: tuple(parameter.shape) for name, parameter in module.named_parameters(recurse=False)
    }
    roles: dict[str, Role] = {"weight": "norm scale", "bias": "norm shift"}
    return {
        name: LayerParameter(roles[name], WeightLayout(shape, None))
        for name, shape in shapes.items()
        if name in roles
    }


def describe_one_map(layout: WeightLayout, outputs: int | None = None) -> LayerParameters:
    """A weight and a bias, which has the fans of its weight."""
    bias = WeightLayout((layout.shape[0] if outputs is None else outputs,), layout.fans)
    return {"weight": LayerParameter("weight", layout), "bias": LayerParameter("bias", bias)}

"""``nn.MultiheadAttention``: q, k and v, packed into one parameter or apart. Its out_proj is a
linear layer of its own.
"""

from __future__ import annotations

from torch import nn

from fanin.fans.layer_parameters import (
    LayerParameter,
    LayerParameters,
    describe_layer,
)
from fanin.fans.layout import Convention, Fans, WeightLayout
from fanin.fans.packing import pack, split_evenly

MAPS = ("q", "k", "v")


@describe_layer.register
def _describe_attention(module: nn.MultiheadAttention, convention: Convention) -> LayerParameters:
    d, rows = module.embed_dim, 3 * module.embed_dim
    sources = {"q": d, "k": module.kdim, "v": module.vdim}
    weight = pack(WeightLayout((rows, d), Fans(d, rows)), split_evenly(MAPS, rows))
    bias = pack(WeightLayout((rows,), Fans(d, rows)), split_evenly(MAPS, rows))
    apart = {
        f"{name}_proj_weight": LayerParameter("weight", WeightLayout((d, n), Fans(n, d), part=name))
        for name, n in sources.items()
    }
    extra = {
        f"bias_{name}": LayerParameter("bias", WeightLayout((1, 1, d), None)) for name in ("k", "v")
    }
    return {
        "in_proj_weight": LayerParameter("weight", weight),
        "in_proj_bias": LayerParameter("bias", bias),
        **apart,
        **extra,
    }

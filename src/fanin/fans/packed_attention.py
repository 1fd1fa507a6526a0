"""``nn.MultiheadAttention``: q, k and v, packed into one parameter or apart. Its out_proj is a
linear layer of its own.
"""

from __future__ import annotations

from torch import nn

from fanin.fans.layer_parameters import Holdings, LayerParameter, equal_parts, known, packed
from fanin.fans.layout import Convention, Fans, Layout

MAPS = ("q", "k", "v")


@known.register
def _attention(module: nn.MultiheadAttention, convention: Convention) -> Holdings:
    d, rows = module.embed_dim, 3 * module.embed_dim
    sources = {"q": d, "k": module.kdim, "v": module.vdim}
    pack = packed(Layout((rows, d), Fans(d, rows)), equal_parts(MAPS, rows))
    bias = packed(Layout((rows,), Fans(d, rows)), equal_parts(MAPS, rows))
    apart = {
        f"{name}_proj_weight": LayerParameter("weight", Layout((d, n), Fans(n, d), part=name))
        for name, n in sources.items()
    }
    extra = {f"bias_{name}": LayerParameter("bias", Layout((1, 1, d), None)) for name in ("k", "v")}
    return {
        "in_proj_weight": LayerParameter("weight", pack),
        "in_proj_bias": LayerParameter("bias", bias),
        **apart,
        **extra,
    }

"""What the tests of initializers fill: every spec of the catalogue, and layouts of every kind of
layer.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from fanin import fans, initializers, seeds
from fanin.errors import FitError
from fanin.fans import Fans, WeightLayout
from fanin.initializers import Initializer, InitializerEntry

ENTRIES = tuple(initializers.REGISTRY)
TENSOR_ENTRIES = tuple(entry for entry in ENTRIES if entry.level == "tensor")
MODEL_ENTRIES = tuple(entry for entry in ENTRIES if entry.level == "model")


def specs_of(*entries: InitializerEntry) -> tuple[str, ...]:
    """The specs that the entries show: the plain one, where it works, and the examples."""
    return tuple(
        dict.fromkeys(spec for entry in entries for spec in (entry.example, *entry.examples))
    )


SPECS = specs_of(*TENSOR_ENTRIES)

SHAPES = [
    (7, 40),
    (40, 7),
    (12, 8),
    (1, 1),
    (4, 1),
    (1, 20),
    (6, 4, 3),
    (8, 4, 3, 5),
    (16, 4, 2, 4),
    (4, 2, 2, 3, 2),
]
"""Shapes of tensors; every initializer fits at least half of them, and (12, 8) and (8, 4, 3, 5)."""

with seeds.preserve_torch_state(0):
    LSTM = fans.describe_parameters(nn.LSTM(6, 8))
    GRU = fans.describe_parameters(nn.GRU(6, 8))
    ATTENTION = fans.describe_parameters(nn.MultiheadAttention(8, 2))

LAYOUTS = {
    "linear": WeightLayout((12, 20), Fans(20, 12)),
    "widening": WeightLayout((20, 12), Fans(12, 20)),
    "grouped": WeightLayout((12, 5, 3, 3), Fans(45, 27), groups=4),
    "grouped, widening": WeightLayout((24, 2, 3, 3), Fans(18, 54), groups=4),
    "depthwise": WeightLayout((24, 1, 3, 3), Fans(9, 18), groups=12),
    "even kernel": WeightLayout((8, 6, 4, 2), Fans(48, 64)),
    "transposed": WeightLayout((12, 8, 3, 3), Fans(108, 72), transposed=True),
    "transposed, grouped": WeightLayout((12, 6, 3, 3), Fans(27, 54), groups=4, transposed=True),
    "embedding": WeightLayout((30, 8), Fans(1, 8), transposed=True),
    "bilinear": WeightLayout((12, 4, 3), Fans(12, 12), inputs=2),
    "bilinear, narrowing": WeightLayout((8, 5, 6), Fans(30, 8), inputs=2),
    "gates of an LSTM": LSTM["weight_hh_l0"].layout,
    "gates of a GRU": GRU["weight_ih_l0"].layout,
    "q, k and v": ATTENTION["in_proj_weight"].layout,
}
"""Every initializer fits at least half of them."""

GATE_BIASES = {"LSTM": LSTM["bias_ih_l0"].layout, "GRU": GRU["bias_hh_l0"].layout}
VECTORS = {
    "bias": WeightLayout((12,), Fans(20, 12)),
    "vector": WeightLayout((5,), None),
    "scalar": WeightLayout((), None),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(spec: str, tensor: Tensor, seed: int = 0) -> Tensor:
    """The tensor, filled as ``torch.nn.init`` would see it; with biases of gates, which do not fill
    a bare tensor, as one without gates.
    """
    initializer = initializers.get(spec)
    if initializer.gate_bias:
        return initializer.fill(tensor, fans.get_tensor_layout(tensor), generator=generator(seed))
    return initializer(tensor, generator=generator(seed))


def home(initializer: Initializer) -> WeightLayout:
    """A layout that shows what the initializer does: the biases of an LSTM, or else a matrix."""
    return GATE_BIASES["LSTM"] if initializer.gate_bias else WeightLayout((12, 8), Fans(8, 12))


def at_home(spec: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of the home layout, filled."""
    initializer = initializers.get(spec)
    layout = home(initializer)
    return initializer.fill(
        torch.empty(layout.shape, dtype=dtype), layout, generator=generator(seed)
    )


def drawn(initializer: Initializer, layout: WeightLayout, g: torch.Generator) -> Tensor:
    """A draw for a layer's parameter: of a pack each part for itself, unless the initializer
    packs.
    """
    if initializer.packs or not layout.parts:
        return initializer.sample(layout, g)
    return torch.cat(
        [initializer.sample(part.layout, g) for part in layout.parts],
        dim=layout.parts[0].steps[0].args[0],
    )


def intended(initializer: Initializer, layout: WeightLayout) -> float | None:
    """The intended standard deviation of what `drawn` gives; the parts of the packs here have the
    same size, and the mean 0 if they differ.
    """
    if initializer.packs or not layout.parts:
        return initializer.intended_std(layout)
    stds = [initializer.intended_std(part.layout) for part in layout.parts]
    known = [std for std in stds if std is not None]
    if len(known) < len(stds):
        return None
    alike = len(set(known)) == 1
    return known[0] if alike else math.sqrt(sum(std * std for std in known) / len(known))


def refusal(initializer: Initializer, layout: WeightLayout) -> str | None:
    """Why the initializer does not fit a layout; None if it does."""
    try:
        intended(initializer, layout)
    except FitError as error:
        return str(error)
    return None


def as_one_map(layout: WeightLayout) -> WeightLayout:
    """A packed layout without its parts."""
    return replace(layout, parts=())

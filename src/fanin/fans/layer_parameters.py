"""The parameters of torch's layers: the role, the fans and the parts of each.

| layer              | weight               | fan-in         | fan-out         | effective changes |
|--------------------|----------------------|----------------|-----------------|-------------------|
| Linear             | (out, in)            | in             | out             |                   |
| Conv               | (out, in/groups, *k) | in/groups · ∏k | out/groups · ∏k | fan-out / ∏stride |
| ConvTranspose      | (in, out/groups, *k) | in/groups · ∏k | out/groups · ∏k | fan-in / ∏stride  |
| Embedding, -Bag    | (rows, dim)          | 1              | dim             |                   |
| Bilinear           | (out, in1, in2)      | in1 · in2      | out             |                   |
| HF's Conv1D        | (in, out)            | in             | out             |                   |
| MultiheadAttention | (3·d, d): q, k, v    | d              | d               |                   |
| RNN, LSTM, GRU     | (gates·hidden, in)   | in             | hidden          |                   |
| any other tensor   | (out, in, *k)        | in · ∏k        | out · ∏k        |                   |

HF's Conv1D is the linear layer of transformers' GPT-2. MultiheadAttention may keep three weights
instead of one; the fan-in of k and v is then kdim and vdim. Recurrent layers have one part per
gate, and the fan-in of the recurrent weight is hidden. "Any other tensor" is the rule of
``torch.nn.init``; a tensor has no stride.

Differs from torch: ``torch.nn.init`` knows the tensor only, so it reports fan-out 576 instead of 36
for ``Conv2d(64, 64, 3, groups=16)`` and fan-in 144 instead of 576 for ``ConvTranspose2d(64, 16,
3)``, takes q, k and v as one map (Xavier's standard deviation is then 0.71 of what it should be)
and the gates of an LSTM as one. Differs for embeddings: a lookup is one row, so each output is a
single weight and the fan-in that keeps variance is 1. torch and Flax count the columns (dim), Keras
the rows, as if the table were a dense matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fanin.errors import FitError, UnknownName
from fanin.fans.layout import Convention, Fans, WeightLayout, get_tensor_layout

Role = Literal[
    "weight",
    "recurrent weight",
    "bias",
    "recurrent bias",
    "norm scale",
    "norm offset",
    "norm shift",
    "embedding",
    "unknown",
]

WEIGHTS: tuple[Role, ...] = ("weight", "recurrent weight", "embedding")
"""The roles that have fans."""


@dataclass(frozen=True)
class LayerParameter:
    """One parameter of a layer: its role, and how it is laid out."""

    role: Role
    layout: WeightLayout


LayerParameters = dict[str, LayerParameter]


@singledispatch
def describe_layer(module: nn.Module, convention: Convention) -> LayerParameters:
    """The parameters of a layer, by name; each kind of layer registers its own description."""
    return {}


_OTHER_DESCRIPTIONS: list[Callable[[nn.Module, Convention], LayerParameters]] = []
"""What is asked in turn about a module of which no description is registered."""


def add_description(
    describe: Callable[[nn.Module, Convention], LayerParameters],
) -> Callable[[nn.Module, Convention], LayerParameters]:
    """Ask `describe` too about modules of which no description is registered for their class."""
    _OTHER_DESCRIPTIONS.append(describe)
    return describe


def describe_parameters(module: nn.Module, convention: Convention = "kernel") -> LayerParameters:
    """Describe each parameter that a module itself owns: its role and its layout, by name.

    Parameters of a kind of module that fanin does not know are left out.

    >>> lstm = describe_parameters(nn.LSTM(3, 4))["weight_ih_l0"]
    >>> lstm.role, [part.name for part in lstm.layout.parts]
    ('weight', ['i', 'f', 'g', 'o'])

    Raises `FitError` for a lazy module that has no shape yet.
    """
    if convention not in get_args(Convention):
        raise UnknownName.suggest("fan convention", convention, get_args(Convention))
    for name, parameter in module.named_parameters(recurse=False):
        if is_lazy(parameter):
            raise FitError(
                f"{name} of {type(module).__name__} has no shape yet (it is lazy). Run one batch "
                "through it first."
            )
    found: LayerParameters = describe_layer(module, convention)
    for describe in _OTHER_DESCRIPTIONS:
        found = found or describe(module, convention)
    return found


def get_module_layout(module: nn.Module, convention: Convention = "kernel") -> WeightLayout | None:
    """The layout of ``module.weight``; None if fanin does not know the kind of module."""
    held = describe_parameters(module, convention).get("weight")
    return held.layout if held and held.role in WEIGHTS else None


def calculate_fans(target: Tensor | nn.Module, convention: Convention = "kernel") -> Fans:
    """Fan-in and fan-out of a module's weight, or of a tensor as ``torch.nn.init`` sees it.

    >>> calculate_fans(nn.Conv2d(64, 64, 3, groups=16)).fan_in
    36

    Raises `FitError` for a tensor of fewer than two dimensions and for a module that fanin does not
    know, or that has several weights: `describe_parameters` gives each.
    """
    if not isinstance(target, Tensor):
        layout = get_module_layout(target, convention)
        if layout is None or layout.fans is None:
            several = [
                name
                for name, held in describe_parameters(target, convention).items()
                if held.role in WEIGHTS
            ]
            raise FitError(
                f"{type(target).__name__} is not a layer whose fans are known. Expected a linear, "
                "convolution or embedding."
                if not several
                else f"{type(target).__name__} has several weights: {', '.join(several)}. "
                "fanin.fans.describe_parameters gives each."
            )
        return layout.fans
    found = get_tensor_layout(target).fans
    if found is None:
        raise FitError(
            f"A tensor of shape {tuple(target.shape)} has no fans: that needs at least two "
            "dimensions."
        )
    return found

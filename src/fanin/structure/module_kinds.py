"""What kind of step a module is, and which layer owns a parameter."""

from __future__ import annotations

import re

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from fanin.errors import FitError, UsageError, quote
from fanin.fans import is_transformers_conv1d
from fanin.structure.call_arguments import WeightSource
from fanin.structure.graph import NodeKind

_LAYERS = (
    nn.Linear,
    _ConvNd,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)

_KINDS: dict[type[nn.Module], NodeKind] = {
    nn.Identity: "transparent",
    nn.GLU: "product",
    nn.Softmax: "softmax",
    nn.Softmin: "softmax",
    nn.Softmax2d: "softmax",
    nn.LogSoftmax: "softmax",
    nn.CrossEntropyLoss: "softmax",
    # Close to the identity for activities of the size that initialization aims at: it divides by (2
    # + 1e-4·Σx²)^0.75 or so.
    nn.LocalResponseNorm: "transparent",
}
_FILES: dict[str, NodeKind] = {
    "activation": "activation",
    "batchnorm": "normalization",
    "instancenorm": "normalization",
    "normalization": "normalization",
    "dropout": "transparent",
    "pooling": "transparent",
    "padding": "transparent",
    "flatten": "transparent",
    "pixelshuffle": "transparent",
    "upsampling": "transparent",
    "channelshuffle": "transparent",
    "fold": "transparent",
    "loss": "output",
}
"""Torch keeps modules of one kind in one file of ``torch.nn.modules``."""

# Modules of other packages that are one step, though torch does not have them: transformers'
# activations are written out.
_NAMES: tuple[tuple[re.Pattern[str], NodeKind], ...] = (
    (re.compile(r"norm", re.IGNORECASE), "normalization"),
    (
        re.compile(
            r"identity|linearactivation|dropout|drop_?path|stochastic_?depth", re.IGNORECASE
        ),
        "transparent",
    ),
    (
        re.compile(
            r"relu|gelu|[cs]?elu$|silu|swish|mish$|sigmoid$|tanh$|softplus|activation|snake|^sine?$",
            re.IGNORECASE,
        ),
        "activation",
    ),
)
_GATED = re.compile(r"glu", re.IGNORECASE)
_PARAMETRIZED = re.compile(r"(^|\.)parametrizations(\.|$).*")


def check_model(model: object) -> None:
    """A `UsageError` for what is not a module, a `FitError` for one whose parameters have no shape
    yet.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"Expected a torch.nn.Module, not {quote(model)}.")
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise FitError(
            f"{lazy[0]} has no shape yet (a lazy parameter). Run one batch through the model first."
        )


def classify_module(module: nn.Module) -> NodeKind | None:
    """The kind of a module that is one step, or None if its own code must be traced."""
    if isinstance(module, _LAYERS) or is_transformers_conv1d(module):
        return "layer"
    for base in type(module).__mro__:
        if base in _KINDS:
            return _KINDS[base]
        package, _, file = base.__module__.rpartition(".")
        if package == "torch.nn.modules" and file in _FILES:
            return _FILES[file]
    return _classify_by_name(module)


def is_layer(module: nn.Module) -> bool:
    """Whether a module has a weight: a layer of torch, or any module without children that owns a
    matrix.
    """
    kind = classify_module(module)
    return kind == "layer" or (kind is None and _is_leaf(module) and _owns_matrix(module))


def list_layers(model: nn.Module) -> tuple[str, ...]:
    """The qualified paths of all layers; one that has several is named by its first."""
    return tuple(
        path
        for path, module in model.named_modules()
        if is_layer(module) and not _PARAMETRIZED.search(path)
    )


def find_weight_owners(model: nn.Module) -> dict[int, WeightSource]:
    """By the id of each parameter of at least two dimensions, the layer that owns it; of a tied
    one, the first. Of a vector or a scalar, its name alone.
    """
    found: dict[int, WeightSource] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            own = f"{path}.{name}" if path else name
            owner = _PARAMETRIZED.sub("", path)
            source = (
                WeightSource((owner,), (own,))
                if parameter.dim() >= 2
                else WeightSource((), (), (own,), computed=owner != path)
            )
            found.setdefault(id(parameter), source)
    return found


def _classify_by_name(module: nn.Module) -> NodeKind | None:
    name = type(module).__name__
    if not _is_leaf(module) or _owns_matrix(module) or _GATED.search(name):
        return None
    return next((kind for pattern, kind in _NAMES if pattern.search(name)), None)


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _owns_matrix(module: nn.Module) -> bool:
    """A scale or shift that is written with more dimensions, such as (1, C, 1, 1), is no matrix."""
    return any(
        parameter.dim() >= 2 and parameter.numel() > max(parameter.shape)
        for parameter in module.parameters(recurse=False)
    )

"""LoRA's pairs: a user's own, and those of peft's layers, which are known by what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fanin.errors import FitError, UnknownName, UsageError, join_names, quote
from fanin.fans import is_transformers_conv1d
from fanin.structure import unwrap_name

Part = nn.Module | Tensor


@dataclass(frozen=True, eq=False)
class LoraPair:
    """A pair of matrices beside a layer: its weight acts as W + scaling·B·A.

    >>> base, a, b = nn.Linear(6, 4), nn.Linear(6, 2, bias=False), nn.Linear(2, 4, bias=False)
    >>> LoraPair(base, a, b, scaling=16 / 2).rank
    2
    """

    base: Part
    """A linear layer, convolution or embedding, or its weight (outputs, inputs)."""
    a: Part
    """A layer or weight (rank, inputs); of a convolution (rank, inputs, kernel…)."""
    b: Part
    """A layer or weight (outputs, rank); of a convolution (outputs, rank, 1…)."""
    scaling: float = 1.0
    """α/rank; α/√rank in rsLoRA."""
    name: str = "pair"
    """What errors and the record call it; also the name of its random stream."""
    others: tuple[str, ...] = field(default=(), compare=False)
    """Further pairs that add to the same weight."""

    def __post_init__(self) -> None:
        for what in ("base", "a", "b"):
            value = getattr(self, what)
            if not isinstance(value, Tensor | nn.Module):
                raise UsageError(f"{what} of a LoraPair is a layer or tensor, not {quote(value)}.")
        if isinstance(self.scaling, bool) or not 0 < self.scaling < float("inf"):
            raise UsageError(f"scaling must be a number above 0, not {quote(self.scaling)}.")

    @property
    def weight(self) -> Tensor:
        """The weight that the pair adds to."""
        return _get_weight(self.base, self.name)

    @property
    def a_weight(self) -> Tensor:
        """The numbers of A, in its own shape."""
        return _get_weight(self.a, f"A of {self.name}")

    @property
    def b_weight(self) -> Tensor:
        """The numbers of B, in its own shape."""
        return _get_weight(self.b, f"B of {self.name}")

    @property
    def rank(self) -> int:
        """The number of rows of A."""
        return int(self.a_weight.shape[0])

    @property
    def outputs(self) -> int:
        """The number of rows of B."""
        return int(self.b_weight.shape[0])

    @property
    def inputs(self) -> int:
        """The number of inputs, times the kernel."""
        return self.a_weight[0].numel()

    @property
    def is_table(self) -> bool:
        """Whether the layer looks rows up."""
        return isinstance(self.base, nn.Embedding)

    @property
    def is_transposed(self) -> bool:
        """Whether the weight is stored as (inputs, outputs)."""
        return self.is_table or (
            isinstance(self.base, nn.Module) and is_transformers_conv1d(self.base)
        )

    def read_matrix(self) -> Tensor:
        """A copy of the weight as (outputs, inputs), fp64 if it is so, else fp32."""
        weight = self.weight.detach()
        matrix = weight.T if self.is_transposed else weight.reshape(self.outputs, -1)
        return matrix.to("cpu", find_precision(weight), copy=True)

    def write_matrix(self, matrix: Tensor) -> None:
        """Overwrite the weight with a matrix (outputs, inputs)."""
        shaped = matrix.T if self.is_transposed else matrix.reshape(self.weight.shape)
        self.weight.detach().copy_(shaped)

    def compute_addition(self) -> Tensor:
        """scaling·B·A as it is now, (outputs, inputs), on the CPU."""
        a, b = (one.detach().cpu() for one in (self.a_weight, self.b_weight))
        kind = find_precision(a)
        return self.scaling * (b.flatten(1).to(kind) @ a.flatten(1).to(kind))


def find_precision(weight: Tensor) -> torch.dtype:
    """What a weight is computed in: fp64 if it is stored so, else fp32."""
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def _get_weight(part: Part, name: str) -> Tensor:
    weight = part if isinstance(part, Tensor) else getattr(part, "weight", None)
    if not isinstance(weight, Tensor):
        raise FitError(f"{name}: {type(part).__name__} has no weight.")
    return weight


def list_pairs(source: object, adapter: str | None) -> list[LoraPair]:
    """The pairs of a model of peft, or those that a user made.

    Raises `UsageError` if there are none, or several adapters and none is named.
    """
    if isinstance(source, LoraPair):
        return [source]
    if isinstance(source, nn.Module):
        return _list_peft_pairs(source, adapter)
    if isinstance(source, Mapping):
        source = list(source.values())
    found = list(source) if isinstance(source, Iterable) else []
    if not found or not all(isinstance(one, LoraPair) for one in found):
        raise UsageError(
            f"Expected a model with peft's LoRA layers, a LoraPair or several; got {quote(source)}."
        )
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UsageError(
            f"Pairs of the same name would get the same numbers: {join_names(names)}. Give each "
            "LoraPair a name."
        )
    return found


def _list_peft_pairs(model: nn.Module, adapter: str | None) -> list[LoraPair]:
    layers = {path: one for path, one in model.named_modules() if _is_lora_layer(one)}
    adapters = {name for layer in layers.values() for name in _list_adapters(layer)}
    if not adapters:
        raise UsageError(
            f"{type(model).__name__} has no LoRA layers of peft. For pairs of your own, pass "
            "fanin.LoraPair(base, a, b, scaling=…)."
        )
    if adapter is None and len(adapters) > 1:
        raise UsageError(f"Say which adapter: adapter= one of {join_names(sorted(adapters))}.")
    chosen = adapter if adapter is not None else next(iter(adapters))
    if chosen not in adapters:
        raise UnknownName.suggest("adapter", chosen, adapters)
    return [
        _make_pair(unwrap_name(model, path), layer, chosen)
        for path, layer in layers.items()
        if chosen in _list_adapters(layer)
    ]


def _is_lora_layer(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("lora_A", "lora_B", "scaling", "get_base_layer"))


def _list_adapters(layer: Any) -> Iterator[str]:
    yield from layer.lora_A
    yield from getattr(layer, "lora_embedding_A", ())


def _make_pair(name: str, layer: Any, adapter: str) -> LoraPair:
    if getattr(layer, "merged", False):
        raise FitError(f"{name} is merged into its weight. Call model.unmerge_adapter() first.")
    base = layer.get_base_layer()
    embedded = adapter in getattr(layer, "lora_embedding_A", ())
    a, b = (
        (layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter])
        if embedded
        else (layer.lora_A[adapter], layer.lora_B[adapter])
    )
    if not isinstance(base, nn.Linear | _ConvNd | nn.Embedding) and not is_transformers_conv1d(
        base
    ):
        raise FitError(
            f"{name} is LoRA on a {type(base).__name__}, which fanin does not know. Known: "
            "nn.Linear, convolutions, nn.Embedding and transformers' Conv1D."
        )
    others = tuple(other for other in _list_adapters(layer) if other != adapter)
    return LoraPair(base, a, b, float(layer.scaling[adapter]), name, others)

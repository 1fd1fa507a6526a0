"""What growing a model gives, and the check that the larger one computes the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import FitError, UsageError
from fanin.structure.forward_tracing import Batch, collect_tensors, split_batch
from fanin.structure.model_state import preserve_model

TOLERANCE = 1e-5
"""The largest deviation of an output if weights are in fp64, relative to the largest output. Exact
growth stays below 1e-12; models that compute parts in fp32 whatever they are given, below 1e-6."""


@dataclass(frozen=True, kw_only=True)
class LayerGrowth:
    """What became of one module."""

    layer: str
    change: str
    """In words: "outputs 8 → 12", "inputs 8 → 12", "new: identity", …"""


@dataclass(frozen=True, kw_only=True)
class GrownModel:
    """A larger model that computes the same function; the one it grew from is unchanged."""

    model: nn.Module = field(repr=False)
    layers: tuple[LayerGrowth, ...]
    parameters: tuple[int, int]
    """The numbers before and after."""
    deviation: float
    """The largest difference of an output on the batch, relative to the largest output, both models
    computed in fp64: what rounding the grown weights to their precision costs."""

    def __str__(self) -> str:
        """A line per module."""
        before, after = self.parameters
        lines = [f"{before:,} → {after:,} parameters, outputs within {self.deviation:.1g}"]
        return "\n".join(lines + [f"  {one.layer}: {one.change}" for one in self.layers])


def copy_model(model: object) -> nn.Module:
    """A copy to be changed."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"Expected a torch.nn.Module, not {model!r:.80}.")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise FitError("The model is on meta; only numbers in memory can be grown.")
    return copy.deepcopy(model)


def widen_batch(batch: Batch) -> Batch:
    """The batch with its floating-point tensors in fp64."""
    args, kwargs = split_batch(batch)
    return {key: _widen(one) for key, one in kwargs.items()} or tuple(map(_widen, args))


def round_like(new: nn.Module, old: nn.Module) -> None:
    """Give the tensors of a model in fp64 the precision that those of the same name have."""
    for path, module in old.named_modules():
        other = new.get_submodule(path)
        for table, wide in (
            (module._parameters, other._parameters),
            (module._buffers, other._buffers),
        ):
            for name, tensor in table.items():
                if tensor is not None and (found := wide[name]) is not None:
                    found.data = found.data.to(tensor.dtype)


def require_equal(old: nn.Module, new: nn.Module, batch: Batch, reason: str) -> float:
    """The deviation of the outputs; raises `FitError` with the likely reason if they differ by more
    than rounding.
    """
    deviation = measure_deviation(old, new, batch)
    if not deviation <= TOLERANCE:
        raise FitError(
            f"The larger model does not compute the same: its outputs deviate by {deviation:.2g} "
            f"of the largest one (in fp64; {TOLERANCE:g} is allowed). {reason} The model is "
            "unchanged."
        )
    return deviation


def describe_growth(
    old: nn.Module, new: nn.Module, layers: Mapping[str, str], deviation: float
) -> GrownModel:
    """The result."""
    before, after = (sum(one.numel() for one in model.parameters()) for model in (old, new))
    return GrownModel(
        model=new,
        layers=tuple(LayerGrowth(layer=name, change=text) for name, text in layers.items()),
        parameters=(before, after),
        deviation=deviation,
    )


def measure_deviation(old: nn.Module, new: nn.Module, batch: Batch) -> float:
    """max |difference| / max |output|."""
    before = _run(old, batch, "The model")
    after = _run(new, batch, "The larger model")
    if [one.shape for one in before] != [one.shape for one in after]:
        raise FitError(
            f"The larger model's outputs have other shapes: {[tuple(one.shape) for one in after]} "
            f"in place of {[tuple(one.shape) for one in before]}. The model is unchanged."
        )
    pairs = [pair for pair in zip(before, after, strict=True) if pair[0].numel()]
    largest = max((float(one.abs().max()) for one, _ in pairs), default=0.0)
    differences = [float((one - other).abs().max()) for one, other in pairs]
    return max(differences, default=0.0) / (largest or 1.0)


def _run(model: nn.Module, batch: Batch, what: str) -> list[Tensor]:
    """The outputs in fp64 and eval mode."""
    wide = copy.deepcopy(model).double().eval()
    args, kwargs = split_batch(batch)
    try:
        with preserve_model(wide):
            result = wide(*map(_widen, args), **{key: _widen(one) for key, one in kwargs.items()})
    except Exception as error:
        raise FitError(
            f"{what} fails on the batch: {error} The model that was given is unchanged."
        ) from error
    return [one.double() for one in collect_tensors(result) if one.is_floating_point()]


def _widen(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def require_run(model: nn.Module, paths: set[str], batch: Batch) -> None:
    """Raise `FitError` if a forward pass does not reach one of these modules."""
    reached: set[str] = set()
    handles = [
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: reached.add(path))
        for path in sorted(paths)
    ]
    args, kwargs = split_batch(batch)
    try:
        with preserve_model(model), torch.no_grad():
            model.eval()
            model(*args, **kwargs)
    except Exception as error:
        raise FitError(f"The larger model fails on the batch: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    if missing := sorted(paths - reached):
        raise FitError(
            f"The model's forward pass does not run {missing[0]}, which was added. It counts its "
            "blocks elsewhere, such as in a config. The model is unchanged."
        )

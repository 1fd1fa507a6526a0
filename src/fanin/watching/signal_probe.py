"""A probe of one training step: forward pass, gradients, weights and what the step changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from fanin.watching.forward_watch import ForwardWatch
from fanin.watching.layer_reading import ALL, LayerReading
from fanin.watching.watched_layers import WatchedLayer, WatchedModel, describe_watched


class SignalProbe:
    """Measures single steps of a training, which stays what it is, bit for bit.

        probe.open()
        …forward and backward pass…
        probe.read_gradients()
        …the optimizer's step…
        layers = probe.close()

    Between `close` and the next `open` nothing is installed and nothing is kept. During a measured
    step a copy of the trainable parameters is held.

    Args:
        model: what is trained. Nothing of it is changed.
        fail: called with an error of the measurement, which ends it; by default it is raised by
            `close`.
    """

    def __init__(self, model: nn.Module, fail: Callable[[Exception], None] | None = None) -> None:
        self._model, self._tell_failure = model, fail
        self._watched: WatchedModel | None = None
        self._forward: ForwardWatch | None = None
        self._weights: dict[str, dict[str, float]] = {}
        self._before: list[Tensor] = []
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether a step is being measured."""
        return self._forward is not None

    @property
    def watched(self) -> WatchedModel:
        """The layers of the model, listed when they are first needed: a lazy layer has no shape
        before its first batch.
        """
        if self._watched is None:
            self._watched = describe_watched(self._model)
        return self._watched

    def open(self) -> None:
        """Measure the forward pass that comes next."""
        self.cancel()
        self._error = None
        self._forward = ForwardWatch(self.watched, self._fail)
        self._forward.install()

    def read_gradients(self, scale: float = 1.0) -> None:
        """Measure gradients and weights, after the backward pass and before the step.

        Args:
            scale: what gradients are multiplied with as long as a `GradScaler` holds them.
        """
        if self._forward is None:
            return
        self._forward.remove()
        self._weights = {
            layer.name: _measure_parameters(layer, scale) for layer in self.watched.layers
        }
        rest = WatchedLayer("", self.watched.others, False)
        self._weights[""] = _measure_parameters(rest, scale)
        self._before = [one.detach().clone() for one in self._list_parameters()]

    def close(self) -> tuple[LayerReading, ...]:
        """What the step showed; measures what it has changed."""
        forward, self._forward = self._forward, None
        if forward is None:
            return ()
        forward.remove()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        self._add_updates()
        rows = {name: dict(values) for name, values in forward.found.items()}
        for layer in self.watched.layers:
            rows.setdefault(layer.name, {}).update(_drop_squares(self._weights[layer.name]))
        total = _sum_up(self._weights.values())
        if forward.counts.units:
            total["zero_units"] = forward.counts.dead / forward.counts.units
        if forward.counts.numbers:
            total["saturated"] = forward.counts.flat / forward.counts.numbers
        rows[ALL] = total
        self.cancel()
        return tuple(LayerReading(name, values) for name, values in rows.items())

    def cancel(self) -> None:
        """Let go of everything."""
        if self._forward is not None:
            self._forward.remove()
        self._forward, self._weights, self._before = None, {}, []

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._tell_failure is not None:
            self._forward = None
            self._tell_failure(error)

    def _list_parameters(self) -> list[nn.Parameter]:
        groups = [layer.parameters for layer in self.watched.layers]
        return [one for group in [*groups, self.watched.others] for one in group]

    @torch.no_grad()
    def _add_updates(self) -> None:
        if not self._before:
            self._weights = {name: {} for name in (*(x.name for x in self.watched.layers), "")}
            return
        changes = iter(
            compute_norms(
                [
                    now.detach() - before
                    for now, before in zip(self._list_parameters(), self._before, strict=True)
                ]
            )
        )
        groups = [(layer.name, layer.parameters) for layer in self.watched.layers]
        for name, group in [*groups, ("", self.watched.others)]:
            squares = math.fsum(next(changes) ** 2 for _ in group)
            if group:
                values = self._weights[name]
                values["change²"] = squares
                values["update_ratio"] = divide(math.sqrt(squares), values["weight_norm"])


def _measure_parameters(layer: WatchedLayer, scale: float) -> dict[str, float]:
    """weight_norm and gradient_rms of the trainable parameters, with the sums of squares that
    totals are made of.
    """
    if not layer.parameters:
        return {}
    weights = math.fsum(norm**2 for norm in compute_norms([p.detach() for p in layer.parameters]))
    found = {"weight_norm": math.sqrt(weights), "weight²": weights}
    gradients = [_read_values(p.grad) for p in layer.parameters if p.grad is not None]
    if gradients:
        squares = math.fsum(norm**2 for norm in compute_norms(gradients)) / scale**2
        count = sum(_count_used(one) if layer.is_lookup else one.numel() for one in gradients)
        found |= {"gradient²": squares, "numbers": float(count)}
        # nan means that nothing was measured
        finite = math.isfinite(squares)
        found["gradient_rms"] = math.sqrt(squares / count) if finite and count else 0.0
        if not finite:
            found |= {"gradient_rms": math.inf, "gradient²": math.inf}
    return found


def _read_values(gradient: Tensor) -> Tensor:
    """The numbers of a gradient; of a sparse one those that are there."""
    found = gradient.detach()
    return found.coalesce().values() if found.is_sparse else found


def _count_used(gradient: Tensor) -> int:
    """The numbers in the rows of an embedding's gradient that are not zero."""
    if gradient.dim() < 2:
        return gradient.numel()
    rows = gradient.flatten(1).ne(0).any(dim=1)
    return int(rows.sum()) * (gradient.numel() // max(len(gradient), 1))


def _sum_up(layers: Iterable[dict[str, float]]) -> dict[str, float]:
    """The statistics of all parameters together, from the sums of squares of each layer."""
    groups = list(layers)

    def add(key: str) -> float:
        return math.fsum(group.get(key, 0.0) for group in groups)

    found: dict[str, float] = {}
    if numbers := add("numbers"):
        found["gradient_rms"] = math.sqrt(add("gradient²") / numbers)
    if any("weight²" in group for group in groups):
        found["weight_norm"] = math.sqrt(add("weight²"))
        if any("change²" in group for group in groups):
            found["update_ratio"] = divide(math.sqrt(add("change²")), found["weight_norm"])
    return found


def _drop_squares(values: dict[str, float]) -> dict[str, float]:
    names = ("gradient_rms", "weight_norm", "update_ratio")
    return {name: values[name] for name in names if name in values}


def divide(change: float, size: float) -> float:
    """change / size; infinite where something comes out of nothing, 0 where nothing changes."""
    if size:
        return change / size
    return math.inf if change else 0.0


def compute_norms(tensors: Sequence[Tensor]) -> list[float]:
    """The Euclidean norm of each tensor, fetched from each device at once."""
    norms = [0.0] * len(tensors)
    by_device: dict[torch.device, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_device.setdefault(tensor.device, []).append(place)
    for places in by_device.values():
        found = torch.stack([_compute_norm(tensors[place]) for place in places]).tolist()
        for place, norm in zip(places, found, strict=True):
            norms[place] = float(norm)
    return norms


def _compute_norm(tensor: Tensor) -> Tensor:
    """In float32 at least: the squares of half precision would overflow."""
    values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    is_double = values.dtype == torch.float64  # which torch does not narrow by itself
    norm: Tensor = torch.linalg.vector_norm(values, dtype=None if is_double else torch.float32)
    return norm.float()

"""A probe of one training step: forward pass, gradients, weights and what the step changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from fanin.watching.forward_watch import ForwardWatch
from fanin.watching.layer_reading import ALL, LayerReading
from fanin.watching.tensor_norms import compute_norms, gather_shards
from fanin.watching.watched_layers import WatchedLayer, WatchedModel, describe_watched


class SignalProbe:
    """Measures single steps of a training, which stays what it is, bit for bit.

        probe.open()
        …forward and backward pass…
        probe.prepare_step()
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
        self._parameters: list[tuple[int, bool]] = []
        self._forward: ForwardWatch | None = None
        self._weights: dict[str, dict[str, float]] = {}
        self._before: list[Tensor] = []
        self._has_gradients = False
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
        # Layers may be added, frozen or thawed in the course of a training.
        parameters = [(id(one), one.requires_grad) for one in self._model.parameters()]
        if parameters != self._parameters:
            self._parameters, self._watched = parameters, None
        self._forward = ForwardWatch(self.watched, self._fail)
        self._forward.install()

    def prepare_step(self, scale: float = 1.0, *, has_closure: bool = False) -> None:
        """Measure gradients and weights before the optimizer's step.

        Args:
            scale: what gradients are multiplied with as long as a `GradScaler` holds them.
            has_closure: whether the step itself runs forward and backward pass, as Lightning's
                does. Gradients are then measured after the step.
        """
        if self._forward is None:
            return
        groups = self._list_groups()
        self._weights = {layer.name: _measure_weights(layer) for layer in groups}
        self._before = [one.detach().clone() for layer in groups for one in layer.parameters]
        if not has_closure:
            self._forward.remove()
            self._read_gradients(scale)

    def _read_gradients(self, scale: float = 1.0) -> None:
        for layer in self._list_groups():
            self._weights[layer.name] |= _measure_gradients(layer, scale)
        self._has_gradients = True

    def close(self) -> tuple[LayerReading, ...]:
        """What the step showed; measures what it has changed."""
        forward, self._forward = self._forward, None
        if forward is None:
            return ()
        forward.remove()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._weights and not self._has_gradients:
            self._read_gradients()
        self._add_updates()
        rows = {name: dict(values) for name, values in forward.found.items()}
        for layer in self.watched.layers:
            numbers = _drop_squares(self._weights.get(layer.name, {}))
            rows.setdefault(layer.name, {}).update(numbers)
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
        self._has_gradients = False

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self._tell_failure is not None:
            self._forward = None
            self._tell_failure(error)

    def _list_groups(self) -> list[WatchedLayer]:
        """The layers that have trainable parameters, and a group of all others, without a name."""
        others = WatchedLayer("", self.watched.others, False)
        return [layer for layer in (*self.watched.layers, others) if layer.parameters]

    @torch.no_grad()
    def _add_updates(self) -> None:
        if not self._weights:
            return
        groups = self._list_groups()
        now = [one.detach() for layer in groups for one in layer.parameters]
        norms = iter(compute_norms([a - b for a, b in zip(now, self._before, strict=True)]))
        for layer in groups:
            squares = math.fsum(next(norms) ** 2 for _ in layer.parameters)
            values = self._weights[layer.name]
            values["change²"] = squares
            values["update_ratio"] = divide(math.sqrt(squares), values["weight_norm"])


def _measure_weights(layer: WatchedLayer) -> dict[str, float]:
    """weight_norm, and the sum of squares that totals are made of."""
    squares = math.fsum(norm**2 for norm in compute_norms([p.detach() for p in layer.parameters]))
    return {"weight_norm": math.sqrt(squares), "weight²": squares}


def _measure_gradients(layer: WatchedLayer, scale: float) -> dict[str, float]:
    """gradient_rms, and what totals are made of; nothing if no gradient came back."""
    gradients = [_read_values(p.grad) for p in layer.parameters if p.grad is not None]
    if not gradients:
        return {}
    squares = math.fsum(norm**2 for norm in compute_norms(gradients)) / scale**2
    count = sum(
        _count_used(gather_shards(one)) if layer.is_lookup else one.numel() for one in gradients
    )
    if not math.isfinite(squares):  # nan would mean that nothing was measured
        return {"gradient_rms": math.inf, "gradient²": math.inf, "numbers": float(count)}
    rms = math.sqrt(squares / count) if count else 0.0
    return {"gradient_rms": rms, "gradient²": squares, "numbers": float(count)}


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

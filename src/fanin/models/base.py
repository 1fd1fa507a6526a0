"""What a benchmark model is: a registered entry, its options, and whether it fits some data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fanin import seeds, specs
from fanin.errors import FitError, SpecError, shown
from fanin.registry import Registry

Input = Literal["image", "table", "any"]
Task = Literal["classification", "regression", "any"]
ActivationOption = str | tuple[str, ...]

MAX_PARAMETERS = 2_000_000_000
"""8 GB of fp32 weights, and three times as much again under Adam."""

MAX_WIDTH = 1_000_000

MAX_DEPTH = 10_000
"""Layers of a plain chain: the deepest that Xiao et al. trained, 2018."""


@dataclass(frozen=True)
class ModelEntry:
    """A kind of model.

    `build` makes one from (options, shape of one input, number of outputs) and raises `FitError` where the shape does not fit.
    The module maps a batch (N, *shape) to (N, outputs), also for regression. `build` must work under ``torch.device("meta")``,
    which is how a model is checked without allocating it. Names of parameters are names of random streams: they never change.
    """

    name: str
    summary: str
    options: type
    """A frozen dataclass; its defaults never change, because an identity leaves them out."""
    build: Callable[[Any, tuple[int, ...], int], nn.Module]
    input: Input
    task: Task
    channels_last: bool
    """Convolutions that run faster in that memory format: the trainer converts model and batches."""
    paper: str


REGISTRY: Registry[ModelEntry] = Registry("model", ModelEntry)


@dataclass(frozen=True)
class Model:
    """An entry with its options."""

    entry: ModelEntry
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec string: options that equal their default left out."""
        return specs.identity(self.entry.name, self.options)

    def split(self) -> tuple[str, ActivationOption | None]:
        """The spec without its activation, and the activation (None for the model's own): ``get(*model.split()) == model``."""
        name, options = specs.parse(self.spec)
        activation: Any = options.pop("activation", None)
        return specs.render(name, options), activation

    def check(self, input_shape: tuple[int, ...], outputs: int, task: str) -> None:
        """Raise `FitError` where the model does not fit the data; allocates no parameter.

        Args:
            input_shape: shape of one input: (channels, height, width) or (columns,).
            outputs: number of classes, or of targets.
            task: "classification" or "regression".
        """
        if self.entry.task not in ("any", task):
            raise FitError(
                f"{self.entry.name} is a model for {self.entry.task}; the task of the data is {task}. "
                f"{_offer(input_shape, task, 'such data')}"
            )
        self._require_fit(input_shape, outputs)

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The model in fp32 on the CPU, in training mode, with torch's default weights; arguments and errors as in `check`.

        The same weights every time, and the caller's random state is where it was.
        """
        self._require_fit(input_shape, outputs)
        with seeds.torch_state_kept(seeds.stream(0, "construct", self.spec)), torch.device("cpu"):
            return self.entry.build(self.options, input_shape, outputs).to(torch.float32)

    def _require_fit(self, input_shape: tuple[int, ...], outputs: int) -> None:
        if self.entry.input not in ("any", _kind(input_shape)):
            expected = {"image": "images (channels × height × width)", "table": "tables (one row of numbers per sample)"}
            raise FitError(
                f"{self.entry.name} takes {expected[self.entry.input]}; one input of the data has shape "
                f"{times(input_shape)}. {_offer(input_shape, 'any', 'such inputs')}"
            )
        if outputs < 1:
            raise FitError(f"A model needs at least one output, not {shown(outputs)}.")
        with seeds.torch_state_kept(), torch.device("meta"):
            skeleton = self.entry.build(self.options, input_shape, outputs)
        count = sum(parameter.numel() for parameter in skeleton.parameters())
        if count > MAX_PARAMETERS:
            raise FitError(
                f"{self.spec} on inputs of shape {times(input_shape)} would have {count:,} parameters; "
                f"at most {MAX_PARAMETERS:,} are built. Use smaller widths."
            )


def get(spec: str, activation: ActivationOption | None = None) -> Model:
    """The model of a spec such as ``mlp(widths=[512, 256])``.

    An `activation` replaces the one in the spec before anything is checked.
    """
    name, options = specs.parse(spec)
    entry = REGISTRY.get(name)
    if activation is not None:
        options["activation"] = activation
    return Model(entry, specs.construct(name, entry.options, options))


def names() -> tuple[str, ...]:
    """The names of all models."""
    return REGISTRY.names()


def check_widths(widths: Iterable[object], what: str) -> tuple[int, ...]:
    """`widths` as a tuple of at least one whole number from 1 to `MAX_WIDTH`, or a `SpecError`."""
    found = tuple(widths)
    valid = tuple(
        width for width in found if isinstance(width, int) and not isinstance(width, bool) and 1 <= width <= MAX_WIDTH
    )
    if not found or valid != found:
        raise SpecError(
            f"{what} is a list of at least one whole number from 1 to {MAX_WIDTH:,}, such as [256, 128]; "
            f"received {shown(list(found))}."
        )
    return valid


def check_count(value: int, what: str, most: int) -> None:
    """Raise a `SpecError` unless `value` is from 1 to `most`."""
    if not 1 <= value <= most:
        raise SpecError(f"{what} is a whole number from 1 to {most:,}; received {shown(value)}.")


def require_size(name: str, input_shape: tuple[int, ...], smallest: int, advice: str) -> None:
    """Raise a `FitError` for images (channels, height, width) with a side below `smallest`."""
    if min(input_shape[1:]) < smallest:
        raise FitError(f"{name} needs images of at least {smallest}×{smallest}; the data has {times(input_shape)}. {advice}")


def times(shape: tuple[int, ...]) -> str:
    """A shape for people: 1×28×28."""
    return "×".join(map(str, shape)) or "()"


def _kind(input_shape: tuple[int, ...]) -> str:
    return {3: "image", 1: "table"}.get(len(input_shape), "other")


def _offer(input_shape: tuple[int, ...], task: str, what: str) -> str:
    fitting = [
        entry.name
        for entry in REGISTRY
        if entry.input in ("any", _kind(input_shape)) and (task == "any" or entry.task in ("any", task))
    ]
    return f"Models for {what}: {', '.join(fitting) or 'none'}."

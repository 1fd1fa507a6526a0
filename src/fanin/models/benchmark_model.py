"""What a benchmark model is: a registered entry, its options, and whether it fits some data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fanin import seeds, specs
from fanin.data import DataInfo, Task
from fanin.errors import FitError, SpecError, quote
from fanin.registry import Entry, Registry

InputKind = Literal["image", "table", "sequence", "tokens", "any", "own"]
"""What a model takes: images, tables, sequences (of vectors or of tokens), sequences of tokens
only, anything that it can flatten (images, tables, sequences of vectors), or what a user's own
model says when it is built."""

ActivationOption = str | tuple[str, ...]

MAX_PARAMETERS = 2_000_000_000
"""8 GB of fp32 weights, and three times as much again under Adam."""

MAX_WIDTH = 1_000_000

MAX_DEPTH = 10_000
"""Layers of a plain chain: the deepest that Xiao et al. trained, 2018."""


@dataclass(frozen=True)
class ModelEntry:
    """A kind of model.

    `build` makes one from (options, shape of one input, number of outputs) and raises `FitError`
    where the shape does not fit. The module maps a batch (N, *shape) to (N, outputs), also for
    regression. `build` must work under ``torch.device("meta")``, which is how a model is checked
    without allocating it. Names of parameters are names of random streams: they never change.

    Where `input` is "sequence" or "tokens", `build` takes two keywords more: `vocabulary`, the
    number of different tokens (None for vectors), and `per_step`, whether there is an output for
    each step: then the module returns (N, steps, outputs).
    """

    name: str
    summary: str
    options: type
    """A frozen dataclass; its defaults never change, because an identity leaves them out."""
    build: Callable[..., nn.Module]
    input: InputKind
    task: Task | Literal["any"]
    """What it is for; "any" accepts every task that the shapes allow."""
    channels_last: bool
    """Convolutions that run faster in that memory format: the trainer converts model and batches.
    """
    paper: str

    def make(self, options: Any) -> Model:
        """The model with these options."""
        return Model(self, options)


REGISTRY: Registry[ModelEntry, Model] = Registry("model", ModelEntry)


@dataclass(frozen=True)
class Model:
    """An entry with its options."""

    entry: ModelEntry
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec string: options that equal their default left out."""
        return specs.render_canonical(self.entry.name, self.options)

    def split(self) -> tuple[str, ActivationOption | None, str | None]:
        """The spec without its activation and its normalization, and those two, None for the
        model's own.

        ``get(*model.split()) == model``. A normalization is what the option `norm` holds, "none"
        where that is None.
        """
        name, options = specs.parse(self.spec)
        activation: Any = options.pop("activation", None)
        normalization: Any = (options.pop("norm") or "none") if "norm" in options else None
        return specs.render(name, options), activation, normalization

    def check(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        task: Task,
        *,
        vocabulary: int | None = None,
    ) -> None:
        """Raise `FitError` where the model does not fit the data; allocates no parameter.

        Args:
            input_shape: shape of one input, as in `fanin.data.DataInfo`.
            outputs: number of classes, or of targets.
            task: what is predicted.
            vocabulary: number of different tokens; None where inputs are not tokens.
        """
        if self.entry.task not in ("any", task):
            raise FitError(
                f"{self.entry.name} is a model for {describe_task(self.entry.task)}; the task of the data "
                f"is {describe_task(task)}. "
                f"{_suggest_models(classify_input(input_shape, vocabulary), task, 'such data')}"
            )
        self._require_fit(input_shape, outputs, vocabulary, task == "token_classification")

    def build(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int | None = None,
        per_step: bool = False,
    ) -> nn.Module:
        """The model in fp32 on the CPU, in training mode, with torch's default weights; arguments
        and errors as in `check`.

        The same weights every time, and the caller's random state is where it was. With `per_step`
        the module has outputs for each step of a sequence.
        """
        self._require_fit(input_shape, outputs, vocabulary, per_step)
        with (
            seeds.preserve_torch_state(seeds.derive_stream(0, "construct", self.spec)),
            torch.device("cpu"),
        ):
            return self._module(input_shape, outputs, vocabulary, per_step).to(torch.float32)

    def build_skeleton_for(self, info: DataInfo) -> nn.Module:
        """The model for a data set without any memory for its parameters (on the meta device)."""
        with seeds.preserve_torch_state(), torch.device("meta"):
            return self._module(info.input_shape, info.outputs, info.vocabulary, info.per_step)

    def build_for(self, info: DataInfo) -> nn.Module:
        """The model for a data set; as `build`."""
        return self.build(
            info.input_shape, info.outputs, vocabulary=info.vocabulary, per_step=info.per_step
        )

    def _module(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: int | None, per_step: bool
    ) -> nn.Module:
        if self.entry.input in _STEPWISE:
            return self.entry.build(
                self.options, input_shape, outputs, vocabulary=vocabulary, per_step=per_step
            )
        return self.entry.build(self.options, input_shape, outputs)

    def _require_fit(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: int | None, per_step: bool
    ) -> None:
        kind = classify_input(input_shape, vocabulary)
        if not accepts_input(self.entry, kind):
            raise FitError(
                f"{self.entry.name} takes {INPUT_DESCRIPTIONS[self.entry.input]}; one input of the data has "
                "shape "
                f"{format_shape(input_shape)}{' (tokens)' if kind == 'tokens' else ''}. "
                f"{_suggest_models(kind, 'any', 'such inputs')}"
            )
        if per_step and self.entry.input not in _STEPWISE:
            raise FitError(
                f"{self.entry.name} has one output for a whole sequence; the data have a target "
                "for each step. "
                f"{_suggest_models(kind, 'token_classification', 'such data')}"
            )
        if outputs < 1:
            raise FitError(f"A model needs at least one output, not {quote(outputs)}.")
        with seeds.preserve_torch_state(), torch.device("meta"):
            skeleton = self._module(input_shape, outputs, vocabulary, per_step)
        count = sum(parameter.numel() for parameter in skeleton.parameters())
        if count > MAX_PARAMETERS:
            raise FitError(
                f"{self.spec} on inputs of shape {format_shape(input_shape)} would have {count:,} "
                "parameters; "
                f"at most {MAX_PARAMETERS:,} are built. Use smaller widths."
            )


INPUT_DESCRIPTIONS: dict[InputKind, str] = {
    "image": "images (channels × height × width)",
    "table": "tables (one row of numbers per sample)",
    "sequence": "sequences (steps × features, or steps of tokens)",
    "tokens": "sequences of tokens",
    "any": "images, tables and sequences of vectors",
    "own": "what its own code takes",
}
"""What a model takes, in words."""

_STEPWISE = ("sequence", "tokens", "own")
"""Those that are built with `vocabulary` and `per_step`."""


def accepts_input(entry: ModelEntry, kind: str) -> bool:
    """Whether a kind of input (`classify_input`) is one that the model takes."""
    accepted = {
        "any": ("image", "table", "sequence"),
        "sequence": ("sequence", "tokens"),
        "own": (kind,),
    }
    return kind in accepted.get(entry.input, (entry.input,))


def classify_input(input_shape: tuple[int, ...], vocabulary: int | None = None) -> str:
    """image, table, sequence, tokens or other."""
    if vocabulary is not None:
        return "tokens" if len(input_shape) == 1 else "other"
    return {3: "image", 2: "sequence", 1: "table"}.get(len(input_shape), "other")


def describe_task(task: str) -> str:
    """A task as people write it."""
    return {"token_classification": "the classification of each step"}.get(task, task)


def get(
    spec: str, activation: ActivationOption | None = None, normalization: str | None = None
) -> Model:
    """The model of a spec such as ``mlp(widths=[512, 256])``, or of a user's own such as
    ``my_model.py:make(width=64)``.

    An `activation` replaces the one in the spec before anything is checked, and so does a
    `normalization` (the option `norm`; "none" for no normalization).
    """
    name, options = specs.parse(spec)
    if activation is not None:
        _require_option(name, "activation", "An activation")
        options["activation"] = activation
    if normalization is not None:
        _require_option(name, "norm", "A normalization")
        options["norm"] = None if normalization == "none" else normalization
    return REGISTRY.make(name, **options)


def _require_option(name: str, option: str, what: str) -> None:
    def has(other: Entry) -> bool:
        return option in {field.name for field in dataclasses.fields(other.options)}

    entry = REGISTRY.find(name)
    if not has(entry):
        fitting = ", ".join(other.name for other in REGISTRY if has(other))
        raise SpecError(
            f"{what} does not apply to {entry.name}, which has no option {option}. It applies to "
            f"{fitting}."
        )


def names() -> tuple[str, ...]:
    """The names of all models."""
    return REGISTRY.names()


def check_widths(widths: Iterable[object], what: str) -> tuple[int, ...]:
    """`widths` as a tuple of at least one whole number from 1 to `MAX_WIDTH`, or a `SpecError`."""
    found = tuple(widths)
    valid = tuple(
        width
        for width in found
        if isinstance(width, int) and not isinstance(width, bool) and 1 <= width <= MAX_WIDTH
    )
    if not found or valid != found:
        raise SpecError(
            f"{what} is a list of at least one whole number from 1 to {MAX_WIDTH:,}, such as [256, "
            "128]; "
            f"received {quote(list(found))}."
        )
    return valid


def check_count(value: int, what: str, most: int) -> None:
    """Raise a `SpecError` unless `value` is from 1 to `most`."""
    if not 1 <= value <= most:
        raise SpecError(f"{what} is a whole number from 1 to {most:,}; received {quote(value)}.")


def require_size(name: str, input_shape: tuple[int, ...], smallest: int, advice: str) -> None:
    """Raise a `FitError` for images (channels, height, width) with a side below `smallest`."""
    if min(input_shape[1:]) < smallest:
        raise FitError(
            f"{name} needs images of at least {smallest}×{smallest}; the data has "
            f"{format_shape(input_shape)}. {advice}"
        )


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape for people: 1×28×28."""
    return "×".join(map(str, shape)) or "()"


def _suggest_models(kind: str, task: str, what: str) -> str:
    fitting = [
        entry.name for entry in REGISTRY if accepts_input(entry, kind) and _is_for(entry, task)
    ]
    return f"Models for {what}: {', '.join(fitting) or 'none'}."


def _is_for(entry: ModelEntry, task: str) -> bool:
    if task == "token_classification" and entry.input not in _STEPWISE:
        return False
    return task == "any" or entry.task in ("any", task)

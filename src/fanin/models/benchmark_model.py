"""What a benchmark model is: a registered entry, its options, and whether it fits some data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fanin import seeds, specs
from fanin.data import DataInfo, InputPart, Task
from fanin.errors import FitError, SpecError, quote
from fanin.models.model_options import format_shape
from fanin.models.skeleton import build_skeletons
from fanin.registry import Entry, Registry

AcceptedInput = Literal["image", "table", "sequence", "tokens", "any", "own"]
"""What a model accepts: images, tables, sequences (of vectors or tokens), sequences of tokens only,
anything that it can flatten (images, tables, sequences of vectors), or, for a user's model, what
its code accepts."""

ActivationOption = str | tuple[str, ...]

MAX_PARAMETERS = 2_000_000_000
"""8 GB of fp32 weights, and three times as much more in training with Adam."""

INPUT_DESCRIPTIONS: dict[AcceptedInput, str] = {
    "image": "images (channels × height × width)",
    "table": "tables (one row of numbers per sample)",
    "sequence": "sequences (steps × features, or steps of tokens)",
    "tokens": "sequences of tokens",
    "any": "images, tables and sequences of vectors",
    "own": "what its own code accepts",
}


@dataclass(frozen=True)
class ModelEntry:
    """A kind of model.

    `build` receives (options, shape of one input, number of outputs) and raises `FitError` if the
    shape does not fit. The module maps a batch (N, *shape) to (N, outputs), also for regression.
    `build` must work under ``torch.device("meta")``, where models are checked without allocating
    memory. Names of parameters are names of random streams and never change.

    If `input` is "sequence" or "tokens", `build` receives two keywords more: `vocabulary`, the
    number of different tokens (None for vectors), and `per_step`, whether each step has outputs, so
    that the module returns (N, steps, outputs).
    """

    name: str
    summary: str
    options: type
    """A frozen dataclass; its defaults never change, because a canonical spec leaves them out."""
    build: Callable[..., nn.Module]
    input: AcceptedInput
    task: Task | Literal["any"]
    """What it is for; "any" accepts every task that the shapes allow."""
    channels_last: bool
    """Whether the trainer converts model and batches to this memory format, which is faster for
    convolutions."""
    paper: str

    def make(self, options: Any) -> Model:
        """The model with these options."""
        return Model(self, options)

    @property
    def is_stepwise(self) -> bool:
        """Whether `build` receives `vocabulary` and `per_step`."""
        return self.input in ("sequence", "tokens", "own")

    def accepts(self, kind: str) -> bool:
        """Whether the model accepts a kind of input (`classify_input`)."""
        accepted = {
            "any": ("image", "table", "sequence"),
            "sequence": ("sequence", "tokens"),
            "own": (kind,),
        }
        return kind in accepted.get(self.input, (self.input,))

    def is_for(self, task: Task | Literal["any"]) -> bool:
        """Whether the model is for a task."""
        if task == "token_classification" and not self.is_stepwise:
            return False
        return task == "any" or self.task in ("any", task)


REGISTRY: Registry[ModelEntry, Model] = Registry("model", ModelEntry)


@dataclass(frozen=True)
class Model:
    """An entry with its options."""

    entry: ModelEntry
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec, without options that equal their default."""
        return specs.render_canonical(self.entry.name, self.options)

    def split(self) -> tuple[str, ActivationOption | None, str | None]:
        """The spec without activation and normalization, the activation, and the normalization.

        ``get(*model.split()) == model``. The activation or normalization is None if it is the
        model's default. The normalization is the option `norm`, "none" if that is None.
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
        parts: tuple[InputPart, ...] = (),
    ) -> None:
        """Raise `FitError` if the model does not fit the data; allocates no parameter.

        Args:
            input_shape: shape of one input, as in `fanin.data.DataInfo`.
            outputs: number of classes or targets.
            task: what is predicted.
            vocabulary: number of different tokens; None if inputs are not tokens.
            parts: several inputs, which a user's own model takes.
        """
        if self.entry.task not in ("any", task):
            kind = classify_input(input_shape, vocabulary)
            raise FitError(
                f"{self.entry.name} is a model for {describe_task(self.entry.task)}; the task of "
                f"the data is {describe_task(task)}. {_suggest_models(kind, task, 'such data')}"
            )
        per_step = task == "token_classification"
        self._require_fit(input_shape, outputs, vocabulary, per_step, parts)

    def build(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        vocabulary: int | None = None,
        per_step: bool = False,
        parts: tuple[InputPart, ...] = (),
    ) -> nn.Module:
        """The module in fp32 on the CPU, in training mode, with torch's default weights.

        Arguments and errors are those of `check`; with `per_step`, each step of a sequence has
        outputs. The weights are the same every time, and the caller's random state is not moved.
        """
        self._require_fit(input_shape, outputs, vocabulary, per_step, parts)
        with (
            seeds.preserve_global_state(seeds.derive_stream(0, "construct", self.spec)),
            torch.device("cpu"),
        ):
            module = self._construct(input_shape, outputs, vocabulary, per_step, parts)
            return module.to(torch.float32)

    def build_for(self, info: DataInfo) -> nn.Module:
        """The module for a data set; see `build`."""
        return self.build(
            info.input_shape,
            info.outputs,
            vocabulary=info.vocabulary,
            per_step=info.per_step,
            parts=info.parts,
        )

    def build_skeleton_for(self, info: DataInfo) -> nn.Module:
        """The module for a data set on the meta device, without memory for its parameters."""
        with build_skeletons():
            return self._construct(
                info.input_shape, info.outputs, info.vocabulary, info.per_step, info.parts
            )

    def _construct(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        vocabulary: int | None,
        per_step: bool,
        parts: tuple[InputPart, ...],
    ) -> nn.Module:
        if self.entry.input == "own":
            return self.entry.build(
                self.options,
                input_shape,
                outputs,
                vocabulary=vocabulary,
                per_step=per_step,
                parts=parts,
            )
        if self.entry.is_stepwise:
            return self.entry.build(
                self.options, input_shape, outputs, vocabulary=vocabulary, per_step=per_step
            )
        return self.entry.build(self.options, input_shape, outputs)

    def _require_fit(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        vocabulary: int | None,
        per_step: bool,
        parts: tuple[InputPart, ...],
    ) -> None:
        if parts and self.entry.input != "own":
            raise FitError(
                f"{self.entry.name} takes one input; the data have "
                f"{', '.join(part.name for part in parts)}. Use a model of your own, whose forward "
                "has a parameter for each: my_model.py:make."
            )
        kind = classify_input(input_shape, vocabulary)
        if not self.entry.accepts(kind):
            tokens = " (tokens)" if kind == "tokens" else ""
            raise FitError(
                f"{self.entry.name} takes {INPUT_DESCRIPTIONS[self.entry.input]}; one input of the "
                f"data has shape {format_shape(input_shape)}{tokens}. "
                f"{_suggest_models(kind, 'any', 'such inputs')}"
            )
        if per_step and not self.entry.is_stepwise:
            raise FitError(
                f"{self.entry.name} has one output for a whole sequence; the data have a target "
                f"for each step. {_suggest_models(kind, 'token_classification', 'such data')}"
            )
        if outputs < 1:
            raise FitError(f"A model needs at least one output, not {quote(outputs)}.")
        with build_skeletons():
            skeleton = self._construct(input_shape, outputs, vocabulary, per_step, parts)
        count = sum(parameter.numel() for parameter in skeleton.parameters())
        if count > MAX_PARAMETERS:
            raise FitError(
                f"{self.spec} on inputs of shape {format_shape(input_shape)} would have {count:,} "
                f"parameters; at most {MAX_PARAMETERS:,} are built. Use smaller widths."
            )


def classify_input(input_shape: tuple[int, ...], vocabulary: int | None = None) -> str:
    """The kind of an input: image, table, sequence, tokens or other."""
    if vocabulary is not None:
        return "tokens" if len(input_shape) == 1 else "other"
    return {3: "image", 2: "sequence", 1: "table"}.get(len(input_shape), "other")


def describe_task(task: str) -> str:
    """A task in words."""
    return {"token_classification": "the classification of each step"}.get(task, task)


def get(
    spec: str, activation: ActivationOption | None = None, normalization: str | None = None
) -> Model:
    """The model of a spec such as ``mlp(widths=[512, 256])`` or ``my_model.py:make(width=64)``.

    Args:
        spec: the model and its options.
        activation: replaces the option `activation` of the spec before anything is checked.
        normalization: likewise the option `norm`; "none" for no normalization.
    """
    name, options = specs.parse(spec)
    if activation is not None:
        _require_option(name, "activation", "An activation")
        options["activation"] = activation
    if normalization is not None:
        _require_option(name, "norm", "A normalization")
        options["norm"] = None if normalization == "none" else normalization
    return REGISTRY.make(name, **options)


def names() -> tuple[str, ...]:
    """The names of all models."""
    return REGISTRY.names()


def _require_option(name: str, option: str, what: str) -> None:
    entry = REGISTRY.find(name)
    if not _has_option(entry, option):
        fitting = ", ".join(other.name for other in REGISTRY if _has_option(other, option))
        raise SpecError(
            f"{what} does not apply to {entry.name}, which has no option {option}. It applies to "
            f"{fitting}."
        )


def _has_option(entry: Entry, option: str) -> bool:
    return option in {field.name for field in dataclasses.fields(entry.options)}


def _suggest_models(kind: str, task: Task | Literal["any"], what: str) -> str:
    fitting = [entry.name for entry in REGISTRY if entry.accepts(kind) and entry.is_for(task)]
    return f"Models for {what}: {', '.join(fitting) or 'none'}."

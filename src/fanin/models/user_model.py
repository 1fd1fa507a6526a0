"""A user's own model: built by their callable, and tried on two samples before any work.

``make(input_shape, outputs, *, option=default, …)`` returns an ``nn.Module`` that maps (N,
*input_shape) to (N, outputs). A callable that has parameters `vocabulary` or `per_step` is told the
number of different tokens, None where inputs are none, and whether there is a target for each step:
then the module returns (N, steps, outputs).
"""

from __future__ import annotations

import inspect
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.models.benchmark_model import REGISTRY, ModelEntry
from fanin.user_code import MODEL, UserComponent, load_component

_SAMPLES = 2
"""More than one, so that normalization over the batch works."""


def load_entry(reference: str) -> ModelEntry:
    """The entry of a user's model; the same one as long as its file is the same."""
    return _make_entry(load_component(reference, MODEL))


@cache
def _make_entry(component: UserComponent) -> ModelEntry:
    return ModelEntry(
        name=component.name,
        summary=read_summary(component),
        options=component.options,
        build=partial(build, component),
        input="own",
        task="any",
        channels_last=False,
        paper="",
    )


def build(
    component: UserComponent,
    options: Any,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    vocabulary: int | None,
    per_step: bool,
) -> nn.Module:
    """The module that the part makes; where the device is meta, which is how a model is checked,
    tried on a batch as well.

    On meta nothing is allocated or computed. A model that cannot be built or run there, because it
    reads its weights, is built and run on the CPU instead.

    Raises `FitError` where the callable, or its module on such inputs, raises an error, and where
    either returns something else than it should.
    """
    given = {"vocabulary": vocabulary, "per_step": per_step}
    if torch.empty(0).device.type != "meta":
        return _call_user_code(component, options, input_shape, outputs, given)
    expected = (_SAMPLES, input_shape[0], outputs) if per_step else (_SAMPLES, outputs)
    try:
        return _try_forward(
            component,
            _call_user_code(component, options, input_shape, outputs, given),
            input_shape,
            vocabulary,
            expected,
        )
    except FitError as error:
        if (
            error.__cause__ is None
        ):  # what came back was wrong, and no error of the user's code was in the way
            raise
    with torch.device("cpu"):
        return _try_forward(
            component,
            _call_user_code(component, options, input_shape, outputs, given),
            input_shape,
            vocabulary,
            expected,
        )


def read_summary(component: UserComponent) -> str:
    """The first line of the callable's docstring."""
    lines = (inspect.getdoc(component.loaded.function) or "").splitlines()
    return lines[0] if lines else f"A user's own model ({component.name})."


def _call_user_code(
    component: UserComponent,
    options: Any,
    input_shape: tuple[int, ...],
    outputs: int,
    given: dict[str, Any],
) -> nn.Module:
    made = component.call(options, input_shape, outputs, **given)
    if not isinstance(made, nn.Module):
        raise component.make_return_error(made)
    return made


def _try_forward(
    component: UserComponent,
    module: nn.Module,
    input_shape: tuple[int, ...],
    vocabulary: int | None,
    expected: tuple[int, ...],
) -> nn.Module:
    """The module, if it maps a batch of zeros to a tensor of the expected shape."""
    x = torch.zeros(
        _SAMPLES, *input_shape, dtype=torch.float32 if vocabulary is None else torch.int64
    )
    name, shape = type(module).__name__, tuple(x.shape)
    with (
        component.guard(f"{name} of {component.name}, on inputs of shape {shape},"),
        torch.no_grad(),
    ):
        came = module(x)
    if not isinstance(came, Tensor) or tuple(came.shape) != expected:
        raise component.make_return_error(
            module, f"a {name} that maps {shape} to {_describe_output(came)}, not to {expected}"
        )
    return module


def _describe_output(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


REGISTRY.load_user_entries_with(load_entry)

"""A few gradient steps on a copy of the model: how its parameters would move."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.apply.model_parameters import ParameterUse, find_uses
from fanin.diagnosis.examination import Examination
from fanin.structure.forward_tracing import split_batch

STEPS = 3
"""A zero matrix between a layer and the output passes no gradient to the layer in the first step;
two such matrices, in two."""
_RATE = 0.1
"""Of a parameter's size: large enough to be seen, too small to make anything overflow."""
_SEED = 0
MOST_NUMBERS = 400_000_000
"""A larger model is not copied."""


Changes = dict[str, tuple[Tensor, ...]]
"""Of each parameter by how much it has changed after each step."""


def rehearse(examination: Examination, names: Iterable[str]) -> Changes | None:
    """How some parameters change in `STEPS` gradient steps on a copy, in eval mode; those that no
    gradient comes to are left out. None if the copy cannot be trained.

    The loss of each step is a new random combination of the outputs, which treats no two outputs
    alike.
    """
    model = examination.model
    if sum(one.numel() for one in model.parameters()) > MOST_NUMBERS:
        examination.notes.append(
            f"Whether equal units separate was not tried: the model has more than "
            f"{MOST_NUMBERS:,} numbers."
        )
        return None
    try:
        with seeds.preserve_global_state(_SEED), torch.inference_mode(False), torch.enable_grad():
            return _train_copy(model, examination.batch, tuple(names))
    except Exception as error:  # whatever the model's own code raises
        examination.notes.append(
            f"Whether equal units separate could not be tried: {type(error).__name__}: {error}"
        )
        return None


def _train_copy(model: nn.Module, batch: Any, names: tuple[str, ...]) -> Changes:
    twin = copy.deepcopy(model).float().eval()
    places = {use.bare_name: use for use in find_uses(twin, "kernel") if use.bare_name in names}
    before = {name: _read(use) for name, use in places.items()}
    generator = seeds.make_generator(_SEED, "rehearsal")
    changes: dict[str, list[Tensor]] = {name: [] for name in places}
    reached: set[str] = set()
    for _ in range(STEPS):
        args, kwargs = _widen(split_batch(batch))
        _step(twin, list_outputs(twin(*args, **kwargs)), generator)
        for name, use in places.items():
            changes[name].append(_read(use) - before[name])
            if any(one.parameter.grad is not None for one in use.carriers):
                reached.add(name)
    return {name: tuple(changes[name]) for name in places if name in reached}


def _step(twin: nn.Module, outputs: list[Tensor], generator: torch.Generator) -> None:
    """Each parameter moves by the same share of its size, however small its gradient is."""
    cotangents = [
        torch.randn(one.shape, generator=generator).to(one.device, one.dtype) for one in outputs
    ]
    twin.zero_grad()
    torch.autograd.backward(outputs, cotangents)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.grad is None or not parameter.is_floating_point():
                continue
            slope = parameter.grad.square().mean().sqrt()
            size = max(_measure_rms(parameter), 1 / math.sqrt(max(parameter.shape, default=1)))
            if float(slope) > 0:
                parameter.sub_(parameter.grad, alpha=_RATE * size / float(slope))


def _measure_rms(parameter: Tensor) -> float:
    return float(parameter.square().mean().sqrt())


@torch.no_grad()
def _read(use: ParameterUse) -> Tensor:
    """The numbers that the layer computes with."""
    found: Tensor = getattr(use.module, use.local)
    return found.detach().clone()


def _widen(call: tuple[list[Any], dict[str, Any]]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in float32, as the copy is."""
    args, kwargs = call
    return [_to_float(one) for one in args], {key: _to_float(one) for key, one in kwargs.items()}


def _to_float(value: Any) -> Any:
    is_low = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_low else value


def list_outputs(result: Any) -> list[Tensor]:
    """The tensors of a model's result that gradients flow from, each once."""
    found: dict[int, Tensor] = {}
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            if value.requires_grad and value.is_floating_point():
                found.setdefault(id(value), value)
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
        elif hasattr(type(value), "__dataclass_fields__"):
            waiting += [getattr(value, name) for name in type(value).__dataclass_fields__]
    return list(found.values())

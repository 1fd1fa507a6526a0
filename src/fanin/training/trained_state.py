"""All that a training changes: a model's tensors, and what user code remembers besides.

Parameters and buffers are read from the modules themselves: a user's ``state_dict`` may leave some
out. What user code keeps elsewhere (attributes, closures, variables of its file, an optimizer's
own numbers) is in no checkpoint. Attributes, and numbers elsewhere, are put back with the best
weights, and `TrainedState.find_unsaved` tells whether a checkpoint would lack anything.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fanin import registry, user_code
from fanin.errors import FitError
from fanin.training.metrics import Metric
from fanin.user_code import fingerprint

Tensors = dict[str, Tensor]

_OF_TORCH = frozenset((*vars(nn.Module()), "training"))
"""Attributes of every module: its tables of parameters and buffers, hooks and so on."""


@dataclass(frozen=True)
class Memory:
    """A copy of what a model keeps in attributes, with the fingerprint of each."""

    attributes: dict[str, Any]
    fingerprints: dict[str, str]
    numbers: list[user_code.Number]
    """Of variables, classes and closures."""


class TrainedState:
    """The state of one training, apart from the optimizer's tensors.

    Args:
        model: at the start of training, or of its continuation.
        optimizer: the model's optimizer.
        metrics: what is measured.
        is_builtin: whether all that trains is fanin's own, which keeps nothing elsewhere.
        has_schedule: whether the learning rate changes from step to step.
        loss: a user's loss; None for that of the task.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        metrics: tuple[Metric, ...] = (),
        *,
        is_builtin: bool,
        has_schedule: bool = False,
        loss: object = None,
    ) -> None:
        self.model, self._optimizer, self._metrics = model, optimizer, metrics
        self._loss = loss
        self._is_builtin, self._has_schedule = is_builtin, has_schedule
        self._at_start = self._read_memory() if not is_builtin else {}

    def read_tensors(self) -> Tensors:
        """Every parameter and buffer by its name in the model, in the order of ``state_dict``.

        Of fanin's own models, as ``state_dict``: a buffer that is not persistent, such as a key of
        dropout, is a function of the step.
        """
        return {
            name: tensor.detach()
            for name, _, tensor, persistent in _iterate_tensors(self.model)
            if persistent or not self._is_builtin
        }

    def read_weights(self) -> Tensors:
        """What a file of weights holds: parameters and persistent buffers."""
        return {
            name: tensor.detach()
            for name, _, tensor, persistent in _iterate_tensors(self.model)
            if persistent
        }

    def write_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy what `read_tensors` returned into the model's own tensors, which keep their strides.

        Raises `FitError` if the model has other parameters by now.
        """
        places = {name: (owner, tensor) for name, owner, tensor, _ in _iterate_tensors(self.model)}
        with torch.no_grad():
            for name, saved in tensors.items():
                owner, tensor = places.get(name, (None, None))
                if owner is None or tensor is None:
                    raise FitError(
                        f"The model no longer has {name}, which it had in an earlier epoch. Keep "
                        "its parameters and buffers throughout a training."
                    )
                _write(owner, name.rpartition(".")[2], tensor, saved)

    def copy_memory(self) -> Memory | None:
        """A copy of the attributes of a user's model; None of fanin's own."""
        if self._is_builtin:
            return None
        known = self._list_known()
        named = self._list_attributes()
        kept = {id(value): value for value in known}
        return Memory(
            {name: _copy(value, kept) for name, value in named.items()},
            fingerprint(named, modules=user_code.list_names(), known=known),
            user_code.copy_numbers(named.values()),
        )

    def restore_memory(self, memory: Memory | None) -> None:
        """Put back what has changed since `copy_memory`: attributes, and numbers elsewhere."""
        if memory is None:
            return
        for number in memory.numbers:
            number.restore()
        now = fingerprint(
            self._list_attributes(), modules=user_code.list_names(), known=self._list_known()
        )
        modules = dict(self.model.named_modules())
        for name, value in memory.attributes.items():
            if now.get(name) != memory.fingerprints[name]:
                path, _, attribute = name.rpartition(".")
                modules[path].__dict__[attribute] = value
        for name in now.keys() - memory.attributes.keys():
            path, _, attribute = name.rpartition(".")
            modules[path].__dict__.pop(attribute, None)

    def find_unsaved(self) -> list[str]:
        """What has changed since the start and is in no checkpoint, by name."""
        if self._is_builtin:
            return []
        now = self._read_memory()
        names = self._at_start.keys() | now.keys()
        changed = [name for name in names if self._at_start.get(name) != now.get(name)]
        return sorted([*changed, *user_code.find_changes()])

    def _read_memory(self) -> dict[str, str]:
        groups = [
            {
                name: value
                for name, value in group.items()
                if name not in ("params", "steps_done", "share")
                and not (name == "lr" and self._has_schedule)
            }
            for group in self._optimizer.param_groups
        ]
        is_torchs = type(self._optimizer).__module__.startswith("torch.optim")
        attributes = {
            f"the optimizer's {name}": value
            for name, value in vars(self._optimizer).items()
            if name not in ("state", "param_groups") and "hook" not in name and not is_torchs
        }
        named = {
            **self._list_attributes(),
            "the optimizer's groups": groups,
            "the optimizer's state of no parameter": {
                key: value
                for key, value in self._optimizer.state.items()
                if not isinstance(key, Tensor)
            },
            **attributes,
            **{f"metric {m.name}": m.measure for m in self._metrics if m.measure is not None},
            "the loss": self._loss,
        }
        known = self._list_known()
        return fingerprint(named, modules=user_code.list_names(), known=known)

    def _list_attributes(self) -> dict[str, Any]:
        return {
            f"{path}.{name}": value
            for path, module in self.model.named_modules()
            for name, value in vars(module).items()
            if name not in _OF_TORCH and not registry.is_builtin(type(module))
        }

    def _list_known(self) -> list[object]:
        return [
            *self.model.modules(),
            *(tensor for _, _, tensor, _ in _iterate_tensors(self.model)),
        ]


def _iterate_tensors(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor, bool]]:
    """Name, owner, tensor, and whether ``state_dict`` holds it; tied ones under each name."""
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield prefix + name, module, parameter, True
        for name, buffer in module._buffers.items():
            if buffer is not None:
                persistent = name not in module._non_persistent_buffers_set
                yield prefix + name, module, buffer, persistent


def _write(owner: nn.Module, name: str, tensor: Tensor, saved: Tensor) -> None:
    """Write into a tensor; a buffer that was replaced by one of another shape is replaced again."""
    if tensor.shape == saved.shape and tensor.dtype == saved.dtype:
        try:
            tensor.copy_(saved)
            return
        except RuntimeError:  # an expanded tensor cannot be written
            pass
    if name not in owner._buffers:
        raise FitError(
            f"The parameter {name} of {type(owner).__name__} has another shape or dtype than in an "
            f"earlier epoch: {tuple(saved.shape)} then, {tuple(tensor.shape)} now."
        )
    owner._buffers[name] = saved.clone().to(tensor.device)


def _copy(value: Any, kept: Mapping[int, Any]) -> Any:
    """A copy of what an attribute holds; layers and parameters in it stay the same objects.

    What cannot be copied is returned as it is.
    """
    if id(value) in kept:
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple, set):
        return type(value)(_copy(item, kept) for item in value)
    if type(value) is dict:
        return {key: _copy(item, kept) for key, item in value.items()}
    if isinstance(value, torch.Generator):
        return value.clone_state()
    try:
        return copy.deepcopy(value, dict(kept))
    except Exception:
        return value

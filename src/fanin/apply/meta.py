"""Models without memory (device meta): memory for their parameters, and values for what no rule
fills.

Parameters that are filled get memory one by one. What is kept, and all buffers, have no values that
could be kept: their module's own reset method must fill them (a batch norm's running statistics,
say), and if it does not, that is an error. A module that shares a parameter with another one
still shares it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.apply.model_parameters import ParameterUse
from fanin.errors import FitError, UsageError, quote

RESETS = ("reset_parameters", "_reset_parameters", "reset_buffers", "reset_running_stats")
"""Methods without arguments by which a module fills what it owns."""


def check_device(device: Any) -> torch.device | None:
    """`device` as a torch device that has memory, or a `UsageError`."""
    if device is None:
        return None
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"Device {quote(device)} cannot be used: {str(error).splitlines()[0]} Choose cpu or "
            "cuda."
        ) from None
    if found.type == "meta":
        raise UsageError(
            "device='meta' has no memory. Choose the device that the model is to train on, such as "
            "cpu or cuda."
        )
    return found


def list_meta_parameters(uses: Iterable[ParameterUse]) -> list[str]:
    """The names of the parameters that have no memory."""
    return list(
        dict.fromkeys(one.name for use in uses for one in use.carriers if one.parameter.is_meta)
    )


def list_meta_buffers(model: nn.Module) -> list[str]:
    """The names of the buffers that have no memory."""
    return [name for name, buffer in model.named_buffers() if buffer.is_meta]


@contextmanager
def materialize(
    model: nn.Module,
    filled: Iterable[Sequence[ParameterUse]],
    kept: Iterable[Sequence[ParameterUse]],
    device: torch.device,
    seed: int,
) -> Iterator[None]:
    """Give the model memory on the device, and values to what is kept and to buffers; undone if
    the body fails.

    Raises `FitError` and leaves the model unchanged if a tensor has no values in the end.
    """
    with _undo_on_error() as replace:
        for path, module in model.named_modules():
            buffers = [
                (module, local)
                for local, buffer in module.named_buffers(recurse=False)
                if buffer.is_meta
            ]
            for owner, local in buffers:
                replace(owner, local, torch.empty_like(getattr(owner, local), device=device))
            left = _reset(module, [local for _, local in buffers], seed, path)
            if left:
                raise FitError(_describe_unfilled(module, path, "buffers", left))
        for group in kept:
            _fill_kept(group, device, seed, replace)
        for group in filled:
            _give_memory(group, device, replace)
        yield


def _fill_kept(
    group: Sequence[ParameterUse], device: torch.device, seed: int, replace: _Replacements
) -> None:
    head = group[0]
    if not head.parameter.is_meta:
        return
    _give_memory(group, device, replace)
    path = head.name.rpartition(".")[0]
    if head.through or _reset(head.module, [head.local], seed, path):
        raise FitError(_describe_unfilled(head.module, path, "parameters", [head.local]))


def _give_memory(
    group: Sequence[ParameterUse], device: torch.device, replace: _Replacements
) -> None:
    """Replace each parameter by an empty one on the device, once for all places that hold it."""
    for position, one in enumerate(group[0].carriers):
        if one.parameter.is_meta:
            old = one.parameter
            new = nn.Parameter(
                torch.empty_like(old, device=device), requires_grad=old.requires_grad
            )
            new.__dict__.update(old.__dict__)
            for use in group:
                place = use.carriers[position]
                replace(place.owner, place.local, new)


def _reset(module: nn.Module, locals_: Sequence[str], seed: int, path: str) -> list[str]:
    """Run the module's reset methods; which of its named tensors they did not write."""
    if not locals_:
        return []
    before = {local: (getattr(module, local), getattr(module, local)._version) for local in locals_}
    with (
        seeds.preserve_torch_state(seeds.derive_stream(seed, "reset", path)),
        _preserve_others(module, locals_),
    ):
        for name in RESETS:
            method = getattr(module, name, None)
            if callable(method) and _list_unwritten(module, before):
                try:
                    method()
                except Exception as error:  # a user's method may fail in any way
                    raise FitError(f"{path or 'the model'}.{name}() failed: {error}") from error
    return _list_unwritten(module, before)


@contextmanager
def _preserve_others(module: nn.Module, locals_: Sequence[str]) -> Iterator[None]:
    """Put back what a reset method overwrites besides, in the module and in those inside it."""
    own = [*module.named_parameters(), *module.named_buffers()]
    saved = [
        (tensor, tensor.detach().clone())
        for name, tensor in own
        if name not in locals_ and not tensor.is_meta
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, values in saved:
                tensor.copy_(values)


def _list_unwritten(module: nn.Module, before: dict[str, tuple[Tensor, int]]) -> list[str]:
    """Those that still are what they were, or were replaced by what has no memory either."""
    left = []
    for local, (tensor, version) in before.items():
        now = getattr(module, local)
        if tensor.numel() > 0 and (now._version == version if now is tensor else now.is_meta):
            left.append(local)
    return left


def _describe_unfilled(module: nn.Module, path: str, what: str, names: Sequence[str]) -> str:
    listed = ", ".join(f"{path}.{name}" if path else name for name in names)
    return (
        f"{listed}: {what} without memory (device meta) that nothing fills, so nothing was "
        "changed. "
        f"{type(module).__name__} has no reset method that does ({', '.join(RESETS[::2])}). Give "
        "them values before"
        + (", or a rule by a pattern" if what == "parameters" else "")
        + ", or build the model on the device."
    )


class _Replacements:
    """Replaces attributes of modules, and can put back what was there."""

    def __init__(self) -> None:
        self._old: list[tuple[nn.Module, str, Tensor]] = []

    def __call__(self, owner: nn.Module, local: str, new: Tensor) -> None:
        self._old.append((owner, local, getattr(owner, local)))
        setattr(owner, local, new)

    def undo(self) -> None:
        """Put everything back, the latest first."""
        for owner, local, tensor in reversed(self._old):
            setattr(owner, local, tensor)


@contextmanager
def _undo_on_error() -> Iterator[_Replacements]:
    replace = _Replacements()
    try:
        yield replace
    except BaseException:
        replace.undo()
        raise

"""Models without memory (device meta): memory for their parameters, and values for what no rule
fills.

Parameters that are filled get memory one by one. What is kept, and all buffers, have no values that
could be kept: their module's own reset method must fill them (a batch norm's running statistics,
say), and if it does not, that is an error. A module that shares a parameter with another one
still shares it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fanin import seeds
from fanin.apply.model_parameters import ParameterUse
from fanin.errors import FitError, UsageError, quote
from fanin.structure import unwrap_name

RESETS = ("reset_parameters", "_reset_parameters", "reset_buffers", "reset_running_stats")
"""Methods without arguments by which a module fills what it owns."""

_AFTER_FUNCTION = (
    "The function that was given as materialize does not fill them; let it, or build the model on "
    "the device."
)
_REMEDY = (
    "Give materialize=…, a function that fills them, such as transformers' model._init_weights or "
    "timm's model.init_weights, or build the model on the device."
)


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


def allocate(old: Tensor, device: torch.device) -> Tensor:
    """A tensor like `old` with memory, whose numbers mean nothing yet; a parameter stays one."""
    new = torch.empty_like(old, device=device)
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    new.__dict__.update(old.__dict__)
    return new


@contextmanager
def provide_values(
    model: nn.Module,
    filled: Iterable[Sequence[ParameterUse]],
    kept: Iterable[Sequence[ParameterUse]],
    device: torch.device,
    seed: int,
    *,
    tried: bool,
) -> Iterator[None]:
    """Give the model memory on the device, and values to what is kept and to buffers; undone if
    the body fails.

    `tried` says that the caller's function has been at it. Raises `FitError` and leaves the model
    unchanged if tensors have no values in the end.
    """
    kept = list(kept)
    remedy = _AFTER_FUNCTION if tried else _REMEDY
    _refuse_frozen(kept, remedy)
    with _undo_on_error() as replace:
        left = {
            name: module
            for path, module in model.named_modules()
            for name in _fill_buffers(
                path,
                module,
                device,
                seeds.derive_stream(seed, "reset", unwrap_name(model, path)),
                replace,
            )
        }
        if left:
            raise FitError(_describe_unfilled("buffers", left) + remedy)
        left = {
            group[0].name: group[0].module
            for group in kept
            if not _fill_kept(group, device, seed, replace)
        }
        if left:
            by_rule = "Name them in a rule by pattern. Or: "
            raise FitError(_describe_unfilled("parameters", left) + by_rule + remedy)
        for group in filled:
            _give_memory(group, device, replace)
        yield


def _refuse_frozen(kept: Sequence[Sequence[ParameterUse]], remedy: str) -> None:
    """A frozen parameter holds what its model's constructor put there. A reset method would fill it
    as a new layer: with noise, where there may have been a table.
    """
    names = [
        one.name
        for group in kept
        for one in group[0].carriers
        if one.parameter.is_meta and not one.parameter.requires_grad
    ]
    if names:
        raise FitError(
            f"{list_some(names)}: frozen parameters without memory (device meta), whose values "
            f"only the model's constructor knows, so nothing was changed. {remedy}"
        )


def _fill_buffers(
    path: str, module: nn.Module, device: torch.device, stream: int, replace: _Replacements
) -> list[str]:
    """Let a module fill its own buffers; the names of those that it did not fill."""
    names = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
    for local in names:
        replace(module, local, torch.empty_like(getattr(module, local), device=device))
    left = _reset(module, names, stream, path)
    return [f"{path}.{local}" if path else local for local in left]


def _fill_kept(
    group: Sequence[ParameterUse], device: torch.device, seed: int, replace: _Replacements
) -> bool:
    """Let a module fill a parameter that no rule fills; whether it has values now."""
    head = group[0]
    if not head.parameter.is_meta:
        return True
    _give_memory(group, device, replace)
    path, bare = (name.rpartition(".")[0] for name in (head.name, head.bare_name))
    stream = seeds.derive_stream(seed, "reset", bare)
    return not (head.through or _reset(head.module, [head.local], stream, path))


def _give_memory(
    group: Sequence[ParameterUse], device: torch.device, replace: _Replacements
) -> None:
    """Replace each parameter by an empty one on the device, once for all places that hold it."""
    for position, one in enumerate(group[0].carriers):
        if one.parameter.is_meta:
            old = one.parameter
            new = allocate(old, device)
            for use in group:
                place = use.carriers[position]
                replace(place.owner, place.local, new)


def _reset(module: nn.Module, locals_: Sequence[str], stream: int, path: str) -> list[str]:
    """Run the module's reset methods; which of its named tensors they did not write."""
    if not locals_:
        return []
    before = {local: (getattr(module, local), getattr(module, local)._version) for local in locals_}
    with (
        seeds.preserve_torch_state(stream),
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
        if name not in locals_ and not tensor.is_meta and not is_lazy(tensor)
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


def _describe_unfilled(what: str, left: Mapping[str, nn.Module]) -> str:
    """What is left, by name, with the module that holds it."""
    kinds = {type(module).__name__ for module in left.values()}
    has = f"{kinds.pop()} has" if len(kinds) == 1 else "Their modules have"
    return (
        f"{list_some(list(left))}: {what} without memory (device meta) that nothing fills, so "
        f"nothing was changed. {has} no reset method that does ({', '.join(RESETS[::2])}). "
    )


def list_some(names: Sequence[str]) -> str:
    """The first five names, and how many there are."""
    return ", ".join(names[:5]) + (f", … ({len(names)} in all)" if len(names) > 5 else "")


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

"""Copy a model, whatever it is made of, so that a patch can be tried without touching the caller's.

``copy.deepcopy`` fails on tensors that were computed (the weight that torch's older `weight_norm`
keeps, a cached activation), and it parts parameters that share memory without being one object.
Here computed tensors are copied without their graph, and shared memory stays shared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fanin.errors import UsageError

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_DEEPEST = 8
"""Levels of lists and dictionaries in a module's attributes in which computed tensors are found."""


def copy_model(model: ModuleT) -> ModuleT:
    """A deep copy of a model: its own parameters, buffers and modules, the same ties and flags.

    Gradients and the graphs of computed tensors are left behind. Functions, and hooks that are
    functions, are shared with the original, as ``copy.deepcopy`` does.

    Raises `UsageError` if a part cannot be copied, such as a lock or an open file; it names the
    module and attribute, and says what to do. The model itself is unchanged.
    """
    try:
        copied = copy.deepcopy(model, _prepare_memo(model))
    except Exception as error:  # of any class that forbids copying, in its own way
        raise UsageError(_describe_failure(model, error)) from error
    _restore_shared_memory(model, copied)
    return copied


def _prepare_memo(model: nn.Module) -> dict[int, Any]:
    """The copies of computed tensors, by the identity of the original, as ``copy.deepcopy`` keeps
    those that it has made.
    """
    return {
        id(tensor): tensor.detach().clone().requires_grad_(tensor.requires_grad)
        for module in model.modules()
        for value in vars(module).values()
        for tensor in _find_computed(value, _DEEPEST)
    }


def _find_computed(value: object, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if not value.is_leaf:
            yield value
    elif depth > 0 and isinstance(value, dict | list | tuple | set | frozenset):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _find_computed(one, depth - 1)


# --- shared memory ------------------------------------------------------------------------------


def _restore_shared_memory(model: nn.Module, copied: nn.Module) -> None:
    """Let the copies of parameters that share memory share theirs: ``a.data = b.data.T`` ties two
    parameters as much as ``a = b`` does.
    """
    groups: dict[int, list[tuple[nn.Parameter, nn.Parameter]]] = {}
    copies = dict(copied.named_parameters())
    for name, original in model.named_parameters():
        new = copies.get(name)
        if new is not None and _has_plain_memory(original):
            address = original.untyped_storage().data_ptr()
            groups.setdefault(address, []).append((original, new))
    for group in groups.values():
        if len(group) > 1:
            storage = group[0][0].untyped_storage().clone()
            for original, new in group:
                new.data = torch.empty(0, dtype=original.dtype, device=original.device).set_(
                    storage, original.storage_offset(), original.size(), original.stride()
                )


def _has_plain_memory(parameter: nn.Parameter) -> bool:
    return (
        type(parameter) is nn.Parameter
        and not parameter.is_meta
        and parameter.layout is torch.strided
        and parameter.untyped_storage().data_ptr() != 0
    )


# --- what cannot be copied ----------------------------------------------------------------------


def _describe_failure(model: nn.Module, error: Exception) -> str:
    where = next(_find_culprits(model), "a part of it")
    return (
        f"{type(model).__name__} cannot be copied: {where} ({type(error).__name__}: {error}). "
        "Patches are tried on a copy. Give that class a __deepcopy__, remove the attribute for the "
        "time being, or change the model itself: fanin.diagnosis.advice.apply_patches(model, "
        "patches, seed=0)."
    )


def _find_culprits(model: nn.Module) -> Iterator[str]:
    """The attributes that cannot be copied, in words."""
    memo = _prepare_memo(model)
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                owner = path or "the model"
                kind = type(value).__name__
                yield f"the attribute {name!r} of {owner} is a {kind}, which refuses"

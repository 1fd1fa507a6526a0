"""What holds no weights that could be drawn: refused before anything is written, each with one
sentence that says what it is, why it is refused and what to do.

Numbers of a kind that no weight has (8 bits, integers, tensors of inference mode) are found where
their parameter is planned (`fanin.initializers.initializer.unfit_numbers`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from fanin.apply.model_parameters import ParameterUse
from fanin.errors import FitError

_SHOWN = 3
_PACKED = re.compile(r"(^|\.)_(packed_params|all_weight_values).*")
"""Where a quantized layer keeps what it packed."""


def refuse_exported_program(model: object) -> None:
    """Raise `FitError` for what `torch.export.export` returns: it is no module."""
    if any(base.__module__.startswith("torch.export") for base in type(model).__mro__[:-1]):
        if isinstance(model, nn.Module):
            return  # its parameters may be kept, or named
        raise FitError(
            f"An exported program ({type(model).__name__}) has numbers by name, but no layers, so "
            "that their fans are not known. Initialize the model before torch.export.export."
        )


def refuse_unreadable(
    model: nn.Module, uses: Sequence[ParameterUse], told: Collection[str]
) -> None:
    """Raise `FitError` if weights are to be filled whose layers cannot be seen: packed by
    quantization, in scripted or in exported modules.

    Args:
        told: the names of which the caller has said what to do, by a pattern, only or exclude.
    """
    packed = _list_packed(model)
    if packed:
        raise FitError(
            f"{_list(packed)}: quantized layers keep their weights as packed integers, which "
            "nothing can be drawn into, so nothing was changed. "
            "Initialize the model before it is quantized."
        )
    asked = [
        use
        for use in uses
        if use.role == "unknown" and use.name not in told and use.parameter.requires_grad
    ]
    for what, before, is_one in (
        ("a scripted module (torch.jit)", "torch.jit.script or torch.jit.trace", _is_scripted),
        ("an exported module (torch.export)", "torch.export.export", _is_exported),
    ):
        names = [use.name for use in asked if is_one(use)]
        if names:
            raise FitError(
                f"{_list(names)}: parameters of {what}, which does not tell what its layers are, "
                f"so nothing was changed. Initialize the model before {before}, or name these "
                "parameters in a pattern or in exclude."
            )


def find_write_obstacle(tensor: Tensor) -> str | None:
    """Why a tensor of a kind of its own, such as another package's quantized one, cannot be
    written; None if it can, which is tried on a copy.
    """
    if type(tensor) in (Tensor, nn.Parameter) or tensor.is_meta or _is_dtensor(tensor):
        return None
    try:
        with torch.no_grad():
            copy = tensor.detach().clone()
            copy.copy_(torch.zeros(tensor.shape, dtype=torch.float32))
            written = bool((copy == 0).all())
    except Exception as error:  # of a package that may fail in any way
        lines = str(error).splitlines() or [""]
        return f"is a {type(tensor).__name__}, which cannot be written ({lines[0]})"
    return None if written else f"is a {type(tensor).__name__}, which does not keep what is written"


def _is_dtensor(tensor: Tensor) -> bool:
    module = sys.modules.get("torch.distributed.tensor")  # not imported: then nothing is sharded
    return module is not None and isinstance(tensor, module.DTensor)


def _list_packed(model: nn.Module) -> list[str]:
    """The layers of ``torch.ao`` whose weights are packed, which are no parameters."""
    paths = [
        _PACKED.sub("", path) or "the model"
        for path, module in model.named_modules()
        if type(module).__module__.startswith("torch.ao.")
        and any(isinstance(value, torch.ScriptObject) for value in vars(module).values())
    ]
    return list(dict.fromkeys(paths))


def _is_scripted(use: ParameterUse) -> bool:
    return isinstance(use.module, torch.jit.ScriptModule)


def _is_exported(use: ParameterUse) -> bool:
    return any(
        base.__module__.startswith("torch.export")
        for module in use.enclosing
        for base in type(module).__mro__
    )


def _list(names: Sequence[str]) -> str:
    more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

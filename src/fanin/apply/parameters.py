"""The parameters of a model: what role each plays, which ones are tied, which ones a pattern means."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from fanin.errors import FitError, UsageError, shown, unknown
from fanin.fans import Convention, Layout, module_layout

Role = Literal["weight", "bias", "norm scale", "norm shift", "embedding", "unknown"]
Patterns = str | Sequence[str]


@dataclass(frozen=True)
class Use:
    """One place of the model that holds a parameter."""

    name: str
    module: nn.Module
    role: Role
    parameter: nn.Parameter

    def layout(self, convention: Convention) -> Layout:
        """The true layout of a weight or table; other parameters are plain vectors."""
        found = module_layout(self.module, convention) if self.role in ("weight", "embedding") else None
        return found or Layout(tuple(self.parameter.shape), None)


def uses(model: nn.Module) -> Iterator[Use]:
    for path, module in model.named_modules(remove_duplicate=False):
        for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{local}" if path else local
            if is_lazy(parameter):
                raise FitError(f"{name} has no shape yet (a lazy parameter). Run one batch through the model first.")
            yield Use(name, module, _role(module, local), parameter)


def _role(module: nn.Module, local: str) -> Role:
    match module, local:
        case nn.Linear() | _ConvNd(), "weight":
            return "weight"
        case nn.Linear() | _ConvNd(), "bias":
            return "bias"
        case _NormBase() | nn.LayerNorm() | nn.GroupNorm() | nn.RMSNorm(), "weight":
            return "norm scale"
        case _NormBase() | nn.LayerNorm() | nn.GroupNorm() | nn.RMSNorm(), "bias":
            return "norm shift"
        case nn.Embedding() | nn.EmbeddingBag(), "weight":
            return "embedding"
    return "unknown"


def tied(uses: Sequence[Use]) -> list[list[Use]]:
    """The uses of each parameter; the first one whose role is known comes first."""
    groups: dict[object, list[Use]] = {}
    for use in uses:
        groups.setdefault(_memory(use.parameter), []).append(use)
    return [sorted(group, key=lambda use: use.role == "unknown") for group in groups.values()]


def _memory(parameter: nn.Parameter) -> object:
    """What two parameters share when they are one: the same object, or the same numbers in memory."""
    if parameter.is_meta or parameter.layout is not torch.strided or parameter.data_ptr() == 0:
        return id(parameter)
    return parameter.device, parameter.data_ptr(), parameter.numel(), parameter.dtype


def left_out(names: Sequence[str], include: Patterns | None, exclude: Patterns | None) -> dict[str, str]:
    """The names that are not to be touched, each with the reason."""
    included = set(names) if include is None else _matching(names, include, "include")
    excluded = set() if exclude is None else _matching(names, exclude, "exclude")
    return {
        name: "excluded" if name in excluded else "not included" for name in names if name in excluded or name not in included
    }


def _matching(names: Sequence[str], patterns: Patterns, argument: str) -> set[str]:
    found: set[str] = set()
    if not isinstance(patterns, Sequence) or (argument == "include" and not patterns):
        raise UsageError(f"{argument} takes one or more patterns such as 'encoder.*', not {shown(patterns)}.")
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if not isinstance(pattern, str):
            raise UsageError(f"{argument} takes patterns such as 'encoder.*', not {shown(pattern)}.")
        matches = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        if not matches:
            raise unknown(f"parameter that {argument} could mean", pattern, names)
        found.update(matches)
    return found

"""The parameters of a model: what role each plays, how it is laid out, which ones are tied, which
ones a pattern means.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fanin.apply.reparametrization import Behind, find
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.fans import Convention, LayerParameter, Layout, Role, describe_parameters, tensor_layout

Patterns = str | Sequence[str]


@dataclass(frozen=True)
class Use:
    """One place of the model that holds a parameter."""

    name: str
    """Qualified; of a reparametrized weight, the name that its layer uses, such as ``0.weight``."""
    module: nn.Module
    local: str
    role: Role
    layout: Layout
    """With fans in the convention that was asked for; `parts` where it is packed."""
    behind: tuple[Behind, ...] = field(repr=False)
    """The parameters that carry it: itself, or those of its parametrization."""
    through: str = ""
    """What it is set through, such as weight_norm; empty for an ordinary parameter."""

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter, or the first of those behind it."""
        return self.behind[0].parameter

    def effective_layout(self) -> Layout:
        """The layout with effective fans: strides taken into account."""
        held = describe_parameters(self.module, "effective").get(self.local)
        return (
            held.layout
            if held and held.layout.shape == self.layout.shape and not self.layout.parts
            else self.layout
        )


def uses(model: nn.Module, convention: Convention) -> tuple[Use, ...]:
    """Every parameter at every place where it occurs, in the model's order."""
    return tuple(_uses(model, convention))


def _uses(model: nn.Module, convention: Convention) -> Iterator[Use]:
    behind_others: set[tuple[int, str]] = set()
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        held = describe_parameters(module, convention) if _has_shapes(module, prefix) else {}
        for found in find(module, prefix):
            behind_others |= {(id(one.owner), one.local) for one in found.behind}
            yield _use(
                prefix,
                module,
                found.local,
                held.get(found.local),
                found.behind,
                found.through,
                found.shape,
            )
        for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if (id(module), local) not in behind_others:
                behind = (Behind(prefix + local, module, local),)
                yield _use(
                    prefix, module, local, held.get(local), behind, "", tuple(parameter.shape)
                )


def _has_shapes(module: nn.Module, prefix: str) -> bool:
    for local, parameter in module.named_parameters(recurse=False):
        if is_lazy(parameter):
            raise FitError(
                f"{prefix}{local} has no shape yet (a lazy parameter). Run one batch through the "
                "model first."
            )
    return True


def _use(
    prefix: str,
    module: nn.Module,
    local: str,
    held: LayerParameter | None,
    behind: tuple[Behind, ...],
    through: str,
    shape: tuple[int, ...],
) -> Use:
    known = held is not None and held.layout.shape == shape
    role: Role = held.role if held is not None and known else "unknown"
    layout = held.layout if held is not None and known else Layout(shape, None)
    return Use(prefix + local, module, local, role, layout, behind, through)


def tied(uses: Sequence[Use]) -> list[list[Use]]:
    """The uses of each parameter: known roles come first, and of those the reparametrized ones."""
    groups: dict[object, list[Use]] = {}
    for use in uses:
        groups.setdefault(tuple(_memory(one.parameter) for one in use.behind), []).append(use)
    return [
        sorted(group, key=lambda use: (use.role == "unknown", not use.through))
        for group in groups.values()
    ]


def _memory(parameter: Tensor) -> object:
    """What two parameters share when they are one: the same object, or the same numbers in memory."""
    if (
        type(parameter) is not nn.Parameter
        or parameter.is_meta
        or parameter.layout is not torch.strided
    ):
        return id(parameter)
    return (
        (parameter.device, parameter.data_ptr(), parameter.numel(), parameter.dtype)
        if parameter.data_ptr()
        else id(parameter)
    )


def unknown_layout(use: Use) -> Layout:
    """The layout of a parameter of unknown role that a rule names all the same: as
    ``torch.nn.init`` sees it.
    """
    return tensor_layout(use.parameter) if not use.through else use.layout


def left_out(
    names: Sequence[str], include: Patterns | None, exclude: Patterns | None
) -> dict[str, str]:
    """The names that are not to be touched, each with the reason."""
    included = set(names) if include is None else _matching(names, include, "include")
    excluded = set() if exclude is None else _matching(names, exclude, "exclude")
    return {
        name: "excluded" if name in excluded else "not included"
        for name in names
        if name in excluded or name not in included
    }


def matches(names: Sequence[str], pattern: object, argument: str) -> list[str]:
    """The names that one pattern means; raises `UnknownName` where there are none, with near names."""
    if not isinstance(pattern, str) or not pattern:
        raise UsageError(
            f"{argument}: expected a pattern over parameter names, such as 'encoder.*', not "
            f"{quote(pattern)}."
        )
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise UnknownName.suggest(f"parameter that {argument} could mean", pattern, names)
    return found


def _matching(names: Sequence[str], patterns: Patterns, argument: str) -> set[str]:
    if not isinstance(patterns, Sequence) or (argument == "include" and not patterns):
        raise UsageError(
            f"{argument} takes one or more patterns such as 'encoder.*', not {quote(patterns)}."
        )
    listed = [patterns] if isinstance(patterns, str) else patterns
    return {name for pattern in listed for name in matches(names, pattern, argument)}

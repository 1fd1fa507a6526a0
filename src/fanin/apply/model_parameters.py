"""The parameters of a model: the role and the layout of each, and which ones are tied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fanin.apply.reparametrization import Carrier, find_reparametrized
from fanin.fans import (
    Convention,
    LayerParameter,
    Role,
    WeightLayout,
    describe_parameters,
    get_tensor_layout,
)
from fanin.fans.lazy_layers import get_lazy_roles, has_lazy_parameters
from fanin.structure import unwrap_name


@dataclass(frozen=True)
class ParameterUse:
    """One place of the model that holds a parameter."""

    name: str
    """Qualified; of a reparametrized weight, the name that its layer uses, such as ``0.weight``."""
    module: nn.Module
    local: str
    role: Role
    layout: WeightLayout
    """With fans in the convention that was asked for; `parts` if it is packed."""
    carriers: tuple[Carrier, ...] = field(repr=False)
    """The parameters that carry it: itself, or those of its parametrization."""
    bare_name: str
    """Its name in the model without wrappers, such as torch.compile's or FSDP1's, from which its
    random stream is derived.
    """
    enclosing: tuple[nn.Module, ...] = field(repr=False)
    """The modules around it, from the model to `module`."""
    through: str = ""
    """What it is set through, such as weight_norm; empty for an ordinary parameter."""
    note: str = ""
    """How its role was found, if not by the class of its layer."""
    unknown: str = ""
    """Of an unknown role: why it is not known, in words."""
    waits: bool = False
    """Whether its layer is lazy and has no shape yet; its layout is then empty."""

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter, or the first of those behind it."""
        return self.carriers[0].parameter

    def get_effective_layout(self) -> WeightLayout:
        """The layout with effective fans: strides taken into account."""
        if self.waits:
            return self.layout
        held = describe_parameters(self.module, "effective").get(self.local)
        return (
            held.layout
            if held and held.layout.shape == self.layout.shape and not self.layout.parts
            else self.layout
        )


def find_uses(model: nn.Module, convention: Convention) -> tuple[ParameterUse, ...]:
    """Every parameter at every place where it occurs, in the model's order."""
    carriers_seen: set[tuple[int, str]] = set()
    return tuple(
        use for place in _list_places(model) for use in _list_uses(place, convention, carriers_seen)
    )


def find_layer_uses(
    layer: nn.Module, prefix: str, bare_prefix: str, convention: Convention
) -> tuple[ParameterUse, ...]:
    """The parameters of one layer whose place in its model is known."""
    return tuple(_list_uses(_ModulePlace(prefix, bare_prefix, (layer,)), convention, set()))


def _list_uses(
    place: _ModulePlace, convention: Convention, carriers_seen: set[tuple[int, str]]
) -> Iterator[ParameterUse]:
    module, prefix = place.module, place.prefix
    if has_lazy_parameters(module):
        yield from _list_waiting_uses(place)
        return
    held = describe_parameters(module, convention)
    for found in find_reparametrized(module, prefix):
        carriers_seen |= {(id(one.owner), one.local) for one in found.carriers}
        yield _make_use(
            place, found.local, held.get(found.local), found.carriers, found.through, found.shape
        )
    for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        if (id(module), local) not in carriers_seen:
            carriers = (Carrier(prefix + local, module, local),)
            yield _make_use(place, local, held.get(local), carriers, "", tuple(parameter.shape))


def _list_waiting_uses(place: _ModulePlace) -> Iterator[ParameterUse]:
    """The parameters of a lazy layer, without shapes."""
    roles = get_lazy_roles(place.module)
    for local, _ in place.module.named_parameters(recurse=False, remove_duplicate=False):
        carriers = (Carrier(place.prefix + local, place.module, local),)
        use = _make_use(place, local, None, carriers, "", ())
        yield replace(use, role=roles.get(local, "unknown"), waits=True)


def _make_prefix(path: str) -> str:
    return f"{path}." if path else ""


@dataclass(frozen=True)
class _ModulePlace:
    """One place of the model that holds a module."""

    prefix: str
    bare_prefix: str
    enclosing: tuple[nn.Module, ...]

    @property
    def module(self) -> nn.Module:
        return self.enclosing[-1]


def _list_places(model: nn.Module) -> list[_ModulePlace]:
    """Every place of every module, in the model's order."""
    found: dict[str, tuple[nn.Module, ...]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        found[path] = (*found[path.rpartition(".")[0]], module) if path else (module,)
    return [
        _ModulePlace(_make_prefix(path), _make_prefix(unwrap_name(model, path)), enclosing)
        for path, enclosing in found.items()
    ]


def _make_use(
    place: _ModulePlace,
    local: str,
    held: LayerParameter | None,
    carriers: tuple[Carrier, ...],
    through: str,
    shape: tuple[int, ...],
) -> ParameterUse:
    known = held is not None and held.layout.shape == shape
    role: Role = held.role if held is not None and known else "unknown"
    layout = held.layout if held is not None and known else WeightLayout(shape, None)
    unknown = "" if known else _explain_unknown(place.module, local, held, shape)
    return ParameterUse(
        place.prefix + local,
        place.module,
        local,
        role,
        layout,
        carriers,
        place.bare_prefix + local,
        place.enclosing,
        through,
        unknown=unknown,
    )


def _explain_unknown(
    module: nn.Module, local: str, held: LayerParameter | None, shape: tuple[int, ...]
) -> str:
    """Why the role of a parameter is not known."""
    kind = type(module).__name__
    if held is not None:
        expected, found = ("×".join(map(str, one)) for one in (held.layout.shape, shape))
        return f"{kind} whose {local} is {found}, not {expected}"
    if next(module.children(), None) is not None:
        return f"a parameter of its own in {kind}"
    if type(module).__module__.startswith("torch.nn."):
        return f"{kind}: no rule is about its {local}"
    return f"a layer class that fanin does not know: {_name_class(type(module))}"


def _name_class(kind: type) -> str:
    """The class with the last part of its module, as in ``graph.Linear``."""
    module = kind.__module__.rpartition(".")[2]
    return kind.__name__ if module in ("__main__", "builtins") else f"{module}.{kind.__name__}"


def group_tied(uses: Sequence[ParameterUse]) -> list[list[ParameterUse]]:
    """The uses of each parameter: known roles come first, and of those the reparametrized ones."""
    groups: dict[object, list[ParameterUse]] = {}
    for use in uses:
        groups.setdefault(
            tuple(_identify_memory(one.parameter) for one in use.carriers), []
        ).append(use)
    return [
        sorted(group, key=lambda use: (use.role == "unknown", not use.through))
        for group in groups.values()
    ]


def _identify_memory(parameter: Tensor) -> object:
    """What two parameters share if they are one: the object, or the numbers in memory."""
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


def is_matrix_like(shape: Sequence[int]) -> bool:
    """Whether a parameter of this shape could hold maps: a class token or a scale that is written
    with more axes than one could not.
    """
    return len(shape) >= 2 and shape[0] > 1 and math.prod(shape) > max(shape)


def infer_layout(use: ParameterUse) -> WeightLayout:
    """The layout of a parameter of unknown role that a rule names: as ``torch.nn.init`` sees it.

    Of more than two axes nobody knows which are a kernel and which count maps, so that it has no
    fans.
    """
    shape = use.layout.shape
    return get_tensor_layout(shape) if len(shape) <= 2 else WeightLayout(shape, None)

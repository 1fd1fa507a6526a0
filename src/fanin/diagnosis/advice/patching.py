"""Apply patches to a model in place.

Everything is checked before the first number is written, so an error leaves the model unchanged.
Parameters are named as in the bare model: without wrappers such as torch.compile's, and a
parametrized weight as its layer calls it. A parameter that has several names (tied weights) is
changed once, whichever of them a patch lists. A frozen parameter is changed as well: a patch names
what it means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, get_args

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.apply import initialize, reparametrization
from fanin.apply.model_parameters import ParameterUse, find_uses, group_tied
from fanin.diagnosis.patch import Operation, Patch
from fanin.errors import FitError, UnknownName, UsageError, quote
from fanin.initializers import get
from fanin.initializers.initializer import unfillable
from fanin.structure import unwrap_name


def apply_patch(model: nn.Module, patch: Patch, *, seed: int, batch: Any = None) -> None:
    """Apply one patch to a model in place; see `apply_patches`."""
    apply_patches(model, (patch,), seed=seed, batch=batch)


def apply_patches(
    model: nn.Module, patches: Sequence[Patch], *, seed: int, batch: Any = None
) -> None:
    """Apply patches to a model in place, in their order.

    ``initialize`` goes through `fanin.initialize`, so that fans, packed parts and random streams
    are those that it gives each parameter; with `rows`, all rows are drawn and the others put back.
    ``set`` and ``scale`` write numbers of the parameter's own dtype; a parametrized weight is
    set through its parametrization. ``train`` changes no number.

    Args:
        model: the module, bare or wrapped.
        patches: what to change.
        seed: of the numbers that ``initialize`` draws.
        batch: inputs of a forward pass that shows which maps a layer packs, as in
            `fanin.initialize`.

    Raises:
        UnknownName: no parameter has that name, or no initializer.
        UsageError: an operation that there is not, a value that is no number, rows out of range.
        FitError: a parameter without memory, with numbers that cannot be written, or that the
            initializer does not fit.
    """
    seeds.check_seed(seed)
    places = find_places(model)
    for patch in patches:
        _check(patch, places)
    for joint, group in groupby(patches, lambda patch: _is_joint(patch)):
        if joint:
            _initialize(model, list(group), places, seed, batch)
        else:
            for patch in group:
                _apply(model, patch, places, seed, batch)


@dataclass(frozen=True)
class ParameterPlace:
    """What a bare name means: a parameter, or the weight that a layer computes from others."""

    name: str
    """The qualified name, by which `fanin.initialize` knows it."""
    identity: int
    """Equal for the names of one parameter."""
    parameter: nn.Parameter
    """Itself, or one of those behind it."""
    use: ParameterUse

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight that the layer uses, or of the parameter."""
        return self.use.layout.shape if self.is_computed else tuple(self.parameter.shape)

    @property
    def is_computed(self) -> bool:
        """Whether it is a reparametrized weight, and not one of the parameters behind it."""
        return bool(self.use.through) and self.name == self.use.name


def find_places(model: nn.Module) -> dict[str, ParameterPlace]:
    """Every parameter of a model by its bare name; those behind a reparametrized weight too."""
    found: dict[str, ParameterPlace] = {}
    behind: dict[str, ParameterPlace] = {}
    for identity, group in enumerate(group_tied(find_uses(model, "kernel"))):
        for use in group:
            found[use.bare_name] = ParameterPlace(use.name, identity, use.parameter, use)
            for one in use.carriers if use.through else ():
                place = ParameterPlace(one.name, id(one.parameter), one.parameter, use)
                behind[unwrap_name(model, one.name)] = place
    return behind | found


def list_distinct(patch: Patch, places: Mapping[str, ParameterPlace]) -> list[ParameterPlace]:
    """The places that a patch names, each parameter once."""
    named = [places[name] for name in patch.parameters]
    return list({place.identity: place for place in reversed(named)}.values())[::-1]


# --- checks -------------------------------------------------------------------------------------


def _check(patch: Patch, places: Mapping[str, ParameterPlace]) -> None:
    if patch.operation not in get_args(Operation):
        raise UnknownName.suggest("operation of a patch", patch.operation, get_args(Operation))
    initializer = get(patch.initializer if patch.operation == "initialize" else "zero")
    for name in patch.parameters:
        if name not in places:
            raise UnknownName.suggest("parameter of the model", name, places)
        place = places[name]
        reason = unfillable(place.parameter, initializer)
        if reason:
            raise FitError(f"{name} cannot be changed, and nothing was: it {reason}.")
        if place.is_computed and (
            reason := reparametrization.find_obstacle(place.use.module, place.use.local)
        ):
            raise FitError(f"{name} cannot be changed, and nothing was: it {reason}.")
        _check_rows(patch, name, place.shape)
        _check_value(patch, name, place.shape)


def _check_rows(patch: Patch, name: str, shape: tuple[int, ...]) -> None:
    if patch.rows is None:
        return
    size = shape[0] if shape else 0
    start, stop = patch.rows
    if not 0 <= start < stop <= size:
        raise UsageError(
            f"The patch changes rows {start} to {stop} of {name}, which has {size}. Expected 0 <= "
            f"start < stop <= {size}."
        )


def _check_value(patch: Patch, name: str, shape: tuple[int, ...]) -> None:
    """A finite number, or as many numbers as the vector has entries."""
    if patch.operation in ("initialize", "train"):
        return
    several = isinstance(patch.value, tuple)
    numbers: tuple[object, ...] = patch.value if isinstance(patch.value, tuple) else (patch.value,)
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        raise UsageError(f"A patch sets numbers, not {quote(patch.value)}.")
    if not several:
        return
    start, stop = patch.rows or (0, shape[0] if shape else 0)
    if len(shape) != 1 or len(numbers) != stop - start:
        raise FitError(
            f"The patch has {len(numbers)} numbers for {name} of shape {shape}. Several numbers "
            f"are for a vector, one for each entry; for anything else give one number."
        )


# --- changes ------------------------------------------------------------------------------------


def _is_joint(patch: Patch) -> bool:
    """Whether it can be drawn together with others by one call of `fanin.initialize`."""
    return patch.operation == "initialize" and patch.rows is None


def _initialize(
    model: nn.Module,
    patches: Sequence[Patch],
    places: Mapping[str, ParameterPlace],
    seed: int,
    batch: Any,
) -> None:
    """Draw parameters anew; of several patches for one, the last counts."""
    rules = {
        place.use.bare_name: (patch.initializer, place)
        for patch in patches
        for place in list_distinct(patch, places)
    }
    if not rules:
        return
    carriers = [one.parameter for _, place in rules.values() for one in place.use.carriers]
    with _make_trainable(carriers):
        initialize(
            model,
            {name: spec for name, (spec, _) in rules.items()},
            default="keep",
            only=list(rules),
            loaded={},
            seed=seed,
            batch=batch,
        )


def _apply(
    model: nn.Module, patch: Patch, places: Mapping[str, ParameterPlace], seed: int, batch: Any
) -> None:
    for place in list_distinct(patch, places):
        if patch.operation == "train":
            for one in place.use.carriers:
                one.parameter.requires_grad_()
        elif patch.operation == "initialize":
            before = _read(place)
            whole = replace(patch, parameters=(place.name,), rows=None)
            _initialize(model, [whole], {place.name: place}, seed, batch)
            after = _read(place)
            _narrow(before, patch).copy_(_narrow(after, patch))
            _write(place, before, seed)
        else:
            values = _read(place)
            _change(_narrow(values, patch), patch)
            _write(place, values, seed)


def _narrow(values: Tensor, patch: Patch) -> Tensor:
    return values if patch.rows is None else values[slice(*patch.rows)]


def _change(values: Tensor, patch: Patch) -> None:
    # In single precision at least, so that half a precision is rounded once.
    half = values.dtype in (torch.float16, torch.bfloat16)
    wide = values.float() if half else values
    numbers = torch.tensor(patch.value, dtype=wide.dtype, device=wide.device)
    values.copy_(numbers.expand_as(wide) if patch.operation == "set" else wide * numbers)


@torch.no_grad()
def _read(place: ParameterPlace) -> Tensor:
    """A copy of the numbers."""
    if place.is_computed:
        return reparametrization.read(place.use.module, place.use.local).clone()
    return place.parameter.detach().clone()


@torch.no_grad()
def _write(place: ParameterPlace, values: Tensor, seed: int) -> None:
    use = place.use
    if not place.is_computed:
        place.parameter.copy_(values)
        return
    generator = seeds.make_generator(seed, "init", use.bare_name)
    directions = seeds.standard_normal(tuple(values.shape), generator)
    with seeds.preserve_torch_state(seeds.derive_stream(seed, "reparametrize", use.bare_name)):
        reparametrization.write(use.module, use.local, values, directions)


@contextmanager
def _make_trainable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """`fanin.initialize` leaves frozen parameters alone; a patch means them."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)

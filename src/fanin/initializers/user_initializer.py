"""A user's own initializer: a function that fills a tensor, or one that makes a fanin initializer.

``my_init_(tensor, *, option=default, …, generator)`` fills a tensor in place, as those of
``torch.nn.init`` do. A function that has parameters `fan_in` or `fan_out` is told the true fans of
the layer. ``make(*, option=default, …)`` returns an initializer, such as ``fanin.get("he_normal")``
or an instance of a class of the user's own.

Either way the result is an `Initializer` whose name is the target and whose fields are the options,
so that its spec, its record and a cell's identity say what the user wrote.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from fanin import fans, seeds, user_code
from fanin.errors import FitError
from fanin.fans import Layout
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelParameter
from fanin.registry import UserEntry
from fanin.user_code import INITIALIZER, INITIALIZER_FILL, UserComponent

_ONE_AT_A_TIME = threading.RLock()
"""Weights of large models are filled by several threads; a user's code may draw from the one global
generator.
"""


class _Own(Initializer):
    component: ClassVar[UserComponent]


class Filling(_Own):
    """A function that fills a tensor in place.

    It is called with zeros of the weight's shape, contiguous fp32 on the CPU. `generator` is at the
    start of the weight's stream; torch's global generator, for functions that have no such
    parameter, starts from a number that is drawn from it.
    """

    def sample(self, layout: Layout, generator: torch.Generator) -> Tensor:
        """What the function leaves in the tensor; a `FitError` where it fails, or leaves numbers
        that are not finite.
        """
        component = self.component
        tensor = torch.zeros(layout.shape, dtype=torch.float32, device="cpu")
        given: dict[str, Any] = {"generator": generator}
        if "fan_in" in component.accepts or "fan_out" in component.accepts:
            known = fans.require_fans(layout)
            given |= {"fan_in": known.fan_in, "fan_out": known.fan_out}
        start = (
            generator.initial_seed() & 0xFFFFFFFF
            if "generator" in component.accepts
            else _drawn(generator)
        )
        with _ONE_AT_A_TIME, torch.no_grad(), torch.device("cpu"):
            came = component.call(self, tensor, seed=start, **given)
        if came is not None and not (
            isinstance(came, Tensor) and came.data_ptr() == tensor.data_ptr()
        ):
            raise component.make_return_error(
                came, "" if not isinstance(came, Tensor) else "another tensor"
            )
        return _sound(tensor, component, layout)

    def intended_std(self, layout: Layout) -> None:
        """None: only the function knows. It is tried, so that one that does not fit is found before
        anything is written.
        """
        _try(self, layout)


class Making(_Own):
    """A function that makes a fanin initializer, which does the work."""

    def check(self) -> None:
        """Make it, so that a mistake is found now."""
        _inner(self)

    @property
    def deterministic(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _inner(self).deterministic

    @property
    def packs(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _inner(self).packs

    @property
    def gate_bias(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _inner(self).gate_bias

    @property
    def gaussian(self) -> bool:
        """As the initializer that was made."""
        return _inner(self).gaussian

    def sample(self, layout: Layout, generator: torch.Generator) -> Tensor:
        """What the initializer that was made draws."""
        inner, start = _inner(self), generator.initial_seed() & 0xFFFFFFFF
        with _ONE_AT_A_TIME, self.component.guard(f"{inner} of {self}", start):
            return _sound(inner.sample(layout, generator), self.component, layout)

    def intended_std(self, layout: Layout) -> float | None:
        """What the initializer that was made intends."""
        return _inner(self).intended_std(layout)


class MakingModelLevel(ModelInitializer):
    """A function that makes an initializer of whole models."""

    component: ClassVar[UserComponent]

    def check(self) -> None:
        """Make it, so that a mistake is found now."""
        _inner(self)

    @property
    def follows(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _model_level(self).follows

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """What the initializer that was made chooses."""
        return _model_level(self).assign(sites)


def load_entry(reference: str) -> UserEntry:
    """The entry of a user's initializer.

    Raises what `fanin.user_code.load_component` raises; making the initializer raises `FitError` if
    the function that should return an initializer returns something else.
    """
    function = user_code.load(reference).function
    contract = INITIALIZER_FILL if _fills(function) else INITIALIZER
    component = user_code.load_component(reference, contract)
    if contract is INITIALIZER_FILL:
        return UserEntry(
            component.name, user_code.derive_class(component, Filling), lambda filling: filling
        )
    return UserEntry(component.name, component.options, partial(_make, component))


def _make(component: UserComponent, options: Any) -> Initializer:
    model_level = isinstance(_made(component, options), ModelInitializer)
    base: type[Initializer] = MakingModelLevel if model_level else Making
    made: Initializer = user_code.derive_class(component, base)(**vars(options))
    return made


def _fills(function: Any) -> bool:
    """Whether something must be passed to a function: then that is the tensor. A class of
    initializers takes options only.
    """
    if isinstance(function, type) and issubclass(function, Initializer):
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        for parameter in user_code.read_parameters(function, "")
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    )


def _made(component: UserComponent, options: Any) -> Initializer:
    came = component.call(options)
    if not isinstance(came, Initializer):
        raise component.make_return_error(came)
    return came


@lru_cache(maxsize=1024)
def _inner(outer: Making | MakingModelLevel) -> Initializer:
    return _made(outer.component, outer)


def _model_level(outer: MakingModelLevel) -> ModelInitializer:
    inner = _inner(outer)
    if not isinstance(inner, ModelInitializer):
        raise FitError(
            f"{outer} made {inner}, which fills one tensor, and before that an initializer of "
            "whole models."
        )
    return inner


@lru_cache(maxsize=1024)
def _try(outer: Filling, layout: Layout) -> None:
    outer.sample(layout, seeds.make_generator(0, "try", outer.spec))


def _sound(drawn: Tensor, component: UserComponent, layout: Layout) -> Tensor:
    """What was drawn, if it is a weight of that layout."""
    if tuple(drawn.shape) != layout.shape or drawn.dtype != torch.float32:
        raise component.make_return_error(
            drawn,
            f"{drawn.dtype} of shape {tuple(drawn.shape)} for a weight of shape {layout.shape} in "
            "float32",
        )
    if not drawn.isfinite().all():
        raise component.make_return_error(
            drawn, f"numbers that are not finite, for a weight of shape {layout.shape}"
        )
    return drawn.contiguous()


def _drawn(generator: torch.Generator) -> int:
    """A number from the generator, from which another one may start."""
    return int(torch.randint(2**32, (), generator=generator, device="cpu"))


REGISTRY.load_user_entries_with(load_entry)

"""User initializers: functions that fill a tensor, or that make a fanin initializer.

``my_init_(tensor, *, option=default, …, generator)`` fills a tensor in place, as the functions of
``torch.nn.init`` do. If it has a parameter `fan_in` or `fan_out`, it receives the true fans of the
layer. ``make(*, option=default, …)`` returns an initializer, such as ``fanin.get("he_normal")`` or
an instance of a class of the user's.

Either way the result is an `Initializer` whose name is the reference and whose fields are the
options, so that its spec, its record and a cell's identity say what the user wrote.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Mapping
from functools import cache, lru_cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from fanin import fans, seeds, user_code
from fanin.errors import FitError, SpecError
from fanin.fans import WeightLayout
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY
from fanin.initializers.model_level import FitSession, ModelInitializer, ModelPlan, ModelView
from fanin.registry import UserEntry
from fanin.user_code import INITIALIZER, INITIALIZER_FILL, UserComponent

_USER_CODE_LOCK = threading.RLock()
"""Several threads fill the weights of large models, and a user's code may draw from torch's one
global generator.
"""


class FillFunction(Initializer):
    """A function that fills a tensor in place.

    It is called with zeros of the weight's shape, contiguous fp32 on the CPU. `generator` is at the
    start of the weight's stream. Torch's global generator, for functions that have no such
    parameter, is seeded with a number drawn from `generator`.
    """

    user_component: ClassVar[UserComponent]

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """What the function leaves in the tensor.

        Raises `FitError` if the function fails or leaves numbers that are not finite.
        """
        component = self.user_component
        tensor = torch.zeros(layout.shape, dtype=torch.float32, device="cpu")
        optional: dict[str, Any] = {"generator": generator}
        if "fan_in" in component.accepts or "fan_out" in component.accepts:
            layer_fans = fans.require_fans(layout)
            optional |= {"fan_in": layer_fans.fan_in, "fan_out": layer_fans.fan_out}
        takes_generator = "generator" in component.accepts
        seed = _read_low_32_bits(generator) if takes_generator else _draw_seed(generator)
        with _USER_CODE_LOCK, torch.no_grad(), torch.device("cpu"):
            returned = component.call(self, tensor, seed=seed, **optional)
        is_tensor = isinstance(returned, Tensor)
        if returned is not None and not (is_tensor and returned.data_ptr() == tensor.data_ptr()):
            raise component.make_return_error(returned, "another tensor" if is_tensor else "")
        return _require_weight(tensor, component, layout)

    def intended_std(self, layout: WeightLayout) -> None:
        """None, because only the function knows.

        The function is tried once, so that one that does not fit fails before anything is written.
        """
        _try_sampling(self, layout)


class InitializerFactory(Initializer):
    """A function that makes a fanin initializer, which does the work."""

    user_component: ClassVar[UserComponent]

    def check(self) -> None:
        """Make the initializer, so that a mistake is found now."""
        _make_inner(self)

    @property
    def deterministic(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _make_inner(self).deterministic

    @property
    def packs(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _make_inner(self).packs

    @property
    def gate_bias(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return _make_inner(self).gate_bias

    @property
    def gaussian(self) -> bool:
        """As the initializer that was made."""
        return _make_inner(self).gaussian

    @property
    def intended_mean(self) -> float:
        """As the initializer that was made."""
        return _make_inner(self).intended_mean

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """What the initializer that was made draws."""
        inner, component = _make_inner(self), self.user_component
        with _USER_CODE_LOCK, component.guard(f"{inner} of {self}", _read_low_32_bits(generator)):
            return _require_weight(inner.sample(layout, generator), component, layout)

    def intended_std(self, layout: WeightLayout) -> float | None:
        """What the initializer that was made intends."""
        return _make_inner(self).intended_std(layout)


class ModelInitializerFactory(ModelInitializer):
    """A function that makes an initializer of whole models."""

    user_component: ClassVar[UserComponent]

    def check(self) -> None:
        """Make the initializer, so that a mistake is found now."""
        _make_inner(self)

    @property
    def follows(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return self._make_model_level().follows

    @property
    def structured(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return self._make_model_level().structured

    @property
    def fits(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return self._make_model_level().fits

    @property
    def needs_loss(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return self._make_model_level().needs_loss

    @property
    def covers_unknown(self) -> bool:  # type: ignore[override]
        """As the initializer that was made."""
        return self._make_model_level().covers_unknown

    def plan(self, view: ModelView) -> ModelPlan:
        """What the initializer that was made plans."""
        return self._make_model_level().plan(view)

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """What the initializer that was made fits."""
        return self._make_model_level().fit(session)

    def _make_model_level(self) -> ModelInitializer:
        inner = _make_inner(self)
        if not isinstance(inner, ModelInitializer):
            raise FitError(
                f"{self} returned an initializer of whole models before, and now {inner}, which "
                "fills one tensor. Return the same initializer for the same options."
            )
        return inner


def load_entry(reference: str) -> UserEntry:
    """The entry of a user's initializer.

    Raises what `fanin.user_code.load_component` raises. Making the initializer raises `FitError` if
    a function that should return an initializer returns something else.
    """
    function = user_code.load(reference).function
    contract = INITIALIZER_FILL if _takes_tensor(function) else INITIALIZER
    component = user_code.load_component(reference, contract)
    if contract is INITIALIZER_FILL:
        return UserEntry(component.name, _derive_class(component, FillFunction), _return_as_is)
    return UserEntry(component.name, component.options, partial(_make, component))


def _takes_tensor(function: Any) -> bool:
    """Whether a function fills a tensor: whether it has a positional parameter without a default.

    A class of initializers never does: its parameters are options.
    """
    if isinstance(function, type) and issubclass(function, Initializer):
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        for parameter in user_code.read_parameters(function, "")
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    )


@cache
def _derive_class(component: UserComponent, base: type[Initializer]) -> type[Initializer]:
    """The frozen dataclass, derived from `base`, whose fields are the options of the component."""
    options = dataclasses.fields(component.options)
    for option in options:
        if option.name in {"name", "user_component", *dir(base)}:
            raise SpecError(
                f"{component.name} has an option {option.name}, which is the name of an attribute "
                "of every initializer. Rename the parameter."
            )
    return dataclasses.make_dataclass(
        component.name.rpartition(":")[2],
        [
            (option.name, option.type, dataclasses.field(default=option.default))
            for option in options
        ],
        bases=(base,),
        namespace={"name": component.name, "user_component": component},
        frozen=True,
        kw_only=True,
    )


def _return_as_is(initializer: Initializer) -> Initializer:
    return initializer


def _make(component: UserComponent, options: Any) -> Initializer:
    is_model_level = isinstance(_call_factory(component, options), ModelInitializer)
    base = ModelInitializerFactory if is_model_level else InitializerFactory
    return _derive_class(component, base)(**vars(options))


def _call_factory(component: UserComponent, options: Any) -> Initializer:
    returned = component.call(options)
    if not isinstance(returned, Initializer):
        raise component.make_return_error(returned)
    return returned


@lru_cache(maxsize=1024)
def _make_inner(factory: InitializerFactory | ModelInitializerFactory) -> Initializer:
    return _call_factory(factory.user_component, factory)


@lru_cache(maxsize=1024)
def _try_sampling(fill: FillFunction, layout: WeightLayout) -> None:
    fill.sample(layout, seeds.make_generator(0, "try", fill.spec))


def _require_weight(drawn: Tensor, component: UserComponent, layout: WeightLayout) -> Tensor:
    """The tensor, if it is a weight of that layout; `FitError` if it is not."""
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


def _read_low_32_bits(generator: torch.Generator) -> int:
    return generator.initial_seed() & 0xFFFFFFFF


def _draw_seed(generator: torch.Generator) -> int:
    """A number from the generator, with which another generator may be seeded."""
    return int(torch.randint(2**32, (), generator=generator, device="cpu"))


REGISTRY.load_user_entries_with(load_entry)

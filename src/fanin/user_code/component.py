"""A user's own part: the callable that a target names, its options, and calling it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, TypeVar

from fanin import seeds, specs
from fanin.errors import FaninError, FitError, SpecError, quote
from fanin.registry import Component
from fanin.user_code.callables import Loaded, line_of, load, said
from fanin.user_code.contracts import Contract
from fanin.user_code.signature import divided, options_class, parameters_of


@dataclass(frozen=True)
class UserComponent:
    """A loaded target under the contract of its kind."""

    loaded: Loaded
    contract: Contract
    options: type
    """A frozen dataclass, as `specs.construct` and `specs.render_canonical` take it."""
    taken: tuple[str, ...]
    """What of `Contract.offered` the callable has parameters for."""

    @property
    def name(self) -> str:
        """The target, which is the part's name in specs."""
        return self.loaded.target

    def call(self, options: Any, *passed: Any, seed: int | None = None, **offered: Any) -> Any:
        """What the callable returns.

        Args:
            options: an instance of `options`, or of another dataclass with these fields.
            passed: a value for each of `Contract.passed`.
            seed: where torch's global generator starts from inside, for code that draws from it.
            offered: values of `Contract.offered`; those that the callable has no parameter for are
                left out.

        The caller's random state of torch and of Python is where it was. Raises `FitError` where
        the callable raises anything but an error of fanin's own.
        """
        given = {field.name: getattr(options, field.name) for field in fields(self.options)}
        given |= {name: value for name, value in offered.items() if name in self.taken}
        with self.running(specs.render_canonical(self.name, options), seed):
            return self.loaded.function(*passed, **given)

    @contextmanager
    def running(self, doing: str, seed: int | None = None) -> Iterator[None]:
        """Inside, the user's code runs: the random state is put back, errors become a `FitError`
        that begins with `doing`.
        """
        try:
            with seeds.preserve_torch_state(seed), seeds.preserve_python_state():
                yield
        except FaninError:
            raise
        except (Exception, SystemExit) as error:
            raise FitError(
                f"{doing} raised {said(error)}{line_of(error, self.loaded.file)}."
            ) from error

    def refused(self, received: object, why: str = "") -> FitError:
        """What to raise where the callable returned something else than its contract says."""
        came = (
            quote(received, 60)
            if received is None
            else f"{quote(received, 60)} ({type(received).__name__})"
        )
        return FitError(
            f"{self.name} must return {self.contract.returns}; it returned {why or came}."
        )


ComponentT = TypeVar("ComponentT", bound=Component)


@cache
def derive_class(component: UserComponent, base: type[ComponentT]) -> type[ComponentT]:
    """The frozen dataclass, derived from `base`, whose fields are the options of the component.

    Its class attribute `part` is the component. Raises `SpecError` for an option that has the name
    of an attribute of `base`.
    """
    options = fields(component.options)
    for option in options:
        if option.name in {"name", "part", *dir(base)}:
            raise SpecError(
                f"{component.name} has an option {option.name}, a name that fanin uses itself. "
                "Rename it."
            )
    return make_dataclass(
        component.name.rpartition(":")[2],
        [(option.name, option.type, field(default=option.default)) for option in options],
        bases=(base,),
        namespace={"name": component.name, "part": component},
        frozen=True,
        kw_only=True,
    )


def load_component(target: str, contract: Contract) -> UserComponent:
    """The part that a target names, of the kind that the contract describes.

    The same target with the same content is the same part, so that options made of it twice are
    equal. Raises what `fanin.user_code.load` raises, `UserCodeError` where the callable cannot be
    called as the contract says, and `SpecError` for an option that no spec can write.
    """
    return _part(load(target), contract)


@cache
def _part(loaded: Loaded, contract: Contract) -> UserComponent:
    taken, options = divided(parameters_of(loaded.function, loaded.target), contract, loaded.target)
    return UserComponent(loaded, contract, options_class(options, loaded.target), taken)

"""A user's own component: the callable that a target names, its options, and calling it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from fanin import seeds, specs
from fanin.errors import FaninError, FitError, quote
from fanin.user_code.callables import LoadedCallable, describe_error, load, locate_error
from fanin.user_code.contracts import Contract
from fanin.user_code.signature import make_options_class, read_parameters, split_parameters


@dataclass(frozen=True)
class UserComponent:
    """A loaded target under the contract of its kind."""

    loaded: LoadedCallable
    contract: Contract
    options: type
    """A frozen dataclass, as `specs.construct` and `specs.render_canonical` take it."""
    accepts: tuple[str, ...]
    """What of `Contract.optional` the callable has parameters for."""

    @property
    def name(self) -> str:
        """The reference, which is the part's name in specs."""
        return self.loaded.reference

    def call(self, options: Any, *passed: Any, seed: int | None = None, **offered: Any) -> Any:
        """What the callable returns.

        Args:
            options: an instance of `options`, or of another dataclass with these fields.
            passed: a value for each of `Contract.positional`.
            seed: where torch's global generator starts from inside, for code that draws from it.
            offered: values of `Contract.optional`; those that the callable has no parameter for are
                left out.

        The caller's random state of torch and of Python is where it was. Raises `FitError` where
        the callable raises anything but an error of fanin's own.
        """
        given = {field.name: getattr(options, field.name) for field in fields(self.options)}
        given |= {name: value for name, value in offered.items() if name in self.accepts}
        with self.guard(specs.render_canonical(self.name, options), seed):
            return self.loaded.function(*passed, **given)

    @contextmanager
    def guard(self, doing: str, seed: int | None = None) -> Iterator[None]:
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
                f"{doing} raised {describe_error(error)}{locate_error(error, self.loaded.file)}."
            ) from error

    def make_return_error(self, received: object, why: str = "") -> FitError:
        """What to raise where the callable returned something else than its contract says."""
        came = (
            quote(received, 60)
            if received is None
            else f"{quote(received, 60)} ({type(received).__name__})"
        )
        return FitError(
            f"{self.name} must return {self.contract.returns}; it returned {why or came}."
        )


def load_component(reference: str, contract: Contract) -> UserComponent:
    """The part that a target names, of the kind that the contract describes.

    The same target with the same content is the same component, so that options made of it twice are
    equal. Raises what `fanin.user_code.load` raises, `UserCodeError` where the callable cannot be
    called as the contract says, and `SpecError` for an option that no spec can write.
    """
    return _make_component(load(reference), contract)


@cache
def _make_component(loaded: LoadedCallable, contract: Contract) -> UserComponent:
    taken, options = split_parameters(
        read_parameters(loaded.function, loaded.reference), contract, loaded.reference
    )
    return UserComponent(loaded, contract, make_options_class(options, loaded.reference), taken)

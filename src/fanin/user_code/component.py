"""A user component: the callable that a reference names, its options, and how it is called."""

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
    """A loaded callable under the contract of its kind."""

    loaded: LoadedCallable
    contract: Contract
    options: type
    """A frozen dataclass for `specs.construct` and `specs.render_canonical`."""
    accepts: tuple[str, ...]
    """The arguments in `Contract.optional` that the callable has parameters for."""

    @property
    def name(self) -> str:
        """The reference, which is the name of the component in specs."""
        return self.loaded.reference

    def call(self, options: Any, *positional: Any, seed: int | None = None, **optional: Any) -> Any:
        """What the callable returns.

        Args:
            options: an instance of `options`, or of another dataclass with these fields.
            positional: a value for each of `Contract.positional`.
            seed: the seed of torch's global generator during the call, for code that draws from it.
            optional: values of `Contract.optional`; those that the callable has no parameter for
                are left out.

        The caller's random state of torch and Python is not moved. Raises `FitError` if the
        callable raises anything but an error of fanin.
        """
        keywords = {field.name: getattr(options, field.name) for field in fields(self.options)}
        keywords |= {name: value for name, value in optional.items() if name in self.accepts}
        with self.guard(specs.render_canonical(self.name, options), seed):
            return self.loaded.function(*positional, **keywords)

    @contextmanager
    def guard(self, subject: str, seed: int | None = None) -> Iterator[None]:
        """A context in which user code may run.

        The random state is restored at the end, and an error becomes a `FitError` whose text begins
        with `subject`.
        """
        try:
            with seeds.preserve_torch_state(seed), seeds.preserve_python_state():
                yield
        except FaninError:
            raise
        except (Exception, SystemExit) as error:
            raise FitError(
                f"{subject} raised {describe_error(error)}{locate_error(error, self.loaded.file)}."
            ) from error

    def make_return_error(
        self, returned: object, description: str = "", verb: str = "returned"
    ) -> FitError:
        """The error to raise if the callable returned something else than its contract says.

        Args:
            returned: what it returned.
            description: `returned` in words; by default its repr and its type.
            verb: how it gave that: it ``returned``, ``yielded`` or ``reported``.
        """
        if not description:
            kind = "" if returned is None else f" ({type(returned).__name__})"
            description = f"{quote(returned, 60)}{kind}"
        return FitError(
            f"{self.name} must return {self.contract.returns}; it {verb} {description}."
        )


def load_component(reference: str, contract: Contract) -> UserComponent:
    """The user component of a reference, of the kind that the contract describes.

    The same reference with the same content gives the same component, so that options made from it
    twice are equal. Raises what `fanin.user_code.load` raises, `UserCodeError` if the callable
    cannot be called as the contract says, and `SpecError` for an option that no spec can write.
    """
    return _make_component(load(reference), contract)


@cache
def _make_component(loaded: LoadedCallable, contract: Contract) -> UserComponent:
    reference = loaded.reference
    parameters = read_parameters(loaded.function, reference)
    accepts, options = split_parameters(parameters, contract, reference)
    return UserComponent(loaded, contract, make_options_class(options, reference), accepts)

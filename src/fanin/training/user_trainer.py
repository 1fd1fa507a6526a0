"""Users' trainers: functions that train in place of fanin's own loop, named by a reference.

``train(initialize, *, option=default, …, seed)`` receives what it calls on its model, and by name
what it has parameters for (`fanin.user_code.TRAINER`). `fanin.training.own_training` calls it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from fanin import specs, user_code
from fanin.cell.directions import Direction, strip_subset
from fanin.errors import UserCodeError, quote
from fanin.registry import Registry, UserEntry, is_name


@dataclass(frozen=True)
class UserTrainer:
    """A user's function that trains, and its options."""

    component: user_code.UserComponent
    options: Any

    @property
    def spec(self) -> str:
        """The canonical spec: the reference and the options."""
        return specs.render_canonical(self.component.name, self.options)

    @property
    def accepts(self) -> tuple[str, ...]:
        """What the function takes by name, besides its options."""
        return self.component.accepts

    def read_defaults(self) -> dict[str, Any]:
        """The defaults that the function itself gives to what fanin passes, such as epochs=5."""
        loaded = self.component.loaded
        parameters = user_code.read_parameters(loaded.function, loaded.reference)
        return {
            p.name: p.default
            for p in parameters
            if p.name in self.accepts and p.default is not inspect.Parameter.empty
        }

    def read_directions(self) -> dict[str, Direction]:
        """Metric → ``max`` or ``min``, from the function's attribute `better`.

        Raises `UserCodeError` for an attribute that says something else.
        """
        declared = getattr(self.component.loaded.function, "better", {})
        if not isinstance(declared, Mapping) or not all(
            is_name(name) and way in get_args(Direction) for name, way in declared.items()
        ):
            function = self.component.name.rpartition(":")[2]
            raise UserCodeError(
                f"{self.component.name} has an attribute better that says {quote(declared)}. "
                f'Expected metrics and which way is better: {function}.better = {{"reward": '
                '"max"}, or "min".'
            )
        return {strip_subset(name): way for name, way in declared.items()}


def load_entry(reference: str) -> UserEntry:
    """The entry of a user's trainer."""
    component = user_code.load_component(reference, user_code.TRAINER)
    return UserEntry(component.name, component.options, partial(_make, component))


def _make(component: user_code.UserComponent, options: Any) -> UserTrainer:
    trainer = UserTrainer(component, options)
    trainer.read_directions()  # so that a mistake is found while the study is planned
    return trainer


REGISTRY: Registry[UserEntry, UserTrainer] = Registry("trainer", UserEntry)

REGISTRY.load_user_entries_with(load_entry)

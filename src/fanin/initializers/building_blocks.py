"""Initializers that only methods for whole models use: a record names them, the catalogue does not.

Their specs begin with ``part:``, so that a record's rule can be made and drawn again.
"""

from __future__ import annotations

from dataclasses import dataclass

from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY as INITIALIZERS
from fanin.registry import ComponentEntry, Registry


@dataclass(frozen=True, kw_only=True)
class BuildingBlock(ComponentEntry):
    """The entry of an initializer that a method for whole models gives to single weights."""

    component: type[Initializer]

    @property
    def name(self) -> str:
        """The name after ``part:``."""
        return self.component.name.removeprefix("part:")


REGISTRY: Registry[BuildingBlock, Initializer] = Registry("part", BuildingBlock)
INITIALIZERS.include(REGISTRY)

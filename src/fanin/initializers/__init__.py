"""Initializers: a file in this folder that registers an `InitializerEntry` is all that one takes.

The classes of all registered initializers can be imported from here: `HeNormal`, `Orthogonal`, …
"""

from __future__ import annotations

from typing import Any

from fanin.initializers.initializer import Initializer as Initializer
from fanin.initializers.initializer_entry import REGISTRY as REGISTRY
from fanin.initializers.initializer_entry import InitializerEntry as InitializerEntry
from fanin.initializers.initializer_entry import Paper as Paper
from fanin.initializers.initializer_entry import get as get
from fanin.initializers.initializer_entry import names as names
from fanin.registry import import_modules

import_modules(__name__, __path__)


def __getattr__(name: str) -> Any:
    """The class of that name among the registered initializers."""
    for entry in REGISTRY:
        if entry.component.__name__ == name:
            return entry.component
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

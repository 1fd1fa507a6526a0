"""Users' own parts: a target names a callable in a file or an installed package, and stands
wherever a spec's name may.

    loaded = load("my_model.py:make")              # the callable, its file, the SHA-256 of that
    file own = own_part("my_model.py:make", MODEL)      # with its options, read off its signature
    own.call(own.options(width=64), (784,), 10)

What each kind of part is called with, and returns, is a `Contract`; `docs/user-components.md` lists them.
"""

from fanin.user_code.callables import Loaded, load
from fanin.user_code.component import UserComponent, derive_class, load_component
from fanin.user_code.contracts import (
    CONTRACTS,
    DATASET,
    INITIALIZER,
    INITIALIZER_FILL,
    METRIC,
    MODEL,
    OPTIMIZER,
    Contract,
)
from fanin.user_code.signature import parameters_of
from fanin.user_code.source_hashes import is_reference, require_unchanged, sources

__all__ = [
    "CONTRACTS",
    "DATASET",
    "INITIALIZER",
    "INITIALIZER_FILL",
    "METRIC",
    "MODEL",
    "OPTIMIZER",
    "Contract",
    "Loaded",
    "UserComponent",
    "derive_class",
    "is_reference",
    "load",
    "load_component",
    "parameters_of",
    "require_unchanged",
    "sources",
]

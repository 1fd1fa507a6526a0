"""Users' own parts: a target names a callable in a file or an installed package, and stands
wherever a spec's name may.

    loaded = load("my_model.py:make")              # the callable, its file, the SHA-256 of that
    file own = own_part("my_model.py:make", MODEL)      # with its options, read off its signature
    own.call(own.options(width=64), (784,), 10)

What each kind of part is called with, and returns, is a `Contract`; `docs/user-components.md` lists them.
"""

from fanin.user_code.callables import LoadedCallable, load
from fanin.user_code.component import UserComponent, load_component
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
from fanin.user_code.signature import read_parameters
from fanin.user_code.source_hashes import has_reference, hash_sources, require_unchanged

__all__ = [
    "CONTRACTS",
    "DATASET",
    "INITIALIZER",
    "INITIALIZER_FILL",
    "METRIC",
    "MODEL",
    "OPTIMIZER",
    "Contract",
    "LoadedCallable",
    "UserComponent",
    "has_reference",
    "hash_sources",
    "load",
    "load_component",
    "read_parameters",
    "require_unchanged",
]

"""User components: a reference names a callable in a file or an installed package.

A reference may be used wherever a spec may have a name.

    loaded = load("my_model.py:make")  # the callable, its file, and the SHA-256 of the file
    component = load_component("my_model.py:make", MODEL)  # with options, read from its signature
    component.call(component.options(width=64), (784,), 10)

A `Contract` says what each kind of callable receives and returns; `docs/user-components.md` lists
them.
"""

from fanin.user_code.callables import LoadedCallable, load
from fanin.user_code.code_folders import build_worker_variables, look_beside
from fanin.user_code.component import UserComponent, load_component
from fanin.user_code.contracts import (
    CONTRACTS,
    DATASET,
    INITIALIZER,
    INITIALIZER_FILL,
    LOSS,
    METRIC,
    MODEL,
    OPTIMIZER,
    TRAINER,
    Contract,
)
from fanin.user_code.fingerprints import fingerprint
from fanin.user_code.signature import read_parameters
from fanin.user_code.source_hashes import has_reference, hash_sources, require_unchanged
from fanin.user_code.variables import Number, copy_numbers, find_changes, list_names

__all__ = [
    "CONTRACTS",
    "DATASET",
    "INITIALIZER",
    "INITIALIZER_FILL",
    "LOSS",
    "METRIC",
    "MODEL",
    "OPTIMIZER",
    "TRAINER",
    "Contract",
    "LoadedCallable",
    "Number",
    "UserComponent",
    "build_worker_variables",
    "copy_numbers",
    "find_changes",
    "fingerprint",
    "has_reference",
    "hash_sources",
    "list_names",
    "load",
    "load_component",
    "look_beside",
    "read_parameters",
    "require_unchanged",
]

"""Which number of a file belongs to which parameter: names with and without prefixes.

A file that was saved from a wrapped model, or from a larger one, names its numbers otherwise:
``module.fc.weight``, ``_orig_mod.fc.weight``, ``bert.encoder…``. The prefix that makes most names
fit is the one that counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fanin.structure import unwrap_name

_WRAPPERS = re.compile(
    r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_NESTED = 2
"""Checkpoints often keep the numbers one or two levels deep: {"state_dict": …}."""
_DEEPEST = 3
"""Prefixes have at most so many parts."""


@dataclass(frozen=True)
class NameMatch:
    """The tensors of a model and of a file, paired by name."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    """By bare name: what the model holds, and what the file has."""
    missing: tuple[str, ...]
    """Names of the model that the file lacks."""
    unused: tuple[str, ...]
    """Names of the file that the model lacks, as the file writes them."""
    prefix: str
    """What was cut from the file's names (``-module.``) or put before them (``+bert.``)."""


def match_names(model: nn.Module, expected: Mapping[str, Any]) -> NameMatch:
    """Pair the tensors of a model with those of a state dict."""
    held = _list_tensors(model)
    tensors = {k: value for k, value in _unnest(expected).items() if isinstance(value, Tensor)}
    written = {_WRAPPERS.sub("", name): name for name in tensors}
    given = {name: tensors[old] for name, old in written.items()}
    prefix = _choose_prefix(held, given)
    found = {_rename(name, prefix): name for name in given}
    pairs = {name: (held[name], given[found[name]]) for name in held if name in found}
    aliases = _list_aliases(model)
    covered = {alias for name in pairs for alias in aliases.get(name, ())}
    return NameMatch(
        pairs,
        tuple(name for name in held if name not in pairs and name not in covered),
        tuple(written[old] for new, old in found.items() if new not in held),
        prefix,
    )


def _list_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a state dict of the model has, by bare name."""
    state = model.state_dict(keep_vars=False)
    return {
        unwrap_name(model, name): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def _list_aliases(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The other names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(unwrap_name(model, name))
    return {one: tuple(group) for group in names.values() if len(group) > 1 for one in group}


def _unnest(expected: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_NESTED):
        inner = [value for value in expected.values() if isinstance(value, Mapping)]
        if any(isinstance(value, Tensor) for value in expected.values()) or not inner:
            break
        expected = max(inner, key=len)
    return expected


def _choose_prefix(held: Collection[str], given: Collection[str]) -> str:
    """The change of prefix by which most names fit; none if that is as good."""
    ways = ["", *(f"-{one}" for one in _list_prefixes(given))]
    ways += [f"+{one}" for one in _list_prefixes(held)]
    return max(ways, key=lambda way: sum(_rename(name, way) in held for name in given))


def _list_prefixes(names: Iterable[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(
            ".".join(parts[:end]) + "." for end in range(1, min(len(parts), _DEEPEST + 1))
        )
    return [prefix for prefix, _ in counts.most_common(8)]


def _rename(name: str, way: str) -> str:
    if way.startswith("+"):
        return way[1:] + name
    return name.removeprefix(way[1:]) if way else name

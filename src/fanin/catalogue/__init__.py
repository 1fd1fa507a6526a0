"""The catalogue: what can be named, and what there is to know about each entry.

names("initializers")
describe("initializers", "he_normal").facts["formula"]
find("models:mlp")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from fanin.catalogue.components import (
    describe_activation,
    describe_component,
    describe_initializer,
    describe_metric,
    describe_model,
    describe_recipe,
)
from fanin.catalogue.data_and_studies import describe_claim, describe_dataset, describe_study
from fanin.catalogue.described_findings import describe_finding
from fanin.catalogue.description import Description as Description
from fanin.catalogue.description import Option as Option
from fanin.catalogue.description import get_registry, import_part
from fanin.errors import UnknownName, UsageError, quote
from fanin.study import builtin_studies


@dataclass(frozen=True)
class _Kind:
    names: Callable[[], tuple[str, ...]]
    describe: Callable[[str], Description]
    other_words: Callable[[], tuple[str, ...]] = tuple
    """Further names that `describe` takes: those of other frameworks."""


def kinds() -> tuple[str, ...]:
    """What the catalogue lists."""
    return tuple(_KINDS)


def singular(kind: str) -> str:
    """What one entry of a kind is called."""
    return _SINGULAR[kind]


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind: "initializers", "models", "datasets", "studies", "findings", …; the
    singular is understood too.

    >>> "he_normal" in names("initializers")
    True

    Raises `UnknownName`.
    """
    return _KINDS[find_kind(kind)].names()


def words(kind: str) -> tuple[str, ...]:
    """The names of one kind, and what other frameworks call them; raises `UnknownName`.

    >>> "kaiming_normal_" in words("initializers")
    True
    """
    found = _KINDS[find_kind(kind)]
    return (*found.names(), *found.other_words())


def describe(kind: str, name: str) -> Description:
    """What there is to know about an entry; raises `UnknownName`."""
    return _KINDS[find_kind(kind)].describe(name)


def summarize(kind: str, name: str) -> str:
    """What an entry is, in one line; raises `UnknownName`.

    Of a study it is the question, which its file tells: planning it needs more packages.
    """
    if find_kind(kind) == "studies" and name in builtin_studies.list_builtin_studies():
        return builtin_studies.read_question(name)
    return describe(kind, name).summary


def find(text: str) -> Description:
    """The entry that ``NAME`` or ``KIND:NAME`` means; raises as `locate` does."""
    return describe(*locate(text, words))


def locate(text: str, list_names: Callable[[str], Iterable[str]]) -> tuple[str, str]:
    """The kind and the name that ``NAME`` or ``KIND:NAME`` means.

    Args:
        text: what is looked for.
        list_names: kind → its names, foreign ones included.

    Raises `UnknownName`, or `UsageError` where several kinds have the name; the latter lists the
    qualified names.
    """
    kind, colon, name = text.partition(":")
    if colon:
        return find_kind(kind), name
    known = {kind: tuple(list_names(kind)) for kind in _KINDS}
    found = [kind for kind, names in known.items() if text in names]
    if not found:
        every = {name for names in known.values() for name in names}
        offered = (name for name in every if not (name.endswith("_") and name[:-1] in every))
        raise UnknownName.suggest("entry of the catalogue", text, offered)
    if len(found) > 1:
        qualified = " or ".join(f"{kind}:{text}" for kind in found)
        raise UsageError(f"{quote(text)} is the name of {len(found)} things. Write {qualified}.")
    return found[0], text


def find_kind(kind: str) -> str:
    """The kind, which may be written in the singular; raises `UnknownName`."""
    for known in _KINDS:
        if kind in (known, _SINGULAR[known]):
            return known
    raise UnknownName.suggest("kind of the catalogue", kind, _KINDS)


def _list_activations() -> tuple[str, ...]:
    from fanin.models import activations

    return activations.REGISTRY.names()


def _list_initializers() -> tuple[str, ...]:
    from fanin import initializers

    return initializers.names()


def _list_foreign_names() -> tuple[str, ...]:
    from fanin import initializers

    return tuple(initializers.REGISTRY.foreign_names)


def _list_recipes() -> tuple[str, ...]:
    from fanin.initializers import recipes

    return recipes.REGISTRY.names()


def _list_models() -> tuple[str, ...]:
    from fanin import models

    return models.names()


def _list_datasets() -> tuple[str, ...]:
    from fanin import data

    return tuple(listing.name for listing in data.list_datasets())


def _list_studies() -> tuple[str, ...]:
    return builtin_studies.list_builtin_studies()


def _list_claims() -> tuple[str, ...]:
    from fanin import claims

    return claims.names()


def _list_findings() -> tuple[str, ...]:
    from fanin.diagnosis import codes

    return tuple(kind.code for kind in codes.list_kinds())


_KINDS: dict[str, _Kind] = {
    "initializers": _Kind(_list_initializers, describe_initializer, _list_foreign_names),
    "recipes": _Kind(_list_recipes, describe_recipe),
    "models": _Kind(_list_models, describe_model),
    "datasets": _Kind(_list_datasets, describe_dataset),
    "studies": _Kind(_list_studies, describe_study),
    "claims": _Kind(_list_claims, describe_claim),
    **{
        kind: _Kind(
            partial(lambda kind: get_registry(kind).names(), kind),
            partial(describe_component, kind),
        )
        for kind in ("optimizers", "schedules", "augmentations")
    },
    "metrics": _Kind(lambda: import_part("training.metrics").REGISTRY.names(), describe_metric),
    "activations": _Kind(_list_activations, describe_activation),
    "findings": _Kind(_list_findings, describe_finding),
}

_SINGULAR = {
    "studies": "study",
    **{kind: kind.removesuffix("s") for kind in _KINDS if kind != "studies"},
}

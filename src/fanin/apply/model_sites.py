"""A model's parameters as methods for whole models see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanin.apply.model_facts import ModelFacts
from fanin.apply.model_parameters import ParameterUse
from fanin.initializers.model_level import ModelParameter
from fanin.structure import LayerPlace


def make_site(
    use: ParameterUse, group: Sequence[ParameterUse], facts: ModelFacts
) -> ModelParameter:
    """One parameter with what was found out about its layer; `group` are all of its places."""
    path = use.bare_name.rpartition(".")[0]
    return ModelParameter(
        name=use.name,
        module=use.module,
        role=use.role,
        layout=use.layout,
        effective=use.get_effective_layout(),
        follower=facts.followers.get(path),
        enclosing=use.enclosing,
        layer=path,
        local=use.local,
        place=_find_place(path, facts.places),
        tied_layers=tuple(
            other.bare_name.rpartition(".")[0] for other in group if other.name != use.name
        ),
    )


def _find_place(path: str, places: Mapping[str, LayerPlace]) -> LayerPlace | None:
    """The place of a layer, or of the nearest layer around what has none of its own."""
    if not places:
        return None
    while path and path not in places:
        path = path.rpartition(".")[0]
    return places.get(path, LayerPlace())

"""The layers of each expert of a mixture."""

from __future__ import annotations

from collections.abc import Iterable

from fanin.structure.layer_names import LayerNames
from fanin.structure.routers import Routing
from fanin.structure.signal_graph import SignalGraph
from fanin.structure.structure_records import ExpertMixture


def describe_mixtures(
    view: SignalGraph, names: LayerNames, routings: Iterable[Routing]
) -> tuple[ExpertMixture, ...]:
    """Each router and its experts, by names.

    Experts that lie in one list of modules are told apart by that, and those of the list that no
    sample was sent to are experts like their siblings. Stacked experts are one entry.
    """
    found = (
        ExpertMixture(view.get_name(one.router), _list_experts(view, names, one))
        for one in routings
    )
    return tuple(dict.fromkeys(found))


def _list_experts(
    view: SignalGraph, names: LayerNames, routing: Routing
) -> tuple[tuple[str, ...], ...]:
    layers = {
        layer
        for output in routing.outputs
        for source in routing.source
        for layer in view.collect_between(source, output) & view.layers - {routing.router}
    }
    nodes = [view.nodes[layer] for layer in sorted(layers)]
    outer = names.find_list(node.target for node in nodes)
    router = view.nodes[routing.router].target
    children = {_get_child(outer, node.target) for node in nodes} if outer else set()
    if outer is None or any(router.startswith(f"{outer}.{child}.") for child in children):
        return (view.list_names(layers),)
    return tuple(
        names.list_layers_in(f"{outer}.{child}")
        for child, _ in names.get_module(outer).named_children()
    )


def _get_child(outer: str, path: str) -> str:
    return path[len(outer) + 1 :].partition(".")[0]

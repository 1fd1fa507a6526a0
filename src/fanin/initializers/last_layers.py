"""The layers that no other layer follows."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.initializers.model_level import FitSession, ModelParameter
from fanin.structure import Graph, trace_forward


def find_last_layers(session: FitSession, sites: Sequence[ModelParameter]) -> frozenset[str]:
    """The names of the weights among `sites` that no other layer follows on the way to an output.

    A model whose outputs are several, such as one with several heads, has several. What does not
    lead to an output, such as a layer whose result is thrown away, is none.
    """
    args, kwargs = session.inputs
    last = list_last(trace_forward(session.model, kwargs or list(args)))
    return frozenset(site.name for site in sites if site.layer in last or site.bare_name in last)


def list_last(graph: Graph) -> frozenset[str]:
    """The layers by path, and raw parameters by name, that no other layer follows."""
    follows = [False] * len(graph.nodes)
    ends = [False] * len(graph.nodes)
    """Whether a layer, and whether an output, follows each node."""
    for node in reversed(graph.nodes):
        for user in graph.users[node.index]:
            kind = graph.nodes[user].kind
            follows[node.index] |= kind == "layer" or follows[user]
            ends[node.index] |= kind == "output" or ends[user]
    found: set[str] = set()
    for node in graph.nodes:
        if node.kind == "layer" and ends[node.index] and not follows[node.index]:
            found |= {node.target} if node.used_by is None else {*node.parameters}
    return frozenset(found)

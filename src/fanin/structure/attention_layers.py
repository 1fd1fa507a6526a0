"""The layers of each attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from torch import Tensor, nn

from fanin.structure import function_kinds
from fanin.structure.attention_cores import AttentionCore
from fanin.structure.signal_graph import SignalGraph
from fanin.structure.structure_records import AttentionLayers, PackedRows

_AFTER = ("transparent", "normalization", "product", "activation")
"""What may lie between the averaged values and the output layer: a gate, a normalization."""


@dataclass(frozen=True)
class AttentionNodes:
    """The layers' nodes of one attention."""

    query: frozenset[int]
    key: frozenset[int]
    value: frozenset[int]
    output: frozenset[int]


def find_attention_nodes(view: SignalGraph, core: AttentionCore, sums: Set[int]) -> AttentionNodes:
    """The layers that make the queries, keys and values of a core, and what its result enters
    first. No walk goes through a residual sum.
    """
    query, key, value = (
        view.find_sources(index, sums) for index in (core.query, core.key, core.value)
    )
    return AttentionNodes(query, key, value, _find_output(view, core.mix))


def describe_attention(
    view: SignalGraph, core: AttentionCore, nodes: AttentionNodes, values: Mapping[int, Tensor]
) -> AttentionLayers:
    """One attention by the names of its layers."""
    return AttentionLayers(
        view.list_names(nodes.query),
        view.list_names(nodes.key),
        view.list_names(nodes.value),
        view.list_names(nodes.output),
        _get_width(values.get(core.query)),
    )


def describe_attention_modules(
    view: SignalGraph,
) -> Iterator[tuple[AttentionLayers, PackedRows | None]]:
    """Torch's own attention, which is one step, and how its weights are packed."""
    for node in view.nodes:
        module = node.module
        if node.kind == "layer" and isinstance(module, nn.MultiheadAttention):
            name = view.get_name(node.index)
            output = view.list_names(_find_output(view, node.index))
            rows = None
            if module._qkv_same_embed_dim:
                size = module.embed_dim
                parts = tuple(((part * size, (part + 1) * size),) for part in range(3))
                rows = PackedRows(name, ("query", "key", "value"), parts)
            yield AttentionLayers((name,), (name,), (name,), output, module.head_dim), rows


def _find_output(view: SignalGraph, mix: int) -> frozenset[int]:
    found: set[int] = set()
    seen, waiting = {mix}, [mix]
    while waiting:
        for user in view.users[waiting.pop()]:
            if user in view.layers:
                found.add(user)
            elif user not in seen and _passes(view, user):
                seen.add(user)
                waiting.append(user)
    return frozenset(found)


def _passes(view: SignalGraph, index: int) -> bool:
    node = view.nodes[index]
    return (
        node.kind in _AFTER
        and node.target not in function_kinds.MIXING
        and not view.is_adapter(node)
    )


def _get_width(query: Tensor | None) -> int | None:
    """The width of one head: the last axis of what enters as the query."""
    return None if query is None or query.dim() < 3 else int(query.shape[-1])


def list_core_parts(
    core: AttentionCore, nodes: AttentionNodes
) -> Sequence[tuple[str, int, frozenset[int]]]:
    """Of each part of a core: its name, the node that enters, and the layers it comes from."""
    return (
        ("query", core.query, nodes.query),
        ("key", core.key, nodes.key),
        ("value", core.value, nodes.value),
    )

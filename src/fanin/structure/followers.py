"""The follower of each layer: the first node along the graph that decides the layer's gain.

The search passes through nodes that only move, select, average or scale numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from fanin.structure.elementwise import ElementwiseExpression, find_elementwise
from fanin.structure.forward_tracing import Batch, trace_forward
from fanin.structure.graph import Graph, Node, NodeKind
from fanin.structure.symbolic_tracing import trace_symbolically

FollowerKind = Literal[
    "activation", "normalization", "linear", "output", "softmax", "product", "unknown"
]
Activation = nn.Module | Callable[[Tensor], Tensor] | str

_PREFERENCE: tuple[FollowerKind, ...] = (
    "activation",
    "product",
    "softmax",
    "linear",
    "normalization",
    "output",
    "unknown",
)
"""Which kind decides if the branches of a layer's output disagree, first to last. A normalization
accepts any size, so the other branch decides.
"""

_KINDS: dict[NodeKind, FollowerKind] = {
    "normalization": "normalization",
    "layer": "linear",
    "output": "output",
    "softmax": "softmax",
    "product": "product",
}


@dataclass(frozen=True)
class Follower:
    """What follows one layer."""

    layer: str
    """The qualified path of the layer's module."""
    kind: FollowerKind
    """linear: another layer, with nothing but pooling, dropout, reshaping and the like between.
    product: another computed tensor, as in gates and in the scores of attention. unknown: not
    reached, or followed by what fanin does not know."""
    activation: Activation | None
    """Of kind activation: the module, a spec such as ``gelu(approximate=tanh)``, or an elementwise
    function of tensors.
    """
    through_add: bool
    """Whether a residual or other sum of two computed tensors lies between."""
    plain_depth: int
    """The number of layers on the longest path through this one that meets no normalization and no
    sum; 0 if not reached.
    """
    reason: str
    """An explanation for people."""


@dataclass(frozen=True)
class _WalkEnd:
    """One step that a walk ended at."""

    kind: FollowerKind
    activation: Activation | None
    text: str
    sums: int
    """How many sums lie between."""

    @property
    def sameness(self) -> tuple[str, str]:
        """Equal for two that agree."""
        return self.kind, _normalize_activation(
            self.activation
        ) if self.activation is not None else ""

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The smallest decides: the nearest one, counted in sums."""
        return self.kind == "unknown", self.sums, _PREFERENCE.index(self.kind)


def find_followers(model: nn.Module, batch: Batch | None = None) -> dict[str, Follower]:
    """Find what follows each weighted layer of a model, by the layer's qualified path.

    Args:
        model: any module; it is left unchanged.
        batch: the input of one forward pass (see `trace_forward`). Without it the model is traced
            symbolically, which works if no control flow depends on data or shapes.

    The order is that of the model. A layer that the trace did not reach is included, with kind
    "unknown" and the reason. Raises what `trace_symbolically` or `trace_forward` raises.
    """
    graph = trace_symbolically(model) if batch is None else trace_forward(model, batch)
    return find_graph_followers(graph)


def find_graph_followers(graph: Graph) -> dict[str, Follower]:
    """The follower of every layer of the graph, by the layer's qualified path, in the model's
    order.

    A walk goes through what only moves, selects, averages or scales numbers, and through sums.
    If several steps end it, the one behind the fewest sums decides, and among those an
    activation first; `reason` names the others. Attention as a whole counts as linear, an LSTM or
    GRU as unknown: their gates are theirs.
    """
    depths = graph.plain_depths
    uses: dict[str, list[Node]] = {path: [] for path in graph.layers}
    for node in graph.nodes:
        if node.kind == "layer":
            uses[node.target].append(node)
    return {path: _find_follower(graph, path, nodes, depths) for path, nodes in uses.items()}


def _find_follower(
    graph: Graph, path: str, nodes: Sequence[Node], depths: dict[int, int]
) -> Follower:
    if not nodes:
        return Follower(
            path,
            "unknown",
            None,
            False,
            0,
            "the forward pass did not reach it, or not in a way that can be seen",
        )
    depth = max(depths[node.index] for node in nodes)
    if (own := _find_inner_follower(nodes[0].module)) is not None:
        return Follower(path, own.kind, own.activation, False, depth, own.text)
    found = [list(_walk(graph, node.index)) for node in nodes]
    every = [ending for endings in found for ending in endings]
    if not every:
        return Follower(
            path, "unknown", None, False, depth, "nothing that can be seen uses its output"
        )
    best = min(every, key=lambda ending: ending.rank)
    return Follower(
        path,
        best.kind,
        best.activation,
        best.sums > 0,
        depth,
        best.text + _describe_disagreement(best, found),
    )


def _find_inner_follower(module: nn.Module | None) -> _WalkEnd | None:
    """What follows the weights inside a module of several."""
    match module:
        case nn.MultiheadAttention():
            text = (
                "its values go to out_proj, which is linear; its queries and keys meet in a softmax"
            )
            return _WalkEnd("linear", None, text, 0)
        case nn.RNN() | nn.RNNCell():
            return _WalkEnd(
                "activation", module.nonlinearity, f"its own activation is {module.nonlinearity}", 0
            )
        case nn.RNNBase() | nn.RNNCellBase():
            return _WalkEnd("unknown", None, "gates are sigmoid and tanh: gain 1", 0)
    return None


def _walk(graph: Graph, start: int) -> Iterator[_WalkEnd]:
    """Every step that a walk from `start` ends at, those behind fewer sums first."""
    waiting, seen = deque([(start, 0)]), {start}
    while waiting:
        index, sums = waiting.popleft()
        inside: set[int] = set()
        for user in graph.users[index]:
            node = graph.nodes[user]
            if user in seen or user in inside:
                continue
            if (function := find_elementwise(graph, index, user)) is not None:
                inside |= function.indices
                yield _describe_end(node, sums, function)
            elif node.kind == "transparent":
                waiting.appendleft((user, sums))
            elif node.kind == "add":
                waiting.append((user, sums + 1))
            else:
                yield _describe_end(node, sums, _get_activation(node, index))
                continue
            seen.add(user)


def _get_activation(node: Node, source: int) -> Activation | None:
    if node.kind != "activation":
        return None
    return (
        node.module
        or node.spec
        or (ElementwiseExpression(source, [node]) if node.function is not None else None)
    )


def _describe_end(node: Node, sums: int, activation: Activation | None) -> _WalkEnd:
    kind: FollowerKind = (
        "activation" if activation is not None else _KINDS.get(node.kind, "unknown")
    )
    if isinstance(activation, ElementwiseExpression):
        text = f"followed by {activation!r}"
    elif kind == "output":
        text = "nothing follows: output"
    elif kind == "linear":
        text = f"followed by {node.label} {node.target}".rstrip()
    else:
        text = f"followed by {node.label}" + (
            ", which fanin does not know" if kind == "unknown" else ""
        )
    return _WalkEnd(kind, activation, text + (" after a sum" if sums else ""), sums)


def _describe_disagreement(best: _WalkEnd, uses: Iterable[Sequence[_WalkEnd]]) -> str:
    """The other steps that branches end at, in words; nothing if all agree."""
    uses = list(uses)
    others: dict[tuple[str, str], _WalkEnd] = {}
    for ending in sorted(
        (ending for endings in uses for ending in endings), key=lambda ending: ending.rank
    ):
        if ending.sameness != best.sameness and ending.kind != "unknown":
            others.setdefault(ending.sameness, ending)
    if not others:
        return ""
    first = {min(endings, key=lambda ending: ending.rank).sameness for endings in uses if endings}
    where = f"its {len(uses)} calls" if len(first) > 1 else "its branches"
    return f"; {where} disagree, also: {', '.join(ending.text for ending in others.values())}"


def _normalize_activation(activation: Activation) -> str:
    """One name for nn.LeakyReLU, F.leaky_relu and its spec."""
    if isinstance(activation, nn.Module):
        return type(activation).__name__.lower()
    return (
        activation.partition("(")[0].replace("_", "")
        if isinstance(activation, str)
        else repr(activation)
    )

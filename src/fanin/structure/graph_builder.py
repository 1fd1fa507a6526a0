"""Build a graph from the calls of modules and functions that a tracer sees, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fanin.structure import function_kinds
from fanin.structure.call_arguments import CallArguments, Source, WeightSource
from fanin.structure.function_kinds import classify_function, is_elementwise, is_ignored
from fanin.structure.graph import Graph, Node, NodeKind
from fanin.structure.module_kinds import list_layers


class GraphBuilder:
    """Takes the steps of one model in the order of their computation."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._nodes: list[Node] = []
        self._computed: set[int] = set()
        """The nodes that a layer precedes: masks, positions and other inputs are not among them."""
        self._origins: list[int] = []
        """Of each node, the one node that it is a linear function of, if it moves, selects or adds
        parts of that one only.
        """

    def build(self) -> Graph:
        """The graph of all nodes so far."""
        paths = dict.fromkeys(list_layers(self._model))
        paths |= dict.fromkeys(node.target for node in self._nodes if node.kind == "layer")
        return Graph(tuple(self._nodes), tuple(paths))

    def get_node(self, index: int) -> Node:
        """One step that was added."""
        return self._nodes[index]

    def add(
        self,
        kind: NodeKind,
        target: str,
        inputs: Sequence[int] = (),
        module: nn.Module | None = None,
        spec: str | None = None,
        function: Callable[..., Tensor] | None = None,
        parameters: Sequence[str] = (),
        used_by: str | None = None,
        call: CallArguments | None = None,
    ) -> int:
        """Add one step and return its index."""
        index = len(self._nodes)
        self._nodes.append(
            Node(
                index,
                kind,
                target,
                module,
                tuple(dict.fromkeys(inputs)),
                spec,
                function,
                tuple(parameters),
                used_by,
                call,
            )
        )
        if kind == "layer" or not self._computed.isdisjoint(inputs):
            self._computed.add(index)
        origins = {self._origins[source] for source in inputs}
        self._origins.append(
            origins.pop() if kind == "transparent" and len(origins) == 1 else index
        )
        return index

    def add_module(
        self, path: str, module: nn.Module, kind: NodeKind, inputs: Sequence[int]
    ) -> int:
        """Add the call of a module that is one step, and return the index of its output."""
        function = module if kind == "activation" and len(inputs) == 1 else None
        index = self.add(kind, path, inputs, module, function=function)
        if isinstance(
            module, nn.MultiheadAttention
        ):  # it calls F.linear with its child's weight, not the child
            return self.add(
                "layer", f"{path}.out_proj" if path else "out_proj", (index,), module.out_proj
            )
        return index

    def add_call(
        self, name: str, function: Callable[..., Any] | None, arguments: CallArguments
    ) -> Source | None:
        """Add the call of a function; the index of its result, or None if no signal passes."""
        inputs, owners = arguments.inputs, arguments.owners
        if is_ignored(name) or (
            name == "getattr" and arguments.args[1] not in function_kinds.ATTRIBUTES
        ):
            return None
        if owners and name in function_kinds.LAYERS and (inputs or name in function_kinds.LOOKUPS):
            return self._add_layers(name, arguments)
        if not inputs:
            return _combine_weights(name, arguments) if owners or arguments.vectors else None
        if name == function_kinds.ATTENTION:
            return self._add_attention(name, arguments)
        again = arguments.call_again(function) if is_elementwise(name) else None
        kind = self._classify(name, arguments)
        spec = (
            function_kinds.render_activation(name, arguments.args[1:], arguments.kwargs)
            if kind == "activation"
            else None
        )
        return self.add(kind, name, inputs, spec=spec, function=again, call=arguments)

    def _add_layers(self, name: str, arguments: CallArguments) -> int:
        """A function that was given the weights of these layers."""
        found = [
            self.add(
                "layer",
                owner,
                arguments.inputs,
                self._model.get_submodule(owner),
                parameters=arguments.parameters,
                used_by=name,
                call=arguments,
            )
            for owner in arguments.owners
        ]
        return found[0] if len(found) == 1 else self.add("transparent", "several layers", found)

    def _add_attention(self, name: str, arguments: CallArguments) -> int:
        """Queries and keys meet in a softmax, with a bias that may be learned; values are averaged
        by it.
        """
        value, *met = (
            arguments.get_node(*place)
            for place in ((2, "value"), (0, "query"), (1, "key"), (3, "attn_mask"))
        )
        scores = self.add(
            "softmax", name, [node for node in met if node is not None], call=arguments
        )
        mixed = [scores] if value is None else [value, scores]
        return self.add("transparent", name, mixed, call=arguments)

    def _classify(self, name: str, arguments: CallArguments) -> NodeKind:
        if name in function_kinds.SUMS:
            return "add" if self._is_sum_of_several(arguments.inputs) else "transparent"
        if name in function_kinds.PRODUCTS:
            return self._classify_product(name, arguments)
        return classify_function(name)

    def _classify_product(self, name: str, arguments: CallArguments) -> NodeKind:
        if name in function_kinds.DIVISIONS and arguments.get_node(0, "input") is None:
            return "other"  # a constant divided by what was computed
        computed = [index for index in arguments.slots if index in self._computed]
        if len(computed) < 2 or (
            name in function_kinds.MIXING and any(map(self._is_from_softmax, computed))
        ):
            return "transparent"
        return "product"

    def _is_sum_of_several(self, indices: Sequence[int]) -> bool:
        """Whether different tensors are added, not parts of one: rotary embeddings add a query's
        halves.
        """
        return len(
            {self._origins[index] for index in indices}
        ) > 1 and not self._computed.isdisjoint(indices)

    def _is_from_softmax(self, index: int) -> bool:
        """Whether a tensor is the weights of attention; dropout and the like may lie between, but
        not what they averaged.
        """
        node = self._nodes[index]
        while (
            node.kind == "transparent"
            and node.inputs
            and node.target not in function_kinds.AVERAGES
        ):
            node = self._nodes[node.inputs[0]]
        return node.kind == "softmax"


def _combine_weights(name: str, arguments: CallArguments) -> WeightSource:
    """What a function made of weights alone."""
    return WeightSource(
        tuple(arguments.owners),
        tuple(arguments.parameters),
        tuple(arguments.vectors),
        computed=name not in function_kinds.MOVES or not arguments.unchanged,
    )

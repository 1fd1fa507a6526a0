"""Second moments of the signals by depth: from what was measured at the input to the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from fanin.diagnosis.theory.forward_record import ForwardMoments
from fanin.diagnosis.theory.layer_maps import LayerMap, LayerReader
from fanin.diagnosis.theory.moment_rules import MIN_FAN, apply_activation, apply_layer, get_law
from fanin.diagnosis.theory.normalizations import NormalizationReader
from fanin.diagnosis.theory.signal_moments import (
    TINY,
    SignalMoments,
    add_moments,
    are_alike,
    mix_moments,
    multiply_moments,
)
from fanin.errors import FaninError
from fanin.gains.normal_response import Activation
from fanin.structure import ElementwiseExpression, Graph, Node
from fanin.structure.elementwise import find_elementwise
from fanin.structure.passages import Passage, read_passage
from fanin.structure.tensor_moments import Shapes


class ForwardPredictor:
    """Walks through the graph once."""

    def __init__(
        self,
        graph: Graph,
        model: nn.Module,
        measured: Mapping[int, SignalMoments],
        shapes: Shapes,
        layers: LayerReader,
    ) -> None:
        self._graph, self._model = graph, model
        self._measured, self._shapes, self._layers = measured, shapes, layers
        self._norms = NormalizationReader(model, shapes)
        self._origins: dict[int, int] = {}
        self._found = ForwardMoments()

    def predict(self) -> ForwardMoments:
        """Every node, in order."""
        for node in self._graph.nodes:
            if node.kind != "normalization" and not self._found.uneven.isdisjoint(node.inputs):
                self._found.uneven.add(node.index)
            found = self._predict_node(node)
            if isinstance(found, str):
                self._found.reasons[node.index] = found
                self._start_anew(node)
            else:
                self._found.signals[node.index] = found
            if self._is_normal(node.index):
                self._find_expressions(node.index)
        return self._found

    def _start_anew(self, node: Node) -> None:
        """Take what was measured, if it was."""
        measured = self._measured.get(node.index)
        if measured is None:
            return
        layer = self._found.maps.get(node.index)
        key = node.index if layer is None else self._layers.get_key(node)
        self._found.signals[node.index] = replace(
            measured,
            width=measured.width if layer is None else layer.outputs,
            normal=layer is not None and layer.fan_in >= MIN_FAN,
            origins=self._make_origin(key),
        )

    def _is_normal(self, index: int) -> bool:
        signal = self._found.signals.get(index)
        return signal is not None and signal.normal

    def _predict_node(self, node: Node) -> SignalMoments | str:
        if node.kind == "input":
            return "measured"
        if node.kind == "layer":
            return self._predict_layer(node)
        if node.index in self._found.activations:
            return self._predict_activation(node)
        if node.kind == "activation":
            return self._start_activation(node)
        passage = self._read_passage(node) if node.kind == "transparent" else None
        sources = [self._found.signals.get(source) for source in node.inputs]
        known = [one for one in sources if one is not None]
        if not known or len(known) < len(sources):
            return "what enters is not known"
        match node.kind:
            case "normalization":
                return self._predict_normalization(node, known[0])
            case "transparent":
                assert passage is not None
                return self._predict_passage(node, passage, known)
            case "add":
                return self._predict_sum(node, known)
            case "product":
                return self._predict_product(node, known)
            case "output":
                return known[0] if len(known) == 1 else "several outputs"
            case "softmax":
                return "softmax: its sharpness depends on the data"
            case _:
                return f"{node.label}: theory has no rule"

    def _predict_layer(self, node: Node) -> SignalMoments | str:
        found = self._layers.read(node)
        if isinstance(found, str):
            return found
        self._found.maps[node.index] = found
        origin = self._make_origin(self._layers.get_key(node))
        if found.table:
            return self._predict_lookup(node, found, origin)
        source = self._found.signals.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if source is None:
            return "what enters is not known"
        return apply_layer(found, source, origin)

    def _predict_lookup(self, node: Node, found: LayerMap, origin: int) -> SignalMoments:
        measured = self._measured.get(node.index)
        difference = None
        if measured is not None and measured.difference is not None and measured.second > TINY:
            difference = measured.difference / measured.second * found.second
        return SignalMoments(
            mean=found.mean,
            second=found.second,
            difference=difference,
            own=2 / max(found.outputs, 1),
            width=found.outputs,
            normal=True,
            origins=origin,
            start=node.index,
        )

    def _start_activation(self, node: Node) -> SignalMoments | str:
        if len(node.inputs) != 1:
            return "an activation of several tensors"
        what: object = node.module or node.spec
        if what is None and node.function is not None:
            what = ElementwiseExpression(node.inputs[0], [node])
        if what is None:
            return f"{node.label} cannot be evaluated by itself"
        try:
            self._found.activations[node.index] = node.inputs[0], Activation(what)
        except FaninError as error:
            return str(error)
        return self._predict_activation(node)

    def _predict_activation(self, node: Node) -> SignalMoments | str:
        start, activation = self._found.activations[node.index]
        source = self._found.signals.get(start)
        if source is None:
            return "what enters is not known"
        if not source.normal:
            return "its input is not normal: theory knows E f² of normal numbers"
        try:
            law = get_law(self._measured.get(start, source))
            self._found.activation_slopes[node.index] = activation.respond(*law).slope2
            return apply_activation(activation, source)
        except FaninError as error:
            return str(error)

    def _predict_normalization(self, node: Node, source: SignalMoments) -> SignalMoments | str:
        even = self._found.uneven.isdisjoint(node.inputs)
        found = self._norms.read(node, source, even=even)
        if isinstance(found, str):
            return found
        signal, slope = found
        if slope is not None:
            self._found.slopes[node.index] = slope
        if signal.difference is None:
            signal = replace(signal, difference=self._scale_measured(node.index, signal.second))
        return signal

    def _read_passage(self, node: Node) -> Passage | str:
        found = read_passage(node, self._shapes, self._model)
        if isinstance(found, Passage):
            self._found.passages[node.index] = found
            if found.beside and not self._joins_alike(node):
                self._found.uneven.add(node.index)
        return found

    def _joins_alike(self, node: Node) -> bool:
        """Whether all that is put beside one another is known, and of about the same size."""
        parts = [self._found.signals.get(source) for source in node.inputs]
        known = [one for one in parts if one is not None]
        return len(known) == len(parts) > 0 and self._is_whole(node) and are_alike(known)

    def _is_whole(self, node: Node) -> bool:
        sizes = [_count(self._shapes.get(source)) for source in node.inputs]
        return 0 not in sizes and sum(sizes) == _count(self._shapes.get(node.index))

    def _predict_passage(
        self, node: Node, found: Passage | str, sources: list[SignalMoments]
    ) -> SignalMoments | str:
        if isinstance(found, str):
            return found
        if found.beside:
            if not self._is_whole(node):
                return "joins a tensor that the graph does not keep"
            sizes = [_count(self._shapes.get(source)) for source in node.inputs]
            return mix_moments(sources, sizes)
        signal = sources[0].scale(found.factor)
        if found.thin != 1:
            signal = signal.thin(found.thin)
        if found.second:
            origin = self._make_origin(-1 - node.index) if found.independent else 0
            signal = signal.shift(found.mean, found.second, origin)
        return signal

    def _predict_sum(self, node: Node, sources: list[SignalMoments]) -> SignalMoments | str:
        signs = node.target in ("sub", "subtract", "rsub")
        if len(sources) < 2 or (node.call is not None and "alpha" in node.call.kwargs):
            return "a sum that the graph does not keep whole"
        if signs:
            sources = [sources[0], sources[1].scale(-1.0)]
        found = add_moments(sources)
        return "the summands share weights or inputs" if found is None else found

    def _predict_product(self, node: Node, sources: list[SignalMoments]) -> SignalMoments | str:
        if node.target not in ("mul", "multiply") or len(sources) != 2:
            return f"{node.label}: theory has no rule"
        found = multiply_moments(*sources)
        return "the factors share weights or inputs" if found is None else found

    def _find_expressions(self, index: int) -> None:
        """Activations that are written out and begin at this node."""
        for user in self._graph.users[index]:
            node = self._graph.nodes[user]
            if node.function is None or node.index in self._found.inside:
                continue
            expression = find_elementwise(self._graph, index, user)
            if expression is None:
                continue
            try:
                activation = Activation(expression)
            except FaninError:
                continue
            end = max(expression.indices)
            self._found.activations[end] = index, activation
            for inner in expression.indices:
                self._found.inside[inner] = index

    def _make_origin(self, key: int) -> int:
        """One bit for each source of independent numbers."""
        return 1 << self._origins.setdefault(key, len(self._origins))

    def _scale_measured(self, index: int, second: float) -> float | None:
        """The measured difference of two samples, at a predicted size."""
        measured = self._measured.get(index)
        if measured is None or measured.difference is None or measured.second <= TINY:
            return None
        return measured.difference / measured.second * second


def _count(shape: tuple[int, ...] | None) -> int:
    total = 1
    for size in shape or (0,):
        total *= size
    return total

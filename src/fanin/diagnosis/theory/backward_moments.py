"""Second moments of the gradient by depth: from what was measured at the output to the input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fanin.diagnosis.theory.forward_record import ForwardMoments
from fanin.diagnosis.theory.layer_maps import LayerMap
from fanin.diagnosis.theory.moment_rules import get_law
from fanin.diagnosis.theory.signal_moments import (
    GradientMoments,
    SignalMoments,
    add_gradients,
)
from fanin.errors import FaninError
from fanin.structure import Graph, Node
from fanin.structure.passages import is_max_pool
from fanin.structure.tensor_moments import Shapes


@dataclass
class BackwardMoments:
    """What theory says of the gradient at each node."""

    gradients: dict[int, GradientMoments] = field(default_factory=dict)
    """Where theory knows nothing, what was measured there."""
    reasons: dict[int, str] = field(default_factory=dict)


class BackwardPredictor:
    """Walks back through the graph once, with what the way forward found.

    Weights count as independent of the gradients that they meet on the way back, as everywhere in
    the theory (gradient independence: Schoenholz et al. 2017).
    """

    def __init__(
        self,
        graph: Graph,
        forward: ForwardMoments,
        measured: Mapping[int, float],
        laws: Mapping[int, SignalMoments],
        shapes: Shapes,
        output: int | None,
    ) -> None:
        self._graph, self._forward, self._shapes = graph, forward, shapes
        self._measured = measured
        """The measured second moments of gradients."""
        self._laws = laws
        """The measured signals, whose variances slopes are taken at."""
        self._output = output
        self._found = BackwardMoments()

    def predict(self) -> BackwardMoments:
        """Every node, the last first."""
        for node in reversed(self._graph.nodes):
            found = self._predict_node(node)
            if isinstance(found, str):
                self._found.reasons[node.index] = found
                second = self._measured.get(node.index)
                if second is not None:
                    self._found.gradients[node.index] = GradientMoments(
                        second=second, start=node.index
                    )
            else:
                self._found.gradients[node.index] = found
        return self._found

    def _predict_node(self, node: Node) -> GradientMoments | str:
        if node.index == self._output:
            return "measured"
        if self._is_inside(node.index):
            return "inside an activation that is written out"
        users = [
            user
            for user in self._graph.users[node.index]
            if self._graph.nodes[user].kind != "output"
        ]
        if not users:
            return "no gradient is expected"
        parts: list[GradientMoments] = []
        for user in dict.fromkeys(self._find_end(node.index, user) for user in users):
            found = self._pass_back(self._graph.nodes[user], node)
            if isinstance(found, str):
                return found
            if found is not None:
                parts.append(found)
        return add_gradients(parts) if parts else "no gradient is expected"

    def _is_inside(self, index: int) -> bool:
        return index in self._forward.inside and index not in self._forward.activations

    def _find_end(self, index: int, user: int) -> int:
        """The end of an activation that is written out and begins at `index`."""
        if self._forward.inside.get(user) != index:
            return user
        return max(end for end, (start, _) in self._forward.activations.items() if start == index)

    def _pass_back(self, user: Node, source: Node) -> GradientMoments | str | None:
        """What comes back from one user; None if nothing does."""
        gradient = self._found.gradients.get(user.index)
        if gradient is None:
            return "what comes back is not known"
        signal = self._forward.signals.get(source.index)
        if user.kind == "layer":
            return _pass_layer(self._forward.maps.get(user.index), gradient)
        if user.index in self._forward.activations:
            return self._pass_activation(user, source, gradient)
        match user.kind:
            case "normalization":
                slope = self._forward.slopes.get(user.index)
                if slope is None:
                    return "its scale is not known"
                passed = gradient.scale(slope.square)
                return replace(
                    passed,
                    drift=passed.drift + slope.drift,
                    doubt=passed.doubt + slope.doubt,
                )
            case "transparent":
                return self._pass_passage(user, gradient)
            case "add":
                return gradient.scale(self._count_copies(user, source))
            case "product":
                return self._pass_product(user, source, gradient)
            case _:
                return f"{user.label}: theory has no rule" if signal else "it is not known"

    def _pass_activation(
        self, user: Node, source: Node, gradient: GradientMoments
    ) -> GradientMoments | str:
        start, activation = self._forward.activations[user.index]
        signal = self._forward.signals.get(start)
        if signal is None or not signal.normal or start != source.index:
            return "theory knows E f'² of normal numbers only"
        if any(is_max_pool(self._graph.nodes[index]) for index in self._graph.users[user.index]):
            return "the maximum selects where the slope is large"
        try:
            response = activation.respond(*get_law(self._laws.get(start, signal)))
        except FaninError as error:
            return str(error)
        return GradientMoments(
            second=gradient.second * response.slope2,
            drift=gradient.drift,
            own=response.slope_spread / max(signal.width, 1),
            doubt=gradient.doubt,
            start=gradient.start,
        )

    def _pass_passage(self, user: Node, gradient: GradientMoments) -> GradientMoments | str | None:
        found = self._forward.passages.get(user.index)
        if found is None:
            return self._forward.reasons.get(user.index, "theory has no rule")
        return gradient.scale(found.backward) if found.backward else None

    def _pass_product(
        self, user: Node, source: Node, gradient: GradientMoments
    ) -> GradientMoments | str:
        if user.index in self._forward.reasons:
            return self._forward.reasons[user.index]
        others = [index for index in user.inputs if index != source.index]
        signal = self._forward.signals.get(others[0]) if len(others) == 1 else None
        if signal is None:
            return "the other factor is not known"
        return gradient.scale(signal.second * self._count_copies(user, source))

    def _count_copies(self, user: Node, source: Node) -> float:
        """How often each number of `source` is used where it is broadcast."""
        after, before = (math.prod(self._shapes.get(one.index, ())) for one in (user, source))
        return max(after / before, 1.0) if before else 1.0


def _pass_layer(found: LayerMap | None, gradient: GradientMoments) -> GradientMoments | str | None:
    """g' = fan_out·E w²·g."""
    if found is None:
        return "theory has no rule for the layer that follows"
    if found.table:
        return None
    return GradientMoments(
        second=gradient.second * found.fan_out * found.second,
        drift=gradient.spread,
        own=2 / max(found.inputs, 1),
        doubt=gradient.doubt,
        start=gradient.start,
    )

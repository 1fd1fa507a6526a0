"""Whether what comes after a layer tells its units apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from fanin.diagnosis.examination import Examination
from fanin.diagnosis.findings.equal_rows import are_distinct, read_columns
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.errors import FaninError
from fanin.structure import Graph, trace_forward
from fanin.structure.graph import Node
from fanin.structure.layer_names import LayerNames
from fanin.structure.signal_graph import SignalGraph

_ONE_TO_ONE = ("activation", "softmax")
_MOVES = re.compile(
    "dropout|identity|view|reshape|(un)?flatten|permute|transpose|(un)?squeeze|contiguous|clone|to|"
    "float|getitem"
)
"""Steps between a layer and the output that leave each unit a number of its own."""
_BY_ONE_ANOTHER = ("query", "key")
"""Queries are told apart by the keys alone, whatever comes after the attention."""


class UnitReaders:
    """The layers that read the units of each layer."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination

    def tell_apart(self, held: HeldParameter) -> bool:
        """Whether equal units of this weight surely get different gradients: the weights that
        their outputs meet next all differ, or they are the outputs themselves.
        """
        roles = self._list_roles(held)
        if self._view is None or any(role in roles for role in _BY_ONE_ANOTHER):
            return False
        nodes = self._find_nodes(held)
        if self._has_distinct_columns(self._list_recurrent(held)):
            return True
        return any(
            self._is_output(node) or self._has_distinct_columns(self._list_readers(node))
            for node in nodes
        )

    def are_constant(self, held: HeldParameter) -> bool:
        """Whether the next weights all are constant: all their units treat all of these alike."""
        found = [one for node in self._find_nodes(held) for one in self._list_readers(node)]
        return bool(found) and all(one.constant is not None for one in found)

    def _list_roles(self, held: HeldParameter) -> tuple[str, ...]:
        structure = self._examination.structure
        found = structure and (structure.get_role(held.layer) or structure.get_role(held.name))
        return found.roles if found else ()

    @cached_property
    def _view(self) -> SignalGraph | None:
        graph = self._get_graph()
        return SignalGraph(graph, LayerNames(self._examination.model)) if graph else None

    def _get_graph(self) -> Graph | None:
        if self._examination.measurement is not None:
            return self._examination.measurement.graph
        try:
            return trace_forward(self._examination.model, self._examination.batch)
        except FaninError:
            return None

    def _find_nodes(self, held: HeldParameter) -> list[int]:
        view = self._view
        if view is None:
            return []
        return [
            node.index
            for node in view.nodes
            if node.kind == "layer" and view.get_name(node.index) in (held.layer, held.name)
        ]

    def _is_output(self, index: int) -> bool:
        """Whether every unit is an output of the model."""
        view = self._view
        assert view is not None
        for user in view.users[index]:
            node = view.nodes[user]
            if node.kind == "output" or (_keeps_units(node) and self._is_output(user)):
                return True
        return False

    def _list_readers(self, index: int) -> list[HeldParameter]:
        view = self._view
        assert view is not None
        names = view.list_names(view.find_readers(index, frozenset(range(len(view.nodes)))))
        return [
            one
            for one in self._examination.held
            if one.role == "weight" and (one.layer in names or one.name in names)
        ]

    def _list_recurrent(self, held: HeldParameter) -> list[HeldParameter]:
        return [
            one
            for one in self._examination.held
            if one.role == "recurrent weight" and one.layer == held.layer and one is not held
        ]

    @staticmethod
    def _has_distinct_columns(weights: Iterable[HeldParameter]) -> bool:
        for one in weights:
            parts = [part.layout for part in one.layout.parts] or [one.layout]
            numbers = [part.read(one.values) for part in one.layout.parts] or [one.values]
            for values, layout in zip(numbers, parts, strict=True):
                columns = read_columns(values, layout)
                if columns is not None and are_distinct(columns):
                    return True
        return False


def _keeps_units(node: Node) -> bool:
    name = type(node.module).__name__.lower() if node.module is not None else node.target
    return node.kind in _ONE_TO_ONE or (
        node.kind == "transparent" and _MOVES.fullmatch(name) is not None
    )

"""What each layer of a model does: `describe_structure`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from functools import cached_property

from torch import nn

from fanin.structure.attention_cores import find_attention_cores
from fanin.structure.attention_layers import (
    describe_attention,
    describe_attention_modules,
    find_attention_nodes,
    list_core_parts,
)
from fanin.structure.expert_mixtures import describe_mixtures
from fanin.structure.forward_tracing import Batch
from fanin.structure.gated_units import GateNodes, find_gates
from fanin.structure.layer_names import LayerNames
from fanin.structure.layer_roles import RoleTable, read_roles
from fanin.structure.model_structure import ModelStructure
from fanin.structure.module_kinds import check_model
from fanin.structure.observation import Observation, observe_forward, observe_variances
from fanin.structure.packed_rows import Part, find_packed_rows, pack_halves
from fanin.structure.residual_streams import build_streams
from fanin.structure.residual_sums import find_residual_sums
from fanin.structure.routers import find_routings
from fanin.structure.shared_weights import find_clones, find_ties
from fanin.structure.signal_graph import SignalGraph, is_lookup
from fanin.structure.structure_records import (
    AttentionLayers,
    GatedUnit,
    LayerRole,
    PackedRows,
    ResidualStream,
)
from fanin.structure.summand_scaling import list_inner_shifts
from fanin.structure.symbolic_tracing import trace_symbolically
from fanin.structure.wrappers import find_wrapped, unwrap_model


def describe_structure(
    model: nn.Module,
    batch: Batch | None = None,
    corrections: Mapping[str, str] | None = None,
) -> ModelStructure:
    """Describe what the layers of a model do, as its graph shows it; no name is read.

    Args:
        model: any module; it is left unchanged. `torch.compile`, DataParallel, DDP, FSDP, peft and
            parametrizations are seen through.
        batch: the input of one forward pass in eval mode, as in `trace_forward`. Without it the
            model is traced symbolically, which works if no control flow depends on data or shapes,
            and does not show which rows of a packed layer are which.
        corrections: roles by patterns of layers' names, ``{"*.w3": "up"}``; the last that matches
            counts. A role of `ROLES`, several joined by "+", or "none".

    Raises:
        UsageError: not a module, not a batch, an unknown role, or a pattern that no layer matches.
        FitError: a parameter has no shape yet, the model cannot be traced without a batch, or its
            forward pass fails.
    """
    check_model(model)
    for text in (corrections or {}).values():
        read_roles(text)
    called = _unwrap_callable(model)
    seen = (
        Observation(trace_symbolically(called), {})
        if batch is None
        else observe_forward(called, batch)
    )
    found = _Findings(called, seen)
    layers = found.build_roles().build(corrections or {})
    return found.build(layers, observed=batch is not None)


def measure_branches(model: nn.Module, batch: Batch) -> tuple[ResidualStream, ...]:
    """The residual streams of a model, with the variances of the summands of each residual sum.

    One forward pass without gradients on the batch, in the mode that the model is in; it is left
    unchanged. Raises what `describe_structure` raises.
    """
    check_model(model)
    called = _unwrap_callable(model)
    return _Findings(called, observe_variances(called, batch)).streams


def _unwrap_callable(model: nn.Module) -> nn.Module:
    """The bare model, or the outermost wrapper that its parameters need in order to be whole."""
    while (child := find_wrapped(model)) is not None and child != "_fsdp_wrapped_module":
        model = model.get_submodule(child)
    return model


class _Findings:
    """What the searches found in one graph, from nodes to names."""

    def __init__(self, model: nn.Module, seen: Observation) -> None:
        self._model, self._values = model, seen.values
        self._names = LayerNames(model)
        self._ties = find_ties(model)
        self._view = view = SignalGraph(seen.graph, self._names)
        self._cores = find_attention_cores(view)
        scores = frozenset[int]().union(*(core.scores for core in self._cores))
        routings = find_routings(view, self._values, scores)
        weighted = frozenset[int]().union(*(one.weighted for one in routings))
        sums = find_residual_sums(view, scores)
        self._sums = frozenset(sums)
        self._attention = [find_attention_nodes(view, core, self._sums) for core in self._cores]
        self._gates = find_gates(view, self._sums, weighted)
        self.streams = build_streams(view, sums, weighted, self._values, seen.variances)
        self.mixtures = describe_mixtures(view, self._names, routings)
        self.attentions, self.packed = self._describe_attentions()
        self._pack_gates()
        units = [self._describe_gate(gate) for gate in self._gates]
        self._lone_gates = [unit for unit in units if not unit.up]
        self.units = tuple(dict.fromkeys(unit for unit in units if unit.up))

    def build(self, layers: tuple[LayerRole, ...], *, observed: bool) -> ModelStructure:
        """The record."""
        return ModelStructure(
            model=type(unwrap_model(self._model)).__name__,
            layers=layers,
            streams=self.streams,
            attentions=self.attentions,
            packed=tuple(self.packed.values()),
            gated_units=self.units,
            mixtures=self.mixtures,
            ties=self._ties,
            shared=self._count_calls({one.layer for one in layers if one.expert}),
            clones=find_clones(self._model, frozenset(self._view.graph.layers)),
            longest_path=self._measure_path(),
            first_layers=self._view.list_names(filter(self._view.is_first, self._view.layers)),
            unreached=self._list_unreached(layers),
            observed=observed,
            shifts=self._list_shifts(),
        )

    def _list_shifts(self) -> tuple[str, ...]:
        everything = frozenset(range(len(self._view.nodes)))
        return self._view.get_bare_names(list_inner_shifts(self._view, everything))

    def build_roles(self) -> RoleTable:
        """The roles of all layers; a role that says more comes first."""
        view, names = self._view, self._names
        table = RoleTable(
            [name for path in names.sort(view.graph.layers) for name in names.list_names(path)],
            self._nodes_by_name,
        )
        for node in view.nodes:
            if is_lookup(node):
                table.add("embedding", [view.get_name(node.index)])
        table.add(
            "adapter",
            [
                n
                for path in view.graph.layers
                if names.is_adapter(path)
                for n in names.list_names(path)
            ],
        )
        for attention in self.attentions:
            table.add_attention(attention)
        for unit in (*self.units, *self._lone_gates):
            table.add_gate(unit)
        table.add_streams(self.streams)
        for mixture in self.mixtures:
            table.add_mixture(mixture)
        for branch in (branch for stream in self.streams for branch in stream.branches):
            layers = table.list_unnamed(branch)
            if not any(map(self._is_spatial, layers)):
                table.add_perceptron(layers)
        for node in view.nodes:
            if node.kind == "output" and node.target == "output":
                last = filter(view.is_last, view.find_sources(node.index, self._sums))
                table.add(
                    "head", view.list_names(one for one in last if not is_lookup(view.nodes[one]))
                )
        table.add_ties(self._ties)
        return table

    def _describe_attentions(
        self,
    ) -> tuple[tuple[AttentionLayers, ...], dict[str, PackedRows]]:
        """All attentions, each once, and the packed layers among theirs."""
        found: dict[AttentionLayers, None] = {}
        packed: dict[str, PackedRows] = {}
        parts: list[Part] = []
        for core, nodes in zip(self._cores, self._attention, strict=True):
            found[describe_attention(self._view, core, nodes, self._values)] = None
            parts += list_core_parts(core, nodes)
        for rows in find_packed_rows(self._view, self._values, parts):
            packed[rows.layer] = rows
        for attention, module_rows in describe_attention_modules(self._view):
            found[attention] = None
            if module_rows is not None:
                packed.setdefault(module_rows.layer, module_rows)
        return tuple(found), packed

    def _pack_gates(self) -> None:
        view = self._view
        parts: list[Part] = []
        for gate in self._gates:
            if gate.up_signal == gate.gate_signal:
                for layer in gate.gate:
                    rows = pack_halves(view, self._values, layer, ("up", "gate"))
                    self.packed.setdefault(rows.layer, rows)
                continue
            parts.append(("gate", gate.gate_signal, gate.gate))
            parts += [("up", gate.up_signal, gate.up)] if gate.up else []
        for rows in find_packed_rows(view, self._values, parts):
            self.packed.setdefault(rows.layer, rows)

    def _describe_gate(self, gate: GateNodes) -> GatedUnit:
        gates, ups, downs = map(self._view.list_names, (gate.gate, gate.up, gate.down))
        return GatedUnit(gates, ups, downs, gate.activation)

    def _is_spatial(self, layer: str) -> bool:
        """Whether a layer mixes neighbours, and so is none of a perceptron."""
        return any(
            max(getattr(self._view.nodes[node].module, "kernel_size", None) or (1,)) > 1
            for node in self._nodes_by_name[layer]
        )

    @cached_property
    def _nodes_by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for index in sorted(self._view.layers):
            found[self._view.get_name(index)].append(index)
        return found

    def _count_calls(self, experts: Set[str]) -> tuple[tuple[str, int], ...]:
        """Layers that were called several times, but for experts, which are called in turn."""
        return tuple(
            (name, len(nodes))
            for name, nodes in self._nodes_by_name.items()
            if len(nodes) > 1 and name not in experts
        )

    def _measure_path(self) -> int:
        longest: list[int] = []
        for node in self._view.nodes:
            before = max((longest[source] for source in node.inputs), default=0)
            longest.append(before + (node.index in self._view.layers))
        return max(longest, default=0)

    def _list_unreached(self, layers: Iterable[LayerRole]) -> tuple[str, ...]:
        return tuple(
            one.layer
            for one in layers
            if one.layer not in self._nodes_by_name
            and not one.reason
            and "adapter" not in one.roles
        )

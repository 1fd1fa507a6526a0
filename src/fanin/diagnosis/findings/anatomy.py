"""What the judges of scales look at: every map of a model as it was drawn, and its place in the
graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn

from fanin.apply.model_parameters import ParameterUse, find_uses, group_tied
from fanin.apply.observed_layouts import describe_by_use
from fanin.apply.observed_packing import could_be_packed, divide_use
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.findings.weight_draws import Draw, measure_draw
from fanin.errors import FaninError
from fanin.fans import WEIGHTS, Fans, WeightLayout, pack
from fanin.fans.packing import find_output_axis
from fanin.structure import (
    AttentionLayers,
    Graph,
    ModelStructure,
    PackedRows,
    find_followers,
    find_graph_followers,
    trace_forward,
)
from fanin.structure.followers import Follower
from fanin.structure.layer_names import LayerNames

_KEY = "anatomy"


@dataclass(frozen=True)
class DrawnMap:
    """One map of a model: a weight, or one part of a packed one."""

    use: ParameterUse
    part: str
    """The part's name; empty if the weight is one map."""
    layout: WeightLayout
    draw: Draw

    @property
    def name(self) -> str:
        """The bare name of the parameter that holds it."""
        return self.use.bare_name

    @property
    def fans(self) -> Fans:
        """The fans of the map; 1 and 1 if they are not known."""
        return self.layout.fans or Fans(1, 1)


@dataclass(frozen=True)
class WeightState:
    """One weight with its maps."""

    use: ParameterUse
    draw: Draw
    """Of all numbers."""
    maps: tuple[DrawnMap, ...]

    @property
    def name(self) -> str:
        """The bare name of the parameter."""
        return self.use.bare_name


class Anatomy:
    """The weights and the graph of one examined model, each worked out when it is first needed."""

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self.model = examination.model
        self._names = LayerNames(examination.model)

    @cached_property
    def graph(self) -> Graph | None:
        """The graph of the probe, or of a pass of its own; None if the model cannot be run."""
        if self._examination.measurement is not None:
            return self._examination.measurement.graph
        if self._examination.batch is None:
            return None
        try:
            return trace_forward(self.model, self._examination.batch)
        except FaninError:
            return None

    @cached_property
    def followers(self) -> Mapping[str, Follower]:
        """What follows each layer, by its bare name."""
        try:
            found = (
                find_followers(self.model)
                if self.graph is None
                else find_graph_followers(self.graph)
            )
        except FaninError:
            return {}
        return {self._names.get_bare_path(path): follower for path, follower in found.items()}

    @cached_property
    def nodes(self) -> Mapping[str, tuple[int, ...]]:
        """The nodes of each layer, by its bare name."""
        found: dict[str, list[int]] = defaultdict(list)
        for node in self.graph.nodes if self.graph is not None else ():
            if node.kind == "layer":
                found[self._names.get_name(node)].append(node.index)
        return {name: tuple(indices) for name, indices in found.items()}

    @cached_property
    def uses(self) -> tuple[ParameterUse, ...]:
        """Every parameter once, with its role, its layout and its parts."""
        uses = find_uses(self.model, "kernel")
        try:
            uses = describe_by_use(self.model, uses, self._examination.batch, {})
        except FaninError:
            self._examination.notes.append(
                "Matrices that no layer describes: how the model uses them could not be seen."
            )
        rows = self.structure.packed if self.structure is not None else ()
        by_layer = {one.layer: one for one in rows}
        divided = (_divide(use, by_layer) for use in uses)
        return tuple(group[0] for group in group_tied(tuple(divided)))

    @cached_property
    def weights(self) -> tuple[WeightState, ...]:
        """Every weight that holds numbers, but for those of one number per output."""
        found = (_measure_weight(use) for use in self.uses if use.role in WEIGHTS)
        return tuple(state for state in found if state is not None)

    @cached_property
    def maps(self) -> tuple[DrawnMap, ...]:
        """The maps of all weights that are no embeddings."""
        return tuple(
            one for state in self.weights if state.use.role != "embedding" for one in state.maps
        )

    @cached_property
    def by_layer(self) -> Mapping[str, WeightState]:
        """The first weight of each layer, by the layer's bare name."""
        found: dict[str, WeightState] = {}
        for state in self.weights:
            found.setdefault(self.get_layer(state.use), state)
        return found

    @property
    def structure(self) -> ModelStructure | None:
        """What the layers do, if that could be seen."""
        return self._examination.structure

    @property
    def attentions(self) -> tuple[AttentionLayers, ...]:
        """The attentions of the model."""
        return self.structure.attentions if self.structure is not None else ()

    def get_bare_path(self, path: str) -> str:
        """The path of a module in the bare model."""
        return self._names.get_bare_path(path)

    def get_layer(self, use: ParameterUse) -> str:
        """The bare name of the layer that holds a parameter; a raw one may be a layer itself."""
        return use.bare_name if use.bare_name in self.nodes else use.bare_name.rpartition(".")[0]

    def get_follower(self, use: ParameterUse) -> Follower | None:
        """What follows the layer of a parameter."""
        return self.followers.get(use.bare_name.rpartition(".")[0])


def get_anatomy(examination: Examination) -> Anatomy:
    """The anatomy of what is examined, made once."""
    found = examination.worked_out.setdefault(_KEY, None)
    if found is None:
        found = examination.worked_out[_KEY] = Anatomy(examination)
    assert isinstance(found, Anatomy)
    return found


def read_values(use: ParameterUse) -> Tensor | None:
    """The numbers of a parameter; None if they are not there, or are no plain floats."""
    values = getattr(use.module, use.local, None) if use.through else use.parameter
    if (
        not isinstance(values, Tensor)
        or values.is_meta
        or values.layout is not torch.strided
        or not values.is_floating_point()
        or not values.numel()
        or type(values) not in (Tensor, nn.Parameter)
    ):
        return None
    return values.detach()


def _measure_weight(use: ParameterUse) -> WeightState | None:
    values = read_values(use)
    if values is None:
        return None
    whole = _measure(values, use.layout)
    parts = [
        DrawnMap(use, part.name, part.layout, _measure(part.read(values), part.layout))
        for part in use.layout.parts
    ]
    return WeightState(use, whole, tuple(parts) or (DrawnMap(use, "", use.layout, whole),))


def _measure(values: Tensor, layout: WeightLayout) -> Draw:
    plain = layout.fans is not None and len(layout.shape) >= 2 and layout.inputs == 1
    if not plain or values.shape != layout.shape:
        return measure_draw(values)
    return measure_draw(values, layout.to_matrices(values))


def _divide(use: ParameterUse, by_layer: Mapping[str, PackedRows]) -> ParameterUse:
    if not could_be_packed(use):
        return use
    divided = divide_use(use, by_layer)
    rows = by_layer.get(use.bare_name.rpartition(".")[0])
    if divided is not use or rows is None or rows.rows is None:
        return divided
    return _divide_gates(use, rows.names, rows.rows)


def _divide_gates(
    use: ParameterUse, names: Sequence[str], rows: Sequence[Sequence[tuple[int, int]]]
) -> ParameterUse:
    """Gates of a recurrence that is written out: the largest equal blocks of rows that each belong
    to one kind.
    """
    if set(names) != {"gate", "rest"}:
        return use
    ranges = sorted((*one, name) for name, some in zip(names, rows, strict=True) for one in some)
    total = use.layout.shape[find_output_axis(use.layout)]
    size = min(stop - start for start, stop, _ in ranges)
    if any(start % size or stop % size for start, stop, _ in ranges) or not _cover(ranges, total):
        return use
    kinds = [name for start, stop, name in ranges for _ in range((stop - start) // size)]
    sizes = {f"{name}{number}": size for number, name in enumerate(kinds)}
    return replace(use, layout=pack(use.layout, sizes))


def _cover(ranges: Sequence[tuple[int, int, str]], total: int) -> bool:
    """Whether ranges follow each other from 0 to `total`."""
    if ranges[0][0] != 0 or ranges[-1][1] != total:
        return False
    return all(one[1] == following[0] for one, following in pairwise(ranges))


def iterate_parts(states: Sequence[WeightState]) -> Iterator[DrawnMap]:
    """The maps of some weights."""
    for state in states:
        yield from state.maps

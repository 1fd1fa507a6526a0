"""The size of every layer of a residual stream, by what the layer does, in a unit in which sizes
can be compared.

Which unit that is, the model shows: weights drawn with one standard deviation are compared by it,
weights of variance 1/fan-in by √(variance · fan-in), and so on. It is the unit in which the
layers that read from the stream differ least, and so do those that write to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from fanin.diagnosis.findings.anatomy import Anatomy, DrawnMap, WeightState
from fanin.diagnosis.findings.signal_paths import BranchEnd, find_branch_end
from fanin.fans import Fans
from fanin.structure import ModelStructure, ResidualBranch, ResidualStream

_PART_ROLES = {"q": "query", "k": "key", "v": "value", "gate": "gate", "up": "up"}
_COUNTED_PARTS = 64
"""Experts beyond this number are not compared one by one."""

Unit = Callable[[Fans], float]

UNITS: dict[str, Unit] = {
    "standard deviation": lambda fans: 1.0,
    "gain over fan-in": lambda fans: math.sqrt(fans.fan_in),
    "gain over both fans": lambda fans: math.sqrt((fans.fan_in + fans.fan_out) / 2),
}
"""What the standard deviation is multiplied by. Nobody draws these layers by their fan-out."""
_AS_COHERENT = 0.03
"""Of logarithms: units in which sizes differ by 3 % more are as good."""


@dataclass(frozen=True)
class SizedLayer:
    """One map of a residual branch, and its size."""

    branch: int
    """The index of its branch."""
    role: str
    """query, key, value, gate, up, router; ``inner`` for others that do not write; ``writer``."""
    map: DrawnMap
    end: BranchEnd | None = None
    """Of a writer, its way to the sum."""

    @property
    def writes(self) -> bool:
        """Whether it ends the branch."""
        return self.role == "writer"

    @property
    def std(self) -> float:
        """Its standard deviation, times a constant that its branch is multiplied by."""
        factor = self.end.factor if self.end is not None else 1.0
        return self.map.draw.std * (1.0 if factor is None else abs(factor))

    def measure(self, unit: Unit) -> float:
        """Its size in a unit."""
        return self.std * unit(self.map.fans)


def list_sized_layers(anatomy: Anatomy, stream: ResidualStream) -> list[SizedLayer]:
    """The layers of all branches of a stream whose weights were drawn at random."""
    structure = anatomy.structure
    assert structure is not None
    found: dict[tuple[str, str], SizedLayer] = {}
    for branch in stream.branches:
        for layer in branch.layers:
            for one in _list_of_layer(anatomy, structure, branch, layer):
                found.setdefault((one.map.name, one.map.part), one)
    return list(found.values())


def _list_of_layer(
    anatomy: Anatomy, structure: ModelStructure, branch: ResidualBranch, layer: str
) -> Iterator[SizedLayer]:
    state = anatomy.by_layer.get(layer)
    if state is None:
        return
    if layer in branch.writers:
        yield SizedLayer(branch.index, "writer", _join(state), _find_end(anatomy, layer))
        return
    described = structure.get_role(layer)
    roles = described.roles if described is not None else ()
    for one in _list_maps(state):
        named = _PART_ROLES.get(one.part.rpartition(".")[2])
        role = named or (roles[0] if len(roles) == 1 else "inner")
        yield SizedLayer(branch.index, role, one)


def _join(state: WeightState) -> DrawnMap:
    """A weight as one map: of several experts, all numbers with the fans of one."""
    return DrawnMap(state.use, "", state.maps[0].layout, state.draw)


def _list_maps(state: WeightState) -> Sequence[DrawnMap]:
    counted = all(part.counted for part in state.use.layout.parts)
    return (_join(state),) if counted else state.maps[:_COUNTED_PARTS]


def _find_end(anatomy: Anatomy, layer: str) -> BranchEnd | None:
    nodes = anatomy.nodes.get(layer, ())
    if anatomy.graph is None or not nodes:
        return None
    return find_branch_end(anatomy.graph, nodes[0])


def choose_units(layers: Iterable[SizedLayer], *, odd_role: bool = True) -> list[str]:
    """The units in which the roles of readers differ least, and writers too; several if they are
    as good.

    `odd_role`: whether one role may be unlike the others, so that the median decides. Writers are
    compared with the next one in the stream, since their sizes may fall with depth.
    """
    known = [one for one in layers if one.role != "router" and one.std > 0]
    roles: dict[str, list[SizedLayer]] = {}
    for one in known:
        if not one.writes:
            roles.setdefault(one.role, []).append(one)
    average = median if odd_role else fmean
    scatter = {}
    for name, unit in UNITS.items():
        sizes = [average_log(one.measure(unit) for one in some) for some in roles.values()]
        middle = math.log(median(sizes)) if sizes else 0.0
        apart = average([abs(math.log(size) - middle) for size in sizes]) if sizes else 0.0
        scatter[name] = apart + _step([one.measure(unit) for one in known if one.writes])
    least = min(scatter.values())
    return [name for name, value in scatter.items() if value <= least + _AS_COHERENT]


def _step(sizes: Sequence[float]) -> float:
    """The median distance from one to the next, of logarithms."""
    return median(abs(math.log(b / a)) for a, b in pairwise(sizes)) if len(sizes) > 1 else 0.0


def compute_reference(layers: Iterable[SizedLayer], unit: str) -> float | None:
    """The usual size of the layers that do not write, without routers; None if there are none."""
    sizes = [
        one.measure(UNITS[unit])
        for one in layers
        if not one.writes and one.role != "router" and one.std > 0
    ]
    return median(sizes) if sizes else None


def average_log(values: Iterable[float]) -> float:
    """The geometric mean of positive numbers."""
    return math.exp(fmean(map(math.log, values)))

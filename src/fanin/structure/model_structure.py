"""What `describe_structure` says about a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fanin.structure.structure_records import (
    AttentionLayers,
    ExpertMixture,
    GatedUnit,
    LayerRole,
    PackedRows,
    ResidualBranch,
    ResidualStream,
    Role,
)
from fanin.structure.structure_text import (
    count,
    format_calls,
    format_mixtures,
    format_packed,
    format_roles,
    format_same,
    format_section,
    format_stream,
    wrap,
)


@dataclass(frozen=True)
class ModelStructure:
    """The structure of one model. Layers are named as in the bare model, without wrappers."""

    model: str
    """The class."""
    layers: tuple[LayerRole, ...]
    """Every layer, in the model's order."""
    streams: tuple[ResidualStream, ...]
    attentions: tuple[AttentionLayers, ...]
    packed: tuple[PackedRows, ...]
    gated_units: tuple[GatedUnit, ...]
    mixtures: tuple[ExpertMixture, ...]
    ties: tuple[tuple[str, ...], ...]
    """The names of each parameter that has several."""
    shared: tuple[tuple[str, int], ...]
    """Layers that were called several times in one pass, and how often."""
    clones: tuple[tuple[str, ...], ...]
    """Weights of distinct layers that hold equal values."""
    longest_path: int
    """The number of layers on the longest path from the input to the output."""
    first_layers: tuple[str, ...]
    """The layers that no other layer precedes: they read the model's input."""
    unreached: tuple[str, ...]
    """Layers that the pass did not reach, or not in a way that can be seen."""
    observed: bool
    """Whether a forward pass was observed; otherwise the model was traced without numbers."""
    shifts: tuple[str, ...] = ()
    """The parameters of at most one axis that are added to a signal by themselves."""

    @property
    def branch_count(self) -> int:
        """The number of residual branches of all streams."""
        return sum(stream.depth for stream in self.streams)

    @property
    def branches(self) -> tuple[ResidualBranch, ...]:
        """The branches of all streams."""
        return tuple(branch for stream in self.streams for branch in stream.branches)

    @property
    def writers(self) -> tuple[str, ...]:
        """The layers that end a residual branch, in the model's order."""
        return tuple(one.layer for one in self.layers if one.writes)

    @property
    def readers(self) -> tuple[str, ...]:
        """The layers that read from a residual stream, in the model's order."""
        return tuple(one.layer for one in self.layers if one.reads)

    def get_role(self, layer: str) -> LayerRole | None:
        """What one layer does; None if there is no layer of that name."""
        return next((one for one in self.layers if one.layer == layer), None)

    def list_layers(self, role: Role) -> tuple[str, ...]:
        """The layers of one role, in the model's order."""
        return tuple(one.layer for one in self.layers if role in one.roles)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and dicts."""
        return asdict(self)

    def __str__(self) -> str:
        """Everything in at most 80 columns; what is alike in different blocks is on one line, with
        their numbers written ``*``.
        """
        lines = [self._format_title()]
        for stream in self.streams:
            lines += ["", *format_stream(stream)]
        lines += format_section("roles", format_roles(self.layers))
        lines += format_section("packed rows", format_packed(self.packed))
        lines += format_section("experts", format_mixtures(self.mixtures))
        lines += format_section("tied", format_same(self.ties))
        lines += format_section("called several times", format_calls(self.shared))
        lines += format_section("equal values", format_same(self.clones))
        lines += format_section("not reached", self.unreached)
        return "\n".join(line for text in lines for line in wrap(text))

    def _format_title(self) -> str:
        way = "observed on a batch" if self.observed else "traced without numbers"
        counts = (
            count(len(self.layers), "layer"),
            f"longest path {self.longest_path}",
            count(len(self.streams), "residual stream"),
            count(self.branch_count, "branch", "branches"),
            count(len(self.attentions), "attention"),
        )
        return f"{self.model}, {way}: {', '.join(counts)}"

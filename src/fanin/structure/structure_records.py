"""The parts of a `ModelStructure`: plain records, by the names of the bare model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal[
    "embedding",
    "query",
    "key",
    "value",
    "attention_output",
    "gate",
    "up",
    "down",
    "router",
    "head",
    "adapter",
]
"""up and down: the first and last layer of a multilayer perceptron inside a residual branch, or
beside a gate. gate: its output, activated, multiplies another signal. adapter: LoRA's A or B."""

ROLES: tuple[Role, ...] = get_args(Role)

NormPlace = Literal["pre", "end", "post"]
"""Of a normalization: between the stream and the branch's first layers; between its last layers
and the sum; on the stream, after the sum."""


@dataclass(frozen=True)
class LayerRole:
    """What one layer does."""

    layer: str
    roles: tuple[Role, ...]
    """Several for a packed layer, or a shared one; none if the graph shows none."""
    reads: bool = False
    """Whether it reads from a residual stream: a first layer of a branch."""
    writes: bool = False
    """Whether it writes to a residual stream: a last layer of a branch."""
    expert: bool = False
    """Whether it is one expert's, or holds several experts."""
    reason: str = ""
    """Where the roles come from, if not from the graph of the layer's own calls."""


@dataclass(frozen=True)
class BranchNorms:
    """The normalizations of a branch by place, in the order of their computation: modules, or the
    first parameter of a function; a function without parameters has no name.
    """

    pre: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    """Between layers of the branch, such as those of queries and keys."""
    last: tuple[str, ...] = ()
    """Of the inner ones, those that its last layers read: sub-LayerNorm's."""
    end: tuple[str, ...] = ()
    post: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResidualBranch:
    """One branch of a residual stream: what is computed from the stream and added to it."""

    index: int
    """Its place among the stream's branches, from 0."""
    step: int
    """As `index`, but branches that read from the same point of the stream share it."""
    readers: tuple[str, ...]
    """The layers that read from the stream."""
    writers: tuple[str, ...]
    """The layers that end the branch."""
    layers: tuple[str, ...]
    """All layers of the branch, in the order of their computation."""
    norms: tuple[NormPlace, ...] = ()
    projection: tuple[str, ...] = ()
    """The layers of the shortcut, if it is no identity."""
    norm_layers: BranchNorms = BranchNorms()
    scales: tuple[str, ...] = ()
    """The parameters that multiply the branch's end, such as LayerScale's or ReZero's; only those
    that are used as they are.
    """
    factor: float | None = 1.0
    """The constant that multiplies the branch's end; None if something else multiplies it, such as
    a gate that is computed.
    """
    shifts: tuple[str, ...] = ()
    """The parameters of at most one axis that are added inside the branch and at its end."""
    shortcut_scales: tuple[str, ...] = ()
    """The parameters that multiply the shortcut."""
    shortcut_factor: float | None = 1.0
    """The constant that multiplies the shortcut; None if something else multiplies it."""
    variances: tuple[float, float] | None = None
    """Of the shortcut and of the branch, as they are added, where `measure_branches` measured."""
    crosses: bool = False
    """Whether it also reads another stream that lies outside, as attention to an encoder does."""


@dataclass(frozen=True)
class ResidualStream:
    """A signal that branches read from and are added to."""

    index: int
    sources: tuple[str, ...]
    """The layers that begin it."""
    branches: tuple[ResidualBranch, ...]
    parent: int | None = None
    """The stream that it lies in a branch of, if any."""

    @property
    def depth(self) -> int:
        """The number of its branches."""
        return len(self.branches)


@dataclass(frozen=True)
class AttentionLayers:
    """The layers of one attention."""

    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    output: tuple[str, ...]
    """What the averaged values go through next; empty if that is no layer."""
    head_dim: int | None = None
    """The width of one head, as the forward pass showed it."""


@dataclass(frozen=True)
class PackedRows:
    """Which outputs of one layer are which of its parts."""

    layer: str
    names: tuple[str, ...]
    """What the parts are: query, key, value, gate, up; "rest" is what has no such part."""
    rows: tuple[tuple[tuple[int, int], ...], ...] | None
    """Of each part its ranges (start, stop) of outputs, in order. None without a forward pass on
    real numbers that gradients flow through."""

    @property
    def heads(self) -> int | None:
        """The number of groups if the parts alternate: GPT-NeoX's rows are ordered (head, 3,
        head_dim). 1 if every part is contiguous.
        """
        if self.rows is None:
            return None
        counts = {len(ranges) for ranges in self.rows}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class GatedUnit:
    """The layers of a gated linear unit, such as SwiGLU: down(act(gate(x)) · up(x))."""

    gate: tuple[str, ...]
    up: tuple[str, ...]
    """The same layer as `gate` if both are packed."""
    down: tuple[str, ...]
    activation: str


@dataclass(frozen=True)
class ExpertMixture:
    """A mixture of experts: the router's weights multiply the experts' outputs."""

    router: str
    experts: tuple[tuple[str, ...], ...]
    """The layers of each expert; one entry if the experts are stacked in one parameter each."""

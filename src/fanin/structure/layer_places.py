"""Where each layer lies in its model: its roles, and its place in the residual stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fanin.structure.model_structure import ModelStructure
from fanin.structure.structure_records import ResidualBranch, ResidualStream, Role

_ATTENTION: frozenset[Role] = frozenset(("query", "key", "value", "attention_output"))


@dataclass(frozen=True)
class LayerPlace:
    """Where one layer lies in its model."""

    roles: tuple[Role, ...] = ()
    reads: bool = False
    """Whether it reads from a residual stream: a first layer of a branch."""
    writes: bool = False
    """Whether it writes to a residual stream: a last layer of a branch."""
    expert: bool = False
    """Whether it is one expert's, or holds several experts."""
    stream: int | None = None
    """The residual stream that its branch belongs to; None outside branches. Of nested streams
    the one that it reads from or writes to, or else the innermost.
    """
    branch: int | None = None
    """The index of its branch in the stream."""
    branches: int = 0
    """The number of branches of the stream: 2·L in a transformer of L blocks, L in a ResNet."""
    block: int | None = None
    """The index of its block. A block ends with a branch without attention."""
    blocks: int = 0
    """The number of blocks of the stream, L."""
    position: int = 0
    """Its position among the layers of its branch."""
    layers: int = 0
    """The number of layers of its branch, m; layers side by side, such as query, key and value,
    count one each.
    """

    @property
    def attends(self) -> bool:
        """Whether it is a layer of an attention."""
        return not _ATTENTION.isdisjoint(self.roles)

    def __str__(self) -> str:
        """In words: ``attention output, writes to stream 0, branch 1 of 24``."""
        words = [role.replace("_", " ") for role in self.roles]
        if self.expert:
            words.append("expert")
        if self.stream is not None and self.branch is not None:
            way = " and ".join(
                way
                for way, given in (("reads from", self.reads), ("writes to", self.writes))
                if given
            )
            words.append(f"{way or 'inside'} stream {self.stream}")
            words.append(f"branch {self.branch + 1} of {self.branches}")
        return ", ".join(words)


def place_layers(structure: ModelStructure) -> dict[str, LayerPlace]:
    """The place of every layer, by its name in the bare model."""
    depths = {stream.index: _count_parents(structure, stream) for stream in structure.streams}
    found: dict[str, list[tuple[tuple[bool, int], LayerPlace]]] = defaultdict(list)
    attention = {one.layer for one in structure.layers if not _ATTENTION.isdisjoint(one.roles)}
    for stream in structure.streams:
        blocks = _number_blocks(stream, attention)
        for branch in stream.branches:
            for layer, place in _place_branch(stream, branch, blocks):
                touches = place.reads or place.writes
                found[layer].append(((touches, depths[stream.index]), place))
    places = {}
    for one in structure.layers:
        inside = max(found[one.layer], key=lambda each: each[0])[1] if found[one.layer] else None
        places[one.layer] = replace(
            inside or LayerPlace(),
            roles=one.roles,
            expert=one.expert,
            reads=one.reads,
            writes=one.writes,
        )
    return places


def _count_parents(structure: ModelStructure, stream: ResidualStream) -> int:
    count, parent = 0, stream.parent
    while parent is not None:
        count, parent = count + 1, structure.streams[parent].parent
    return count


def _number_blocks(stream: ResidualStream, attention: set[str]) -> Mapping[int, int]:
    """The block of each step of a stream. It ends with the first step that has a branch without
    attention; in a stream without attention each step is one block.
    """
    ends: dict[int, bool] = {}
    for branch in stream.branches:
        plain = attention.isdisjoint(branch.layers)
        ends[branch.step] = ends.get(branch.step, False) or plain
    if not any(ends.values()):
        return {step: index for index, step in enumerate(ends)}
    blocks, block = {}, 0
    for step, is_end in ends.items():
        blocks[step] = block
        block += is_end
    return blocks


def _place_branch(
    stream: ResidualStream, branch: ResidualBranch, blocks: Mapping[int, int]
) -> Iterator[tuple[str, LayerPlace]]:
    for layer in dict.fromkeys((*branch.layers, *branch.readers, *branch.writers)):
        yield (
            layer,
            LayerPlace(
                reads=layer in branch.readers,
                writes=layer in branch.writers,
                stream=stream.index,
                branch=branch.index,
                branches=stream.depth,
                block=blocks[branch.step],
                blocks=max(blocks.values()) + 1,
                position=branch.layers.index(layer) if layer in branch.layers else 0,
                layers=len(branch.layers),
            ),
        )

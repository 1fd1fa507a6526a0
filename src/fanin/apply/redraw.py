"""Draw a parameter again from what its record says: rule, layout, streams."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fanin import seeds, specs
from fanin.apply.parameter_record import ParameterRecord
from fanin.apply.shared_stream import STREAM, sample_in_keras_order
from fanin.errors import FaninError
from fanin.fans import PackedPart, WeightLayout
from fanin.initializers import Initializer, get

_REFERENCE = 10_000
"""So many draws stand for a distribution: two such distances differ by 0.01."""
_MOST = 4_000_000

Piece = tuple[WeightLayout, PackedPart | None, int | None]


@dataclass(frozen=True)
class Redraw:
    """A rule that can be drawn again, and what it fills."""

    initializer: Initializer
    pieces: tuple[Piece, ...]
    """Layout, place and stream of each draw; without a stream nothing is random."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    shared: int
    """The number of the one stream that all weights share if that was asked for."""

    def draw(self) -> Tensor:
        """The recorded numbers, in the recorded dtype, on the CPU."""
        return self._draw_with([stream for _, _, stream in self.pieces])

    def draw_another(self, position: int) -> Tensor:
        """An independent draw of the same rule."""
        return self._draw_with(
            [seeds.derive_stream(stream or 0, "verify", position) for _, _, stream in self.pieces]
        )

    def draw_of_seed(self, seed: int, bare_name: str) -> Tensor:
        """What another seed would have given."""
        return self._draw_with(
            [
                seeds.derive_stream(
                    seed, "init", f"{bare_name}[{part.name}]" if part else bare_name
                )
                for _, part, _ in self.pieces
            ]
        )

    @property
    def random(self) -> bool:
        """Whether anything is drawn."""
        return any(stream is not None for _, _, stream in self.pieces)

    def list_parts(self) -> Iterator[tuple[str, PackedPart | None, WeightLayout]]:
        """Each map: its name, where it lies, its layout."""
        for layout, part, _ in self.pieces:
            yield layout.part, part, layout

    def _draw_with(self, streams: list[int | None] | list[int]) -> Tensor:
        whole = torch.empty(
            self.shape, dtype=torch.complex64 if self.dtype.is_complex else torch.float32
        )
        for (layout, part, recorded), stream in zip(self.pieces, streams, strict=True):
            generator = seeds.restart_stream(stream or 0)
            if recorded is not None and recorded == self.shared:
                numbers = sample_in_keras_order(self.initializer, layout, generator)
            else:
                numbers = self.initializer.draw(layout, generator, whole.dtype)
            if part is None:
                whole.copy_(numbers.reshape(self.shape))
            else:
                part.write(whole, numbers)
        return whole.to(self.dtype)


def read_redraw(record: ParameterRecord, seed: int) -> Redraw | str:
    """How a parameter can be drawn again, or why it cannot, in words.

    A user's function is not run again: verifying a record must not run what the record names.
    """
    layout, rule = record.layout, record.rule
    if rule is None or layout is None:
        return "no rule filled it"
    if specs.is_reference(rule.partition("(")[0]):
        return "its rule is a user's function, which is not run again"
    try:
        initializer = get(rule)
    except FaninError as error:
        return f"its rule cannot be made here: {error}"
    pieces: tuple[Piece, ...] = ((layout, None, record.stream),)
    if record.parts:
        told = zip(layout.parts, record.parts, strict=True)
        pieces = tuple((part.layout, part, one.stream) for part, one in told)
    dtype = getattr(torch, record.dtype, None)
    if not isinstance(dtype, torch.dtype):
        return f"its dtype {record.dtype} is not known here"
    return Redraw(
        initializer, pieces, record.shape, dtype, seeds.derive_stream(seed, "init", STREAM)
    )


def draw_reference(redraw: Redraw, part: PackedPart | None) -> Tensor:
    """Independent draws of the rule for one map, flat, float64 and sorted."""
    shape = part.layout.shape if part else redraw.shape
    size = max(math.prod(shape), 1)
    count = 1 if size >= _REFERENCE else -(-_REFERENCE // size)
    if math.prod(redraw.shape) * count > max(_MOST, 2 * math.prod(redraw.shape)):
        count = max(1, _MOST // max(math.prod(redraw.shape), 1))
    draws = (redraw.draw_another(position) for position in range(count))
    return torch.cat([flatten(part.of(one) if part else one) for one in draws]).sort().values


def flatten(values: Tensor) -> Tensor:
    """All numbers as one row of float64, real and imaginary ones of equal scale."""
    if values.is_complex():
        values = torch.view_as_real(values.to(torch.complex128)).mul(math.sqrt(2))
    return values.detach().reshape(-1).double()

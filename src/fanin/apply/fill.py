"""Filling: from a planned step to numbers in memory, and what came of it."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.apply import reparametrization
from fanin.apply.model_parameters import Use
from fanin.apply.record import ParameterRecord, PartRecord
from fanin.apply.shared_stream import STREAM, sample_in_keras_order
from fanin.errors import FitError
from fanin.fans import Layout, PackedPart
from fanin.initializers import Initializer

_WORTH_THREADS = 1_000_000
"""Numbers to draw from which on threads pay."""


@dataclass(frozen=True)
class Piece:
    """What one draw fills: a whole parameter, or one of its parts."""

    layout: Layout
    stream: str
    """The name of its random stream: its own, or the one that all weights share."""
    part: PackedPart | None = None


@dataclass(frozen=True)
class Step:
    """What is to be done with one parameter."""

    uses: Sequence[Use]
    """The places that hold it; the first one is filled."""
    initializer: Initializer | None
    """None where it stays as it is."""
    pieces: tuple[Piece, ...]
    records: tuple[ParameterRecord, ...]
    """One per use."""

    @property
    def writes(self) -> bool:
        """Whether anything is to be written."""
        return self.initializer is not None and math.prod(self.records[0].shape) > 0


def fill_all(steps: Sequence[Step], seed: int) -> list[tuple[ParameterRecord, ...]]:
    """Fill parameters as planned, of a large model several at a time: streams are their own, so
    order does not matter.
    """
    numbers = sum(math.prod(step.records[0].shape) for step in steps if step.writes)
    threads = torch.get_num_threads()
    if threads == 1 or numbers < _WORTH_THREADS or any(map(_is_sharded, steps)):
        return [filled(step, seed) for step in steps]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda step: filled(step, seed), steps))


def _is_sharded(step: Step) -> bool:
    return _sharded(step.uses[0].parameter)


def filled(step: Step, seed: int) -> tuple[ParameterRecord, ...]:
    """Fill one parameter as planned; the records of its uses."""
    if not step.writes or step.initializer is None:
        return step.records
    use = step.uses[0]
    with torch.no_grad():
        if use.through:
            measured = _through(step, use, seed)
        elif _sharded(use.parameter):
            measured = _sharing(step, use.parameter, seed)
        else:
            measured = _directly(step, use.parameter, seed)
    head, *others = (replace(record, changed=True) for record in step.records)
    return _measured(head, measured, through=bool(use.through)), *others


def draw(step: Step, piece: Piece, seed: int, dtype: torch.dtype) -> Tensor:
    """The numbers of one piece."""
    assert step.initializer is not None
    generator = seeds.make_generator(seed, "init", piece.stream)
    if piece.stream == STREAM:
        return sample_in_keras_order(step.initializer, piece.layout, generator)
    return step.initializer.draw(piece.layout, generator, dtype)


def _directly(step: Step, parameter: nn.Parameter, seed: int) -> list[float]:
    """Write each piece into its place in the parameter; the standard deviation of each."""
    random = step.records[0].stream is not None or any(
        part.stream is not None for part in step.records[0].parts
    )
    measured = []
    for piece in step.pieces:
        place = piece.part.of(parameter) if piece.part else parameter.detach()
        with seeds.draw_into(place):
            numbers = draw(step, piece, seed, parameter.dtype)
        if numbers.data_ptr() != place.data_ptr():
            place.copy_(numbers)
        elif numbers.stride() != place.stride():
            place.copy_(numbers.clone())
        measured.append(std(place) if random else math.nan)
    for use, row in _padding(step):
        use.parameter[row].zero_()
    return measured


def _sharing(step: Step, parameter: Tensor, seed: int) -> list[float]:
    """Draw the whole weight and keep the share of this process.

    Every process that holds a shard draws the same whole weight, so nothing is sent.
    """
    whole = _whole(step, parameter, seed)
    measured = _stds(step, whole)
    for _, row in _padding(step):
        whole[row] = 0
    _share_out(parameter, whole)
    return measured


def _through(step: Step, use: Use, seed: int) -> list[float]:
    """Set a reparametrized weight; the standard deviation of what the layer then uses."""
    whole = _whole(step, use.parameter, seed)
    for _, row in _padding(step):
        whole[row] = 0
    directions = seeds.standard_normal(
        tuple(whole.shape), seeds.make_generator(seed, "init", use.name)
    )
    try:
        with seeds.preserve_torch_state(
            seeds.derive_stream(seed, "reparametrize", use.name)
        ):  # orthogonal draws what it lacks
            reparametrization.write(
                use.module, use.local, whole.to(use.parameter.device), directions
            )
            values = reparametrization.effective(use.module, use.local)
    except Exception as error:  # a user's parametrization may fail in any way
        raise FitError(
            f"{use.name} cannot be set through {use.through}, so nothing was changed: {error}"
        ) from error
    if not values.isfinite().all():
        raise FitError(
            f"{use.through} makes numbers that are not finite of {step.initializer} for "
            f"{use.name}, so nothing was changed. "
            f"Use another rule there, or keep."
        )
    return _stds(step, values)


def _whole(step: Step, parameter: Tensor, seed: int) -> Tensor:
    """All pieces together, on the CPU, in the parameter's dtype."""
    whole = torch.empty(
        step.records[0].shape,
        dtype=torch.complex64 if parameter.is_complex() else torch.float32,
        device="cpu",
    )
    for piece in step.pieces:
        (piece.part.of(whole) if piece.part else whole).copy_(draw(step, piece, seed, whole.dtype))
    return whole.to(parameter.dtype)


def _stds(step: Step, values: Tensor) -> list[float]:
    return [std(piece.part.of(values) if piece.part else values) for piece in step.pieces]


def _sharded(parameter: Tensor) -> bool:
    module = sys.modules.get("torch.distributed.tensor")  # not imported: then nothing is sharded
    return module is not None and isinstance(parameter, module.DTensor)


def _share_out(parameter: Tensor, values: Tensor) -> None:
    """Write this process' share of the values into a DTensor."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    mesh = parameter.device_mesh
    # Nothing need be sent. Early versions cannot be told so, and send what all have.
    quiet = (
        {"src_data_rank": None}
        if "src_data_rank" in inspect.signature(distribute_tensor).parameters
        else {}
    )
    shares = distribute_tensor(values.to(mesh.device_type), mesh, parameter.placements, **quiet)
    parameter.to_local().copy_(shares.to_local())


def std(values: Tensor) -> float:
    """The standard deviation of all entries (of the real and imaginary ones together)."""
    if values.is_complex():
        values = torch.view_as_real(values).mul(math.sqrt(2))
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    return values.std(correction=0).item()


def _measured(
    record: ParameterRecord, measured: Sequence[float], *, through: bool
) -> ParameterRecord:
    """The record with what was measured; of a packed parameter, from those of its parts, whose
    means are near zero.
    """
    parts = record.parts
    if not parts:
        known = through or record.stream is not None
        return replace(record, measured_std=measured[0] if known else None)
    new: tuple[PartRecord, ...] = tuple(
        replace(part, measured_std=value if through or part.stream is not None else None)
        for part, value in zip(parts, measured, strict=True)
    )
    sizes = [math.prod(part.shape) for part in parts]
    whole = math.sqrt(
        sum(n * value * value for n, value in zip(sizes, measured, strict=True)) / sum(sizes)
    )
    drawn = through or any(part.stream is not None for part in parts)
    return replace(record, parts=new, measured_std=whole if drawn else None)


def _padding(step: Step) -> Iterator[tuple[Use, int]]:
    """The rows of embeddings that stand for padding."""
    for use in step.uses:
        if (
            isinstance(use.module, nn.Embedding | nn.EmbeddingBag)
            and use.module.padding_idx is not None
        ):
            yield use, use.module.padding_idx

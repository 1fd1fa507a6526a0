"""Fill parameters as planned, and record what was written."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from fanin import seeds
from fanin.apply import reparametrization
from fanin.apply.model_parameters import ParameterUse
from fanin.apply.parameter_record import ParameterRecord, PartRecord
from fanin.apply.planned_fill import Piece, PlannedFill
from fanin.apply.shared_stream import STREAM, sample_in_keras_order
from fanin.errors import FitError
from fanin.initializers.single_thread import join_block, use_one_thread

_WORTH_THREADS = 1_000_000
"""Numbers to draw from which on threads pay."""


def fill_all(planned_fills: Sequence[PlannedFill], seed: int) -> list[tuple[ParameterRecord, ...]]:
    """Fill parameters as planned, of a large model several at a time: streams are their own, so
    order does not matter.
    """
    numbers = sum(
        math.prod(planned.records[0].shape) for planned in planned_fills if planned.writes
    )
    threads = torch.get_num_threads()
    if threads == 1 or numbers < _WORTH_THREADS or any(map(_is_sharded, planned_fills)):
        return [fill(planned, seed) for planned in planned_fills]
    # One thread per factorization, several of them at a time.
    factorizes = any(
        planned.initializer is not None and planned.initializer.factorizes
        for planned in planned_fills
    )
    with (
        use_one_thread() if factorizes else nullcontext(),
        ThreadPoolExecutor(threads, initializer=join_block if factorizes else None) as pool,
    ):
        return list(pool.map(lambda planned: fill(planned, seed), planned_fills))


def _is_sharded(planned: PlannedFill) -> bool:
    return _is_dtensor(planned.uses[0].parameter)


def fill(planned: PlannedFill, seed: int) -> tuple[ParameterRecord, ...]:
    """Fill one parameter as planned; the records of its uses."""
    if not planned.writes or planned.initializer is None:
        return planned.records
    use = planned.uses[0]
    with torch.no_grad():
        if use.through:
            measured = _fill_reparametrized(planned, use, seed)
        elif _is_dtensor(use.parameter):
            measured = _fill_shard(planned, use.parameter, seed)
        else:
            measured = _fill_directly(planned, use.parameter, seed)
    head, *others = (replace(record, changed=True) for record in planned.records)
    return _add_measurements(head, measured, through=bool(use.through)), *others


def draw(planned: PlannedFill, piece: Piece, seed: int, dtype: torch.dtype) -> Tensor:
    """The numbers of one piece."""
    assert planned.initializer is not None
    generator = seeds.make_generator(seed, "init", piece.stream)
    if piece.stream == STREAM:
        return sample_in_keras_order(planned.initializer, piece.layout, generator)
    return planned.initializer.draw(piece.layout, generator, dtype)


def _fill_directly(planned: PlannedFill, parameter: nn.Parameter, seed: int) -> list[float]:
    """Write each piece into its place in the parameter; the standard deviation of each."""
    random = planned.records[0].stream is not None or any(
        part.stream is not None for part in planned.records[0].parts
    )
    measured = []
    for piece in planned.pieces:
        place = piece.part.of(parameter) if piece.part else parameter.detach()
        with seeds.draw_into(place):
            numbers = draw(planned, piece, seed, parameter.dtype)
        if numbers.data_ptr() != place.data_ptr():
            place.copy_(numbers.reshape(place.shape))
        elif numbers.stride() != place.stride():
            place.copy_(numbers.clone().reshape(place.shape))
        measured.append(measure_std(place) if random else math.nan)
    for use, row in _find_padding_rows(planned):
        use.parameter[row].zero_()
    return measured


def _fill_shard(planned: PlannedFill, parameter: Tensor, seed: int) -> list[float]:
    """Draw the whole weight and keep the share of this process.

    Every process that holds a shard draws the same whole weight, so nothing is sent.
    """
    whole = _draw_whole(planned, parameter, seed)
    measured = _measure_pieces(planned, whole)
    for _, row in _find_padding_rows(planned):
        whole[row] = 0
    _write_shard(parameter, whole)
    return measured


def _fill_reparametrized(planned: PlannedFill, use: ParameterUse, seed: int) -> list[float]:
    """Set a reparametrized weight; the standard deviation of what the layer then uses."""
    whole = _draw_whole(planned, use.parameter, seed)
    for _, row in _find_padding_rows(planned):
        whole[row] = 0
    try:
        on_device = whole.to(use.parameter.device)
        values = write_through(use.module, use.local, use.bare_name, on_device, seed)
    except Exception as error:  # a user's parametrization may fail in any way
        raise FitError(
            f"{use.name} cannot be set through {use.through}, so nothing was changed: {error}"
        ) from error
    if not values.isfinite().all():
        raise FitError(
            f"{use.through} makes numbers that are not finite of {planned.initializer} for "
            f"{use.name}, so nothing was changed. "
            f"Use another rule there, or keep."
        )
    return _measure_pieces(planned, values)


def write_through(
    module: nn.Module, local: str, bare_name: str, whole: Tensor, seed: int
) -> Tensor:
    """Set a reparametrized weight of a layer; what the layer then uses."""
    directions = seeds.standard_normal(
        tuple(whole.shape), seeds.make_generator(seed, "init", bare_name)
    )
    stream = seeds.derive_stream(seed, "reparametrize", bare_name)
    with seeds.preserve_torch_state(stream):  # orthogonal draws what it lacks
        reparametrization.write(module, local, whole, directions)
        return reparametrization.read(module, local)


def _draw_whole(planned: PlannedFill, parameter: Tensor, seed: int) -> Tensor:
    """All pieces together, on the CPU, in the parameter's dtype."""
    whole = torch.empty(
        planned.records[0].shape,
        dtype=torch.complex64 if parameter.is_complex() else torch.float32,
        device="cpu",
    )
    for piece in planned.pieces:
        numbers = draw(planned, piece, seed, whole.dtype)
        if piece.part:
            piece.part.write(whole, numbers)
        else:
            whole.copy_(numbers)
    return whole.to(parameter.dtype)


def _measure_pieces(planned: PlannedFill, values: Tensor) -> list[float]:
    return [
        measure_std(piece.part.of(values) if piece.part else values) for piece in planned.pieces
    ]


def _is_dtensor(parameter: Tensor) -> bool:
    module = sys.modules.get("torch.distributed.tensor")  # not imported: then nothing is sharded
    return module is not None and isinstance(parameter, module.DTensor)


def _write_shard(parameter: Tensor, values: Tensor) -> None:
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


def measure_std(values: Tensor) -> float:
    """The standard deviation of all entries (of the real and imaginary ones together)."""
    if values.is_complex():
        values = torch.view_as_real(values).mul(math.sqrt(2))
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    return values.std(correction=0).item()


def _add_measurements(
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


def _find_padding_rows(planned: PlannedFill) -> Iterator[tuple[ParameterUse, int]]:
    """The rows of embeddings that stand for padding."""
    for use in planned.uses:
        for row in find_padding_rows(use):
            yield use, row


def find_padding_rows(use: ParameterUse) -> Iterator[int]:
    """The row of an embedding that stands for padding, if it has one."""
    if (
        isinstance(use.module, nn.Embedding | nn.EmbeddingBag)
        and use.module.padding_idx is not None
    ):
        yield use.module.padding_idx

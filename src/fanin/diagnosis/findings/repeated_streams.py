"""F015: weights of different layers that were drawn from the same random numbers.

A generator that is seeded anew before each layer gives every weight the beginning of one stream.
Then weights of different shapes begin with the same numbers, up to the scale of each; drawn from
different distributions, with numbers in the same order of size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fanin.apply.model_parameters import is_matrix_like
from fanin.diagnosis.examination import Examination
from fanin.diagnosis.finding import Finding
from fanin.diagnosis.findings.drawn_numbers import correlate, describe_draw, is_random
from fanin.diagnosis.held_parameters import HeldParameter
from fanin.diagnosis.patch import Patch

CODE = "F015"

FEW, SOME, MANY = 8, 32, 64
"""Numbers that are compared first. Independent draws of 8 correlate by more than 0.99999, or of 32
by more than 0.9995, with a probability below 1e-14."""
ALIKE_FEW, ALIKE = 0.99999, 0.9995
ALIKE_RANKS = 0.999
"""Of 64 numbers or more: weights that are a monotonic function of the same draws."""
_VERIFIED = 4096


def find_repeated_streams(examination: Examination) -> Iterator[Finding]:
    """One finding for each group of weights that begin with the same numbers."""
    weights = [
        one
        for one in examination.held
        if one.trainable
        and is_matrix_like(one.values.shape)
        and one.values.numel() >= FEW
        and one.finite
        and one.constant is None
    ]
    for group in _group_pairs(len(weights), _find_pairs(weights)):
        chosen = _drop_clones([weights[index] for index in group])
        if len(chosen) > 1 and all(is_random(one.values) for one in chosen):
            yield _report(chosen)


def _find_pairs(weights: Sequence[HeldParameter]) -> list[tuple[int, int]]:
    """The pairs that begin alike."""
    sizes = torch.tensor([one.values.numel() for one in weights])
    found: set[tuple[int, int]] = set()
    for first, limit, by_rank in (
        (FEW, ALIKE_FEW, False),
        (SOME, ALIKE, False),
        (MANY, ALIKE_RANKS, True),
    ):
        large = (sizes >= first).nonzero().flatten().tolist()
        if len(large) < 2:
            continue
        starts = torch.stack([_take_start(weights[index], first) for index in large])
        starts = starts.argsort(dim=1).argsort(dim=1).double() if by_rank else starts
        for one, other in _find_correlated(starts, limit):
            pair = large[one], large[other]
            if pair not in found and _verify(*(weights[index] for index in pair), by_rank=by_rank):
                found.add(pair)
    return sorted(found)


def _take_start(held: HeldParameter, count: int) -> Tensor:
    values = held.values
    flat = values.view(-1) if values.is_contiguous() else values.reshape(-1)
    return flat[:count].double()


def _find_correlated(rows: Tensor, limit: float) -> list[tuple[int, int]]:
    centred = rows - rows.mean(dim=1, keepdim=True)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-300)
    pairs = (unit @ unit.T > limit).triu(1).nonzero()
    return [(int(one), int(other)) for one, other in pairs]


def _verify(one: HeldParameter, other: HeldParameter, *, by_rank: bool) -> bool:
    """Whether two weights correlate as far as both go."""
    count = min(one.values.numel(), other.values.numel(), _VERIFIED)
    first, second = _take_start(one, count), _take_start(other, count)
    if by_rank:
        first, second = (part.argsort().argsort() for part in (first, second))
        return correlate(first, second) > ALIKE_RANKS
    return correlate(first, second) > (ALIKE if count >= SOME else ALIKE_FEW)


def _group_pairs(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The sets of what is connected by pairs, in order."""
    owner = list(range(count))
    for one, other in pairs:
        keep, drop = sorted((owner[one], owner[other]))
        owner = [keep if own == drop else own for own in owner]
    groups: dict[int, list[int]] = {}
    for index, own in enumerate(owner):
        groups.setdefault(own, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def _drop_clones(weights: Sequence[HeldParameter]) -> list[HeldParameter]:
    """One of each set of equal weights: these are identical layers, another finding."""
    kept: list[HeldParameter] = []
    for one in weights:
        if not any(
            one.values.shape == other.values.shape and torch.equal(one.values, other.values)
            for other in kept
        ):
            kept.append(one)
    return kept


def _report(weights: Sequence[HeldParameter]) -> Finding:
    first, second = weights[:2]
    count = min(first.values.numel(), second.values.numel())
    start, other = _take_start(first, count), _take_start(second, count)
    names = tuple(one.name for one in weights[1:])
    specs: dict[str, list[str]] = {}
    for one in weights[1:]:
        specs.setdefault(describe_draw(one.values), []).append(one.name)
    return Finding(
        code=CODE,
        severity="warning",
        where=names[0],
        also=names[1:],
        summary=(
            f"{second.name} begins with the same random numbers as {first.name}: over "
            f"{count:,} numbers they correlate by {correlate(start, other):.4f}."
        ),
        remedy=(
            "Seed the generator once for the whole model, or give every parameter a stream of its "
            "own, as fanin.initialize does."
        ),
        evidence={
            "correlation": correlate(start, other),
            "numbers_compared": count,
            "same_as": first.name,
            "scale": float(other.std() / start.std()),
            "weights": len(weights),
        },
        patches=tuple(
            Patch(operation="initialize", parameters=tuple(own), initializer=spec)
            for spec, own in specs.items()
        ),
    )

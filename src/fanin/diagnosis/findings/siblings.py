"""Parameters of the same place in repeated blocks, in the order of their depth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from fanin.diagnosis.held_parameters import HeldParameter

_INDEX = re.compile(r"(?<![^.])\d+(?![^.])")
"""A part of a name that is a number, as in a list of modules."""
_DIGITS = re.compile(r"\d+")

LEAST = 4
"""Of three parameters nobody knows which one is odd."""


def group_siblings(parameters: Iterable[HeldParameter]) -> list[list[HeldParameter]]:
    """The parameters whose names differ in a number only, in modules of the same classes with
    parameters of the same shapes; at least `LEAST` of them.

    Numbers of modules in a list count first (``blocks.3.up``); names that end in numbers (``fc3``)
    where that finds no group.
    """
    found: list[list[HeldParameter]] = []
    rest = list(parameters)
    for pattern in (_INDEX, _DIGITS):
        groups: dict[object, list[HeldParameter]] = {}
        for one in rest:
            key = pattern.sub("*", one.name), _describe_place(one)
            groups.setdefault(key, []).append(one)
        found += [group for group in groups.values() if len(group) >= LEAST]
        rest = [one for group in groups.values() if len(group) == 1 for one in group]
    return found


def _describe_place(held: HeldParameter) -> object:
    """The classes of the modules around a parameter, and the shapes beside it: a bias of the same
    length may belong to a layer with other inputs.
    """
    beside = {
        name: tuple(one.shape) for name, one in held.use.module.named_parameters(recurse=False)
    }
    classes = tuple(type(module).__name__ for module in held.use.enclosing)
    return classes, tuple(beside.items()), tuple(held.values.shape), held.role


def is_schedule(numbers: Sequence[float]) -> bool:
    """Whether numbers rise or fall with depth all the way, as 1/√l does."""
    steps = [after - before for before, after in pairwise(numbers)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def is_periodic(places: Sequence[int], count: int) -> bool:
    """Whether places among `count` follow one another at the same distance from end to end, as
    every fourth block does.
    """
    steps = {after - before for before, after in pairwise(places)}
    if len(steps) != 1:
        return False
    step = steps.pop()
    return step > 1 and places[0] < step and places[-1] + step >= count

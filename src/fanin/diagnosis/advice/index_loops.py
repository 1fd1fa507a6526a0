"""Where code finds a tensor in a model, and loops over tensors that differ by an index alone."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

FEWEST = 3
"""Tensors that differ by an index alone, from which on they are written as a loop."""

Path = tuple[str, ...]
"""The steps from the model to a tensor, as code: ``(".layers", "[0]", ".weight")``."""


def write_targets(model: nn.Module, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The header of a loop, empty if there is none, and what a statement in it calls the tensor.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    >>> list(write_targets(model, ["0.weight", "1.weight", "2.weight", "2.bias"]))
    [('for i in range(3):', 'model[i].weight'), ('', 'model[2].bias')]
    """
    waiting = [write_path(model, name) for name in names]
    while waiting:
        position, alike = _find_longest_run(waiting)
        waiting = [path for path in waiting if path not in alike]
        if len(alike) < FEWEST:
            yield from (("", "model" + "".join(path)) for path in alike)
            continue
        path = (*alike[0][:position], "[i]", *alike[0][position + 1 :])
        yield _write_header(alike, position), "model" + "".join(path)


def _write_header(run: Sequence[Path], position: int) -> str:
    numbers = [_get_index(path[position]) for path in run]
    start, stop, step = numbers[0], numbers[-1] + 1, numbers[1] - numbers[0]
    if step > 1:
        return f"for i in range({start}, {stop}, {step}):"
    return f"for i in range({start}, {stop}):" if start else f"for i in range({stop}):"


def _is_index(step: str) -> bool:
    return step.startswith("[") and step[1:-1].isdecimal()


def _get_index(step: str) -> int:
    return int(step[1:-1])


def _find_longest_run(paths: Sequence[Path]) -> tuple[int, list[Path]]:
    """The first path and all that differ from it in one index only, evenly spaced, and the place of
    that index; of several such runs the longest.
    """
    first = paths[0]
    best: tuple[int, list[Path]] = (0, [first])
    for position, part in enumerate(first):
        if not _is_index(part):
            continue
        family = [
            path
            for path in paths
            if len(path) == len(first)
            and path[:position] == first[:position]
            and path[position + 1 :] == first[position + 1 :]
            and _is_index(path[position])
        ]
        run = _take_even_run(family, position)
        if len(run) > len(best[1]):
            best = position, run
    return best


def _take_even_run(family: Sequence[Path], position: int) -> list[Path]:
    """The beginning of the family whose index grows by the same step."""
    numbers = [_get_index(path[position]) for path in family]
    steps = [after - before for before, after in pairwise(numbers)]
    if not steps or steps[0] < 1:
        return list(family[:1])
    even = next((index for index, step in enumerate(steps) if step != steps[0]), len(steps))
    return list(family[: even + 1])


def write_path(model: nn.Module, name: str) -> Path:
    """How one reaches a tensor from the model, step by step."""
    path: list[str] = []
    module: object = model
    for part in name.split("."):
        if part.isidentifier() and not keyword.iskeyword(part) and not _is_mapping(module):
            path.append(f".{part}")
        elif isinstance(module, nn.Sequential | nn.ModuleList | nn.ParameterList):
            path.append(f"[{part}]")
        elif _is_mapping(module):
            path.append(f'["{part}"]')
        else:
            path.append(f'.__getattr__("{part}")')
        module = getattr(module, "_modules", {}).get(part)
    return tuple(path)


def _is_mapping(module: object) -> bool:
    return isinstance(module, nn.ModuleDict | nn.ParameterDict)

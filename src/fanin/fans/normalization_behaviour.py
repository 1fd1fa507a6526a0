"""Normalization layers that are told by what they compute: RMSNorm in its many versions, scaled by
w or by 1 + w.

transformers alone has some forty classes of them. What they have in common is not a base class but
their function, so a small forward pass tells: their output does not change if the input is
multiplied, and changes in proportion to their scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

from fanin.fans.layer_parameters import LayerParameter, LayerParameters, Role, add_description
from fanin.fans.layout import Convention, WeightLayout

_FACTOR = 3.0
"""What the input is multiplied by."""
_TOLERANCE = 1e-2
"""Relative: the small number below the root stands between it and exactness."""

_Key = tuple[type, tuple[tuple[str, tuple[int, ...]], ...]]
_FOUND: dict[_Key, Mapping[str, Role]] = {}
"""Every kind of module is asked once."""


@add_description
def describe_by_behaviour(module: nn.Module, convention: Convention) -> LayerParameters:
    """The scale and shift of a module that normalizes; nothing if it does not, or does more."""
    own = dict(module.named_parameters(recurse=False))
    if not _could_normalize(module, own):
        return {}
    key = (type(module), tuple((name, tuple(one.shape)) for name, one in own.items()))
    if key not in _FOUND:
        _FOUND[key] = _find_roles(module, own)
    return {
        name: LayerParameter(role, WeightLayout(tuple(own[name].shape), None))
        for name, role in _FOUND[key].items()
    }


def _could_normalize(module: nn.Module, own: Mapping[str, Tensor]) -> bool:
    """A leaf with one or two vectors of one length and nothing else."""
    shapes = {tuple(one.shape) for one in own.values()}
    return (
        1 <= len(own) <= 2
        and next(module.children(), None) is None
        and next(module.buffers(), None) is None
        and len(shapes) == 1
        and len(shape := shapes.pop()) == 1
        and shape[0] >= 2
    )


def _find_roles(module: nn.Module, own: Mapping[str, Tensor]) -> dict[str, Role]:
    """Try each vector as the scale, with the features last and then second."""
    size = next(iter(own.values())).shape[0]
    for shape in ((2, 3, size), (2, size, 3, 3)):
        x = torch.arange(1.0, 1 + math.prod(shape)).square().sin().reshape(shape)  # no pattern
        for scale in own:
            with suppress(Exception):  # a user's forward pass may fail in any way
                roles = _judge(_Trial(module, own, x), scale)
                if roles:
                    return roles
    return {}


class _Trial:
    """The module with other values in its vectors, on one input."""

    def __init__(self, module: nn.Module, own: Mapping[str, Tensor], x: Tensor) -> None:
        self._module, self._names, self._x = module, list(own), x
        self._size = next(iter(own.values())).shape[0]

    def run(self, factor: float = 1.0, **values: float) -> Tensor:
        """The output on `factor` times the input, with each vector constant, 0 unless given."""
        given = {name: torch.full((self._size,), values.get(name, 0.0)) for name in self._names}
        with torch.no_grad():
            result = torch.func.functional_call(self._module, given, (self._x * factor,))
        assert isinstance(result, Tensor)
        assert result.shape == self._x.shape
        return result.float()


def _judge(trial: _Trial, scale: str) -> dict[str, Role]:
    at_zero, at_one = trial.run(**{scale: 0.0}), trial.run(**{scale: 1.0})
    if not _are_close(at_one, trial.run(_FACTOR, **{scale: 1.0})):
        return {}
    at_two = trial.run(**{scale: 2.0})
    if _is_zero(at_zero) and _are_close(at_two, 2 * at_one) and not _is_zero(at_one):
        role: Role = "norm scale"
    elif _are_close(at_one, 2 * at_zero) and _are_close(at_two, 3 * at_zero):
        role = "norm offset"
    else:
        return {}
    return {scale: role, **dict.fromkeys(_list_shifts(trial, scale), "norm shift")}


def _list_shifts(trial: _Trial, scale: str) -> Iterator[str]:
    """The other vector, if it is added to the output."""
    for name in trial._names:
        if name != scale:
            moved = trial.run(**{scale: 1.0, name: 1.0}) - trial.run(**{scale: 1.0})
            assert _are_close(moved, torch.ones_like(moved))
            yield name


def _are_close(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=_TOLERANCE, atol=_TOLERANCE)


def _is_zero(values: Tensor) -> bool:
    return bool((values.abs() < _TOLERANCE).all())

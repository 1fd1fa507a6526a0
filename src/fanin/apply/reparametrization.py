"""Weights that a layer computes from other parameters: torch's parametrizations, and the older
weight_norm and spectral_norm.

Writing to such a weight is lost at the next forward pass; what must be written are the parameters
behind it. Three ways lead there: the parametrization's own ``right_inverse`` (weight_norm,
orthogonal, a user's), splitting into norm and direction (the older weight_norm), and the weight
before division (spectral_norm, whose singular vectors are then computed anew).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

POWER_ITERATIONS = 100
"""For spectral_norm's singular vectors; torch takes 15 when it starts. The error falls with
(σ₂/σ₁)^(2n): of a normal matrix of 300 × 300 the norm is 2e-3 off after 30, 1e-6 after 100."""


@dataclass(frozen=True)
class Carrier:
    """A parameter by the module that owns it, so that it can be replaced."""

    name: str
    owner: nn.Module
    local: str

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter as it is now."""
        found: nn.Parameter = getattr(self.owner, self.local)
        return found


@dataclass(frozen=True)
class ReparametrizedWeight:
    """A weight that is computed from the parameters behind it."""

    local: str
    through: str
    carriers: tuple[Carrier, ...]
    shape: tuple[int, ...]


def find_reparametrized(module: nn.Module, prefix: str) -> Iterator[ReparametrizedWeight]:
    """The weights of a module that are computed from other parameters; nothing is computed here."""
    for local, chain in _list_parametrizations(module):
        names = [name for name, _ in chain.named_parameters(recurse=False)]
        carriers = tuple(
            Carrier(f"{prefix}parametrizations.{local}.{name}", chain, name) for name in names
        )
        through = " and ".join(type(one).__name__.strip("_") for one in chain)
        if carriers:  # a buffer may be parametrized too
            yield ReparametrizedWeight(local, through, carriers, _infer_shape(carriers))
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            names = [f"{hook.name}_v", f"{hook.name}_g"]
        elif isinstance(hook, SpectralNorm):
            names = [f"{hook.name}_orig"]
        else:
            continue
        carriers = tuple(Carrier(prefix + name, module, name) for name in names)
        yield ReparametrizedWeight(
            hook.name, type(hook).__name__, carriers, tuple(carriers[0].parameter.shape)
        )


def find_obstacle(module: nn.Module, local: str) -> str | None:
    """Why a weight cannot be set; None if it can."""
    for one in _get_parametrizations(module, local) or ():
        if not hasattr(one, "right_inverse"):
            return (
                f"is computed by {type(one).__name__}, which has no right_inverse: the values to "
                "store cannot be found"
            )
    return None


@torch.no_grad()
def write(module: nn.Module, local: str, values: Tensor, directions: Tensor) -> None:
    """Make a reparametrized weight as near to `values` as its parametrization can represent.

    Args:
        directions: of the shape of the values. weight_norm takes its direction from them if the
            values are all 0, since 0 · v/‖v‖ needs a v that is not.
    """
    chain = _get_parametrizations(module, local)
    if chain is not None:
        with _preserve_memory(list(chain.parameters(recurse=False))):
            setattr(module, local, values)
        if isinstance(chain[0], _WeightNorm):
            _set_directions(
                chain.get_parameter("original0"), chain.get_parameter("original1"), directions
            )
        if any(isinstance(one, _SpectralNorm) for one in chain):
            _run_power_iterations(chain, lambda: getattr(module, local))
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == local:
            norm, direction = getattr(module, f"{local}_g"), getattr(module, f"{local}_v")
            direction.copy_(values)
            norm.copy_(torch.norm_except_dim(values, 2, hook.dim))
            _set_directions(norm, direction, directions)
            setattr(module, local, hook.compute_weight(module))
        elif isinstance(hook, SpectralNorm) and hook.name == local:
            getattr(module, f"{local}_orig").copy_(values)
            for _ in range(POWER_ITERATIONS):
                setattr(module, local, hook.compute_weight(module, do_power_iteration=True))


@torch.no_grad()
def read(module: nn.Module, local: str) -> Tensor:
    """The weight that the layer uses; nothing moves (spectral_norm iterates when it is read in
    training mode).
    """
    chain = _get_parametrizations(module, local)
    with _set_training([] if chain is None else chain.modules(), training=False):
        found: Tensor = getattr(module, local).detach()
        return found


@contextmanager
def undo_on_error(places: Sequence[tuple[nn.Module, str]]) -> Iterator[None]:
    """Put back the parameters and buffers behind the weights at these places if the body fails."""
    names = {local for _, local in places}
    owners = {owner: None for module, local in places for owner in _find_owners(module, local)}
    before = [(owner, *found) for owner in owners for found in _list_tensors(owner, names)]
    values = [
        (tensor, tensor.detach().clone())
        for _, _, tensor in before
        if tensor is not None and not tensor.is_meta
    ]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for owner, name, tensor in before:
                setattr(owner, name, tensor)
            for tensor, old in values:
                tensor.copy_(old)
        raise


def _list_parametrizations(module: nn.Module) -> Iterator[tuple[str, ParametrizationList]]:
    if is_parametrized(module):
        yield from module.parametrizations.items()  # type: ignore[operator, union-attr]


def _get_parametrizations(module: nn.Module, local: str) -> ParametrizationList | None:
    """The parametrizations of one weight; None if it has none of this kind."""
    return dict(_list_parametrizations(module)).get(local)


def _find_owners(module: nn.Module, local: str) -> Iterable[nn.Module]:
    chain = _get_parametrizations(module, local)
    return [module] if chain is None else chain.modules()


def _list_tensors(owner: nn.Module, computed: Collection[str]) -> list[tuple[str, Tensor | None]]:
    """The parameters and buffers of a module, and computed weights, which are plain attributes."""
    attributes = [
        (name, value)
        for name, value in vars(owner).items()
        if name in computed and isinstance(value, Tensor)
    ]
    return [*owner._parameters.items(), *owner._buffers.items(), *attributes]


@contextmanager
def _preserve_memory(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Torch gives a parameter that it sets another memory; here the numbers move into that which it
    had.
    """
    before = [parameter.detach() for parameter in parameters]
    try:
        yield
    finally:
        for parameter, memory in zip(parameters, before, strict=True):
            if parameter.data_ptr() != memory.data_ptr() and parameter.shape == memory.shape:
                memory.copy_(parameter)
                parameter.set_(memory)  # type: ignore[call-overload]


def _set_directions(norm: Tensor, direction: Tensor, directions: Tensor) -> None:
    """Give a direction to what has norm 0."""
    if direction.shape == directions.shape:
        direction.copy_(torch.where(norm == 0, directions.to(direction), direction))


def _run_power_iterations(chain: ParametrizationList, read: Callable[[], object]) -> None:
    """Compute spectral_norm's singular vectors anew: each reading in training mode is one power
    iteration.
    """
    with _set_training((one for one in chain if isinstance(one, _SpectralNorm)), training=True):
        for _ in range(POWER_ITERATIONS):
            read()


@contextmanager
def _set_training(modules: Iterable[nn.Module], *, training: bool) -> Iterator[None]:
    before = [(one, one.training) for one in modules]
    try:
        for one, _ in before:
            one.training = training
        yield
    finally:
        for one, mode in before:
            one.training = mode


def _infer_shape(carriers: tuple[Carrier, ...]) -> tuple[int, ...]:
    """The shape of the weight: that of the largest parameter behind it (weight_norm keeps norms and
    directions).
    """
    return max(
        (tuple(one.parameter.shape) for one in carriers),
        key=lambda shape: torch.Size(shape).numel(),
    )

"""A model whose weights are multiplied by numbers that gradients flow to; the model itself stays as
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fanin import initializers
from fanin.errors import FitError, SpecError, quote
from fanin.initializers.initializer import Initializer
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelParameter,
)

Parameters = Mapping[str, Tensor]
"""Tensors by their names in the bare model."""


class ScaledModel:
    """The weights W_i of a session's model as s_i · W_i, with one number s_i for each."""

    def __init__(self, session: FitSession, sites: Sequence[ModelParameter], name: str) -> None:
        self._session, self._name = session, name
        self._module = _LossModule(session)
        self.sites = {
            site.bare_name: site for site in sites if float(_measure_norm(session, site)) > 0
        }
        """Those that a number can change, by bare name: what is 0 stays so."""
        if not self.sites:
            raise FitError(
                f"{name} has no weight to scale: all that it may change are 0, or none is left. "
                "Choose a base= that draws numbers, or name some weights by only=."
            )
        self._drawn = {bare: session.read(site).detach() for bare, site in self.sites.items()}
        self.norms = {bare: float(_norm(one)) for bare, one in self._drawn.items()}
        """‖W_i‖ as drawn."""
        self.scales = {
            bare: torch.ones((), device=one.device, requires_grad=True)
            for bare, one in self._drawn.items()
        }
        self._others = {
            bare: parameter
            for bare, parameter in session.model.named_parameters()
            if parameter.requires_grad and bare not in self._drawn
        }

    def make_parameters(self) -> dict[str, Tensor]:
        """All that is trained, as a function of the scales."""
        scaled = {
            bare: (self.scales[bare] * weight).to(weight.dtype)
            for bare, weight in self._drawn.items()
        }
        return scaled | dict(self._others)

    def compute_loss(
        self, parameters: Parameters, output: Callable[[], Any] | None = None
    ) -> Tensor:
        """The loss of the batch with these parameters in place of the model's own.

        Args:
            parameters: by bare name.
            output: what runs the model; the session's own forward pass if None.
        """
        given = {f"model.{bare}": value for bare, value in parameters.items()}
        loss: Tensor = torch.func.functional_call(self._module, given, (output,))
        return loss

    def differentiate(self, value: Tensor, by: Sequence[Tensor], *, again: bool) -> list[Tensor]:
        """The gradients of a number; zeros where none flows. `again`: they can be differentiated.

        Raises `FitError` if none flows anywhere, or an operation has no second derivative.
        """
        try:
            found = torch.autograd.grad(
                value, list(by), create_graph=again, retain_graph=again, allow_unused=True
            )
        except RuntimeError as error:
            raise FitError(
                f"{self._name} needs the gradient of the loss"
                f"{', and its derivative' if again else ''}, and torch cannot compute it: "
                f"{quote(str(error), 200)}. The model must be made of operations that can be "
                "differentiated twice; nothing of it may be detached."
            ) from error
        if all(one is None or not bool(one.detach().count_nonzero()) for one in found):
            raise FitError(
                f"{self._name} finds no gradient: the loss does not depend on any weight. Look "
                "whether the model, or loss=, detaches what it computes; fanin.audit(model, "
                "batch, target=…) shows where gradients end."
            )
        return [
            torch.zeros_like(one) if grad is None else grad
            for one, grad in zip(by, found, strict=True)
        ]

    def require_finite(self, value: Tensor, what: str) -> float:
        """The number that a tensor holds. Raises `FitError` if it is not finite."""
        number = float(value.detach())
        if not abs(number) < float("inf"):
            raise FitError(
                f"{self._name}: {what} is {number} for this batch, so that nothing can be learned "
                "from it. fanin.audit(model, batch, target=…) says where numbers stop being finite."
            )
        return number

    @torch.no_grad()
    def write(self, scales: Mapping[str, float]) -> None:
        """Multiply the model's weights by these numbers."""
        for bare, factor in scales.items():
            self._session.read(self.sites[bare]).mul_(factor)

    def read_scales(self) -> dict[str, float]:
        """The numbers as they are now."""
        return {bare: float(scale.detach()) for bare, scale in self.scales.items()}


class _LossModule(nn.Module):
    """The loss of a session's batch, as the forward pass of a module."""

    def __init__(self, session: FitSession) -> None:
        super().__init__()
        self.model = session.model
        self._session = session

    def forward(self, output: Callable[[], Any] | None) -> Tensor:
        """The loss, with its graph."""
        with torch.enable_grad():
            return self._session.compute_loss(None if output is None else output())


@contextmanager
def differentiate_twice() -> Iterator[None]:
    """Gradients are on, and attention takes the one kernel whose gradient has a gradient."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def check_base(name: str, base: str) -> Initializer:
    """The initializer that a method starts from. Raises `SpecError` for one that looks at data."""
    found = initializers.get(base)
    if isinstance(found, ModelInitializer) and (found.fits or found.structured or found.follows):
        raise SpecError(
            f"{name}(base={base}) starts from an initializer of single weights, such as he_normal; "
            f"{found.name} looks at the whole model."
        )
    return found


def assign_base(base: Initializer, sites: Sequence[ModelParameter]) -> dict[str, Assignment]:
    """The base for all weights."""
    if isinstance(base, ModelInitializer):
        return dict(base.assign(sites))
    start = Assignment(base, "the start, before it is scaled on the batch")
    return {site.name: start for site in sites if site.role in ("weight", "recurrent weight")}


def _measure_norm(session: FitSession, site: ModelParameter) -> Tensor:
    return _norm(session.read(site).detach())


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor if tensor.is_complex() else tensor.float())
    return norm

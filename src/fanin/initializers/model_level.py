"""What a model-level initializer is: it looks at the whole model and gives each parameter a
tensor-level one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.fans import Role, WeightLayout
from fanin.initializers.initializer import Initializer
from fanin.structure import Follower


@dataclass(frozen=True)
class ModelParameter:
    """One parameter of a model, as a model-level initializer sees it."""

    name: str
    """Qualified by the path of its module."""
    module: nn.Module
    role: Role
    layout: WeightLayout
    """With fans in the convention that was asked for."""
    effective: WeightLayout
    """With effective fans: strides taken into account."""
    follower: Follower | None = None
    """What follows its layer; None if nobody asked, or nothing is known."""
    enclosing: tuple[nn.Module, ...] = ()
    """The modules around it, from the model to `module`."""


@dataclass(frozen=True)
class Assignment:
    """What fills a parameter, and why."""

    initializer: Initializer
    reason: str
    layout: WeightLayout | None = None
    """Another layout than the parameter's own, such as one with effective fans, or one that takes a
    pack as one map.
    """


class ModelInitializer(Initializer):
    """An initializer of whole models; `fanin.initialize` takes it wherever it takes a rule."""

    follows: ClassVar[bool] = False
    """True if it must know what follows each layer: the model is then traced, or observed on a
    batch.
    """

    by_layer: ClassVar[bool] = False
    """True if it looks at each layer alone, so that a lazy layer can be filled when its shape is
    known.
    """

    covers_unknown: ClassVar[bool] = False
    """True if it is asked about parameters of unknown role too, such as the slope of a PReLU."""

    @abstractmethod
    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """The choice for each parameter by name; one that is left out gets what its role gets
        otherwise.
        """

    @final
    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """Not defined for one tensor."""
        raise self._make_misuse_error()

    @final
    def intended_std(self, layout: WeightLayout) -> float | None:
        """Not defined for one tensor."""
        raise self._make_misuse_error()

    def _make_misuse_error(self) -> FitError:
        return FitError(
            f"{self} looks at a whole model, not at one tensor. Use fanin.initialize(model, "
            f"'{self}', seed=0)."
        )


def choose_all(
    sites: Sequence[ModelParameter], recipe: Callable[[ModelParameter], Assignment | None]
) -> dict[str, Assignment]:
    """What a recipe chooses for each parameter, by name; those of which it knows nothing are left
    out.
    """
    return {site.name: choice for site in sites if (choice := recipe(site)) is not None}

"""What a model-level initializer is: it looks at the whole model, gives each parameter a
tensor-level one, and says what else the method requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, final

import torch
from torch import Tensor, nn

from fanin.errors import FitError
from fanin.fans import Role, WeightLayout
from fanin.initializers.initializer import Initializer
from fanin.structure import Follower, LayerPlace, ModelStructure


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
    layer: str = ""
    """The path of its layer in the bare model."""
    local: str = ""
    """Its name in its module."""
    place: LayerPlace | None = None
    """Where its layer lies in the model; None if nobody asked (`ModelInitializer.structured`)."""
    tied_layers: tuple[str, ...] = ()
    """Further layers that hold the same parameter, such as the head beside an embedding."""

    @property
    def bare_name(self) -> str:
        """Its name in the model without wrappers."""
        return f"{self.layer}.{self.local}" if self.layer else self.local


@dataclass(frozen=True)
class Assignment:
    """What fills a parameter, and why."""

    initializer: Initializer
    reason: str
    layout: WeightLayout | None = None
    """Another layout than the parameter's own, such as one with effective fans, or one that takes a
    pack as one map.
    """
    insists: bool = False
    """True if the method fails where a value that the model has set on purpose would stay."""
    stream: str | None = None
    """The name of another random stream than the parameter's own. Parameters that share one are
    drawn from the same numbers, as those of a product are that is factorized.
    """


@dataclass(frozen=True)
class Requirement:
    """What a method requires of a model besides its weights."""

    what: str
    """A few words: ``skip weight``, ``no LayerNorm``, ``readout multiplier``."""
    change: str
    """The exact change that meets it, as code or as one sentence with its numbers."""
    met: bool | None
    """Whether the model meets it; None if fanin cannot see that."""
    where: tuple[str, ...] = ()
    """The layers, or the branches by their last layers, that it is about; none: the whole model."""


@dataclass(frozen=True)
class Multiplier:
    """The factor by which a method multiplies the learning rate of one parameter."""

    factor: float
    reason: str
    decay: float = 1.0
    """The factor of the weight decay: 1/factor where decay must not depend on the width."""


@dataclass(frozen=True)
class ModelPlan:
    """What a method does with a model, and what it requires."""

    assignments: Mapping[str, Assignment]
    """By name; a parameter that is left out gets what its role gets otherwise."""
    requires: tuple[Requirement, ...] = ()
    multipliers: Mapping[str, Multiplier] = field(default_factory=dict)
    """By name; a parameter that is left out has the factor 1."""


@dataclass(frozen=True)
class ModelView:
    """A model as a model-level initializer sees it."""

    sites: tuple[ModelParameter, ...]
    model: nn.Module
    """Without its wrappers."""
    structure: ModelStructure | None = None
    """None unless the initializer is `structured`."""
    position_tables: frozenset[str] = frozenset()
    """The embeddings that are looked up by position, by layer, as far as a batch showed it."""
    given: frozenset[str] | None = None
    """The parameters that the rules give to the method, and that may be changed; None: all. Its
    requirements are about them and their layers. What it counts, such as depth, is the model's.
    """

    def list_sites(self, layer: str) -> tuple[ModelParameter, ...]:
        """The parameters of one layer."""
        return tuple(site for site in self.sites if site.layer == layer)

    def is_given(self, site: ModelParameter) -> bool:
        """Whether the method is to fill a parameter."""
        return self.given is None or site.name in self.given

    def find_given(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of some layers or parameters, by bare names, that the method is to fill, or some
        of whose parameters it is.
        """
        return tuple(name for name in names if self.given is None or name in self._given_names)

    @cached_property
    def _given_names(self) -> frozenset[str]:
        sites = [site for site in self.sites if self.is_given(site)]
        return frozenset(name for site in sites for name in (site.layer, site.bare_name))


class FitSession(Protocol):
    """A model, drawn already, that an initializer fits to a batch.

    Dropout is off, everything else is as in training. Buffers, flags and random states are put
    back afterwards, and the weights too if anything raises.
    """

    @property
    def model(self) -> nn.Module:
        """Without its wrappers."""

    @property
    def sites(self) -> tuple[ModelParameter, ...]:
        """The parameters that the initializer may change: those that it has drawn."""

    @property
    def has_batch(self) -> bool:
        """Whether there is a batch; without one there is no forward pass and no loss."""

    @property
    def inputs(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments of a forward pass, a fresh copy."""

    def read(self, site: ModelParameter) -> Tensor:
        """The parameter of a site, to be read or changed in place under ``torch.no_grad()``."""

    def forward(self) -> Any:
        """What the model returns for the batch.

        Raises `FitError` if it fails, or returns numbers that are not finite.
        """

    def compute_loss(self, output: Any = None) -> Tensor:
        """The loss of an output, or of a new forward pass: one number, with its graph.

        Raises `UsageError` if no target and no loss were given, and `FitError` if it fails.
        """


class ModelInitializer(Initializer):
    """An initializer of whole models; `fanin.initialize` takes it wherever it takes a rule."""

    follows: ClassVar[bool] = False
    """True if it must know what follows each layer: the model is then traced, or observed on a
    batch.
    """
    structured: ClassVar[bool] = False
    """True if it must know what each layer does in the model: `LayerPlace` and `ModelStructure`."""
    fits: ClassVar[bool] = False
    """True if it looks at a batch after the draw: `fit` is called."""
    needs_batch: ClassVar[bool] = True
    """False if what it fits can do without the batch."""
    needs_loss: ClassVar[bool] = False
    """True if it looks at the loss of that batch too."""
    by_layer: ClassVar[bool] = False
    """True if it looks at each layer alone, so that a lazy layer can be filled when its shape is
    known.
    """
    covers_unknown: ClassVar[bool] = False
    """True if it is asked about parameters of unknown role too, such as the slope of a PReLU."""

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """The choice for each parameter by name; one that is left out gets what its role gets
        otherwise.
        """
        raise NotImplementedError(f"{type(self).__name__} defines assign or plan")

    def plan(self, view: ModelView) -> ModelPlan:
        """The choices, and what the method requires besides.

        A requirement that is not met is an error, and nothing is changed.
        """
        return ModelPlan(self.assign(view.sites))

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """Fit what was drawn to a batch, in place. Returns by name what was done, in words."""
        raise NotImplementedError(f"{type(self).__name__} fits nothing")

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

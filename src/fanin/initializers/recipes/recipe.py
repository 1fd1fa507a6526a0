"""What a recipe is, and the registry of all recipes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from fanin.errors import SpecError
from fanin.initializers.initializer_entry import REGISTRY as INITIALIZERS
from fanin.initializers.model_level import (
    Assignment,
    ModelInitializer,
    ModelParameter,
    ModelPlan,
    ModelView,
)
from fanin.registry import ComponentEntry, Registry

_PREFIX = "recipe:"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a recipe's numbers stand."""

    project: str
    """The code that trains or defines the model, such as ``pytorch/torchtitan``."""
    file: str
    year: int
    link: str

    def __str__(self) -> str:
        return f"{self.project}, {self.file} ({self.year}). {self.link}"


class Recipe(ModelInitializer):
    """The start of one published model, or of a family: a rule for each role.

    Subclasses are final frozen dataclasses whose fields are the numbers of the model. Layers are
    told apart by what they do in the model, not by their names.
    """

    structured: ClassVar[bool] = True

    @abstractmethod
    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """What fills a parameter, and why; None: what its role gets otherwise."""

    def plan(self, view: ModelView) -> ModelPlan:
        """The choice for every parameter."""
        chosen = ((site.name, self.choose(site, view)) for site in view.sites)
        return ModelPlan({name: choice for name, choice in chosen if choice is not None})


@dataclass(frozen=True, kw_only=True)
class RecipeEntry(ComponentEntry):
    """A recipe as the catalogue describes it."""

    component: type[Recipe]
    source: Source
    scales: str
    """What it scales by what: ``residual outputs by 1/√(2L)``; "nothing" if it does not."""
    deviates: str
    """Where the code does something else than it intends, or than its paper says; "no" if it
    does not.
    """
    models: str
    """The models that start so."""
    avoid: str
    """When not to use it, and why."""
    examples: tuple[str, ...] = ()
    """Spec strings that show its options."""

    @property
    def name(self) -> str:
        """The name among recipes, without ``recipe:``."""
        return self.component.name.removeprefix(_PREFIX)

    @property
    def year(self) -> int:
        """The year of the source."""
        return self.source.year


REGISTRY: Registry[RecipeEntry, Recipe] = Registry("recipe", RecipeEntry)
INITIALIZERS.include(REGISTRY)


def get_recipe(spec: str | Recipe, **options: Any) -> Recipe:
    """The recipe that a spec, or a name and options, describes.

    ``fanin.recipe("gpt2")`` and ``fanin.get("recipe:gpt2")`` are equal; the latter form stands in
    study files and rules.

    Args:
        spec: a name of ``fanin.names("recipes")``, with options in brackets or without.
        options: other numbers than the model's own.

    Raises `UnknownName` with near names for an unknown recipe or option, and `SpecError` for a
    value that the option does not accept.
    """
    if isinstance(spec, Recipe):
        if options:
            raise SpecError(
                f"{spec} has its options already; {', '.join(options)} cannot be added."
            )
        return spec
    name = spec.removeprefix(_PREFIX) if isinstance(spec, str) else spec
    return REGISTRY.make(name, **options)

"""Weight selection: a small model starts from evenly placed weights of a larger, trained one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from fanin.errors import FitError, MissingExtra, SpecError, UsageError
from fanin.fans import WeightLayout
from fanin.initializers.building_blocks import REGISTRY as BUILDING_BLOCKS
from fanin.initializers.building_blocks import BuildingBlock
from fanin.initializers.initializer import Initializer
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import Assignment, ModelInitializer, ModelPlan, ModelView
from fanin.initializers.selected_entries import (
    LayerChoice,
    check_sizes,
    match_names,
    select_entries,
)


@final
@dataclass(frozen=True)
class SelectedWeight(Initializer):
    """Evenly placed entries of one tensor of a safetensors file."""

    name: ClassVar[str] = "part:selected_weight"
    deterministic: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    source: str
    """The path of the file."""
    parameter: str
    """The parameter that is filled, for errors."""
    key: str | None
    """The tensor in the file; None if it has none for the parameter."""

    def sample(self, layout: WeightLayout, generator: torch.Generator) -> Tensor:
        """The entries, in fp32; the generator is not used."""
        key = self._require(layout)
        with open_source(self.source) as file:
            return select_entries(file.get_tensor(key), layout.shape).float().contiguous()

    def intended_std(self, layout: WeightLayout) -> float | None:
        """None: it is what it is in the source.

        Raises `FitError` if the source has no tensor for the parameter, or a smaller one.
        """
        self._require(layout)
        return None

    def _require(self, layout: WeightLayout) -> str:
        if self.key is None:
            raise FitError(
                f"{self.source} has nothing for {self.parameter}. Leave it out with "
                f"exclude={self.parameter!r}, or give it a rule of its own."
            )
        with open_source(self.source) as file:
            larger = file.get_slice(self.key).get_shape()
        check_sizes(self.parameter, layout.shape, self.key, larger)
        return self.key


@final
@dataclass(frozen=True)
class WeightSelection(ModelInitializer):
    """Every parameter from the one of the same name in a larger model, of which evenly placed
    entries are kept along each axis.

    Both models must be of one family, with parameters of the same names. Leave out what should not
    be taken over, such as the readout of another task: ``exclude="head.*"``.

    Args:
        source: the path of a safetensors file with the larger model's state dict.
        layers: where the larger model has more layers: first takes its first ones, uniform every
            N/n-th.
    """

    name: ClassVar[str] = "weight_selection"
    deterministic: ClassVar[bool] = True
    covers_unknown: ClassVar[bool] = True
    source: str
    layers: LayerChoice = "first"

    def check(self) -> None:
        """Nothing is ever unpickled: only safetensors files are read."""
        if Path(self.source).suffix != ".safetensors":
            raise SpecError(
                "weight_selection(source=…) must be the path of a .safetensors file, not "
                f"{self.source!r}. safetensors.torch.save_file(larger.state_dict(), path) writes "
                "one; fanin.select_weights(model, state_dict) takes a state dict in memory."
            )

    def plan(self, view: ModelView) -> ModelPlan:
        """The source of every parameter."""
        with open_source(self.source) as file:
            known = tuple(file.keys())
        own = {site.name: f"{site.layer}.{site.local}".lstrip(".") for site in view.sites}
        matched = match_names(own.values(), known, self.layers)
        return ModelPlan(
            {
                name: Assignment(
                    SelectedWeight(source=self.source, parameter=name, key=matched[bare]),
                    f"selected from {matched[bare]}",
                )
                for name, bare in own.items()
            }
        )


def open_source(path: str) -> Any:
    """The safetensors file, open for reading.

    Raises `UsageError` if it is not there or no such file, `MissingExtra` without safetensors.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise MissingExtra("safetensors", "study", "weight_selection") from None
    opener: Callable[..., Any] = safe_open
    try:
        return opener(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{path} cannot be read as a safetensors file: {error}. Expected the state dict of the "
            "larger model, as safetensors.torch.save_file writes it."
        ) from None


WEIGHT_SELECTION = Paper(
    authors="Xu, Chen, Vishniakov, Yin, Shen, Darrell, Liu, Liu",
    title="Initializing models with larger ones",
    year=2024,
    link="https://arxiv.org/abs/2311.18823",
)

BUILDING_BLOCKS.add(
    BuildingBlock(
        component=SelectedWeight, summary="Entries of one tensor of a file, for weight_selection."
    )
)

REGISTRY.add(
    InitializerEntry(
        component=WeightSelection,
        level="model",
        summary="Evenly placed weights of a larger trained model of the same family.",
        formula=(
            "w[i, j, …] = source[⌊i·T₁/s₁⌋, ⌊j·T₂/s₂⌋, …], T the source's sizes, s the model's; "
            "layers l of the first n, or ⌊l·N/n⌋ (layers=uniform)"
        ),
        paper=WEIGHT_SELECTION,
        suited=(
            "Small models of a family that has a trained larger member: ViT, ConvNeXt, BERT, GPT. "
            "The first layers work better than evenly placed ones in the paper."
        ),
        avoid=(
            "Models of another family. Packed weights that alternate by head if the number of "
            "heads differs. Readouts of another task: exclude them. Expect no working model "
            "before training."
        ),
        cost="The file is read once per parameter; nothing is drawn.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program takes rounded evenly "
            "spaced positions from 0 to T if s does not divide T, of which the last is out of "
            "range. fanin.select_weights does the same from a state dict in memory, running "
            "statistics of batch normalization included."
        ),
        examples=(
            "weight_selection(source='larger.safetensors')",
            "weight_selection(source='larger.safetensors', layers=uniform)",
        ),
    )
)

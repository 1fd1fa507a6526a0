"""For each initializer of whole models, a small model that it is for, and a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import residual_cases as cases
import torch
from torch import nn

from fanin import specs
from fanin.initializers import get


@dataclass(frozen=True)
class Home:
    """A model, and what `fanin.initialize` is given with it."""

    build: Callable[[], nn.Module]
    batch: Any = None
    target: Any = None
    observed: bool = False
    """Whether a forward pass must show the structure, since no trace can."""

    def make(self) -> nn.Module:
        """The model, whose own start does not move the global random state."""
        return cases.make(self.build)

    def get_options(self, needs: tuple[str, ...]) -> dict[str, Any]:
        """The keywords of `fanin.initialize`."""
        asked = self.observed or {"data", "loss"} & set(needs)
        data = {"batch": self.batch} if asked else {}
        return data | ({"target": self.target} if "loss" in needs else {})


def _home(**options: Any) -> Home:
    return Home(lambda: cases.Traceable(2, **options), cases.tokens())


ORDINARY = Home(
    lambda: nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)
    ),
    torch.sin(torch.arange(96, dtype=torch.float32)).view(16, 6),
    torch.arange(16) % 4,
)
"""A perceptron: for whatever has no home of its own."""


def _make_attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _make_smaller() -> nn.Module:
    """A perceptron, and the file that the examples of `weight_selection` name, with a larger one.

    Tests that ask for it run in a folder of their own (the fixture `own_folder`).
    """
    from safetensors.torch import save_file

    larger = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 8))
    save_file(dict(larger.state_dict()), "larger.safetensors")
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))


HOMES = {
    **dict.fromkeys(("gpt2", "mitchell", "complete_p"), _home(norm="pre")),
    "mimetic": Home(_make_attention, torch.sin(torch.arange(160.0)).view(2, 5, 16), observed=True),
    "weight_selection": Home(_make_smaller),
    "skip_init": Home(lambda: cases.ResNet("scalar"), cases.images()),
    "rezero": _home(norm="none", scale="scalar"),
    "zero_gamma": Home(lambda: cases.ResNet("norm"), cases.images()),
    "fixup": Home(lambda: cases.ResNet("fixup"), cases.images()),
    "deep_norm": _home(norm="post", skip=1.4142),
    "t_fixup": _home(norm="none"),
    "magneto": _home(norm="pre", sub=True),
    "admin": _home(norm="post", skip="omega"),
}


STEPS = 10
"""Of methods that take hundreds of them."""


def shorten(spec: str) -> str:
    """The spec with few steps, if it has an option of that name."""
    name, options = specs.parse(spec)
    return specs.render(name, {**options, "steps": STEPS}) if hasattr(get(spec), "steps") else spec


def find_home(name: str) -> Home:
    """The home of an entry, by its name."""
    return HOMES.get(name, ORDINARY)

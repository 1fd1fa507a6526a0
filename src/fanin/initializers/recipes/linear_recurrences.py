"""Language models without softmax attention: RWKV-7, Mamba-2."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from fanin.initializers.constant import Constant, Zero
from fanin.initializers.fixed_scale import Normal, Uniform
from fanin.initializers.model_level import Assignment, ModelParameter, ModelView
from fanin.initializers.orthogonal import Orthogonal
from fanin.initializers.recipes.parts import count_branches, find_part, get_inputs
from fanin.initializers.recipes.recipe import REGISTRY, Recipe, RecipeEntry, Source
from fanin.initializers.state_space import MambaALog, MambaDtBias

_CHANNEL_MIX = 2
"""The layers of RWKV's perceptron; a time mix has more."""


@final
@dataclass(frozen=True)
class Rwkv7(Recipe):
    """Tokens U(±1e-4); head orthogonal, 0.5·√(V/d); residual outputs 0; receptance and value
    U(±0.5/√d), key U(±0.05/√d); the first factor of each low-rank pair 0, the second orthogonal,
    0.1.

    Args:
        keys: pattern over layers; which layers of a time mix are its keys, which no graph shows.
        first: pattern over parameters; the first factors of low-rank pairs.
        second: pattern over parameters; the second factors.
    """

    name: ClassVar[str] = "recipe:rwkv7"
    keys: str = "*key"
    first: str = "*.[wavg]1"
    second: str = "*.[wavg]2"

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part. Vectors (token shifts, decays, gates) stay as the model has set them: they are
        ramps over channels.
        """
        part = find_part(site, view)
        bound = 1 / math.sqrt(get_inputs(site))
        if part == "tokens":
            return Assignment(Uniform(low=-1e-4, high=1e-4), "RWKV-7: tokens")
        if site.role == "norm scale" and isinstance(site.module, nn.GroupNorm):
            return _scale_norm(site, view)
        if site.role != "weight":
            return None
        if part == "head":
            gain = 0.5 * max(1.0, math.sqrt(site.layout.shape[0] / site.layout.shape[1]))
            return Assignment(Orthogonal(gain=gain), "RWKV-7: head, 0.5·√(V/d)")
        if fnmatch.fnmatchcase(site.name, self.first):
            return Assignment(Zero(), "RWKV-7: first factor of a low-rank pair")
        if fnmatch.fnmatchcase(site.name, self.second):
            rows, columns = site.layout.shape[-2:]
            gain = 0.1 * max(1.0, math.sqrt(rows / columns))
            return Assignment(Orthogonal(gain=gain), "RWKV-7: second factor of a low-rank pair")
        if part == "residual output":
            return Assignment(Zero(), "RWKV-7: residual output")
        mixes_time = site.place is not None and site.place.layers > _CHANNEL_MIX
        if mixes_time and fnmatch.fnmatchcase(site.layer, self.keys):
            return Assignment(Uniform(low=-0.05 * bound, high=0.05 * bound), "RWKV-7: key")
        return Assignment(Uniform(low=-0.5 * bound, high=0.5 * bound), "RWKV-7: reads the stream")


def _scale_norm(site: ModelParameter, view: ModelView) -> Assignment | None:
    """The norm of heads in a time mix; two branches are one layer."""
    for stream in view.structure.streams if view.structure is not None else ():
        for branch in stream.branches:
            if site.layer in (*branch.norm_layers.inner, *branch.norm_layers.last):
                layers = max(stream.depth // 2, 1)
                value = ((branch.index // 2 + 1) / layers) ** 0.7
                return Assignment(
                    Constant(value=value), f"RWKV-7: norm of heads, ((1 + l)/{layers})^0.7"
                )
    return None


@final
@dataclass(frozen=True)
class Mamba2(Recipe):
    """Tokens N(0, 0.02²); projections and convolutions U(±1/√fan_in), those that end a branch
    divided by √L; step biases through softplus log-uniform, A_log = log U(1, 16), D 1.

    Args:
        embedding_std: of the table of tokens.
        step: name of the bias of the step size in its module.
        decay: name of the logarithm of the decay in its module.
        skip: name of the vector that multiplies the layer's input in its module.
    """

    name: ClassVar[str] = "recipe:mamba2"
    covers_unknown: ClassVar[bool] = True
    embedding_std: float = 0.02
    step: str = "dt_bias"
    decay: str = "A_log"
    skip: str = "D"

    def choose(self, site: ModelParameter, view: ModelView) -> Assignment | None:
        """By part, and by what state-space layers call their own parameters."""
        if site.local == self.step:
            return Assignment(MambaDtBias(), "Mamba-2: steps log-uniform in [0.001, 0.1]")
        if site.local == self.decay:
            return Assignment(MambaALog(), "Mamba-2: decays uniform in [1, 16]")
        if site.local == self.skip and len(site.layout.shape) == 1:
            return Assignment(Constant(value=1.0), "Mamba-2: skip")
        part = find_part(site, view)
        if part == "other":
            return None
        if part in ("tokens", "positions", "head"):
            return Assignment(Normal(std=self.embedding_std), f"Mamba-2: {part}")
        bound, why = 1 / math.sqrt(get_inputs(site)), f"Mamba-2: {part}"
        if part == "residual output":
            branches = count_branches(site)
            bound, why = bound / math.sqrt(branches), f"{why}, divided by √{branches}"
        return Assignment(Uniform(low=-bound, high=bound), why)


REGISTRY.add(
    RecipeEntry(
        component=Rwkv7,
        summary="RWKV-7: residual outputs 0, tokens U(±1e-4), head orthogonal, small keys.",
        source=Source(
            project="BlinkDL/RWKV-LM",
            file="RWKV-v7/train_temp/src/model.py",
            year=2025,
            link="https://github.com/BlinkDL/RWKV-LM",
        ),
        scales="Readers by 1/√d, the norms of heads by ((1 + l)/L)^0.7; residual outputs are 0.",
        deviates=(
            "The tiny tokens need the normalization right behind the table. Names decide which "
            "matrices are keys and low-rank factors; here patterns do, which can be given."
        ),
        models="RWKV-7 from 0.1B to 2.9B",
        avoid="Models without a normalization behind the table of tokens.",
        examples=("rwkv7",),
    )
)

REGISTRY.add(
    RecipeEntry(
        component=Mamba2,
        summary="Mamba-2: outputs divided by √L, steps log-uniform, decays U(1, 16).",
        source=Source(
            project="state-spaces/mamba",
            file="mamba_ssm/modules/mamba2.py",
            year=2024,
            link="https://github.com/state-spaces/mamba",
        ),
        scales="Residual outputs by 1/√L, for L layers of one branch each.",
        deviates=(
            "The code finds residual outputs by the names out_proj and fc2. transformers starts "
            "A_log at log 1, log 2, … instead of drawing it, and sets its biases to 0."
        ),
        models="Mamba-2 from 130M to 2.7B",
        avoid="Mamba (1), whose decays are 1 … N in each channel.",
        examples=("mamba2", "mamba2(embedding_std=0.1)"),
    )
)

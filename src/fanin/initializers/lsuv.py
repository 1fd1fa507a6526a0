"""lsuv: orthonormal weights, scaled layer by layer until a batch gives outputs of unit variance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin.errors import FitError, SpecError, quote
from fanin.fans import check_gain
from fanin.initializers.fit_progress import FitProgress
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.last_layers import find_last_layers
from fanin.initializers.layer_calls import LayerCall, explain_unmet, visit_layers
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelParameter,
)
from fanin.initializers.orthogonal import Orthogonal

_ROLES = ("weight", "recurrent weight")


@final
@dataclass(frozen=True)
class Lsuv(ModelInitializer):
    """Orthonormal weights, then W ← W · std / std(W x) for each layer in the order of computation.

    The standard deviation is that of all numbers that a layer puts out for the batch: over samples,
    units and places. A layer is divided until it is within `tolerance`, at most `tries` times;
    without a bias, once is enough. Layers before it are done by then, so one forward pass does all.

    Biases are zero, and outputs are not centred. The last layers, from which no other layer
    follows, stay orthonormal. A layer that is used several times is scaled at its first use.
    Dropout is off, and batch normalization takes the statistics of the batch. Embeddings and
    recurrent layers keep what they were drawn as: their output is no multiple of their weights.

    Differs from the paper: weights of ``nn.MultiheadAttention`` count as one layer per map (q, k,
    v, output). Inputs should have about unit variance, as the paper's do.

    Args:
        std: the standard deviation that outputs get.
        tolerance: by how much they may miss it.
        tries: how often a layer is divided at most.
        last: whether the last layers are scaled too.
    """

    name: ClassVar[str] = "lsuv"
    fits: ClassVar[bool] = True
    std: float = 1.0
    tolerance: float = 0.1
    tries: int = 10
    last: bool = False

    def check(self) -> None:
        """A positive std and tolerance, at least one try."""
        if not check_gain(self.std, "lsuv(std=…)") or not check_gain(self.tolerance, "tolerance"):
            raise SpecError("lsuv(std=…, tolerance=…) must be above 0.")
        if self.tries < 1:
            raise SpecError(f"lsuv(tries=…) must be at least 1, not {quote(self.tries)}.")

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """Orthonormal weights; all else gets what its role gets."""
        return {
            site.name: Assignment(Orthogonal(), "orthonormal, before it is scaled on the batch")
            for site in sites
            if site.role in _ROLES
        }

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """One forward pass, in which each layer is scaled before it is used."""
        sites = [site for site in session.sites if site.role in _ROLES]
        exempt = frozenset() if self.last else find_last_layers(session, sites)
        scaled = [site for site in sites if site.name not in exempt]
        progress = FitProgress(self.name, len(scaled), "layer")
        done: dict[str, list[str]] = {}

        def visit(call: LayerCall) -> None:
            done.setdefault(call.site.name, []).append(self._scale(call))
            progress.report(len(done))

        met = visit_layers(session, scaled, visit)
        found = {name: "; ".join(texts) for name, texts in done.items()}
        found |= {
            site.name: "a last layer: it stays orthonormal" for site in sites if site.name in exempt
        }
        for site in scaled:
            if site.name not in met:
                found[site.name] = f"{explain_unmet(site)}: it stays orthonormal"
            elif site.name not in found:
                found[site.name] = "scaled where its tied weight is used first"
        return found

    def _scale(self, call: LayerCall) -> str:
        """Divide one layer until its output is within the tolerance; what was done, in words."""
        before = std = _measure(call)
        factor, tries = 1.0, 0
        while abs(std - self.std) >= self.tolerance and tries < self.tries:
            call.scale(self.std / std)
            factor *= self.std / std
            std = _measure(call)
            tries += 1
        part = f"{call.part}: " if call.part else ""
        text = (
            f"{part}scaled by {factor:.4g} (tries: {tries}), std of its output {before:.4g} → "
            f"{std:.4g}"
        )
        if abs(std - self.std) >= self.tolerance:
            text += f", not within {self.tolerance:g} of {self.std:g}"
        return text


def _measure(call: LayerCall) -> float:
    """The std of what a layer puts out. Raises `FitError` if it is 0 or no number."""
    output = call.compute().detach()
    if output.numel() < 2:
        raise FitError(
            f"lsuv: {call.label} puts out fewer than two numbers for this batch, so they "
            "have no standard deviation. Give a batch of several samples."
        )
    std = _compute_std(output)
    if not math.isfinite(std):
        raise FitError(
            f"lsuv: {call.label} puts out numbers that are not finite for this batch. "
            "fanin.audit(model, batch) says where they begin."
        )
    if std == 0:
        raise FitError(
            f"lsuv: {call.label} is dead: its output has zero variance for this batch, so that no "
            "factor makes it 1. Nothing that varies reaches it. Look at what lies before it (a "
            f"closed gate, a scale of 0, a constant input), or leave it out: exclude="
            f"{call.site.name!r}."
        )
    return std


def _compute_std(output: Tensor) -> float:
    values = torch.view_as_real(output) if output.is_complex() else output
    return float(values.double().std(correction=0))


REGISTRY.add(
    InitializerEntry(
        component=Lsuv,
        level="model",
        needs=("data",),
        summary=(
            "Orthonormal weights, then each layer is divided by the standard deviation of what it "
            "puts out for a batch."
        ),
        formula="W ← W · std / std(W x), layer by layer, until |std(W x) − std| < tolerance",
        paper=Paper(
            authors="Mishkin, Matas",
            title="All you need is a good init",
            year=2016,
            link="https://arxiv.org/abs/1511.06422",
        ),
        suited=(
            "Deep feed-forward and convolutional networks without normalization, with activations "
            "of any kind. Inputs of about unit variance."
        ),
        avoid=(
            "Networks with batch normalization, which undoes the scale: the authors say that it "
            "does not help much there. Residual networks without normalization: every branch adds "
            "a variance of 1, so that the sum still grows with depth."
        ),
        cost=(
            "QR for each weight, then one forward pass in which each layer is computed two or "
            "three times."
        ),
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program for PyTorch looks at "
            "Linear and Conv2d only, in eval mode, with one forward pass per layer and step, in "
            "the order of registration; here all weighted layers in the order of use."
        ),
        examples=("lsuv", "lsuv(std=1.0, tolerance=0.02, tries=5, last=true)"),
    )
)

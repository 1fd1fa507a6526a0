"""data_dependent: a batch gives every unit unit variance, and all layers one rate of change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from fanin import losses, seeds
from fanin.errors import FitError, SpecError, quote
from fanin.initializers.constant import Zero
from fanin.initializers.fit_progress import FitProgress
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.layer_calls import LayerCall, explain_unmet, visit_layers
from fanin.initializers.lecun import LecunNormal
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelParameter,
)
from fanin.structure.forward_tracing import collect_tensors

_CONVERGED = 0.01
"""How far the logarithm of each layer's rate may be from that of the common one."""


@final
@dataclass(frozen=True)
class DataDependent(ModelInitializer):
    """Weights and biases from a batch, as Krähenbühl and others set them, in two steps.

    1. Within layers, in the order of computation: w_i ← w_i / σ_i and b_i ← β − μ_i / σ_i, where
       μ_i and σ_i are mean and standard deviation of what unit (or channel) i puts out for the
       batch, over samples and places.
    2. Between layers: the rate of a layer is C = rms(∂ℓ/∂W) / rms(W), with the random loss ℓ = η·z
       of the outputs z, η ~ N(0, 1). Each layer is multiplied by √(C / C̄), where C̄ is the geometric
       mean of all rates, and this is repeated until the rates agree within 1 %. Then one learning
       rate suits all layers.

    In chains of layers and ReLU the factors multiply to 1, so that outputs stay as they are.
    Elsewhere C̄ is corrected by the standard deviation of the outputs, as in the authors' code,
    and what is left of the difference is in the record.

    Differs from the paper: its step is (C/C̄)^(α/2) with α = 1/4; here it is the full one, as in the
    authors' code. Biases are not scaled with their weights but centred anew, which is the same
    where the paper's condition holds (only homogeneous activations). Layers without a bias are
    scaled only. PCA and k-means starts are not included. Recurrent layers and embeddings keep what
    they were drawn as.

    Args:
        bias: β, the mean that every unit gets. The authors' program has 0.1.
        iterations: how often step 2 is repeated at most; 0 leaves it out.
    """

    name: ClassVar[str] = "data_dependent"
    fits: ClassVar[bool] = True
    bias: float = 0.0
    iterations: int = 10

    def check(self) -> None:
        """A finite bias, and a number of iterations of at least 0."""
        if not math.isfinite(self.bias):
            raise SpecError(f"data_dependent(bias=…) must be finite, not {quote(self.bias)}.")
        if self.iterations < 0:
            raise SpecError(
                f"data_dependent(iterations=…) must be at least 0, not {quote(self.iterations)}."
            )

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """Normal weights and zero biases, which the batch then scales and shifts."""
        weights = Assignment(LecunNormal(), "normal, before the batch scales each unit")
        biases = Assignment(Zero(), "zero, before the batch centres each unit")
        return {
            site.name: weights if site.role == "weight" else biases
            for site in sites
            if site.role in ("weight", "bias")
        }

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """One pass for the units of all layers, then a few for the rates of layers."""
        layers = _LayerUnits(session, self.bias)
        progress = FitProgress(self.name, len(layers.weights), "layer")
        met = visit_layers(session, layers.weights, lambda call: _report(layers, call, progress))
        found = dict(layers.done)
        if self.iterations:
            weights = [site for site in layers.weights if site.name in met]
            for name, text in _equalize_rates(session, layers, weights, self.iterations).items():
                found[name] = f"{found[name]}; {text}"
        for site in session.sites:
            if site.role == "weight" and site.name not in found:
                found[site.name] = f"{explain_unmet(site)}: it stays as it was drawn"
        return found


def _report(layers: _LayerUnits, call: LayerCall, progress: FitProgress) -> None:
    layers.normalize(call)
    progress.report(len(layers.done))


class _LayerUnits:
    """The units of all layers, and their biases."""

    def __init__(self, session: FitSession, mean: float) -> None:
        self._session, self.mean = session, mean
        self.weights = [site for site in session.sites if site.role == "weight"]
        self._biases = {
            (site.layer, site.local): site for site in session.sites if site.role == "bias"
        }
        self.done: dict[str, str] = {}
        """What was done in step 1, by parameter."""

    def normalize(self, call: LayerCall) -> None:
        """Step 1 for one layer."""
        before = _measure(call)
        call.scale(1 / before.std)
        low, high = float(before.std.min()), float(before.std.max())
        whose = "of each unit" if before.std.numel() > 1 else "of the layer"
        part = f"{call.part}: " if call.part else ""
        self._note(call.site, f"{part}std {whose} {low:.3g} to {high:.3g} → 1")
        centred = self.centre(call, self.mean)
        if centred is not None:
            self._note(centred, f"{part}mean of each unit → {self.mean:g}")

    def centre(self, call: LayerCall, mean: float) -> ModelParameter | None:
        """Give each unit this mean; the bias that does, or None if the layer has none."""
        found = self._find_bias(call)
        if found is None:
            return None
        site, bias = found
        with torch.no_grad():
            if site.module is call.site.module and not call.part:
                bias.zero_()
            measured = _measure(call).mean
            if measured.numel() != bias.numel():
                return None
            bias.copy_((mean - measured).view_as(bias))
        return site

    def _note(self, site: ModelParameter, text: str) -> None:
        earlier = self.done.get(site.name)
        self.done[site.name] = f"{earlier}; {text}" if earlier else text

    def _find_bias(self, call: LayerCall) -> tuple[ModelParameter, Tensor] | None:
        local = call.site.local.replace("weight", "bias")
        site = self._biases.get((call.site.layer, local))
        if site is None or local == call.site.local:
            return None
        bias = self._session.read(site)
        if not call.part:
            return site, bias
        parts = [part for part in site.layout.parts if part.name == call.part]
        return (site, parts[0].of(bias)) if parts else None


@dataclass(frozen=True)
class _UnitMoments:
    """Mean and standard deviation of each unit, or of the layer as one."""

    mean: Tensor
    std: Tensor


def _measure(call: LayerCall) -> _UnitMoments:
    """Raises `FitError` if a unit has no variance, or numbers that are not finite."""
    output = call.compute().detach()
    if output.is_complex():
        raise FitError(f"data_dependent: {call.label} puts out complex numbers. Leave it out.")
    output = output.double()
    if output.dim() == 0:
        output = output.reshape(1, 1)
    by_unit = output.movedim(call.channel_axis, -1).flatten(0, -2)
    if not call.counts_units(by_unit.shape[-1]):
        by_unit = output.reshape(-1, 1)
    if len(by_unit) < 2:
        raise FitError(
            f"data_dependent: {call.label} puts out one number per unit for this batch, which has "
            "no variance. Give a batch of several samples."
        )
    std = by_unit.std(dim=0, correction=0)
    if not bool(std.isfinite().all()):
        raise FitError(
            f"data_dependent: {call.label} puts out numbers that are not finite for this batch. "
            "fanin.audit(model, batch) says where they begin."
        )
    if dead := int((std == 0).sum()):
        raise FitError(
            f"data_dependent: {dead} of {std.numel()} units of {call.label} are dead: what they "
            "put out has zero variance for this batch, so that no factor makes it 1. Look at what "
            "lies before the layer (a scale of 0, a constant input), give a larger batch, or leave "
            f"it out: exclude={call.site.name!r}."
        )
    return _UnitMoments(by_unit.mean(dim=0), std)


def _equalize_rates(
    session: FitSession, layers: _LayerUnits, weights: Sequence[ModelParameter], iterations: int
) -> dict[str, str]:
    """Step 2. By name, by what each weight was multiplied, and its rate before and after."""
    first, size = _measure_rates(session, weights)
    weights = [site for site in weights if site.name in first]
    if not weights or not size:
        return {}
    factors = dict.fromkeys(first, 1.0)
    rates, wanted = first, size
    progress = FitProgress("data_dependent", iterations, "iteration")
    count = 0
    while count < iterations:
        target = _average_logs(rates) + math.log(size / wanted) / len(rates)
        if all(abs(math.log(rate) - target) < _CONVERGED for rate in rates.values()):
            break
        for site in weights:
            factor = math.exp((math.log(rates[site.name]) - target) / 2)
            factors[site.name] *= factor
            with torch.no_grad():
                session.read(site).mul_(factor)
        visit_layers(session, weights, lambda call: _centre_again(layers, call))
        rates, size = _measure_rates(session, weights)
        if rates.keys() != first.keys() or not size:
            raise FitError(
                "data_dependent: while rates were made equal, gradients became 0. Use "
                "data_dependent(iterations=0)."
            )
        count += 1
        progress.report(count)
    spread = f"largest over smallest rate {_spread(first):.3g} → {_spread(rates):.3g}"
    return {
        name: f"then multiplied by {factor:.4g}: relative gradient {first[name]:.3g} → "
        f"{rates[name]:.3g} ({spread} in {count} iterations)"
        for name, factor in factors.items()
    }


def _centre_again(layers: _LayerUnits, call: LayerCall) -> None:
    """Let the units keep their mean, measured in their standard deviations."""
    size = float(_measure(call).std.square().mean().sqrt())
    layers.centre(call, layers.mean * size)


def _measure_rates(
    session: FitSession, weights: Sequence[ModelParameter]
) -> tuple[dict[str, float], float]:
    """rms(∂ℓ/∂W) / rms(W) of each weight for a random linear loss, where it is not 0, and the
    outputs' standard deviation.
    """
    held = [session.read(site) for site in weights]
    generator = seeds.make_generator(0, "cotangent")
    with torch.enable_grad():
        output = session.forward()
        parts = [one for one in collect_tensors(output) if one.requires_grad]
        if not parts:
            raise FitError(
                "data_dependent finds no gradient: the outputs do not depend on any weight. Look "
                "whether the model detaches what it computes, or use data_dependent(iterations=0)."
            )
        total = torch.stack(
            [
                (one.float() * seeds.standard_normal(tuple(one.shape), generator).to(one.device))
                .sum()
                .cpu()
                for one in parts
            ]
        ).sum()
        grads = torch.autograd.grad(total, held, allow_unused=True)
    rates = {}
    for site, weight, grad in zip(weights, held, grads, strict=True):
        size = 0.0 if grad is None else _root_mean_square(grad) / _root_mean_square(weight)
        if not size < math.inf:
            raise FitError(
                f"data_dependent: the gradient of the outputs at {site.name} is not finite, so "
                "that no factor gives it the rate of the others. fanin.audit(model, batch) shows "
                "where gradients explode; data_dependent(iterations=0) does without them."
            )
        if size:
            rates[site.name] = size
    prediction = losses.find_prediction(output)
    return rates, float(prediction.detach().double().std(correction=0))


def _root_mean_square(tensor: Tensor) -> float:
    return float(tensor.detach().double().square().mean().sqrt())


def _average_logs(rates: Mapping[str, float]) -> float:
    return sum(map(math.log, rates.values())) / len(rates)


def _spread(rates: Mapping[str, float]) -> float:
    return max(rates.values()) / min(rates.values())


REGISTRY.add(
    InitializerEntry(
        component=DataDependent,
        level="model",
        needs=("data",),
        summary=(
            "Each unit is centred and scaled to unit variance on a batch; then the layers are "
            "scaled until all of them change at the same relative rate."
        ),
        formula="w_i ← w_i/σ_i, b_i ← β − μ_i/σ_i; then W ← W·√(C/C̄), C = rms(∂(η·z)/∂W)/rms(W)",
        paper=Paper(
            authors="Krähenbühl, Doersch, Donahue, Darrell",
            title="Data-dependent initializations of convolutional neural networks",
            year=2016,
            link="https://arxiv.org/abs/1511.06856",
        ),
        suited=(
            "Plain convolutional and feed-forward networks with ReLU and without normalization, "
            "where all layers are to train at one learning rate; small data sets."
        ),
        avoid=(
            "Batches that are not like the training data, or so small that a unit's variance says "
            "nothing: a hundred numbers per unit at least. With Adam there is no reason for step "
            "2, since its steps do not grow with gradients: iterations=0."
        ),
        cost=(
            "Two forward passes' worth of layers for the units; a forward and a backward pass per "
            "iteration, of which one is enough in chains of ReLU."
        ),
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program for Caffe has the "
            "default bias 0.1, and also starts from PCA or k-means of the data."
        ),
        examples=("data_dependent", "data_dependent(bias=0.1, iterations=0)"),
    )
)

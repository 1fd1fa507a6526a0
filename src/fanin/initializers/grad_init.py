"""grad_init: scales of weights for which one step of the optimizer lowers the loss most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from fanin.errors import SpecError, quote
from fanin.initializers.constant import Constant
from fanin.initializers.fit_progress import FitProgress
from fanin.initializers.initializer_entry import REGISTRY, InitializerEntry, Paper
from fanin.initializers.model_level import (
    Assignment,
    FitSession,
    ModelInitializer,
    ModelParameter,
)
from fanin.initializers.scaled_model import (
    ScaledModel,
    assign_base,
    check_base,
    differentiate_twice,
)

CLIP = 1.0
"""The most that the slope of a scale counts, either way."""


@final
@dataclass(frozen=True)
class GradInit(ModelInitializer):
    """One factor s per weight and per scale of a normalization, learned so that the loss after the
    first step of the optimizer is least::

        minimize L(θ − η · A(g)) over s, subject to ‖g‖ ≤ γ, with θ = s · W and g = ∇L(θ)

    | optimizer | A(g)    | norm            |
    |-----------|---------|-----------------|
    | ``sgd``   | g / ‖g‖ | Euclidean       |
    | ``adam``  | sign g  | sum of \\|g\\|    |

    While the norm is above γ, Adam moves the factors down the norm, else down the loss over η; each
    has moments of its own, slopes are cut at ±1, and factors stay above `least`. As in the authors'
    code, A(g) is a constant when the loss is differentiated. Biases take part in the step but have
    no factor: they are 0.

    Differs from the paper: both losses are of the caller's one batch, where the paper takes two
    that share half of their samples. Of all steps that meet ‖g‖ ≤ γ the one with the least loss is
    kept, of others the one with the least norm.

    Args:
        base: what draws the weights before.
        optimizer: whose step is taken.
        eta: η, the rate of that step; none takes those of the authors' programs, 0.1 for SGD and
            1e-3 for Adam.
        gamma: γ, the bound of the norm.
        steps: number of steps.
        rate: the learning rate of the factors.
        least: the least factor.
    """

    name: ClassVar[str] = "grad_init"
    fits: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True
    base: str = "he_normal"
    optimizer: Literal["sgd", "adam"] = "sgd"
    eta: float | None = None
    gamma: float = 1.0
    steps: int = 390
    rate: float = 0.01
    least: float = 0.01

    def check(self) -> None:
        """A base that draws single weights, at least one step, the rest above 0."""
        object.__setattr__(self, "base", check_base(self.name, self.base).spec)
        if self.steps < 1:
            raise SpecError(f"grad_init(steps=…) must be at least 1, not {quote(self.steps)}.")
        for option in ("eta", "gamma", "rate", "least"):
            value = getattr(self, option)
            if value is not None and not 0 < value < math.inf:
                raise SpecError(f"grad_init({option}=…) must be above 0, not {quote(value)}.")

    @property
    def step_rate(self) -> float:
        """η."""
        if self.eta is not None:
            return self.eta
        return 1e-3 if self.optimizer == "adam" else 0.1

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """The base for all weights; scales of normalizations start at 1."""
        ones = Assignment(Constant(value=1.0), "1, before it is scaled on the batch")
        norms = {site.name: ones for site in sites if site.role == "norm scale"}
        return assign_base(check_base(self.name, self.base), sites) | norms

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """Learn the factors, and multiply the weights by them."""
        scaled = ScaledModel(session, session.sites, self.name)
        with differentiate_twice():
            first, best = self._learn(scaled)
        scaled.write(best.scales)
        text = (
            f"loss after one step {first.after:.4g} → {best.after:.4g}, "
            f"norm of the gradient {first.norm:.4g} → {best.norm:.4g}"
        )
        if best.norm > self.gamma:
            text += f", which is not within {self.gamma:g}: more steps, or another base, may help"
        found = {
            site.name: f"scaled by {best.scales[bare]:.4g} in {self.steps} steps; {text}"
            for bare, site in scaled.sites.items()
        }
        for site in session.sites:
            found.setdefault(site.name, "stays as drawn: it is 0")
        return found

    def _learn(self, scaled: ScaledModel) -> tuple[_Trial, _Trial]:
        """The first trial, and the best."""
        leaves = list(scaled.scales.values())
        down_norm, down_loss = (torch.optim.Adam(leaves, lr=self.rate) for _ in range(2))
        progress = FitProgress(self.name, self.steps, "step")
        first = best = self._try(scaled)
        for step in range(self.steps):
            trial = self._try(scaled) if step else first
            best = trial if self._rank(trial) < self._rank(best) else best
            outside = trial.norm > self.gamma
            objective = trial.norm_value if outside else trial.after_value / self.step_rate
            slopes = scaled.differentiate(objective, leaves, again=False)
            for leaf, slope in zip(leaves, slopes, strict=True):
                leaf.grad = slope.detach().clamp(-CLIP, CLIP)
            (down_norm if outside else down_loss).step()
            for leaf in leaves:
                leaf.data.clamp_(min=self.least)
            progress.report(step + 1, f"loss after one step {trial.after:.4g}")
        last = self._try(scaled)
        return first, last if self._rank(last) < self._rank(best) else best

    def _rank(self, trial: _Trial) -> tuple[bool, float]:
        """The least is best."""
        outside = trial.norm > self.gamma
        return outside, trial.norm if outside else trial.after

    def _try(self, scaled: ScaledModel) -> _Trial:
        """The norm of the gradient, and the loss after one step."""
        parameters = scaled.make_parameters()
        tensors = list(parameters.values())
        loss = scaled.compute_loss(parameters)
        gradients = scaled.differentiate(loss, tensors, again=True)
        norm = self._compute_norm(gradients)
        size = scaled.require_finite(norm, "the norm of the gradient")
        moved = {
            bare: (tensor - self.step_rate * self._choose_step(gradient.detach(), size)).to(
                tensor.dtype
            )
            for (bare, tensor), gradient in zip(parameters.items(), gradients, strict=True)
        }
        after = scaled.compute_loss(moved)
        return _Trial(scaled.read_scales(), norm, size, after, float(after.detach()))

    def _compute_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        if self.optimizer == "adam":
            return torch.stack([one.float().abs().sum() for one in gradients]).sum()
        return torch.stack([one.float().square().sum() for one in gradients]).sum().sqrt()

    def _choose_step(self, gradient: Tensor, size: float) -> Tensor:
        return gradient.sign() if self.optimizer == "adam" else gradient / size


@dataclass(frozen=True)
class _Trial:
    """What one choice of factors gives."""

    scales: dict[str, float]
    norm_value: Tensor
    norm: float
    after_value: Tensor
    after: float
    """The loss after one step."""


REGISTRY.add(
    InitializerEntry(
        component=GradInit,
        level="model",
        needs=("data", "loss"),
        summary=(
            "One factor for each weight is learned so that the loss after the optimizer's first "
            "step is least, while the gradient stays below a bound."
        ),
        formula="min over s of L(sW − η·A(g)), subject to ‖g‖ ≤ γ; A(g) = g/‖g‖ or sign g",
        paper=Paper(
            authors="Zhu, Ni, Xu, Kong, Huang, Goldstein",
            title="GradInit: learning to initialize neural networks for stable and efficient "
            "training",
            year=2021,
            link="https://arxiv.org/abs/2102.08098",
        ),
        suited=(
            "Networks of a new kind, with or without normalization; post-norm transformers that "
            "otherwise need a warm-up. The optimizer and its rate should be known beforehand."
        ),
        avoid=(
            "Large models: each step takes a second derivative. Batches so small that one step "
            "fits them. Operations without a second derivative."
        ),
        cost="About six forward passes per step; 390 steps by default.",
        differs=(
            "torch, Keras and JAX have no equivalent. The authors' program needs layers of its own "
            "in the model; here the model stays as it is."
        ),
        examples=(
            "grad_init(steps=20)",
            "grad_init(base=xavier_uniform, optimizer=adam, eta=0.001, gamma=10.0, steps=20, "
            "rate=0.02, least=0.05)",
        ),
    )
)

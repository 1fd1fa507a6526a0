"""meta_init: norms of weights for which gradients change least along a step of gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from torch import Tensor

from fanin import seeds
from fanin.errors import SpecError, quote
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
from fanin.structure.forward_tracing import collect_tensors

EPSILON = 1e-5
"""Added to a gradient, away from 0, before it divides."""
MOMENTUM = 0.9
LEAST_SCALE = 0.01
"""Of the norm that was drawn."""


@final
@dataclass(frozen=True)
class MetaInit(ModelInitializer):
    """The norm ‖W‖ of each weight, learned so that the loss is nearly linear around the start.

    What is minimized is the gradient quotient over all N parameters θ, with g the gradient of the
    loss and H its Hessian::

        GQ = 1/N · Σ |(g − H g) / (g ± ε) − 1|,  ε = 1e-5 with the sign of g

    It is 0 where a step of gradient descent does not change the gradient. Each step moves every
    norm by sign-SGD with momentum 0.9: m ← 0.9 m − rate · sign(∂GQ/∂‖W‖), ‖W‖ ← ‖W‖ + m. Directions
    stay as drawn. Weights of at least two axes are scaled; biases take part in GQ only.

    Differs from the paper: the batch is the caller's, and of all steps the best is kept;
    with ``inputs=noise`` each step draws new standard-normal inputs, as in the paper, beside the
    batch's own targets, and the last step is kept. A norm never falls below 1 % of where it began.
    The third derivative that this takes costs about eight passes a step.

    Args:
        base: what draws the weights before.
        steps: number of steps.
        rate: how far a norm moves in the first of them.
        inputs: the batch, or noise of its shape.
    """

    name: ClassVar[str] = "meta_init"
    fits: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True
    base: str = "he_normal"
    steps: int = 500
    rate: float = 0.1
    inputs: Literal["data", "noise"] = "data"

    def check(self) -> None:
        """A base that draws single weights, at least one step, a positive rate."""
        object.__setattr__(self, "base", check_base(self.name, self.base).spec)
        if self.steps < 1:
            raise SpecError(f"meta_init(steps=…) must be at least 1, not {quote(self.steps)}.")
        if not 0 < self.rate < math.inf:
            raise SpecError(f"meta_init(rate=…) must be above 0, not {quote(self.rate)}.")

    def assign(self, sites: Sequence[ModelParameter]) -> Mapping[str, Assignment]:
        """The base for all weights."""
        return assign_base(check_base(self.name, self.base), sites)

    def fit(self, session: FitSession) -> Mapping[str, str]:
        """Learn the norms, and multiply the weights by what they became."""
        matrices = [site for site in session.sites if len(site.layout.shape) >= 2]
        scaled = ScaledModel(session, matrices, self.name)
        with differentiate_twice():
            before, after, best = self._learn(scaled, session)
        scaled.write(best)
        text = f"gradient quotient {before:.4g} → {after:.4g} in {self.steps} steps"
        found = {
            site.name: f"norm {scaled.norms[bare]:.4g} → {scaled.norms[bare] * best[bare]:.4g}, "
            f"scaled by {best[bare]:.4g}; {text}"
            for bare, site in scaled.sites.items()
        }
        for site in session.sites:
            found.setdefault(site.name, "stays as drawn: it is 0, or no matrix")
        return found

    def _learn(
        self, scaled: ScaledModel, session: FitSession
    ) -> tuple[float, float, dict[str, float]]:
        """The objective before and after, and the scale of each weight."""
        memory = dict.fromkeys(scaled.scales, 0.0)
        best: dict[str, float] = scaled.read_scales()
        before = least = math.inf
        progress = FitProgress(self.name, self.steps, "step")
        for step in range(self.steps):
            quotient = compute_quotient(scaled, self._choose_inputs(session, step))
            value = scaled.require_finite(quotient, "the gradient quotient")
            if step == 0:
                before = value
            if value < least:
                least, best = value, scaled.read_scales()
            slopes = scaled.differentiate(quotient, list(scaled.scales.values()), again=False)
            for bare, slope in zip(scaled.scales, slopes, strict=True):
                memory[bare] = MOMENTUM * memory[bare] - self.rate * _sign(slope)
                move_scale(scaled.scales[bare], memory[bare] / scaled.norms[bare])
            progress.report(step + 1, f"gradient quotient {value:.4g}")
        number = 0 if self.inputs == "noise" else self.steps
        last = scaled.require_finite(
            compute_quotient(scaled, self._choose_inputs(session, number)), "the gradient quotient"
        )
        if self.inputs == "noise" or last < least:
            least, best = last, scaled.read_scales()
        return before, least, best

    def _choose_inputs(self, session: FitSession, step: int) -> Callable[[], Any] | None:
        """What runs the model on noise; None for the batch itself."""
        if self.inputs == "data":
            return None

        def run() -> Any:
            args, kwargs = session.inputs
            generator = seeds.make_generator(0, "noise", step)
            for tensor in collect_tensors([*args, *kwargs.values()]):
                if tensor.is_floating_point():
                    noise = seeds.standard_normal(tuple(tensor.shape), generator)
                    tensor.copy_(noise)
            return session.model(*args, **kwargs)

        return run


def compute_quotient(scaled: ScaledModel, output: Callable[[], Any] | None = None) -> Tensor:
    """GQ of the scaled model, with its graph."""
    parameters = scaled.make_parameters()
    tensors = list(parameters.values())
    loss = scaled.compute_loss(parameters, output)
    gradients = scaled.differentiate(loss, tensors, again=True)
    length = sum(((one * one).sum() for one in gradients), loss.new_zeros(())) / 2
    curved = scaled.differentiate(length, tensors, again=True)
    total = loss.new_zeros(())
    for gradient, moved in zip(gradients, curved, strict=True):
        away = EPSILON * (2 * (gradient >= 0).to(gradient.dtype) - 1)
        total = total + ((gradient - moved) / (gradient + away) - 1).abs().sum()
    return total / sum(one.numel() for one in tensors)


def move_scale(scale: Tensor, step: float) -> None:
    """Add to a scale; it stays above `LEAST_SCALE`."""
    scale.data.add_(step).clamp_(min=LEAST_SCALE)


def _sign(slope: Tensor) -> float:
    return float(slope.detach().sign())


REGISTRY.add(
    InitializerEntry(
        component=MetaInit,
        level="model",
        needs=("data", "loss"),
        summary=(
            "The norm of each weight is learned so that a step of gradient descent changes the "
            "gradient least."
        ),
        formula="min over ‖W_i‖ of GQ = 1/N · Σ|(g − Hg)/(g ± ε) − 1|, by sign-SGD with momentum",
        paper=Paper(
            authors="Dauphin, Schoenholz",
            title="MetaInit: initializing learning by learning to initialize",
            year=2019,
            link="https://papers.nips.cc/paper/2019/hash/"
            "876e8108f87eb61877c6263228b67256-Abstract.html",
        ),
        suited=(
            "Networks of a new kind, without normalization or without shortcuts, for which no "
            "scale is known; starts that are known to be bad, which it can repair."
        ),
        avoid=(
            "Large models: each step differentiates the loss three times. Operations without a "
            "second derivative. Models that start well already."
        ),
        cost="About eight forward passes per step in time, four in memory; 500 steps by default.",
        differs=(
            "torch, Keras and JAX have no equivalent. The paper's program draws new noise and new "
            "labels for every step and keeps the last norms."
        ),
        examples=(
            "meta_init(steps=20)",
            "meta_init(base=xavier_uniform, steps=20, rate=0.05, inputs=noise)",
        ),
    )
)

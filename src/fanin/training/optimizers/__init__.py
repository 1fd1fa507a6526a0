"""Optimizers of a cell: named options, a torch optimizer made from them, and what happens to it
around a step.

==================================  =============================================  ==========================================
spec                                rule                                           weight decay λ
==================================  =============================================  ==========================================
sgd                                 θ ← θ − η·g                                    coupled: g ← g + λ·θ
sgd(momentum=0.9)                   v ← μ·v + g, θ ← θ − η·v                       coupled
sgd(momentum=0.9, nesterov=true)    v ← μ·v + g, θ ← θ − η·(g + μ·v)               coupled
sgd(momentum=0.9, form=keras)       v ← μ·v − η·g, θ ← θ + v                       decoupled: θ ← θ − η·λ·θ before the step
rmsprop                             s ← ρ·s + (1 − ρ)·g², θ ← θ − η·g / (√s + ε)   coupled
rmsprop(form=keras)                 …, θ ← θ − η·g / √(s + ε)                      decoupled
adam                                θ ← θ − η·m̂ / (√v̂ + ε)                         coupled
adamw                               as adam                                        decoupled
==================================  =============================================  ==========================================

g is the gradient, η the learning rate, which a schedule may change before every step (`set_rate`).
Defaults are torch's; every rule of Keras 3 that gives other numbers is there by an option. Weight
decay spares biases, scales and shifts of normalization and all other vectors unless ``decay=all``
(`fanin.training.optimizers.decay`); torch and Keras spare nothing.

An option that would change nothing is refused (``nesterov`` without momentum, ``decay`` without
weight decay), so that one training has one spec. Only ``adamw(weight_decay=0)`` takes adam's steps:
it is a point that a sweep of the decay may want.
"""

from fanin.registry import import_modules
from fanin.training.optimizers.clipping import clip_gradients_
from fanin.training.optimizers.decay import Decay, make_parameter_groups
from fanin.training.optimizers.optimizer import REGISTRY, Optimizer
from fanin.training.optimizers.optimizer_state import (
    is_resumable,
    read_state_tensors,
    restore_state_tensors,
)
from fanin.training.optimizers.rates import set_rate

__all__ = [
    "REGISTRY",
    "Decay",
    "Optimizer",
    "clip_gradients_",
    "is_resumable",
    "make_parameter_groups",
    "read_state_tensors",
    "restore_state_tensors",
    "set_rate",
]

import_modules(__name__, __path__)

"""Optimizers of a cell: a file in this folder that registers an entry is all that one takes.

| spec                             | rule                                       | weight decay |
|----------------------------------|--------------------------------------------|--------------|
| sgd                              | θ ← θ − η·g                                | coupled      |
| sgd(momentum=0.9)                | v ← μ·v + g, θ ← θ − η·v                   | coupled      |
| sgd(momentum=0.9, nesterov=true) | v ← μ·v + g, θ ← θ − η·(g + μ·v)           | coupled      |
| sgd(momentum=0.9, form=keras)    | v ← μ·v − η·g, θ ← θ + v                   | decoupled    |
| rmsprop                          | s ← ρ·s + (1 − ρ)·g², θ ← θ − η·g/(√s + ε) | coupled      |
| rmsprop(form=keras)              | s as above, θ ← θ − η·g/√(s + ε)           | decoupled    |
| adam                             | θ ← θ − η·m̂/(√v̂ + ε)                     | coupled      |
| adamw                            | as adam                                    | decoupled    |

g is the gradient and η the learning rate, which a schedule may change before every step
(`set_rate`). Coupled weight decay λ adds to the gradient, g ← g + λ·θ; decoupled weight decay
changes the weights before the step, θ ← θ − η·λ·θ.

Defaults are torch's; an option gives every rule of Keras 3 that differs. Weight decay leaves out
biases, scales and shifts of normalization and all other vectors unless ``decay=all``
(`fanin.training.optimizers.decay`); torch and Keras leave out nothing.

An option that would change nothing is an error (``nesterov`` without momentum, ``decay`` without
weight decay), so that one training has one spec. The exception is ``adamw(weight_decay=0)``, which
takes adam's steps: a sweep over the decay may include it.
"""

from fanin.registry import import_modules
from fanin.training.optimizers.decay import Decay, make_parameter_groups
from fanin.training.optimizers.optimizer import REGISTRY, Optimizer
from fanin.training.optimizers.optimizer_state import (
    is_resumable,
    read_state_tensors,
    restore_state_tensors,
)
from fanin.training.optimizers.rate_multipliers import multiply_rates
from fanin.training.optimizers.stepping import calls_closure, clip_gradients_, set_rate

__all__ = [
    "REGISTRY",
    "Decay",
    "Optimizer",
    "calls_closure",
    "clip_gradients_",
    "is_resumable",
    "make_parameter_groups",
    "multiply_rates",
    "read_state_tensors",
    "restore_state_tensors",
    "set_rate",
]

import_modules(__name__, __path__)

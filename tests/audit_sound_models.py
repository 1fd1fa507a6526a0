"""Sound models: the audit finds no error in any of them.

More than a hundred families, small, each with data and, if it has one, a target that it can learn.
A model stands here if people start from exactly this and train it: with the initialization that
its paper or its framework prescribes, also where that looks odd (zero layers, priors, scales).
"""

from __future__ import annotations

# Each of these files registers its models.
from sound_models import (
    attention,
    convolutional,
    dense_outputs,
    dense_structures,
    plain,
    recurrent,
    relations,
    zoo,
)
from sound_models.entry import REGISTRY, Case, SoundModel, Training, call, compute_loss

FILES = (
    attention,
    convolutional,
    dense_outputs,
    dense_structures,
    plain,
    recurrent,
    relations,
    zoo,
)

__all__ = ["SOUND_MODELS", "Case", "SoundModel", "Training", "call", "compute_loss"]

SOUND_MODELS: dict[str, SoundModel] = dict(REGISTRY)
"""By name."""

"""The global random state of torch, NumPy and Python, which nothing in fanin may move."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def read_global_state() -> dict[str, Any]:
    """The state of each global generator, as values that can be compared."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (name, np.asarray(keys).tobytes(), *rest),
        "python": random.getstate(),
    }


def describe_moves(before: dict[str, Any]) -> str:
    """What to say if a generator has moved since `before`; empty if none has."""
    after = read_global_state()
    moved = [name for name in before if before[name] != after[name]]
    if not moved:
        return ""
    return (
        f"The global random state of {', '.join(moved)} was moved. If fanin did it, that is a bug. "
        "If the test did: draw from generators of its own, build torch modules under "
        "fanin.seeds.preserve_torch_state(0), or use the fixture draws_globally."
    )

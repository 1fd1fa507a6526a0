"""A user's data set: points on the arms of a spiral, one class per arm.

In a study:

    data = "examples/my_dataset.py:make(arms=5)"
"""

from __future__ import annotations

import numpy as np


def make(*, n: int = 600, arms: int = 3, noise: float = 0.1) -> dict[str, np.ndarray]:
    """Return `n` points for training and half as many for testing: (N, 2) float32, classes from 0.

    Every call must return the same arrays, so all random numbers come from a generator with a fixed
    seed.
    """
    random = np.random.default_rng(0)

    def points(count: int) -> tuple[np.ndarray, np.ndarray]:
        classes = np.arange(count) % arms
        radius = random.uniform(0.1, 1, count)
        angle = 2 * np.pi * classes / arms + 4 * radius + noise * random.standard_normal(count)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(
            np.float32
        ), classes

    x_train, y_train = points(n)
    x_test, y_test = points(n // 2)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}

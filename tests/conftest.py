"""One torch thread, Keras on JAX, no network, and a guard: nothing in fanin moves the caller's
global random state.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["FANIN_OFFLINE"] = (
    "1"  # tests of downloads talk to a server of their own, and take this away
)

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


def _global_state() -> dict[str, bytes]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr((name, rest)).encode() + np.asarray(keys).tobytes(),
        "python": repr(random.getstate()).encode(),
    }


@pytest.fixture
def draws_globally() -> None:
    """For a test that itself moves the global random state, such as one that runs Keras; the guard
    lets it pass.
    """


@pytest.fixture(autouse=True)
def _global_random_state_is_not_moved(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _global_state()
    yield
    after = _global_state()
    moved = [name for name in before if before[name] != after[name]]
    if moved and "draws_globally" not in request.fixturenames:
        pytest.fail(
            f"The global random state of {', '.join(moved)} was moved. If fanin did it, that is a "
            "bug. If the test did: draw "
            "from generators of its own, build torch modules under "
            "fanin.seeds.preserve_torch_state(0), or use the fixture "
            f"draws_globally.",
            pytrace=False,
        )

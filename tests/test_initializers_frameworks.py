"""Initializers against the cases that torch, Keras, JAX and mmcv test theirs with, as a table.

Every row of `framework_cases` is drawn once: mean and standard deviation must lie within 4.9
standard errors (level 1e-6 each; two checks on fewer than 100 rows make a family-wise level below
2e-4), n is at least 40,000. What is not drawn is exact to fp32. In every row a scale that is 3 %
off and a mean that is a tenth of a standard deviation off are shown to be caught. The frameworks'
own functions are held to the same rows, so a wrong row would be noticed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from framework_cases import CASES, JAX, KERAS, TORCH, Case
from peer_cases import as_torch, elsewhere
from torch import Tensor
from torch.nn import init

import fanin
from fanin import seeds, specs

ERRORS = 4.9
LEAST = 40_000


def find_mistakes(case: Case, weights: Tensor) -> list[str]:
    """What does not fit the row, in words."""
    x = weights.double()
    mean, std = x.mean().item(), x.std(correction=0).item()
    rounding = 2e-7 * max(abs(case.moments.mean), case.moments.std, 1e-30)
    mean_error = std_error = rounding
    if case.is_drawn and case.moments.std:
        assert x.numel() >= LEAST
        mean_error += ERRORS * case.moments.std / math.sqrt(x.numel())
        spread = (x - mean).square().std().item()
        std_error += ERRORS * spread / (2 * std * math.sqrt(x.numel()))
    low, high = (
        case.moments.low - 1e-6 * abs(case.moments.low),
        case.moments.high + 1e-6 * abs(case.moments.high),
    )
    checks = {
        f"mean {mean:.6g}, not {case.moments.mean:.6g} ± {mean_error:.2g}": abs(
            mean - case.moments.mean
        )
        <= mean_error,
        f"std {std:.6g}, not {case.moments.std:.6g} ± {std_error:.2g}": abs(std - case.moments.std)
        <= std_error,
        f"from {x.min():.6g}, below {case.moments.low:.6g}": x.min().item() >= low,
        f"to {x.max():.6g}, above {case.moments.high:.6g}": x.max().item() <= high,
        f"from {x.min():.6g} to {x.max():.6g} only": _reaches_bounds(case, x),
    }
    return [f"{case}: {text}" for text, fits in checks.items() if not fits]


def _reaches_bounds(case: Case, x: Tensor) -> bool:
    """Whether the extremes come within a fiftieth of the range of both bounds, where there are
    any. The rarest row has 1e-3 of its numbers there.
    """
    if not math.isfinite(case.moments.high - case.moments.low):
        return True
    slack = (case.moments.high - case.moments.low) / 50 + 1e-6 * abs(case.moments.high)
    return (
        x.min().item() <= case.moments.low + slack and x.max().item() >= case.moments.high - slack
    )


def draw(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return fanin.get(case.spec)(torch.empty(case.shape), generator=generator)


def collect(cases: Iterable[Case], draw: Callable[[Case], Tensor]) -> list[str]:
    """The mistakes of all rows."""
    return [mistake for case in cases for mistake in find_mistakes(case, draw(case))]


def test_every_case_of_the_frameworks_has_its_moments() -> None:
    assert 90 < len(CASES) < 100
    assert collect(CASES, draw) == []


def test_a_planted_mistake_is_caught_in_every_row() -> None:
    """3 % of the spread, a tenth of it in the mean; a thousandth where nothing is drawn."""
    missed = []
    for case in CASES:
        weights = draw(case).double()
        middle = weights.mean()
        if case.is_drawn and case.moments.std:
            planted = {
                "wider": (weights - middle) * 1.03 + middle,
                "narrower": (weights - middle) / 1.03 + middle,
                "shifted": weights + case.moments.std / 10,
            }
        else:
            planted = {"shifted": weights + 1e-3}
        missed += [f"{case}: {what}" for what, x in planted.items() if not find_mistakes(case, x)]
    assert missed == []


# --- the frameworks themselves
# -----------------------------------------------------------------------------


def _call_home(case: Case, module: object) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What the row names in a framework's module, and its options there."""
    name, options = specs.parse(case.home_spec or case.spec)
    return getattr(module, name), options


def test_torch_itself_fits_its_rows() -> None:
    def draw_by_torch(case: Case) -> Tensor:
        fill, options = _call_home(case, init)
        if "generator" in inspect.signature(fill).parameters:
            options["generator"] = torch.Generator().manual_seed(3)
        with seeds.preserve_torch_state(0):  # sparse_ draws its places globally
            return fill(torch.empty(case.shape), **options)

    assert collect(TORCH, draw_by_torch) == []


@pytest.mark.usefixtures("draws_globally")
def test_keras_itself_fits_its_rows() -> None:
    keras = pytest.importorskip("keras", reason='needs keras: pip install "fanin[peers]"')

    def draw_by_keras(case: Case) -> Tensor:
        make, options = _call_home(case, keras.initializers)
        if "seed" in inspect.signature(make.__init__).parameters:
            options["seed"] = 1
        return as_torch(np.array(make(**options)(elsewhere(case.shape))))

    assert collect(KERAS, draw_by_keras) == []


def test_jax_itself_fits_its_rows() -> None:
    jax = pytest.importorskip("jax", reason='needs jax: pip install "fanin[peers]"')

    def draw_by_jax(case: Case) -> Tensor:
        make, options = _call_home(case, jax.nn.initializers)
        law = make if case.spec in ("zeros", "ones") else make(**options)
        return as_torch(law(jax.random.key(2), elsewhere(case.shape), np.float32))

    assert collect(JAX, draw_by_jax) == []

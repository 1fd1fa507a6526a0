"""small_init and wang_init: one standard deviation for all matrices of a transformer, taken from
its width.
"""

from __future__ import annotations

import math

import pytest
import torch
from initializer_cases import generator
from torch import nn

from fanin import fans, initializers
from fanin.fans import Fans, WeightLayout

stats = pytest.importorskip("scipy.stats", reason="the laws come from scipy")

D = 32
MATRICES = {
    "attention output": WeightLayout((D, D), Fans(D, D)),
    "up": WeightLayout((4 * D, D), Fans(D, 4 * D)),
    "down": WeightLayout((D, 4 * D), Fans(4 * D, D)),
    "transposed up": WeightLayout((D, 4 * D), Fans(D, 4 * D), transposed=True),
    "embedding": WeightLayout((1000, D), Fans(1, D), transposed=True),
    "head": WeightLayout((1000, D), Fans(D, 1000)),
    "patches": WeightLayout((D, 3, 16, 16), Fans(768, D * 256)),
}
every_matrix = pytest.mark.parametrize("layout", MATRICES.values(), ids=MATRICES)


@every_matrix
def test_every_matrix_of_a_transformer_gets_the_std_of_its_width(layout: WeightLayout) -> None:
    assert initializers.get("small_init").intended_std(layout) == pytest.approx(
        math.sqrt(2 / (5 * D))
    )
    assert initializers.get("wang_init(layers=12)").intended_std(layout) == pytest.approx(
        2 / (12 * math.sqrt(D))
    )


@pytest.mark.parametrize("options", [{"kdim": 48, "vdim": 64}, {}], ids=["apart", "packed"])
def test_q_k_and_v_get_the_std_of_the_width(options: dict[str, int]) -> None:
    held = fans.describe_parameters(nn.MultiheadAttention(D, 4, device="meta", **options))
    weights = [held[f"{name}_proj_weight"].layout for name in "qkv"] if options else []
    for layout in weights or [part.layout for part in held["in_proj_weight"].layout.parts]:
        assert initializers.get("small_init").intended_std(layout) == pytest.approx(
            math.sqrt(2 / (5 * D))
        )


def test_a_width_that_is_given_overrides_the_matrix() -> None:
    layout = MATRICES["up"]
    assert initializers.get("small_init(dim=512)").intended_std(layout) == pytest.approx(
        math.sqrt(2 / 2560)
    )
    assert initializers.get("wang_init(layers=4, dim=64)").intended_std(layout) == pytest.approx(
        2 / (4 * 8)
    )


@pytest.mark.parametrize(
    ("spec", "std"),
    [("small_init", math.sqrt(2 / 1500)), ("wang_init(layers=12)", 2 / (12 * math.sqrt(300)))],
)
def test_a_rectangular_matrix_follows_the_law(spec: str, std: float) -> None:
    """n = 210,000, level 1e-4; a planted 3 % is caught, and so is the longer side instead of the
    shorter.
    """
    for shape in ((300, 700), (700, 300)):
        weights = (
            initializers.get(spec)(torch.empty(shape), generator=generator(1))
            .double()
            .flatten()
            .numpy()
        )
        assert weights.size == 210_000
        for wrong, stands in ((1.0, True), (1.03, False), (math.sqrt(300 / 700), False)):
            found = stats.ks_1samp(weights * wrong, stats.norm(0, std).cdf, method="asymp")
            assert bool(found.pvalue > 1e-4) is stands


def test_depth_shrinks_what_a_block_adds() -> None:
    stds = [
        initializers.get(f"wang_init(layers={layers})").intended_std(MATRICES["down"])
        for layers in (1, 2, 8)
    ]
    assert [stds[0] / std for std in stds] == pytest.approx([1, 2, 8])

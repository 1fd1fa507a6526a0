"""coordinate_check: known parametrizations get their verdicts, and its numbers are right."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from model_level_cases import Block
from torch import Tensor, nn
from width_cases import draw

import fanin
from fanin import seeds
from fanin.diagnosis.coordinate_record import Slope, judge
from fanin.errors import FitError, OutputError, UnknownName, UsageError

WIDTHS = [32, 64, 128, 256]
X, Y = draw(32, 20), torch.arange(32) % 5


def make(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 5)
    )


def test_mup_holds_and_a_standard_start_does_not() -> None:
    """Four widths, five seeds, Adam. In theory the hidden layer's change grows by the power 1 of
    the width with one rate for all, and by 0 under muP.
    """
    good = fanin.coordinate_check(make, WIDTHS, batch=X, target=Y, initializer="mup(base=32)")
    assert good.holds
    assert [one.layer for one in good.layers] == ["0", "2", "4"]
    assert all(abs(one.change.mean) < 0.1 for one in good.layers if one.change)
    bad = fanin.coordinate_check(make, WIDTHS, batch=X, target=Y, initializer="lecun_normal")
    assert not bad.holds
    assert bad["2"].scaling == bad["4"].scaling == "grows"
    assert bad["0"].scaling == "holds"
    assert bad["2"].change is not None
    assert bad["2"].change.low > 0.5
    assert "2, 4 grow with the width" in bad.verdict


def test_gradient_descent_with_one_rate_trains_the_first_layer_less_in_wide_models() -> None:
    """With SGD and one rate its change falls by the power 1/2."""
    settings = {"batch": X, "target": Y, "optimizer": "sgd", "lr": 0.1}
    bad = fanin.coordinate_check(make, WIDTHS, initializer="lecun_normal", **settings)
    assert bad["0"].scaling == "learns less"
    assert bad["0"].change is not None
    assert bad["0"].change.mean == pytest.approx(-0.55, abs=0.15)
    assert "0 is changed by training the less the wider the model is" in bad.verdict
    good = fanin.coordinate_check(
        make, WIDTHS, initializer="mup(base=32, optimizer=sgd)", **settings
    )
    assert good.holds


def test_a_transformer_holds_under_mup_with_heads_of_one_width() -> None:
    class Language(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.tokens = nn.Embedding(20, width)
            self.blocks = nn.ModuleList(Block(width) for _ in range(2))
            self.head = nn.Linear(width, 20)
            self.scale = 4 / width  # one head as wide as the model: √16/width, as mup asks for

        def forward(self, x: Tensor) -> Tensor:
            h = self.tokens(x)
            for block in self.blocks:
                n = block.norm1(h)
                q = block.q(n) * self.scale * math.sqrt(n.shape[-1])
                h = h + block.o(F.scaled_dot_product_attention(q, block.k(n), block.v(n)))
                h = h + block.proj(torch.relu(block.fc(block.norm2(h))))
            y: Tensor = self.head(h)
            return y

    words = torch.arange(64).view(8, 8) % 20
    check = fanin.coordinate_check(
        Language,
        [16, 32, 64, 128],
        batch=words,
        target=(words + 1) % 20,
        initializer="mup(base=16, base_head_dim=16, readout=zero)",
        replicates=4,
    )
    assert check.holds, check.verdict
    bad = fanin.coordinate_check(
        Language, [16, 32, 64, 128], batch=words, target=(words + 1) % 20, replicates=4
    )
    assert not bad.holds


def test_its_numbers_are_those_of_a_training_by_hand() -> None:
    check = fanin.coordinate_check(
        make, [8, 16, 32], batch=X, target=Y, initializer="he_normal", steps=2, replicates=2, lr=0.1
    )
    start = seeds.derive_seed(0, "coordinates", 1)
    with seeds.preserve_torch_state(0):
        model = make(16)
    fanin.initialize(model, "he_normal", seed=start)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    outputs = []
    for _ in range(3):
        outputs.append(model[:3](X).detach())
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
    assert check["2"].sizes[1][1] == pytest.approx([o.abs().mean().item() for o in outputs])
    moved = [(o - outputs[0]).abs().mean().item() for o in outputs]
    assert check["2"].changes[1][1] == pytest.approx(moved)


def test_a_slope_is_the_power_of_the_width_with_students_interval() -> None:
    rows = [[width**0.5 for width in WIDTHS], [2 * width**0.7 for width in WIDTHS]]
    slope = Slope.fit(WIDTHS, rows)
    assert slope is not None
    assert slope.mean == pytest.approx(0.6)
    half = 12.706 * (0.2 / math.sqrt(2)) / math.sqrt(2)
    assert (slope.low, slope.high) == pytest.approx((0.6 - half, 0.6 + half))
    assert Slope.fit(WIDTHS, [[1.0, 0.0, 1.0, 1.0]]) is None
    assert Slope.fit(WIDTHS, [[1.0, math.nan, 1.0, 1.0]]) is None


def test_only_an_interval_beyond_the_tolerance_counts() -> None:
    sure, unsure = Slope(mean=0.5, low=0.3, high=0.7), Slope(mean=0.5, low=0.1, high=0.9)
    falling = Slope(mean=-0.5, low=-0.7, high=-0.3)
    flat = Slope(mean=0.0, low=-0.1, high=0.1)
    expect = {
        "grows": (sure, flat),
        "holds": (unsure, unsure),
        "learns more": (flat, sure),
        "learns less": (flat, falling),
        "vanishes": (falling, flat),
    }
    for word, (last, change) in expect.items():
        assert judge(last, change, finite=True, tolerance=0.2) == word
    assert judge(None, None, finite=True, tolerance=0.2) == "holds"
    assert judge(flat, flat, finite=False, tolerance=0.2) == "not finite"


def test_the_record_is_json_and_a_table_of_80_columns() -> None:
    check = fanin.coordinate_check(make, [8, 16, 32], batch=X, target=Y, steps=1, replicates=2)
    record = json.loads(json.dumps(check.to_json(), allow_nan=False))
    assert record["schema"] == 1
    assert record["holds"] is check.holds
    assert len(record["layers"][0]["sizes"][0][0]) == 2
    text = str(check)
    assert text.startswith("The scaling")
    assert max(map(len, text.splitlines())) <= 80
    assert "the model's own start, adam at 0.01, widths 8, 16, 32" in text


def test_a_training_that_diverges_is_a_verdict_and_no_error() -> None:
    check = fanin.coordinate_check(
        make, [8, 16, 32], batch=X, target=Y, optimizer="sgd", lr=1e30, steps=3, replicates=2
    )
    assert not check.holds
    assert "not finite" in check.verdict


def test_dropout_is_off_and_an_output_that_no_layer_has_is_there() -> None:
    def noisy(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(20, width),
            nn.BatchNorm1d(width),
            nn.Dropout(0.9),
            nn.Linear(width, 5),
            nn.Tanh(),
        )

    first, second = (
        fanin.coordinate_check(noisy, [8, 16, 32], batch=X, target=Y, steps=1, replicates=2)
        for _ in range(2)
    )
    assert first == second
    assert [one.layer for one in first.layers] == ["0", "1", "3", "the output"]


def test_a_batch_may_depend_on_the_width_and_a_loss_may_be_given() -> None:
    check = fanin.coordinate_check(
        lambda width: nn.Sequential(nn.Linear(width, width), nn.Linear(width, 1)),
        [8, 16, 32],
        batch=lambda width: draw(4, width),
        loss=lambda output: output.square().mean(),
        steps=1,
        replicates=2,
    )
    assert len(check.layers) == 2


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"widths": [8, 16]}, UsageError, "at least three different"),
        ({"widths": [8, 8, 16]}, UsageError, "at least three different"),
        ({"widths": [8, 16, "wide"]}, UsageError, "at least three different"),
        ({"optimizer": "lion"}, UnknownName, "lion"),
        ({"lr": 0}, UsageError, "lr must be"),
        ({"steps": 0}, UsageError, "steps must be"),
        ({"replicates": 1}, UsageError, "replicates must be"),
        ({"make": lambda width: None}, UsageError, r"make\(8\) returned None"),
        ({"make": lambda width: 1 / 0}, FitError, r"make\(8\) failed: ZeroDivisionError"),
        ({"batch": draw(4, 3)}, FitError, "width 8 at step 0 failed"),
        ({"target": None}, UsageError, "give target="),
        ({"target": torch.full((32,), 9)}, FitError, "labels from 9"),
        ({"initializer": "he_nromal"}, UnknownName, "he_normal"),
    ],
)
def test_what_cannot_be_checked_is_said(
    change: dict[str, object], error: type[Exception], text: str
) -> None:
    arguments = {"make": make, "widths": [8, 16, 32], "batch": X, "target": Y} | change
    with pytest.raises(error, match=text):
        fanin.coordinate_check(**arguments)  # type: ignore[arg-type]


def test_the_figure_is_drawn_and_another_suffix_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need it")
    check = fanin.coordinate_check(make, [8, 16, 32], batch=X, target=Y, steps=1, replicates=2)
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        path = fanin.draw_coordinates(check, tmp_path / f"check.{suffix}")
        assert path.read_bytes().startswith(start)
    with pytest.raises(OutputError, match="png"):
        fanin.draw_coordinates(check, tmp_path / "check.gif")
    with pytest.raises(UsageError, match="coordinate_check returns"):
        fanin.draw_coordinates("check", tmp_path / "check.png")  # type: ignore[arg-type]

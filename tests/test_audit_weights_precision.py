"""F018 and F048: weights drawn in low precision, and numbers outside its range."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from audit_weight_cases import draw, examine, judge, make_mlp, pick
from combinations import for_each
from torch import Tensor, nn

from fanin import seeds
from fanin.diagnosis.findings.half_range import find_range_errors

FLAT, HALF = torch.bfloat16, torch.float16


@seeds.preserve_torch_state(0)
def draw_low(dtype: torch.dtype, *shape: int) -> Tensor:
    """Uniform numbers of few bits, as torch.rand draws them in low precision."""
    return (torch.rand(shape, dtype=dtype) * 2 - 1) * 0.2


def make_wide() -> nn.Sequential:
    """A model with one weight of 9,216 numbers."""
    return make_mlp(10, 96, 96, 4)


@for_each("kept", [torch.float32, FLAT])
@for_each("scale", [1.0, 0.37])
def test_a_draw_of_eight_bits_has_few_values(kept: torch.dtype, scale: float) -> None:
    model = make_wide().to(kept)
    with torch.no_grad():
        model[2].weight.copy_(scale * draw_low(FLAT, 96, 96).to(kept))  # type: ignore
    (finding,) = judge(model, draw(4, 10).to(kept))
    assert (finding.code, finding.severity, finding.where) == ("F018", "warning", "2.weight")
    assert finding.patches[0].initializer.startswith("uniform(low=-")


@for_each("dtype", [FLAT, HALF])
def test_a_model_in_low_precision_that_was_drawn_in_float32_is_sound(dtype: torch.dtype) -> None:
    assert judge(make_wide().to(dtype), draw(4, 10).to(dtype)) == []
    model = make_wide()
    with torch.no_grad():
        model[2].weight.normal_(std=0.1, generator=seeds.make_generator(0, "w"))  # type: ignore
    assert judge(model.to(dtype), draw(4, 10).to(dtype)) == []


@for_each("dtype", [FLAT, HALF])
def test_float32_weights_on_a_coarse_grid_were_drawn_there_or_loaded(dtype: torch.dtype) -> None:
    model = make_wide().to(dtype).float()
    (finding,) = judge(model, draw(4, 10))
    assert (finding.code, finding.severity, finding.where) == ("F018", "warning", "2.weight")
    trained = make_wide()
    with torch.no_grad():
        z = draw(96, 96)
        trained[2].weight.copy_(0.1 * z * z.abs())  # type: ignore  # heavy tails, as after training
    trained = trained.to(dtype).float()
    (finding,) = judge(trained, draw(4, 10))
    assert (finding.code, finding.severity) == ("F018", "note")
    state = copy.deepcopy(model.state_dict())
    (finding,) = judge(model, draw(4, 10), state)
    assert (finding.code, finding.severity) == ("F018", "note")


SOUND: dict[str, Callable[[Tensor], Any]] = {
    "signs": lambda w: w.copy_(0.1 * draw(*w.shape).sign()),
    "ternary": lambda w: w.copy_((draw(*w.shape) * 0.8).round().clamp(-1, 1)),
    "sixteen levels": lambda w: w.copy_((draw(*w.shape).clamp(-2, 2) * 4).round() / 4),
    "sparse": lambda w: w.mul_(draw(*w.shape).abs() > 2),
    "ramps": lambda w: w.copy_(torch.arange(1.0, 97.0).log().expand(96, 96)),
    "identity": lambda w: w.copy_(torch.eye(96)),
}


@for_each("name", SOUND)
def test_few_values_on_purpose(name: str) -> None:
    model = make_wide()
    with torch.no_grad():
        SOUND[name](model[2].weight)  # type: ignore
    assert pick(judge(model, draw(4, 10)), "F018") == []


def make_normed(dtype: torch.dtype) -> nn.Sequential:
    """A layer, a normalization and a head."""
    with seeds.preserve_torch_state(0):
        return nn.Sequential(nn.Linear(10, 64), nn.LayerNorm(64), nn.Linear(64, 4)).to(dtype)


def test_weights_below_the_range_of_float16() -> None:
    model = make_normed(HALF)
    assert judge(model, draw(4, 10).half()) == []
    with torch.no_grad():
        model[0].weight.copy_(1e-5 * draw(64, 10))
    (finding,) = judge(model, draw(4, 10).half())
    assert (finding.code, finding.severity, finding.where) == ("F048", "warning", "0.weight")
    assert pick(judge(copy.deepcopy(model).bfloat16(), draw(4, 10).bfloat16()), "F048") == []


def test_noise_that_bfloat16_rounds_away() -> None:
    model = make_normed(FLAT)
    with torch.no_grad():
        model[1].weight.copy_(1 + 0.002 * draw(64))
    (finding,) = judge(model, draw(4, 10).bfloat16())
    assert (finding.code, finding.where) == ("F048", "1.weight")
    with torch.no_grad():
        model[1].weight.copy_(1 + 0.1 * draw(64))
    assert judge(model, draw(4, 10).bfloat16()) == []


def test_signals_and_gradients_at_the_ends_of_float16() -> None:
    signal = SimpleNamespace(name="0", finite=True, maximum=30_000.0)
    state = SimpleNamespace(
        name="0.weight", trainable=True, gradient_rms=3e-8, gradient_zero_share=0.9
    )
    measured: Any = SimpleNamespace(signals={0: signal}, parameters={"0.weight": state})
    model = make_normed(HALF)
    examination = replace(examine(model, draw(4, 10).half()), measurement=measured)
    found = list(find_range_errors(examination))
    assert [one.where for one in found] == ["0", "0.weight"]
    assert all((one.code, one.severity) == ("F048", "warning") for one in found)
    signal.maximum, state.gradient_rms, state.gradient_zero_share = 100.0, 1e-4, 0.0
    assert list(find_range_errors(examination)) == []
    wide = replace(examine(make_normed(torch.float32), draw(4, 10)), measurement=measured)
    signal.maximum = 1e6
    assert list(find_range_errors(wide)) == []

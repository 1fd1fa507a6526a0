"""Parameters of other numbers and shapes: complex ones get two draws where that is defined; others
are refused.
"""

from __future__ import annotations

import math

import pytest
import torch
from apply_cases import built, is_normal, state, unchanged
from torch import Tensor, nn

from fanin import initializers, seeds
from fanin.apply import initialize
from fanin.errors import FitError, UnfilledWarning
from fanin.fans import Fans, WeightLayout

COMPLEX = torch.complex64


def complex_model(dtype: torch.dtype = COMPLEX) -> nn.Sequential:
    model = built(
        lambda: nn.Sequential(nn.Linear(300, 400, dtype=dtype), nn.Conv1d(4, 6, 3, dtype=dtype))
    )
    assert isinstance(model, nn.Sequential)
    return model


@pytest.mark.parametrize("rule", ["he_normal", "xavier_normal", "lecun_normal", "normal(std=0.05)"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_a_complex_weight_has_the_intended_variance_half_in_each_of_its_parts(
    rule: str, dtype: torch.dtype
) -> None:
    """n = 120,000 numbers in each part, level 1e-4."""
    model = complex_model(dtype=dtype)
    record = initialize(model, rule, seed=0)
    weight, std = model[0].weight.detach(), record["0.weight"].intended_std
    for part in (weight.real, weight.imag):
        assert is_normal(part, std / math.sqrt(2))
    correlation = torch.corrcoef(torch.stack([weight.real.flatten(), weight.imag.flatten()]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(120_000)
    assert record["0.weight"].measured_std == pytest.approx(
        weight.abs().square().mean().sqrt().item(), rel=1e-3
    )
    assert record["0.weight"].measured_std == pytest.approx(std, rel=0.01)
    assert record["0.weight"].dtype == str(dtype).removeprefix("torch.")


def test_the_real_part_is_the_draw_that_a_real_weight_gets() -> None:
    model, real = complex_model(), complex_model(dtype=torch.float32)
    for each in (model, real):
        initialize(each, "he_normal", seed=0)
    assert torch.allclose(model[0].weight.real * math.sqrt(2), real[0].weight)


def test_what_is_not_random_is_real() -> None:
    model = complex_model()
    initialize(
        model, {"0.weight": "constant(value=0.5)", "1.weight": "dirac"}, default="zero", seed=0
    )
    assert torch.equal(model[0].weight.detach(), torch.full((400, 300), 0.5, dtype=COMPLEX))
    assert not model[0].bias.any()
    assert model[1].weight.real.sum() == 4
    assert not model[1].weight.imag.any()


@pytest.mark.parametrize(
    "rule",
    [
        "xavier_uniform",
        "he_normal(truncated=true)",
        "orthogonal",
        "uniform",
        "sparse",
        "normal(mean=0.1)",
    ],
)
def test_a_law_that_is_not_defined_for_complex_numbers_is_refused_with_a_reason(rule: str) -> None:
    model = complex_model()
    before = state(model)
    with pytest.raises(
        FitError,
        match=r"0\.weight .*holds torch\.complex64, for which .* is not defined: use a normal "
        r"distribution",
    ):
        initialize(model, rule, seed=0)
    assert unchanged(model, before)


def test_a_complex_weight_is_split_as_a_real_one() -> None:
    model = complex_model()
    initialize(model, "he_normal", seed=0, split={"0.weight": 2})
    first = initializers.get("he_normal").draw(
        WeightLayout((200, 300), Fans(300, 200)),
        seeds.make_generator(0, "init", "0.weight[0]"),
        COMPLEX,
    )
    assert torch.equal(model[0].weight[:200].detach(), first)


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantized_and_whole_numbers_are_frozen_by_nature_and_the_record_says_so() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(3, 2)))
    quantized = torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.quint8)
    model.register_parameter("codes", nn.Parameter(quantized, requires_grad=False))
    model.register_parameter("counts", nn.Parameter(torch.arange(4), requires_grad=False))
    record = initialize(model, {"codes": "normal"}, default="he_normal", seed=0)
    assert record["codes"].reason.startswith("frozen")
    assert record["counts"].reason.startswith("frozen")
    assert (record["codes"].dtype, record["counts"].dtype) == ("quint8", "int64")
    assert torch.equal(model.codes.dequantize(), torch.ones(2, 3))


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize(
    "tensor",
    [torch.arange(6).view(2, 3), torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 3).to_sparse()],
    ids=["int64", "bool", "sparse"],
)
def test_one_tensor_that_holds_no_dense_floating_point_numbers_is_refused(tensor: Tensor) -> None:
    with pytest.raises(FitError, match=r"holds torch\.|is stored as torch\.sparse"):
        initializers.get("normal")(tensor, generator=torch.Generator())
    with pytest.raises(FitError, match="quint8"):
        initializers.get("normal")(
            torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.quint8),
            generator=torch.Generator(),
        )


def test_a_sparse_parameter_is_refused_with_a_reason_or_kept() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(3, 2)))
    model.register_parameter("few", nn.Parameter(torch.eye(3).to_sparse()))
    before = model[0].weight.detach().clone()
    with pytest.raises(FitError, match=r"few .*stored as torch\.sparse_coo"):
        initialize(model, {"few": "normal"}, default="he_normal", seed=0)
    assert torch.equal(model[0].weight, before)
    with pytest.warns(UnfilledWarning, match="few 3×3"):
        record = initialize(model, "he_normal", seed=0)
    assert record["few"].reason == "a parameter of its own in Sequential"


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 4, 5, 6, 2)], ids=str)
def test_a_parameter_of_any_number_of_dimensions_is_filled_where_a_pattern_names_it(
    shape: tuple[int, ...],
) -> None:
    model = nn.Module()
    model.register_parameter("mine", nn.Parameter(torch.full(shape, 7.0)))
    record = initialize(model, {"mine": "normal"}, default="zero", seed=0)
    assert record["mine"].changed is (0 not in shape)
    assert not (model.mine == 7).any()
    assert record["mine"].shape == shape


def test_a_vector_has_no_fans_and_a_rule_that_needs_them_says_so() -> None:
    model = nn.Module()
    model.register_parameter("mine", nn.Parameter(torch.ones(5)))
    with pytest.raises(FitError, match="at least two dimensions"):
        initialize(model, {"mine": "he_normal"}, default="zero", seed=0)
    assert (model.mine == 1).all()

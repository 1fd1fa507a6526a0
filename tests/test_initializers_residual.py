"""SkipInit, ReZero, zero-gamma and Fixup: what they set, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import residual_cases as cases
import torch
from residual_cases import get_state, images, is_unchanged, make, tokens
from torch import Tensor, nn

import fanin
from fanin.errors import FitError, SpecError

SCALED: dict[str, tuple[Callable[[], nn.Module], Tensor, int]] = {
    "resnet": (lambda: make(cases.ResNet, "scalar"), images(), 4),
    "encoder": (lambda: make(cases.Traceable, 2, norm="none", scale="scalar"), tokens(), 4),
    "layer scale": (lambda: make(cases.Traceable, 2, norm="pre", scale="vector"), tokens(), 4),
    "parallel": (lambda: make(cases.Parallel, 2), tokens(), 4),
}


def get_scales(model: nn.Module) -> list[Tensor]:
    return [value for name, value in model.named_parameters() if "scale" in name]


@pytest.mark.parametrize("method", ["skip_init", "rezero", "skip_init(alpha=0.25)"])
@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("observed", [False, True], ids=["traced", "observed"])
def test_every_branch_ends_with_its_scale(name: str, method: str, observed: bool) -> None:
    build, batch, number = SCALED[name]
    model = build()
    record = fanin.initialize(model, method, seed=0, batch=batch if observed else None)
    scales = get_scales(model)
    assert len(scales) == number
    alpha = 0.25 if "alpha" in method else 0.0
    assert all(bool((one == alpha).all()) for one in scales)
    assert all(one.met for one in record.requires)
    rule = "xavier_uniform" if method == "rezero" else "he_normal"
    weights = [one for one in record.parameters if one.role == "weight"]
    assert len(weights) > 8
    assert {one.rule for one in weights} == {rule}


@pytest.mark.parametrize("method", ["skip_init", "rezero"])
def test_an_end_that_the_model_starts_at_zero_is_drawn(method: str) -> None:
    """Of two factors that are 0 neither would ever get a gradient."""
    model = make(cases.Traceable, 2, norm="none", scale="scalar")
    ends = fanin.initialize(model, method, seed=0, preview=True)
    names = [one.name for one in ends if "writes" in one.place and one.role == "weight"]
    assert len(names) == 4
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).zero_()
    fanin.initialize(model, method, seed=0)
    batch = tokens()
    model(batch).square().sum().backward()
    assert all(bool((model.get_parameter(name) != 0).any()) for name in names)
    assert all(bool(one.grad.abs().sum() > 0) for one in get_scales(model))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SCALED)
def test_at_the_start_a_rezero_network_is_its_shortcuts(name: str) -> None:
    """Weights inside branches change nothing, and every scale has a gradient."""
    build, batch, _ = SCALED[name]
    model = build()
    fanin.initialize(model, "rezero", seed=0, batch=batch)
    output = model(batch)
    output.square().sum().backward()
    assert all(bool(one.grad.abs().sum() > 0) for one in get_scales(model))  # type: ignore[union-attr]
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if "inner" in path or "convs" in path or "attentions" in path:
                weight.mul_(5)
    assert torch.equal(model(batch), output)


@pytest.mark.parametrize("method", ["skip_init", "rezero"])
def test_a_branch_without_a_scale_is_refused_by_name_and_nothing_changed(method: str) -> None:
    model: Any = make(cases.Traceable, 2, norm="none", scale="scalar")
    model.blocks[1][0].scale = None
    before = get_state(model)
    with pytest.raises(FitError) as refused:
        fanin.initialize(model, method, seed=0)
    text = str(refused.value)
    assert "blocks.1.0.inner.o" in text
    assert "blocks.0.0.inner.o" not in text
    assert "nn.Parameter(torch.tensor(0.0))" in text
    assert "x = x + self.alpha * f(x)" in text
    assert is_unchanged(model, before)


def test_a_frozen_scale_is_none() -> None:
    model: Any = make(cases.Traceable, 2, norm="none", scale="scalar")
    model.blocks[0][1].scale.requires_grad_(False)
    with pytest.raises(FitError, match=r"scale .* \(blocks\.0\.1\.inner\.down\)"):
        fanin.initialize(model, "rezero", seed=0)


def test_a_wrapped_model_gets_the_numbers_of_the_bare_one() -> None:
    bare = make(cases.ResNet, "fixup")
    wrapped: Any = nn.DataParallel(make(cases.ResNet, "fixup"))
    fanin.initialize(bare, "fixup", seed=0)
    fanin.initialize(wrapped, "fixup", seed=0)
    assert is_unchanged(wrapped.module, get_state(bare))


def test_the_rule_of_the_weights_can_be_chosen_and_must_be_one_of_a_tensor() -> None:
    model = make(cases.ResNet, "scalar")
    record = fanin.initialize(model, "skip_init(weights='he_normal(mode=fan_out)')", seed=0)
    assert record["stem.weight"].rule == "he_normal(mode=fan_out)"
    with pytest.raises(SpecError, match="whole model"):
        fanin.get("rezero", weights="auto")


def test_a_model_without_residual_sums_is_refused() -> None:
    model = make(lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    before = get_state(model)
    for method in ("skip_init", "fixup", "zero_gamma", "deep_norm", "t_fixup", "magneto"):
        with pytest.raises(FitError, match="found none"):
            fanin.initialize(model, method, seed=0)
    assert is_unchanged(model, before)


# --- zero-gamma


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("observed", [False, True], ids=["traced", "observed"])
def test_the_last_normalization_of_each_branch_starts_at_zero(deep: bool, observed: bool) -> None:
    model: Any = make(cases.ResNet, "norm", deep=deep)
    fanin.initialize(model, "zero_gamma", seed=0, batch=images() if observed else None)
    for block in model.blocks:
        *others, last = block.norms
        assert bool((last.weight == 0).all())
        assert all(bool((one.weight == 1).all()) for one in others)
    assert all(bool((one.running_mean == 0).all()) for one in block.norms for block in model.blocks)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"norm": "pre"}, "normalizes the branch's input"),
        ({"norm": "post"}, "normalizes the stream after the sum"),
        ({"norm": "none"}, "not normalized"),
    ],
)
def test_zero_gamma_refuses_other_places_of_normalization(
    options: dict[str, Any], advice: str
) -> None:
    model = make(cases.Traceable, 2, **options)
    before = get_state(model)
    with pytest.raises(FitError, match=advice):
        fanin.initialize(model, "zero_gamma", seed=0)
    assert is_unchanged(model, before)


def test_zero_gamma_refuses_a_normalization_without_a_scale() -> None:
    model: Any = make(cases.ResNet, "norm")
    model.blocks[0].norms[1] = nn.BatchNorm2d(4, affine=False)
    with pytest.raises(FitError, match=r"blocks\.0\.norms\.1 a learnable scale"):
        fanin.initialize(model, "zero_gamma", seed=0)


# --- Fixup


def get_std(model: nn.Module, name: str) -> float:
    return model.get_parameter(name).detach().double().std(correction=0).item()


@pytest.mark.parametrize(("deep", "scale"), [(False, 4**-0.5), (True, 4**-0.25)])
def test_fixup_scales_the_branches_of_a_resnet(deep: bool, scale: float) -> None:
    """L = 4 branches of m = 2 or 3 layers: L^(-1/(2m-2)) = 4^(-1/2) or 4^(-1/4)."""
    model: Any = make(cases.ResNet, "fixup", deep=deep)
    record = fanin.initialize(model, "fixup", seed=0)
    for index, block in enumerate(model.blocks):
        *inner, last = block.convs
        assert bool((last.weight == 0).all())
        for position, conv in enumerate(inner):
            fan = conv.in_channels * conv.kernel_size[0] ** 2
            found = record[f"blocks.{index}.convs.{position}.weight"]
            assert found.intended_std == pytest.approx((2 / fan) ** 0.5 * scale)
        assert bool((block.scale == 1).all())
        assert all(bool((one == 0).all()) for one in block.biases)
    shortcut = record["blocks.2.shortcut.weight"]
    assert shortcut.intended_std == pytest.approx((2 / 4) ** 0.5)
    assert record["stem.weight"].intended_std == pytest.approx((2 / 27) ** 0.5)
    assert bool((model.head.weight == 0).all())
    assert bool((model.head.bias == 0).all())


def test_fixup_counts_query_key_value_and_output_as_four_weights_also_if_packed() -> None:
    """L = 4 branches: m = 4 in attention, so 4^(-1/6) = 0.7937; m = 2 in the perceptron: 0.5."""
    for packed, names in ((False, ["q", "k", "v"]), (True, ["qkv"])):
        model: Any = make(cases.Traceable, 2, norm="none", packed=packed)
        record = fanin.initialize(model, "fixup(scalars=false)", seed=0, batch=tokens())
        for name in names:
            found = record[f"blocks.0.0.inner.{name}.weight"].intended_std
            assert found == pytest.approx((2 / 16) ** 0.5 * 0.793701)
        assert record["blocks.0.1.inner.up.weight"].intended_std == pytest.approx(
            (2 / 16) ** 0.5 * 0.5
        )
        for block in model.blocks:
            assert bool((block[0].inner.o.weight == 0).all())
            assert bool((block[1].inner.down.weight == 0).all())


def test_fixup_draws_what_its_record_says() -> None:
    """n = 1,024 numbers: the standard error of the deviation is 2.2 %, the tolerance 5 of them."""
    model = make(cases.Traceable, 2, norm="none")
    fanin.initialize(model, "fixup(scalars=false)", seed=0)
    assert get_std(model, "blocks.0.1.inner.up.weight") == pytest.approx(
        (2 / 16) ** 0.5 / 2, rel=0.11
    )


def test_the_scalars_of_fixup_have_a_tenth_of_the_rate() -> None:
    model = make(cases.ResNet, "fixup")
    record = fanin.initialize(model, "fixup", seed=0)
    slow, usual = sorted(record.param_groups(lr=0.1), key=lambda group: group["lr"])
    assert (slow["lr"], usual["lr"]) == (pytest.approx(0.01), 0.1)
    scalars = {name for name, one in model.named_parameters() if one.numel() == 1}
    assert set(slow["param_names"]) == scalars
    assert len(scalars) == 4 * 5 + 1  # four biases and a scale per block, one after the stem


def test_fixup_refuses_normalization_and_missing_scalars_with_the_code_to_write() -> None:
    for kind, words in {
        "norm": ["no normalization", "blocks.0.norms.0", "zero_gamma"],
        "plain": [
            "a learnable scale",
            "scalar biases",
            "self.1(act(self.0(x + self.b[0]) + self.b[1]) + self.b[2]) + self.b[3]",
        ],
        "scalar": ["scalar biases", "range(4)"],
    }.items():
        model = make(cases.ResNet, kind)
        before = get_state(model)
        with pytest.raises(FitError) as refused:
            fanin.initialize(model, "fixup", seed=0)
        assert [word for word in words if word not in str(refused.value)] == []
        assert is_unchanged(model, before)


def test_fixup_keeps_a_head_that_is_tied_to_an_embedding() -> None:
    model: Any = make(cases.Traceable, 2, norm="none")
    model.head.weight = model.embed.weight
    fanin.initialize(model, "fixup(scalars=false)", seed=0)
    assert get_std(model, "embed.weight") > 0


@pytest.mark.parametrize("method", ["fixup", "skip_init", "rezero"])
def test_half_precision_and_no_memory_get_the_same_numbers(method: str) -> None:
    kind = "fixup" if method == "fixup" else "scalar"
    model = make(cases.ResNet, kind)
    fanin.initialize(model, method, seed=3)
    half = make(cases.ResNet, kind).bfloat16()
    fanin.initialize(half, method, seed=3)
    with torch.device("meta"):
        empty = cases.ResNet(kind)
    fanin.initialize(empty, method, seed=3, device="cpu")
    for name, value in model.named_parameters():
        assert torch.equal(half.get_parameter(name), value.bfloat16())
        assert torch.equal(empty.get_parameter(name), value)

"""Models without memory: the same weights as when built on the CPU, and whatever nothing fills is
an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from apply_cases import Recurrent, built, equal, mlp, state, unchanged
from torch import nn
from torch.nn.utils import parametrizations

from fanin import models
from fanin.apply import initialize
from fanin.errors import FitError, UsageError


class Tied(nn.Module):
    """A table with a padding row and a head that share their weight, and a module that occurs
    twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8, padding_idx=3)
        self.block = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([self.block, nn.LayerNorm(8), self.block])
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.table.weight


class Sloped(nn.Module):
    """A slope of unknown role, which has a reset method."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.PReLU(5, init=0.125)
        self.head = nn.Linear(5, 2)


class Frozen(Sloped):
    """A frozen table of the constructor's own, and a frozen layer: their classes' reset methods
    would fill both with noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        nn.init.constant_(self.table.weight, 0.5)
        self.frozen = nn.Linear(6, 5)
        for module in (self.table, self.frozen):
            module.requires_grad_(False)


class Angles(nn.Module):
    """A buffer that a reset method fills, and replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("angles", torch.empty(4))
        self.head = nn.Linear(4, 2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.angles = torch.arange(4.0, device=self.angles.device)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 4, 2)
    ),
    "recurrent": Recurrent,
    "attention": lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True),
    "attention with other keys": lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=4),
    "transformer": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False
    ),
    "norms": lambda: nn.ModuleList(
        [
            nn.BatchNorm2d(6),
            nn.LayerNorm(6),
            nn.BatchNorm1d(3, affine=False),
            nn.InstanceNorm1d(6, affine=True),
        ]
    ),
    "ties": Tied,
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(6, 5)),
    "a buffer that is reset": Angles,
}


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def places(model: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*model.parameters(), *model.buffers())}


# --- the same as on the CPU
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["he_normal", "orthogonal", "torch_default", "keras_default"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_on_meta_gets_the_weights_of_one_built_on_the_cpu(name: str, rule: str) -> None:
    expected, model = built(MODELS[name]), on_meta(MODELS[name])
    first = initialize(expected, rule, seed=5)
    second = initialize(model, rule, seed=5, device="cpu")
    assert places(model) == {"cpu"}
    assert equal(model, expected)
    unmeasured = [replace(one, before=None) for one in first]
    assert unmeasured == list(second)


def test_all_layers_that_work_on_the_cpu_work_when_they_come_from_meta() -> None:
    for make, x in (
        (lambda: nn.LSTM(5, 6, num_layers=2, bidirectional=True), torch.zeros(4, 2, 5)),
        (lambda: nn.GRU(5, 6, bidirectional=True), torch.zeros(4, 2, 5)),
        (
            lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4), nn.PReLU()),
            torch.zeros(2, 3, 8),
        ),
    ):
        expected, model = built(make), on_meta(make)
        for each, device in ((expected, None), (model, "cpu")):
            initialize(each, "he_normal", seed=1, device=device)
        outputs = [each(x)[0] for each in (expected, model)]
        assert torch.equal(outputs[0], outputs[1])


def test_a_preview_needs_no_memory() -> None:
    model = on_meta(Tied)
    record = initialize(model, "he_normal", seed=0, preview=True)
    assert record["table.weight"].intended_std == 0.02
    assert places(model) == {"meta"}


def test_what_shares_a_parameter_still_shares_it() -> None:
    model = on_meta(Tied)
    record = initialize(model, "he_normal", seed=0, device="cpu")
    assert model.table.weight is model.head.weight
    assert model.blocks[0] is model.blocks[2] is model.block
    assert not model.table.weight[3].any()
    assert record["head.weight"].tied_to == "table.weight"


def test_dtype_memory_format_gradients_and_notes_on_a_parameter_are_kept() -> None:
    model = on_meta(lambda: nn.Conv2d(4, 6, 3, dtype=torch.bfloat16)).to(
        memory_format=torch.channels_last
    )
    model.bias.note = "mine"  # type: ignore[attr-defined]
    initialize(model, "he_normal", seed=0, device="cpu")
    assert model.weight.dtype is torch.bfloat16
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert isinstance(model.weight, nn.Parameter)
    assert model.weight.requires_grad
    assert model.bias.note == "mine"


def test_what_has_memory_stays_where_it_is() -> None:
    model = mlp()
    model.append(nn.Linear(10, 2, device="meta"))
    first = model[0].weight
    initialize(model, "he_normal", seed=0, device="cpu")
    assert model[0].weight is first
    assert model[3].weight.device.type == "cpu"


# --- what no rule fills
# -----------------------------------------------------------------------------


def test_running_statistics_start_as_torch_starts_them() -> None:
    model = on_meta(lambda: nn.BatchNorm1d(3))
    initialize(model, "he_normal", seed=0, device="cpu")
    assert torch.equal(model.running_mean, torch.zeros(3))
    assert torch.equal(model.running_var, torch.ones(3))
    assert model.num_batches_tracked == 0


def test_a_kept_parameter_is_filled_by_its_modules_reset_method_and_the_record_says_so() -> None:
    model = on_meta(Sloped)
    record = initialize(model, "zero", seed=0, device="cpu", exclude="head.weight")
    assert torch.equal(model.slope.weight, torch.full((5,), 0.125))
    assert 0 < model.head.weight.abs().max() <= 5**-0.5
    for name, reason in (
        ("slope.weight", "PReLU: no rule is about its weight"),
        ("head.weight", "excluded"),
    ):
        assert record[name].reason.startswith(reason)
        assert "reset method filled it" in record[name].reason
        assert record[name].changed
    again = on_meta(Sloped)
    initialize(again, "zero", seed=0, device="cpu", exclude="head.weight")
    assert equal(model, again)


def test_a_frozen_parameter_is_never_filled_by_a_reset_method() -> None:
    model = on_meta(Frozen)
    with pytest.raises(
        FitError,
        match=r"^table\.weight, frozen\.weight, frozen\.bias: frozen parameters .*materialize=",
    ):
        initialize(model, "he_normal", seed=0, device="cpu")
    assert places(model) == {"meta"}


def test_a_reset_does_not_touch_what_has_values() -> None:
    model = built(lambda: nn.Linear(3, 2))
    model.bias = nn.Parameter(torch.empty(2, device="meta"))
    before = model.weight.detach().clone()
    initialize(model, "keep", seed=0, biases="keep", device="cpu")
    assert torch.equal(model.weight, before)
    assert 0 < model.bias.abs().max() <= 3**-0.5


class Scaled(nn.Module):
    """A parameter of unknown role without a reset method."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)


class Constants(nn.Module):
    """Buffers that nothing fills."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.inner = nn.Module()
        self.inner.register_buffer("mean", torch.zeros(3))
        self.inner.register_buffer("steps", torch.zeros(3, dtype=torch.int64), persistent=False)
        self.head = nn.Linear(4, 2)


class Broken(Scaled):
    """Its reset method fails."""

    def reset_parameters(self) -> None:
        raise ValueError("not today")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Scaled, r"^scale: parameters without memory .*Scaled has no reset method"),
        (Constants, r"^inner\.mean, inner\.steps: buffers without memory .* nothing was changed"),
        (Broken, r"the model\.reset_parameters\(\) failed: not today"),
        (
            lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 2))),
            r"weight\.0\._u, .*_v: buffers without memory",
        ),
    ],
    ids=["a parameter", "buffers", "a reset that fails", "spectral_norm"],
)
def test_what_nothing_fills_is_an_error_that_names_it_and_the_model_is_as_it_was(
    make: Callable[[], nn.Module], text: str
) -> None:
    model = on_meta(make)
    before = [*model.named_parameters(), *model.named_buffers()]
    with pytest.raises(FitError, match=text):
        initialize(model, "he_normal", seed=0, device="cpu")
    assert places(model) == {"meta"}
    after = [*model.named_parameters(), *model.named_buffers()]
    assert all(
        name == other and one is two
        for (name, one), (other, two) in zip(before, after, strict=True)
    )


def test_a_rule_by_a_pattern_fills_what_has_no_reset_method() -> None:
    model = on_meta(Scaled)
    initialize(model, {"scale": "constant(value=0.5)"}, default="he_normal", seed=0, device="cpu")
    assert torch.equal(model.scale, torch.full((4,), 0.5))


# --- without a device, or with a bad one
# -----------------------------------------------------------------------------


def test_without_a_device_it_is_an_error_that_says_what_to_do() -> None:
    model = nn.Sequential(*mlp(), nn.Linear(10, 2, device="meta"))
    before = state(model[:3])
    with pytest.raises(FitError, match=r"3\.weight, 3\.bias: no memory .*device='cpu'"):
        initialize(model, "normal", seed=0)
    assert unchanged(model[:3], before)


def test_what_is_left_out_may_stay_without_memory_where_no_device_is_given() -> None:
    model = nn.Sequential(*mlp(), nn.Linear(10, 2, device="meta"), nn.BatchNorm1d(2, device="meta"))
    record = initialize(model, "normal", seed=0, exclude=["3.*", "4.*"])
    assert record["0.weight"].changed
    assert not record["3.weight"].changed
    assert model[3].weight.is_meta


def test_a_buffer_without_memory_is_seen_without_a_device_too() -> None:
    model = nn.Sequential(*mlp(), nn.BatchNorm1d(10, affine=False, device="meta"))
    with pytest.raises(FitError, match=r"3\.running_mean, .*no memory"):
        initialize(model, "normal", seed=0)


@pytest.mark.parametrize("device", ["meta", "cpuu", "cuda:99", 3.5, torch.device("meta")], ids=str)
def test_a_device_that_has_no_memory_is_a_usage_error(device: object) -> None:
    model = on_meta(Tied)
    with pytest.raises(UsageError, match=r"Choose"):
        initialize(model, "normal", seed=0, device=device)  # type: ignore[arg-type]
    assert places(model) == {"meta"}


def test_a_rule_that_does_not_fit_is_found_before_memory_is_given() -> None:
    model = on_meta(Tied)
    with pytest.raises(FitError, match=r"block\.bias"):
        initialize(model, "normal", seed=0, biases="he_normal", device="cpu")
    assert places(model) == {"meta"}


def test_an_untraceable_default_of_gains_does_not_differ_on_meta() -> None:
    """auto reads the slope of a PReLU, which has no value on meta: it takes the one that the reset
    method will fill in.
    """

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 5), nn.PReLU(init=0.5), nn.Linear(5, 2))

    expected, model = built(make), on_meta(make)
    initialize(expected, "auto", seed=0)
    initialize(model, "auto", seed=0, device="cpu")
    assert equal(model, expected)


def test_a_benchmark_model_with_dropout_gets_its_memory() -> None:
    chosen = models.get("mlp(dropout=0.5)")
    with torch.device("meta"):
        on_meta = chosen.entry.build(chosen.options, (1, 8, 8), 3)
    usual = chosen.build((1, 8, 8), 3)
    for module in (on_meta, usual):
        initialize(module, "he_normal", seed=0, device="cpu")
    assert equal(on_meta, usual)
    assert dict(on_meta.named_buffers())["dropout.0.key"].tolist() == [0]

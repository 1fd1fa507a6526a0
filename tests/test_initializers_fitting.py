"""What every initializer that looks at data promises, over the registry: it is a function of seed,
model and batch; bad input is a clear error; and all but the weights is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fitted_models import (
    CNN_BATCH,
    CNN_LABELS,
    ENCODER_BATCH,
    ENCODER_LABELS,
    cnn,
    encoder,
    list_changes,
    normal,
    photograph,
    plain,
    raw,
)
from torch import Tensor, nn

import fanin
from fanin import initializers
from fanin.errors import FaninError, FitError, UsageError
from fanin.initializers.model_level import ModelInitializer

SHORT = {"meta_init": "meta_init(steps=3)", "grad_init": "grad_init(steps=3)"}


def _list_specs() -> tuple[str, ...]:
    found = []
    for entry in initializers.REGISTRY:
        kind = entry.component
        if not issubclass(kind, ModelInitializer) or entry.level != "model":
            continue
        if kind.fits is True and not kind.structured:  # for models of any structure
            found.append(SHORT.get(entry.name, entry.example))
    return tuple(found)


SPECS = _list_specs()
LOSS_SPECS = tuple(
    spec
    for spec in SPECS
    if initializers.get(spec).needs_loss  # type: ignore[attr-defined]
)
DATA_SPECS = tuple(spec for spec in SPECS if getattr(initializers.get(spec), "needs_batch", True))


def fit(model: nn.Module, spec: str, **options: Any) -> fanin.Record:
    given: dict[str, Any] = {"batch": CNN_BATCH, "target": CNN_LABELS, "seed": 0} | options
    return fanin.initialize(model, spec, **given)


def test_all_five_methods_are_here() -> None:
    names = {initializers.get(spec).name for spec in SPECS}
    assert names >= {"lsuv", "data_dependent", "meta_init", "grad_init", "auto_init"}


@pytest.mark.parametrize("spec", SPECS)
def test_all_but_the_weights_is_as_it_was(spec: str) -> None:
    for training in (True, False):
        model = cnn().train(training)
        model[3].weight.requires_grad_(False)
        before = photograph(model)
        record = fit(model, spec)
        changes = list_changes(before, model)
        filled = {one.name for one in record.parameters if one.rule}
        assert {name.removeprefix("weights ") for name in changes} <= filled
        assert not [name for name in changes if not name.startswith("weights ")]


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_seed_model_and_batch_give_the_same_weights(spec: str) -> None:
    found = []
    for _ in range(2):
        model = cnn()
        fit(model, spec)
        found.append(model.state_dict())
    assert all(torch.equal(one, found[1][name]) for name, one in found[0].items())


@pytest.mark.parametrize("spec", SPECS)
def test_another_seed_gives_other_weights(spec: str) -> None:
    one, other = cnn(), cnn()
    fit(one, spec)
    fit(other, spec, seed=1)
    assert not torch.equal(one[0].weight, other[0].weight)


@pytest.mark.parametrize("spec", SPECS)
def test_the_record_says_what_was_done_with_every_weight(spec: str) -> None:
    model = cnn()
    record = fit(model, spec)
    for one in record.parameters:
        if one.role == "weight":
            assert one.fitted, one.name
            held = model.get_parameter(one.name).detach().double()
            assert one.measured_std == pytest.approx(float(held.std(correction=0)), rel=0.02)


@pytest.mark.parametrize("spec", SPECS)
def test_excluded_and_frozen_weights_are_not_touched(spec: str) -> None:
    model = cnn()
    model[2].weight.requires_grad_(False)
    kept = {name: model.get_parameter(name).detach().clone() for name in ("2.weight", "6.weight")}
    record = fit(model, spec, exclude="6.*")
    for name, numbers in kept.items():
        assert torch.equal(model.get_parameter(name), numbers)
        assert record[name].rule is None


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_keep_theirs(spec: str, dtype: torch.dtype) -> None:
    model = plain().to(dtype)
    fit(model, spec, batch=normal(64, 24).to(dtype), target=torch.arange(64) % 5)
    assert {one.dtype for one in model.parameters()} == {dtype}
    assert all(bool(one.isfinite().all()) for one in model.parameters())


@pytest.mark.parametrize("spec", SPECS)
def test_attention_recurrence_raw_parameters_and_several_heads_are_taken(spec: str) -> None:
    model = encoder()
    before = photograph(model)
    fit(model, spec, batch=ENCODER_BATCH, target=ENCODER_LABELS)
    assert not [name for name in list_changes(before, model) if not name.startswith("weights ")]
    several = raw()
    fit(
        several,
        spec,
        batch=normal(64, 24),
        target=torch.arange(64) % 3,
        loss=lambda output, target: (
            nn.functional.cross_entropy(output[0], target) + output[1].square().mean()
        ),
    )
    assert all(bool(one.isfinite().all()) for one in several.parameters())


# --- bad input -----------------------------------------------------------------------------------


class Failing(nn.Module):
    """Raises in its second half."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 8)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.first(x))
        if len(x) > 1:
            raise RuntimeError("no such thing")
        out: Tensor = self.second(h)
        return out


class Dead(nn.Module):
    """Nothing reaches its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.second(self.first(x) * 0.0).relu())
        return out


class Detached(nn.Module):
    """No gradient reaches a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(24, 8)
        self.two = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)).detach().requires_grad_()


def refuse(model: nn.Module, spec: str, kind: type[FaninError], **options: Any) -> str:
    """The text of the error, after which the model is as it was."""
    before = photograph(model)
    with pytest.raises(kind) as caught:
        fit(model, spec, **options)
    assert list_changes(before, model) == []
    return str(caught.value)


@pytest.mark.parametrize("spec", SPECS)
def test_a_batch_with_nan_is_refused(spec: str) -> None:
    bad = CNN_BATCH.clone()
    bad[3, 0, 2, 2] = torch.nan
    assert "not finite" in refuse(cnn(), spec, UsageError, batch=bad)


@pytest.mark.parametrize("spec", SPECS)
def test_a_batch_of_a_wrong_shape_is_refused(spec: str) -> None:
    text = refuse(cnn(), spec, FitError, batch=normal(32, 4, 8, 8))
    assert "batch" in text


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_that_raises_is_refused_with_its_own_words(spec: str) -> None:
    model = make_failing(Failing)
    text = refuse(model, spec, FitError, batch=normal(16, 24), target=torch.arange(16) % 3)
    assert "no such thing" in text


@pytest.mark.parametrize("spec", DATA_SPECS)
def test_without_a_batch_it_says_what_to_give(spec: str) -> None:
    assert "batch=" in refuse(cnn(), spec, UsageError, batch=None)


@pytest.mark.parametrize("spec", LOSS_SPECS)
def test_without_a_target_it_says_what_to_give(spec: str) -> None:
    assert "target=" in refuse(cnn(), spec, UsageError, target=None)


@pytest.mark.parametrize("spec", LOSS_SPECS)
def test_a_loss_of_several_numbers_is_refused(spec: str) -> None:
    loss = nn.CrossEntropyLoss(reduction="none")
    assert "one number" in refuse(cnn(), spec, UsageError, loss=loss).replace("\n", " ")


@pytest.mark.parametrize("spec", LOSS_SPECS)
def test_a_loss_that_is_no_tensor_is_refused_by_its_name(spec: str) -> None:
    def count(output: Tensor, target: Tensor) -> int:
        return 3

    assert "The loss count returned 3" in refuse(cnn(), spec, UsageError, loss=count)


@pytest.mark.parametrize("spec", LOSS_SPECS)
def test_a_loss_that_is_not_finite_is_refused(spec: str) -> None:
    text = refuse(cnn(), spec, FitError, loss=lambda output, target: output.sum() * torch.inf)
    assert "loss" in text


@pytest.mark.parametrize("spec", LOSS_SPECS)
def test_a_model_without_a_gradient_is_refused(spec: str) -> None:
    model = make_failing(Detached)
    text = refuse(model, spec, FitError, batch=normal(16, 24), target=torch.arange(16) % 5)
    assert "gradient" in text


@pytest.mark.parametrize("spec", ["lsuv", "data_dependent", "auto_init"])
def test_a_dead_layer_is_refused_by_name(spec: str) -> None:
    model = make_failing(Dead)
    text = refuse(model, spec, FitError, batch=normal(16, 24))
    assert "second" in text


def make_failing(build: Callable[[], nn.Module]) -> nn.Module:
    with fanin.seeds.preserve_torch_state(0):
        return build()

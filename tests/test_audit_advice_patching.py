"""Patches applied in place: names, ties, parametrizations, rows, precision, errors; and copies."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin import seeds
from fanin.diagnosis.advice import apply_patch, apply_patches, copy_model
from fanin.diagnosis.patch import Patch
from fanin.errors import FitError, UnknownName, UsageError


@pytest.fixture(autouse=True)
def draw_the_same() -> Iterator[None]:
    """Modules draw from torch's global generator: always the same, and its state is restored."""
    with seeds.preserve_torch_state(0):
        yield


def initialize(*names: str, rule: str = "he_normal", **more: Any) -> Patch:
    return Patch(operation="initialize", parameters=names, initializer=rule, **more)


def scale(*names: str, by: float = 0.5, **more: Any) -> Patch:
    return Patch(operation="scale", parameters=names, value=by, **more)


def write(*names: str, value: float | tuple[float, ...] = 0.0, **more: Any) -> Patch:
    return Patch(operation="set", parameters=names, value=value, **more)


def read(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_initialize_gives_the_numbers_that_fanin_initialize_gives_and_leaves_the_rest() -> None:
    model, other = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10)), nn.Linear(30, 20)
    before = read(model)
    apply_patch(model, initialize("0.weight"), seed=3)
    fanin.initialize(nn.Sequential(other), "he_normal", seed=3)
    torch.testing.assert_close(model[0].weight, other.weight)
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(model.state_dict()[name], before[name])


def test_each_gate_of_a_packed_weight_is_drawn_separately() -> None:
    model = nn.LSTM(16, 16)
    apply_patch(model, initialize("weight_hh_l0", rule="orthogonal"), seed=0)
    for gate in model.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)


def test_rows_alone_change() -> None:
    model = nn.Embedding(10, 4)
    before = model.weight.detach().clone()
    apply_patch(model, initialize("weight", rule="normal(std=0.02)", rows=(8, 10)), seed=0)
    assert torch.equal(model.weight[:8], before[:8])
    assert model.weight[8:].abs().max() < 0.1
    apply_patches(
        model, [write("weight", value=1.0, rows=(0, 2)), scale("weight", rows=(2, 4))], seed=0
    )
    assert (model.weight[:2] == 1).all()
    torch.testing.assert_close(model.weight[2:4], before[2:4] / 2)
    assert torch.equal(model.weight[4:8], before[4:8])


def test_a_vector_takes_a_number_per_entry() -> None:
    model = nn.Linear(2, 3)
    apply_patch(model, write("bias", value=(1.0, 2.0, 3.0)), seed=0)
    assert model.bias.tolist() == [1, 2, 3]
    apply_patch(model, write("bias", value=(7.0, 8.0), rows=(1, 3)), seed=0)
    assert model.bias.tolist() == [1, 7, 8]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_tied_weight_is_scaled_once_whatever_names_are_listed(transposed: bool) -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(6, 6), "head": nn.Linear(6, 6, bias=False)})
    if transposed:
        model["head"].weight.data = model["embed"].weight.data.T
    else:
        model["head"].weight = model["embed"].weight
    before = model["embed"].weight.detach().clone()
    apply_patch(model, scale("embed.weight", "head.weight"), seed=0)
    torch.testing.assert_close(model["embed"].weight, before / 2)


@pytest.mark.parametrize("kind", ["new", "old"])
def test_a_reparametrized_weight_is_set_through_its_parametrization(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        wrap = parametrizations.weight_norm if kind == "new" else nn.utils.weight_norm
        model = nn.Sequential(wrap(nn.Linear(8, 4)))
    inputs = torch.eye(8)
    before = model(inputs).detach() - model[0].bias
    apply_patch(model, scale("0.weight", by=0.25), seed=0)
    torch.testing.assert_close(model(inputs) - model[0].bias, before / 4)
    apply_patch(model, write("0.weight", rows=(0, 1)), seed=0)
    after = (model(inputs) - model[0].bias).detach()
    torch.testing.assert_close(after[:, 1:], before[:, 1:] / 4)
    assert after[:, 0].abs().max() < 1e-6
    apply_patch(model, initialize("0.weight", rule="normal(std=3.0)"), seed=0)
    assert (model(inputs) - model[0].bias).std() > 2


def test_the_parameter_behind_a_reparametrized_weight_can_be_named() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 4)))
    before = model[0].weight.detach().clone()
    apply_patch(model, scale("0.parametrizations.weight.original0"), seed=0)
    torch.testing.assert_close(model[0].weight, before / 2)


def test_half_precision_is_rounded_once() -> None:
    model = nn.Linear(64, 64, dtype=torch.bfloat16)
    before = model.weight.detach().clone()
    apply_patches(model, [scale("weight", by=0.3), write("bias", value=0.1)], seed=0)
    assert model.weight.dtype == torch.bfloat16
    assert torch.equal(model.weight, (before.double() * 0.3).bfloat16())
    assert (model.bias == torch.tensor(0.1).bfloat16()).all()


def test_a_wrapped_model_takes_bare_names_and_gets_the_same_numbers() -> None:
    bare = nn.Sequential(nn.Linear(5, 5))
    wrapped = nn.DataParallel(copy_model(bare))
    for model in (bare, wrapped):
        apply_patches(model, [initialize("0.weight"), scale("0.bias")], seed=0)
    for one, other in zip(bare.parameters(), wrapped.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_frozen_parameter_is_changed_and_stays_frozen() -> None:
    model = nn.Linear(50, 50).requires_grad_(False)
    apply_patches(model, [write("weight"), initialize("weight"), write("bias", value=2.0)], seed=0)
    assert math.isclose(model.weight.std(), math.sqrt(2 / 50), rel_tol=0.1)
    assert (model.bias == 2).all()
    assert not any(one.requires_grad for one in model.parameters())


def test_the_global_random_state_is_not_moved() -> None:
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 6)))
    state = torch.get_rng_state()
    apply_patches(copy_model(model), [scale("0.weight"), initialize("0.weight")], seed=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("patch", "error", "text"),
    [
        (scale("wieght"), UnknownName, "Did you mean weight"),
        (initialize("weight", rule="hee_normal"), UnknownName, "he_normal"),
        (initialize("bias"), FitError, "fans"),
        (write("weight", value=(1.0, 2.0)), FitError, "for a vector"),
        (write("bias", value=(1.0, 2.0)), FitError, "2 numbers"),
        (write("bias", value="much"), UsageError, "sets numbers, not 'much'"),
        (write("weight", rows=(2, 9)), UsageError, "which has 3"),
        (Patch(operation="remove", parameters=("weight",)), UnknownName, "operation"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_patch_is_refused_before_anything_changes(
    patch: Patch, error: type[Exception], text: str
) -> None:
    model = nn.Linear(4, 3)
    before = read(model)
    with pytest.raises(error, match=text):
        apply_patches(model, [patch, write("weight")], seed=0)
    assert all(torch.equal(before[name], value) for name, value in read(model).items())


def test_a_parameter_without_memory_is_refused() -> None:
    with pytest.raises(FitError, match="weight cannot be changed"):
        apply_patch(nn.Linear(4, 3, device="meta"), scale("weight"), seed=0)


# --- copies -------------------------------------------------------------------------------------


def test_a_copy_shares_nothing_and_keeps_ties_flags_and_modes() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)).eval()
    model[2].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    copied = copy_model(model)
    assert copied[2].weight is copied[0].weight
    assert not copied.training
    assert not copied[0].bias.requires_grad
    own = {one.data_ptr() for one in (*model.parameters(), *model.buffers())}
    assert own.isdisjoint(one.data_ptr() for one in (*copied.parameters(), *copied.buffers()))


def test_parameters_that_share_memory_share_it_in_the_copy() -> None:
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))
    model[1].weight.data = model[0].weight.data.T
    copied = copy_model(model)
    with torch.no_grad():
        copied[0].weight.fill_(7)
    assert (copied[1].weight == 7).all()
    assert not (model[0].weight == 7).any()


def test_a_model_that_keeps_computed_tensors_can_be_copied() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)))
    output = model(torch.ones(1, 4))
    model.cache = {"last": [output]}  # type: ignore[assignment]
    copied = copy_model(model)
    torch.testing.assert_close(copied(torch.ones(1, 4)), output)
    assert copied.cache["last"][0].is_leaf  # type: ignore[index]


def test_what_cannot_be_copied_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].lock = threading.Lock()
    with pytest.raises(UsageError, match=r"the attribute 'lock' of 0 is a lock.*__deepcopy__"):
        copy_model(model)

"""Dropout masks are a function of (seed, epoch, step, layer, index)."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from fanin import models, seeds
from fanin.errors import SpecError, UsageError
from fanin.models import Dropout, DropoutKeys

# Used by hand, dropout draws from the global generator, as torch's does.
pytestmark = pytest.mark.usefixtures("draws_globally")


def two_layers(rate: float = 0.5) -> nn.Sequential:
    return nn.Sequential(Dropout(rate), Dropout(rate))


def masks(
    model: nn.Sequential, seed: int, epoch: int, step: int, shape: tuple[int, ...] = (64, 128)
) -> list[Tensor]:
    """Which elements each layer keeps of a batch of ones."""
    keys = DropoutKeys(model, seed)
    keys.set(epoch, step)
    return [layer(torch.ones(shape)) != 0 for layer in model]


def far_from_binomial(kept: int, n: int, probability: float, sigmas: float = 5.0) -> bool:
    """Whether a count is further than `sigmas` standard deviations (level 6e-7) from that of n
    independent draws.
    """
    return abs(kept - n * probability) > sigmas * math.sqrt(n * probability * (1 - probability))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_elements_are_dropped_at_the_stated_rate_and_one_percent_off_is_caught(rate: float) -> None:
    n = 1_000_000  # level 6e-7 two-sided; a rate off by 0.01 lies 20 standard deviations away
    (kept, _) = masks(two_layers(rate), seed=3, epoch=1, step=7, shape=(1000, 1000))
    assert not far_from_binomial(int(kept.sum()), n, 1 - rate)
    (planted, _) = masks(two_layers(rate + 0.01), seed=3, epoch=1, step=7, shape=(1000, 1000))
    assert far_from_binomial(int(planted.sum()), n, 1 - rate)


def test_masks_of_neighbours_agree_as_often_as_independent_ones_and_equal_ones_are_caught() -> None:
    n = 64 * 128  # level 6e-7 for each of the five pairs
    model = two_layers()
    first, other_layer = masks(model, seed=0, epoch=0, step=0)
    neighbours = [
        other_layer,
        masks(model, seed=0, epoch=0, step=1)[0],
        masks(model, seed=0, epoch=1, step=0)[0],
        masks(model, seed=1, epoch=0, step=0)[0],
        first.roll(1, 0),
    ]
    assert not any(far_from_binomial(int((first == mask).sum()), n, 0.5) for mask in neighbours)
    assert far_from_binomial(int((first == first.clone()).sum()), n, 0.5)


def test_the_same_place_gives_the_same_mask_whatever_happened_before() -> None:
    expected = masks(two_layers(), seed=4, epoch=2, step=9)
    model = two_layers()
    masks(model, seed=9, epoch=0, step=3)
    torch.rand(5)
    assert all(
        torch.equal(a, b)
        for a, b in zip(masks(model, seed=4, epoch=2, step=9), expected, strict=True)
    )


def test_a_new_layer_changes_no_other_layers_mask() -> None:
    small = nn.ModuleDict({"a": Dropout(), "c": Dropout()})
    large = nn.ModuleDict({"a": Dropout(), "b": Dropout(), "c": Dropout()})
    for model in (small, large):
        DropoutKeys(model, 0).set(1, 1)
    x = torch.ones(64, 128)
    assert torch.equal(small["c"](x), large["c"](x))
    assert not torch.equal(large["b"](x), large["c"](x))


def test_the_mask_is_the_one_that_seeds_defines() -> None:
    model = nn.ModuleDict({"drop": Dropout(0.25)})
    DropoutKeys(model, 5).set(2, 3)
    x = torch.randn(6, 7, generator=seeds.make_generator(0, "x"))
    keep = seeds.draw_keep_mask(
        torch.tensor([seeds.derive_dropout_key(5, 2, 3, "drop")]), (6, 7), 0.75
    )
    torch.testing.assert_close(model["drop"](x), torch.where(keep, x / 0.75, 0.0))


def test_what_is_kept_is_scaled_so_that_the_mean_stays_and_so_is_the_gradient() -> None:
    layer = Dropout(0.2)
    DropoutKeys(layer, 0)
    x = torch.full((500, 500), 3.0, requires_grad=True)
    y = layer(x)
    assert set(y.unique().tolist()) == {0.0, 3.75}
    assert float(y.detach().mean()) == pytest.approx(
        3.0, abs=5 * 1.5 / 500
    )  # 5 standard errors of the mean
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach() / 3)


def test_evaluation_and_rate_zero_leave_the_input_alone() -> None:
    x = torch.randn(8, 8, generator=seeds.make_generator(0, "x"))
    keyed, zero = Dropout(0.5), Dropout(0.0)
    DropoutKeys(keyed, 0)
    assert torch.equal(keyed.eval()(x), x)
    assert torch.equal(zero(x), x)


def test_keyed_dropout_moves_no_global_random_state() -> None:
    layer = Dropout()
    DropoutKeys(layer, 0)
    before = torch.get_rng_state()
    layer(torch.ones(10, 10))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_key_it_is_torchs_own_dropout() -> None:
    x = torch.ones(40, 40)
    with seeds.preserve_torch_state(0):
        ours = Dropout(0.3)(x)
    with seeds.preserve_torch_state(0):
        torchs = nn.Dropout(0.3)(x)
    assert torch.equal(ours, torchs)


def test_memory_format_changes_neither_mask_nor_format() -> None:
    layer = Dropout()
    DropoutKeys(layer, 0)
    x = torch.ones(2, 3, 4, 5)
    y = layer(x.contiguous(memory_format=torch.channels_last))
    assert torch.equal(y, layer(x))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shared", [False, True], ids=["one key each", "one key for all"])
def test_members_under_vmap_get_the_masks_they_get_alone(shared: bool) -> None:
    members = [models.get("cnn(channels=[2], widths=[16])").build((1, 6, 6), 3) for _ in range(3)]
    for index, member in enumerate(members):
        DropoutKeys(member, 0 if shared else index).set(1, 2)
    x = torch.randn(8, 1, 6, 6, generator=seeds.make_generator(0, "x"))
    alone = torch.stack([member(x) for member in members])
    parameters, buffers = torch.func.stack_module_state(members)
    if shared:
        buffers = {name: buffer[0] for name, buffer in buffers.items()}
    skeleton = copy.deepcopy(members[0]).to("meta")

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        output: Tensor = torch.func.functional_call(skeleton, (parameters, buffers), (x,))
        return output

    together = torch.func.vmap(run, in_dims=(0, None if shared else 0))(parameters, buffers)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert (
        torch.equal(alone[0], alone[1]) == shared
    )  # the members' weights are equal, so only the masks tell them apart


def test_a_key_stays_out_of_checkpoints_and_is_changed_in_place() -> None:
    model = two_layers()
    keys = DropoutKeys(model, 0)
    address = keys.layers["0"].key.data_ptr()
    keys.set(3, 4)
    assert keys.layers["0"].key.data_ptr() == address
    assert keys.layers["0"].key.tolist() == [keys.derive_keys(3, 4)["0"]]
    assert not model.state_dict()


def test_a_model_without_dropout_needs_no_keys() -> None:
    keys = DropoutKeys(nn.Linear(2, 2), 0)
    keys.set(0, 1)
    assert keys.derive_keys(0, 1) == {}


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, math.nan, True, "half", None])
def test_a_rate_outside_zero_to_one_is_an_error(rate: float) -> None:
    with pytest.raises(SpecError, match="at least 0 and below 1"):
        Dropout(rate)


def test_a_seed_that_is_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="dropout seed"):
        DropoutKeys(Dropout(), -1)

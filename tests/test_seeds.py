"""Seeds: every number is a function of (seed, purpose, name, position); traps of torch."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fanin import seeds
from fanin.errors import FaninError, UsageError


def test_the_same_stream_gives_the_same_numbers() -> None:
    draws = [
        seeds.standard_normal((20,), seeds.make_generator(3, "init", "layer.weight"))
        for _ in range(2)
    ]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "other",
    [
        (4, "init", "a", "b"),
        (3, "order", "a", "b"),
        (3, "init", "ab"),
        (3, "init", "b", "a"),
        (3, "init", "a", "b", 0),
    ],
)
def test_another_seed_purpose_or_name_is_another_stream(other: tuple[int, str]) -> None:
    assert seeds.derive_stream(3, "init", "a", "b") != seeds.derive_stream(*other)


def test_a_number_and_its_digits_are_different_names() -> None:
    assert seeds.derive_stream(0, "x", 1) != seeds.derive_stream(0, "x", "1")


def test_streams_have_32_bits_because_torch_uses_no_more() -> None:
    low, high = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5 + 2**32)
    assert torch.equal(torch.rand(4, generator=low), torch.rand(4, generator=high))  # the trap
    assert all(0 <= seeds.derive_stream(seed, "init", "w") < 2**32 for seed in range(1000))


def test_seeds_that_agree_in_32_bits_are_different_streams() -> None:
    assert seeds.derive_stream(5, "init", "w") != seeds.derive_stream(5 + 2**32, "init", "w")


def test_numpy_streams_differ_between_seeds_and_repeat() -> None:
    draws = [seeds.make_numpy_generator(seed, "bootstrap").random(3).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_derived_seeds_are_seeds_and_differ_between_replicates() -> None:
    derived = {seeds.derive_seed(0, "init", replicate) for replicate in range(1000)}
    assert len(derived) == 1000
    assert all(seeds.check_seed(seed) == seed for seed in derived)


def test_streams_that_coincide_are_an_error_that_names_both() -> None:
    seeds.require_distinct({"a": 1, "b": 2})
    with pytest.raises(FaninError, match=r"of a and c coincide.*Use another seed"):
        seeds.require_distinct({"a": 1, "b": 2, "c": 1})


@given(st.integers(0, 999))
def test_a_small_draw_is_the_beginning_of_a_longer_one(n: int) -> None:
    small = seeds.standard_normal((n,), torch.Generator().manual_seed(1))
    assert torch.equal(small, seeds.standard_normal((1000,), torch.Generator().manual_seed(1))[:n])


def test_torch_itself_draws_small_tensors_by_another_route() -> None:
    draws = [torch.empty(n).normal_(generator=torch.Generator().manual_seed(1)) for n in (15, 16)]
    assert not torch.equal(draws[0], draws[1][:15])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 5), (40, 50)])
def test_a_draw_is_contiguous_fp32_on_the_cpu_whatever_the_defaults(shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        z = seeds.standard_normal(shape, torch.Generator("cpu").manual_seed(0))
    assert (z.shape, z.dtype, z.device.type, z.is_contiguous()) == (
        shape,
        torch.float32,
        "cpu",
        True,
    )


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1, np.int64(3)])
def test_integers_of_63_bits_are_seeds(seed: int) -> None:
    assert seeds.check_seed(seed) == int(seed)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", None, True, torch.tensor(1)])
def test_anything_else_is_no_seed(seed: object) -> None:
    with pytest.raises(UsageError, match=r"seed must be an integer from 0 to 2\*\*63 - 1"):
        seeds.check_seed(seed)


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(0, 200))
def test_an_order_is_a_permutation_and_a_function_of_seed_and_epoch(
    seed: int, epoch: int, n: int
) -> None:
    order = seeds.draw_order(seed, epoch, n)
    assert torch.equal(order.sort().values, torch.arange(n))
    assert torch.equal(order, seeds.draw_order(seed, epoch, n))


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = {
        tuple(seeds.draw_order(seed, epoch, 30).tolist())
        for seed in range(10)
        for epoch in range(10)
    }
    assert len(orders) == 100


def test_the_legacy_permutation_is_that_of_numpys_random_state() -> None:
    expected = np.arange(1000)
    np.random.RandomState(113).shuffle(expected)
    assert np.array_equal(seeds.draw_legacy_permutation(113, 1000), expected)


def key(*place: int, layer: str = "dropout") -> torch.Tensor:
    return torch.tensor(seeds.derive_dropout_key(*place, layer), dtype=torch.int64)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_mask_keeps_the_stated_share(probability: float) -> None:
    """n = 1,000,000 elements of 10 masks; two-sided level 1e-5 (4.42 standard errors, 0.0022 at p =
    0.5).
    """
    kept = torch.stack(
        [seeds.draw_keep_mask(key(0, 0, step), (1000, 100), probability) for step in range(10)]
    )
    n = kept.numel()
    assert n == 1_000_000
    error = 4.42 * math.sqrt(probability * (1 - probability) / n)
    assert abs(kept.double().mean().item() - probability) < error
    assert (
        abs(
            seeds.draw_keep_mask(key(0, 0, 0), (1000, 1000), probability + 0.01)
            .double()
            .mean()
            .item()
            - probability
        )
        > error
    )


def test_probability_zero_keeps_nothing_and_one_everything() -> None:
    assert not seeds.draw_keep_mask(key(0, 0, 0), (1000,), 0.0).any()
    assert seeds.draw_keep_mask(key(0, 0, 0), (1000,), 1.0).all()


@pytest.mark.parametrize(
    "other",
    [key(1, 0, 0), key(0, 1, 0), key(0, 0, 1), key(0, 0, 0, layer="dropout2")],
    ids=["seed", "epoch", "step", "layer"],
)
def test_masks_of_different_places_are_independent(other: torch.Tensor) -> None:
    """n = 250,000 pairs; agreement is 1/2 within 4.42 standard errors (level 1e-5)."""
    shape = (500, 500)
    agree = (
        (seeds.draw_keep_mask(key(0, 0, 0), shape, 0.5) == seeds.draw_keep_mask(other, shape, 0.5))
        .double()
        .mean()
        .item()
    )
    assert abs(agree - 0.5) < 4.42 * 0.5 / 500


@pytest.mark.parametrize("lag", [1, 2, 100, 128, 1024])
def test_neighbours_within_a_mask_are_independent(lag: int) -> None:
    """n = 250,000 pairs; agreement is 1/2 within 4.42 standard errors (level 1e-5)."""
    mask = seeds.draw_keep_mask(key(0, 0, 0), (250_000 + lag,), 0.5)
    agree = (mask[lag:] == mask[:-lag]).double().mean().item()
    assert abs(agree - 0.5) < 4.42 * 0.5 / 500


def test_a_mask_is_the_same_alone_and_under_vmap() -> None:
    keys = torch.stack([key(0, 0, step) for step in range(4)])
    together = torch.func.vmap(lambda one: seeds.draw_keep_mask(one, (8, 16), 0.5))(keys)
    alone = torch.stack([seeds.draw_keep_mask(one, (8, 16), 0.5) for one in keys])
    assert torch.equal(together, alone)


def test_torchs_global_state_is_restored_and_can_start_from_a_seed() -> None:
    before = torch.get_rng_state()
    with seeds.preserve_torch_state(3):
        first = torch.rand(2)
    with seeds.preserve_torch_state(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_torchs_global_state_is_restored_after_an_error() -> None:
    before = torch.get_rng_state()

    @seeds.preserve_torch_state()
    def fails_after_a_draw() -> None:
        torch.rand(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_after_a_draw()
    assert torch.equal(torch.get_rng_state(), before)


def test_no_function_changes_the_global_state() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    seeds.standard_normal((5,), seeds.make_generator(0, "init", "w"))
    seeds.draw_order(0, 0, 10)
    seeds.draw_legacy_permutation(0, 10)
    seeds.make_numpy_generator(0, "x").random()
    seeds.draw_keep_mask(key(0, 0, 0), (3,), 0.5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state()[1].tolist(), random.getstate())

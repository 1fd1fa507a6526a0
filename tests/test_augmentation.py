"""Augmentation: equal to a slow twin, independent of batches and their order, and as random as it
says.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fanin.errors import FitError, SpecError, UnknownName
from fanin.training import augmentation
from fanin.training.augmentation import Augmenter

N, SHAPE = 50, (3, 8, 6)

ALL = ("shift(pixels=3)", "flip")


def _images(dtype: torch.dtype = torch.uint8, n: int = N) -> Tensor:
    """Images of which no two pixels near each other are equal, and none is 0, which is what moves
    in.
    """
    return (torch.arange(n * math.prod(SHAPE)) % 251 + 1).view(n, *SHAPE).to(dtype)


def _changed(specs: tuple[str, ...], x: Tensor, *, seed: int = 5, epoch: int = 0) -> Tensor:
    augmenter = Augmenter(specs, seed)
    return augmenter.apply(x, torch.arange(len(x)), augmenter.draw_epoch(epoch, len(x)))


def _slowly_shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Pixel by pixel: what was at (row, column) is at (row + down, column + right), and what was
    nowhere is 0.
    """
    channels, height, width = image.shape
    moved = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                for channel in range(channels):
                    moved[channel, row, column] = image[channel, row - down, column - right]
    return moved


def _slowly_flipped(image: Tensor) -> Tensor:
    mirrored = torch.zeros_like(image)
    for column in range(image.shape[2]):
        mirrored[:, :, column] = image[:, :, image.shape[2] - 1 - column]
    return mirrored


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_shifted_image_equals_the_slow_twins(dtype: torch.dtype) -> None:
    x, augmenter = _images(dtype), Augmenter(["shift(pixels=3)"], 5)
    (drawn,) = draws = augmenter.draw_epoch(0, N)
    for image, moved, (down, right) in zip(
        x, augmenter.apply(x, torch.arange(N), draws), drawn.tolist(), strict=True
    ):
        assert torch.equal(moved, _slowly_shifted(image, down, right))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_flipped_image_equals_the_slow_twins(dtype: torch.dtype) -> None:
    x, augmenter = _images(dtype), Augmenter(["flip"], 5)
    (drawn,) = draws = augmenter.draw_epoch(0, N)
    for image, seen, flipped in zip(
        x, augmenter.apply(x, torch.arange(N), draws), drawn.tolist(), strict=True
    ):
        assert torch.equal(seen, _slowly_flipped(image) if flipped else image)


def test_changes_are_made_in_the_order_given() -> None:
    x = _images()
    shifted, flips = _changed(("shift(pixels=3)",), x), Augmenter(["flip"], 5).draw_epoch(0, N)[0]
    expected = torch.stack(
        [_slowly_flipped(i) if flip else i for i, flip in zip(shifted, flips.tolist(), strict=True)]
    )
    assert torch.equal(_changed(ALL, x), expected)
    assert not torch.equal(_changed(ALL[::-1], x), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_dtype_and_shape_stay(dtype: torch.dtype) -> None:
    changed = _changed(ALL, _images(dtype))
    assert (changed.dtype, changed.shape) == (dtype, (N, *SHAPE))


def test_the_images_given_stay_as_they_are() -> None:
    x = _images()
    before = x.clone()
    _changed(ALL, x)
    assert torch.equal(x, before)


def test_a_sample_meets_the_same_change_whatever_batch_it_comes_in() -> None:
    x, augmenter = _images(), Augmenter(ALL, 5)
    draws = augmenter.draw_epoch(3, N)
    whole = augmenter.apply(x, torch.arange(N), draws)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for size in (1, 7, N):
        batches = torch.cat(
            [augmenter.apply(x[index], index, draws) for index in torch.split(order, size)]
        )
        assert torch.equal(batches, whole[order])


def test_an_epoch_is_a_function_of_the_seed_and_its_number() -> None:
    x = _images()
    assert torch.equal(_changed(ALL, x, seed=1, epoch=2), _changed(ALL, x, seed=1, epoch=2))
    assert not torch.equal(_changed(ALL, x, seed=1, epoch=2), _changed(ALL, x, seed=1, epoch=3))
    assert not torch.equal(_changed(ALL, x, seed=1, epoch=2), _changed(ALL, x, seed=2, epoch=2))


def test_adding_a_change_leaves_the_draws_of_the_others() -> None:
    alone, both = Augmenter(["flip"], 5).draw_epoch(0, N), Augmenter(ALL, 5).draw_epoch(0, N)
    assert torch.equal(alone[0], both[1])


def test_no_augmentation_changes_nothing() -> None:
    x = _images()
    assert torch.equal(_changed((), x), x)


def test_half_of_all_images_are_flipped_each_epoch_anew() -> None:
    # n = 40,000 flips of probability 1/2 in each of two epochs, and as many pairs. Each share is
    # within 4 standard deviations with probability 1 − 6e-5 (level 2e-4 for all three); a
    # probability of 0.49, or equal epochs, would be found.
    n = 40_000
    augmenter = Augmenter(["flip"], 11)
    first, second = (augmenter.draw_epoch(epoch, n)[0].double() for epoch in (0, 1))
    deviation = math.sqrt(n / 4) / n
    for share in (first.mean(), second.mean(), (first == second).double().mean()):
        assert abs(float(share) - 0.5) < 4 * deviation
    assert abs(0.49 - 0.5) > 3.9 * deviation


def test_all_offsets_are_equally_likely_in_both_directions_together() -> None:
    # n = 81,000 shifts over 81 cells of expectation 1,000: chi-squared of 80 degrees of freedom is
    # below 153 with probability 1 − 2e-6. Offsets that lack one value, or that are equal in both
    # directions, give more than 9,000.
    n = 81_000
    (drawn,) = Augmenter(["shift"], 11).draw_epoch(0, n)
    assert _chi_squared(drawn) < 153
    assert _chi_squared(drawn[:, :1].expand(-1, 2)) > 9000
    assert _chi_squared(drawn.clamp(max=3)) > 9000


def _chi_squared(drawn: Tensor) -> float:
    counts = torch.bincount((drawn[:, 0] + 4) * 9 + drawn[:, 1] + 4, minlength=81).double()
    expected = len(drawn) / 81
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.gpu
def test_a_gpu_changes_images_as_the_cpu_does() -> None:
    x, augmenter = _images(), Augmenter(ALL, 5)
    index = torch.arange(N)
    there = augmenter.apply(x.cuda(), index.cuda(), augmenter.draw_epoch(0, N, device="cuda"))
    assert torch.equal(there.cpu(), augmenter.apply(x, index, augmenter.draw_epoch(0, N)))


@pytest.mark.parametrize(
    ("spec", "canonical"), [("shift(pixels=4)", "shift"), ("shift(pixels=2)", "shift(pixels=2)")]
)
def test_one_change_has_one_spec(spec: str, canonical: str) -> None:
    assert augmentation.REGISTRY.make(spec).spec == canonical


@pytest.mark.parametrize("spec", ["shift(pixels=0)", "shift(pixels=-1)", "shift(pixels=1.5)"])
def test_options_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(SpecError, match=r"shift\(pixels=…\) must be"):
        augmentation.REGISTRY.make(spec)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(UnknownName):
        augmentation.REGISTRY.make("rotate")
    with pytest.raises(SpecError, match="flip takes no options; received p"):
        augmentation.REGISTRY.make("flip(p=0.1)")


@pytest.mark.parametrize("spec", augmentation.REGISTRY.names())
@pytest.mark.parametrize(
    ("shape", "kind"), [((13,), "table"), ((28, 28), "sequence"), ((64,), "tokens")]
)
def test_only_images_are_changed(spec: str, shape: tuple[int, ...], kind: str) -> None:
    with pytest.raises(FitError, match=f"kind {kind}"):
        augmentation.check_input(spec, shape, kind)


def test_a_shift_out_of_the_frame_is_refused() -> None:
    augmentation.check_input("shift(pixels=7)", (1, 8, 10), "image")
    with pytest.raises(FitError, match="fewer than 8"):
        augmentation.check_input("shift(pixels=8)", (1, 8, 10), "image")


def test_a_batch_that_holds_no_images_is_refused() -> None:
    with pytest.raises(FitError, match="not a batch of shape"):
        _changed(("flip",), torch.zeros(4, 13))


def test_one_change_listed_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="listed twice"):
        Augmenter(["shift", "shift(pixels=2)"], 0)
